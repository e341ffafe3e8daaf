"""Small files that ask for much memory or time: they are refused within a bound, or read."""

from __future__ import annotations

import gzip
import struct
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
from files import CLASSES, spike_file
from outcomes import Place
from snnsim_datasets import images, nmnist
from snnsim_datasets.tools import heidelberg
from snnsim_datasets.tools.audio import read_audio

from snnsim.data.events import bin_all

Random = np.random.Generator


def load(path: Path) -> None:
    """Read, bin and fill one batch."""
    events, _ = heidelberg.read(path, CLASSES)
    binned = bin_all(events, 10.0, 5)
    binned.batch(range(min(len(binned), 16)))


def declared(place: Place, rng: Random, samples: int) -> None:
    """So many samples of which none was ever written."""
    path = place.folder / "set.h5"
    text, whole = h5py.vlen_dtype(np.float16), h5py.vlen_dtype(np.uint16)
    kinds = {"spikes/times": text, "spikes/units": whole, "labels": np.int64}
    with h5py.File(path, "w") as file:
        for name, kind in kinds.items():
            file.create_dataset(name, samples, kind, chunks=(min(samples, 1 << 20),))
    load(path)


def unpacking(place: Place, rng: Random, ending: str, megabytes: int) -> None:
    """An archive of zeros, a thousandth of what comes out."""
    path = place.folder / f"set.h5{ending}"
    block = bytes(32 << 20)
    if ending == ".gz":
        with path.open("wb") as file:
            member = gzip.compress(block, 9)
            for _ in range(megabytes // 32):
                file.write(member)
    else:
        archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        with archive, archive.open("set.h5", "w", force_zip64=True) as member:
            for _ in range(megabytes // 32):
                member.write(block)
    load(path)


def chunk(place: Place, rng: Random, megabytes: int) -> None:
    """Labels in one packed chunk."""
    path, samples = place.folder / "set.h5", megabytes << 17
    spike_file(path, rng)
    with h5py.File(path, "r+") as file:
        del file["labels"]
        part = file.create_dataset("labels", samples, np.int64, chunks=(samples,), compression=9)
        part.id.write_direct_chunk((0,), zlib.compress(bytes(8 * samples), 9))
    load(path)


def late(place: Place, rng: Random, seconds: float, kind: str) -> None:
    """One spike far out."""
    path = place.folder / "set.h5"
    spike_file(path, rng, times=np.dtype(kind))
    with h5py.File(path, "r+") as file:
        file["spikes/times"][0] = np.asarray([0.1, seconds], kind)
        file["spikes/units"][0] = np.asarray([1, 2], np.uint16)
    load(path)


def camera(place: Place, rng: Random) -> None:
    """Recordings of an event camera in a zip: zeros, a thousandth of what comes out."""
    with zipfile.ZipFile(place.folder / "Train.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Train/0/00001.bin", bytes(5 * (100 << 20)))
    nmnist.load("train_all", place.folder, download=False).batch([0])


def pixels(place: Place, rng: Random, name: str) -> None:
    """A header that promises many images, or zeros that unpack to as many."""
    content = struct.pack(">HBB3I", 0, 8, 3, 4_000_000, 28, 28)
    for part in ("train", "t10k"):
        (place.folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(struct.pack(">HBBI", 0, 8, 1, 4) + bytes(4))
        )
        path = place.folder / f"{part}-images-idx3-ubyte.gz"
        path.write_bytes(gzip.compress(content))
        if name == "unpacked":
            with path.open("ab") as file:
                member = gzip.compress(bytes(784 * 40_000))
                for _ in range(100):
                    file.write(member)
    images.load("mnist", "train_all", place.folder, download=False)


def sound(place: Place, rng: Random) -> None:
    """A header that promises four gigabytes of samples."""
    path = place.folder / "clip.wav"
    header = struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", 0xFFFF_FFF0, b"WAVEfmt ", 16, 1, 1, 16_000,
                         32_000, 2, 16, b"data", 0xFFFF_FF00)  # fmt: skip
    path.write_bytes(header + bytes(100))
    read_audio(path)


BOMBS = {
    **{f"declared-{n:.0e}": ("declared", {"samples": n}) for n in (2 * 10**8, 10**12, 2**62)},
    "unpacking-gz": ("unpacking", {"ending": ".gz", "megabytes": 1024}),
    "unpacking-zip": ("unpacking", {"ending": ".zip", "megabytes": 1024}),
    "chunk": ("chunk", {"megabytes": 384}),
    **{f"late-{s:.0e}": ("late", {"seconds": s, "kind": "f4"}) for s in (1e5, 1e9, 1e30)},
    "late-1e300": ("late", {"seconds": 1e300, "kind": "f8"}),
    "camera": ("camera", {}),
    "pixels-declared": ("pixels", {"name": "declared"}),
    "pixels-unpacked": ("pixels", {"name": "unpacked"}),
    "sound": ("sound", {}),
}
KINDS: dict = {}  # each of these once, in the tests: a second case of them is the same again
