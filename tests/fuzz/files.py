"""Generated data files, given to the readers: each function is one kind of case."""

from __future__ import annotations

import gzip
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import soundfile
from outcomes import Place, Silent
from snnsim_datasets import images, nmnist
from snnsim_datasets.tools import heidelberg
from snnsim_datasets.tools.audio import read_audio
from snnsim_datasets.tools.cameras import read as read_camera
from snnsim_datasets.tools.images import read_idx
from spoiling import one_of, spoiled

from snnsim.data.events import bin_all

Random = np.random.Generator
CLASSES = tuple(f"class {i}" for i in range(20))


def check(right: object, what: str) -> None:
    """Raise :class:`Silent` unless an answer is right."""
    if not right:
        raise Silent(what)


def packed(path: Path, content: bytes, rng: Random) -> Path:
    """Write the content plain, as ``.gz`` or as ``.zip``."""
    ending = one_of(rng, "", "", ".gz", ".zip")
    target = path.with_name(path.name + ending)
    if ending == ".gz":
        target.write_bytes(gzip.compress(content))
    elif ending == ".zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(path.name, content)
    else:
        target.write_bytes(content)
    return target


# --- HDF5 ---------------------------------------------------------------------------------------


def spike_file(path: Path, rng: Random, **kinds) -> None:
    """A good file of a few samples."""
    samples = int(rng.integers(1, 6))
    sizes = rng.integers(0, 20, samples)
    with h5py.File(path, "w", libver=one_of(rng, "earliest", "latest")) as file:
        for name, kind, most in (
            ("times", kinds.get("times", np.float16), 0),
            ("units", kinds.get("units", np.uint16), 700),
        ):
            part = file.create_dataset(f"spikes/{name}", samples, h5py.vlen_dtype(kind))
            for i, n in enumerate(sizes):
                part[i] = (rng.integers(0, most, n) if most else rng.random(n)).astype(kind)
        options = {"compression": 1} if rng.random() < 0.3 else {}
        for name in ("labels", "extra/speaker"):
            values = rng.integers(0, 20, samples).astype(kinds.get(name, np.uint64))
            file.create_dataset(name, data=values, **options)


def read_spikes(path: Path, plain: Path) -> None:
    """Read and bin; an answer must be what the file says, and within the limits of the set."""
    events, _ = heidelberg.read(path, CLASSES)
    binned = bin_all(events, 10.0, 5)
    x = binned.batch(range(len(binned))).x
    with h5py.File(plain, "r") as file:
        labels = np.asarray(file["labels"][:])
        times, units = file["spikes/times"][:], file["spikes/units"][:]
        stated = "extra/speaker" in file
        speakers = file["extra/speaker"][:] if stated else np.full(len(labels), -1)
    check(labels.ndim == 1 and np.array_equal(labels.astype(float), events.labels), "labels")
    check((events.labels >= 0).all() and (events.labels < 20).all(), "labels out of range")
    check(events.speakers.shape == labels.shape, f"speakers of shape {events.speakers.shape}")
    check(np.array_equal(speakers, events.speakers), "speakers")
    for i in range(len(events)):
        t, u = events.sample(i)
        order = np.argsort(times[i].astype(np.float64), kind="stable")
        check(np.array_equal(times[i][order].astype(np.float32), t.astype(np.float32)), "times")
        check(np.array_equal(units[i][order].astype(float), u.astype(float)), "units")
    check(float(x.sum()) == len(events.times), "spikes lost in the batch")


def hdf5_bytes(place: Place, rng: Random) -> None:
    """A good file with some bytes spoiled."""
    good = place.folder / "good.h5"
    spike_file(good, rng)
    content = spoiled(good.read_bytes(), rng)
    good.write_bytes(content)
    plain = good.rename(place.folder / "set.h5")
    if rng.random() < 0.2:  # what is packed has been spoiled before
        read_spikes(packed(place.folder / "other.h5", content, rng), plain)
    else:
        read_spikes(plain, plain)


def hdf5_packed(place: Place, rng: Random) -> None:
    """A good file whose archive is spoiled."""
    plain = place.folder / "good.h5"
    spike_file(plain, rng)
    path = packed(place.folder / "set.h5", plain.read_bytes(), rng)
    path.write_bytes(spoiled(path.read_bytes(), rng))
    read_spikes(path, plain if path.suffix != ".h5" else path)


def hdf5_structure(place: Place, rng: Random) -> None:
    """A file whose parts have other types, sizes and values."""
    path = place.folder / "set.h5"
    kinds = (np.float32, np.float64, np.int16, np.int64, np.uint16, np.uint64, np.float16, bool)
    name = one_of(rng, "labels", "extra/speaker", "spikes/times", "spikes/units")
    way = one_of(rng, "kind", "values", "values", "size", "one value", "one value", "one value")
    kind = one_of(rng, *kinds)
    spike_file(
        path, rng, **({name.removeprefix("spikes/"): kind} if way in ("kind", "one value") else {})
    )
    with h5py.File(path, "r+") as file:
        samples = file[name].shape[0]
        size = (samples,)
        if way == "size":
            size = one_of(rng, (samples, 1), (1, samples), (samples, 3), (samples + 1,), (), (0,))
        if way in ("values", "size"):
            values = (0, 1, -1, 0.5, 21, 700, np.nan, np.inf, 1e30, b"text", 2**63, 1e5, True)
            del file[name]
            file[name] = np.full(size, one_of(rng, *values) if way == "values" else 0)
        elif way == "one value":
            value = one_of(rng, -1, 0.75, 20, 700, 65_535, 2**40, np.nan, 1e30, 1e5, 127)
            with np.errstate(all="ignore"):
                if name.startswith("spikes"):
                    old = file[name][0].astype(np.float64)
                    old[len(old) // 2 :] = value
                    file[name][0] = old.astype(kind)
                else:
                    file[name][0] = np.asarray(value).astype(kind)
    read_spikes(path, path)


# --- recordings ---------------------------------------------------------------------------------

SUBTYPES = {
    "WAV": ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"),
    "WAVEX": ("PCM_16", "FLOAT"),
    "FLAC": ("PCM_S8", "PCM_16", "PCM_24"),
    "OGG": ("VORBIS", "OPUS"),
}


def recording(place: Place, rng: Random, container: str) -> None:
    """A recording, spoiled or not; what is read is what the codec says, and finite."""
    path = place.folder / f"clip.{'wav' if container == 'WAVEX' else container.lower()}"
    size, channels = int(rng.integers(0, 3000)), one_of(rng, 1, 1, 1, 2, 5)
    rate = one_of(rng, 8000, 16_000, 48_000)
    subtype = one_of(rng, *SUBTYPES[container])
    loud = one_of(rng, 1e-3, 0.1) if container == "OGG" else one_of(rng, 1e-3, 0.5, 0.99)
    wave = rng.uniform(-loud, loud, (size, channels))
    soundfile.write(path, wave, rate, format=container, subtype=subtype)
    whole = path.read_bytes()
    if rng.random() < 0.8:
        path.write_bytes(spoiled(whole, rng))
    samples, found = read_audio(path)
    said, stated = soundfile.read(path, dtype="float64", always_2d=True)
    check(found == stated, f"rate {found}, not {stated}")
    check(samples.ndim == 1 and said.shape == (len(samples), 1), f"shape {samples.shape}")
    got = samples / 32768 if samples.dtype == np.int16 else samples.astype(np.float64)
    check(np.isfinite(said).all() and np.isfinite(got).all(), "not finite")
    check(np.allclose(got, said[:, 0], rtol=0, atol=1.01 / 32768), f"other samples of {subtype}")
    if path.read_bytes() == whole[: path.stat().st_size] and subtype.startswith("PCM"):
        check(len(samples) == size, f"{len(samples)} of {size} samples of a file cut short")


# --- event cameras ------------------------------------------------------------------------------


def _of_camera(path: Path, events: np.ndarray) -> None:
    """A good file of events ``[n, 4]`` of t, x, y, p by a camera of 32 x 24 pixels."""
    t, x, y, p = events.T.astype(np.uint32)
    if path.suffix == ".dat":
        words = np.stack([t, p << 28 | y << 14 | x], 1).astype("<u4")
        path.write_bytes(b"% Width 32\n% Height 24\n\x0c\x08" + words.tobytes())
    elif path.suffix == ".raw":
        words = np.stack([8 << 28 | t >> 6, p << 28 | (t & 63) << 22 | x << 11 | y], 1)
        path.write_bytes(b"% evt 2.0\n% geometry 32x24\n% end\n" + words.astype("<u4").tobytes())
    elif path.suffix == ".csv":
        np.savetxt(path, events, "%d", ",", header="t,x,y,p", comments="")
    else:
        np.save(path, events)


def camera(place: Place, rng: Random, ending: str) -> None:
    """A recording of an event camera, spoiled or not."""
    path = place.folder / f"clip{ending}"
    count = int(rng.integers(1, 40))
    events = np.stack([rng.integers(0, most, count) for most in (90_000, 32, 24, 2)], 1)
    events = events[events[:, 0].argsort(kind="stable")]
    _of_camera(path, events)
    whole = path.read_bytes()
    if rng.random() < 0.8:
        path.write_bytes(spoiled(whole, rng))
    read = read_camera(path)
    found = np.stack(read[:4], 1)
    check((np.diff(read.t) >= 0).all() and read.t[:1].sum() == 0, "times")
    check(set(read.p.tolist()) <= {0, 1} and found.min(initial=0) >= 0, "events")
    if ending in (".dat", ".raw"):
        check(
            (found[:, 1:3] < [read.width, read.height]).all() or not read.width,
            "pixels",
        )
    if path.read_bytes() == whole:
        check(np.array_equal(found, events - [events[0, 0], 0, 0, 0]), "other events")


# --- N-MNIST, images ----------------------------------------------------------------------------


def nmnist_archive(place: Place, rng: Random) -> None:
    """The official archive, with recordings or the archive spoiled."""
    path = place.folder / "Train.zip"
    contents = []
    with zipfile.ZipFile(path, "w", one_of(rng, 0, zipfile.ZIP_DEFLATED)) as archive:
        for i in range(int(rng.integers(1, 5))):
            raw = rng.integers(0, 34, (int(rng.integers(0, 40)), 5)).astype(np.uint8)
            contents.append(raw.tobytes() if rng.random() < 0.7 else spoiled(raw.tobytes(), rng))
            archive.writestr(f"Train/{i}/{i:05d}.bin", contents[-1])
    whole = path.read_bytes()
    if rng.random() < 0.6:
        path.write_bytes(spoiled(whole, rng))
    found = nmnist.load("train_all", place.folder, download=False)
    x = found.batch(range(len(found))).x
    events = [np.frombuffer(c[: len(c) // 5 * 5], np.uint8).reshape(-1, 5) for c in contents]
    together = np.concatenate(events).astype(int)
    together = together[together[:, 1] != 240]
    unit = (together[:, 2] >> 7) * 1156 + together[:, 1] * 34 + together[:, 0]
    check(found.labels.tolist() == list(range(len(contents))), "labels")
    check(all(len(c) % 5 == 0 for c in contents) and unit.max(initial=0) < 2312, "a recording cut")
    check(np.array_equal(x.sum((0, 1)), np.bincount(unit, minlength=2312)), "channels")


def nmnist_arrays(place: Place, rng: Random) -> None:
    """The packed arrays, one of them replaced by something else."""
    sizes = rng.integers(0, 20, int(rng.integers(1, 6)))
    total = int(sizes.sum())
    arrays = {
        **{name: rng.integers(0, 34, total).astype(np.uint8) for name in "xy"},
        "p": rng.integers(0, 2, total).astype(np.uint8),
        "dt_us": rng.integers(0, 5000, total).astype(np.int32),
        "offsets": np.concatenate([[0], np.cumsum(sizes)]),
        "labels": rng.integers(0, 10, len(sizes)).astype(np.uint8),
    }
    name = one_of(rng, *arrays)
    good, old = True, arrays[name]
    if rng.random() < 0.8 and old.size:
        at = int(rng.integers(0, old.size))
        value = one_of(rng, -1, 34, 0.5, np.nan, 1e18, total + 1, 2, 10)
        whole = value == value // 1
        changed = old.astype(one_of(rng, np.float64, np.int64) if whole else np.float64)
        changed[at] = value
        arrays[name] = one_of(rng, changed, old[:-1], old[:, None], changed[::-1], old.astype("S4"))
        good = np.array_equal(arrays[name], old)
    path = place.folder / "nmnist_train.npz"
    np.savez(path, **arrays)
    if rng.random() < 0.3:
        path.write_bytes(spoiled(path.read_bytes(), rng))
    found = nmnist.load("train_all", place.folder, download=False)
    changed = arrays[name]
    if good:
        x = found.batch(range(len(found))).x
        check(found.labels.tolist() == arrays["labels"].tolist(), "labels")
        check(x.sum((0, 2)).tolist() == sizes.tolist(), "spikes of another sample")
        return
    check(changed.ndim == 1 and changed.shape == old.shape and changed.dtype.kind in "fiu", "shape")
    check(np.isfinite(changed).all() and (changed == changed.astype(int)).all(), "fractions")
    limits = {"x": 34, "y": 34, "p": 2, "labels": 10, "dt_us": 1e9}
    if name == "offsets":
        ends = (changed[0] == 0, changed[-1] == total, (np.diff(changed) >= 0).all())
        check(all(ends), "offsets that do not cut the events into samples")
    else:
        check(((changed >= 0) & (changed < limits[name])).all(), f"{name} out of range")


def idx(place: Place, rng: Random) -> None:
    """A file of MNIST's form; the header may lie."""
    path = place.folder / one_of(rng, "a-idx3-ubyte", "a-idx3-ubyte.gz")
    shape = tuple(int(n) for n in rng.integers(0, 6, int(rng.integers(0, 4))))
    data = rng.integers(0, 256, int(np.prod(shape))).astype(np.uint8)
    content = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + data.tobytes()
    if rng.random() < 0.6:
        content = spoiled(content, rng)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    if rng.random() < 0.3:
        path.write_bytes(spoiled(path.read_bytes(), rng))
    values = read_idx(path)
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    check(content[:3] == b"\0\0\x08", f"magic number {content[:4]!r}")
    sizes = struct.unpack(f">{content[3]}I", content[4 : 4 + 4 * content[3]])
    check(values.shape == sizes and values.dtype == np.uint8, f"shape {values.shape}, not {sizes}")
    check(values.tobytes() == content[4 + 4 * content[3] :], "other bytes")


def idx_set(place: Place, rng: Random) -> None:
    """MNIST's four files, of shapes that may not fit together."""
    x = one_of(rng, (4, 28, 28), (4, 28, 28), (4, 784), (4,), (4, 32, 32), (4, 14, 56), (0, 28, 28))
    y = one_of(rng, (4,), (4,), (4, 1), (4, 10), (3,), (0,), (), (2, 2))
    for part in ("train", "t10k"):
        for name, shape in (("images-idx3", x), ("labels-idx1", y)):
            data = rng.integers(0, 10, int(np.prod(shape))).astype(np.uint8)
            content = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + data.tobytes()
            path = place.folder / f"{part}-{name}-ubyte.gz"
            path.write_bytes(gzip.compress(content))
    found = images.load("mnist", "train_all", place.folder, download=False)
    check(len(x) == 3 and x[0] == 4 and y == (4,), f"images {x} and labels {y} were taken")
    check(found.pixels.shape == (4, 1, *x[1:]) and found.labels.shape == (4,), "shapes")


def image_arrays(place: Place, rng: Random) -> None:
    """Packed images of several forms."""
    name = one_of(rng, "mnist", "cifar10")
    path = place.folder / {"mnist": "mnist_full.npz", "cifar10": "cifar10_small.npz"}[name]
    good = {"mnist": (4, 28, 28), "cifar10": (4, 32, 32, 3)}[name]
    shape = one_of(
        rng, good, good, good, (4, 3, 32, 32), (4, 784), (4, 28, 28, 3), (4,), (4, 32, 32)
    )
    x = rng.integers(0, 256, shape).astype(one_of(rng, np.uint8, np.uint8, np.float32, np.int64))
    y = one_of(
        rng, np.arange(4), np.arange(4), np.eye(4), np.arange(4) + 0.5, np.arange(4)[:, None],
        np.arange(3), np.array(["a"] * 4), np.full(4, np.nan), np.arange(4).astype(float),
        np.arange(4) - 1, np.arange(4) * 4,
    )  # fmt: skip
    np.savez(path, x_train=x, y_train=y)
    if rng.random() < 0.3:
        path.write_bytes(spoiled(path.read_bytes(), rng))
    found = images.load(name, "train_all", place.folder, download=False)
    form = shape[0] == 4 and len(shape) == len(good) and shape[3:] == good[3:]
    check(form and x.dtype == np.uint8, f"{x.dtype} {shape} taken for {name}")
    expected = x[:, None] if x.ndim == 3 else np.moveaxis(x, 3, 1)
    check(np.array_equal(found.pixels, expected), "other pixels")
    check(y.shape == (4,) and np.array_equal(y, found.labels), f"labels {y.tolist()}")


KINDS = {
    "hdf5-bytes": ("files:hdf5_bytes", {}),
    "hdf5-packed": ("files:hdf5_packed", {}),
    "hdf5-structure": ("files:hdf5_structure", {}),
    **{f"audio-{c.lower()}": ("files:recording", {"container": c}) for c in SUBTYPES},
    "nmnist-archive": ("files:nmnist_archive", {}),
    "nmnist-arrays": ("files:nmnist_arrays", {}),
    **{f"camera{e}": ("files:camera", {"ending": e}) for e in (".dat", ".raw", ".csv", ".npy")},
    "idx": ("files:idx", {}),
    "idx-set": ("files:idx_set", {}),
    "image-arrays": ("files:image_arrays", {}),
}
