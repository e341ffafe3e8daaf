"""N-MNIST: MNIST digits seen by a moving event camera."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from snnsim.data.events import Events, in_range, seconds, whole_numbers
from snnsim.errors import DataError
from snnsim_datasets.tools import files
from snnsim_datasets.tools.camera_events import Camera, CameraEvents
from snnsim_datasets.tools.cameras import read_addresses
from snnsim_datasets.tools.catalogue import INFOS
from snnsim_datasets.tools.splits import check_split, held_out_numbers, part_of

INFO = INFOS["nmnist"]
CAMERA = Camera(34, 34, 34)
CHANNELS = INFO.channels
ARRAYS = ("times", "units", "offsets", "labels")
VERSION = 2  # of what this reader makes of an archive, and so of what is cached


def load(
    split: str,
    root: Path | str | None = None,
    *,
    dt: float = 10.0,
    binning: str = "grid",
    download: bool = True,
    progress=None,
) -> CameraEvents:
    """Load a split.

    Args:
        split: ``"train"``, ``"validation"``, ``"test"`` or ``"train_all"``.
        root: folder with ``Train.zip`` and ``Test.zip``, or with ``nmnist_train.npz`` and
            ``nmnist_test.npz`` (arrays ``x y p dt_us offsets labels``).
        dt: length of a time step in ms.
        binning: how events become steps; see :func:`snnsim.data.events.bin_events`.
        download: whether to fetch a missing archive from the official source.
        progress: optional function of (bytes so far, bytes in all).
    """
    check_split(INFO.name, split, INFO.splits)
    part = "test" if split == "test" else "train"
    path = _locate(root, part, download, progress)
    checksum = files.digest(path)
    events = _read(path, checksum)
    events = part_of(events, split, lambda: held_out_numbers(len(events), "snnsim-nmnist"))
    return CAMERA.binned(events, dt, binning, {path.name: checksum})


def read_bin(content: bytes, name: str = "recording") -> tuple[np.ndarray, np.ndarray]:
    """Decode one recording in the 40-bit format of N-MNIST.

    Args:
        content: the bytes of the recording.
        name: what the recording is called in an error.

    Returns:
        Times in seconds, ascending, and channels ``0 .. 2311`` of the events.
    """
    recording = read_addresses(content, name)
    if len(recording.t) and max(recording.x.max(), recording.y.max()) >= 34:
        raise DataError(f"{name} has events outside 34 x 34 pixels; it is not an N-MNIST recording")
    units = recording.p * 1156 + recording.y * 34 + recording.x
    order = np.argsort(recording.t, kind="stable")
    return seconds(recording.t[order]), units[order]


def _locate(root: Path | str | None, part: str, download: bool, progress) -> Path:
    official = f"{part.capitalize()}.zip"
    return files.locate(
        files.folder_of(INFO.name, root),
        [f"nmnist_{part}.npz", official, f"{part}.zip"],
        next(remote for remote in INFO.remotes if remote.name == official),
        download,
        progress,
    )


def _events(samples: Iterator[tuple[np.ndarray, np.ndarray, int]]) -> dict[str, np.ndarray]:
    found = list(samples)
    if not found:
        raise DataError("it holds no recordings")
    times, units, labels = zip(*found, strict=True)
    return {
        "times": np.concatenate(times),
        "units": np.concatenate(units).astype(np.uint16),
        "offsets": np.concatenate([[0], np.cumsum([len(t) for t in times])]).astype(np.int64),
        "labels": np.asarray(labels, dtype=np.int64),
    }


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    names = ("x", "y", "p", "dt_us", "offsets", "labels")
    data = dict(zip(names, files.read_arrays(path, names, "N-MNIST .npz file"), strict=True))
    ranges = {"x": 34, "y": 34, "p": 2, "dt_us": 2**31}
    count = np.size(data["x"])
    x, y, p, steps = (
        in_range(f"{name} values", whole_numbers(name, data[name], count), most)
        for name, most in ranges.items()
    )
    offsets = whole_numbers("offsets", data["offsets"])
    if not len(offsets) or offsets[0] or offsets[-1] != count or (np.diff(offsets) < 0).any():
        raise DataError(f"offsets must rise from 0 to the {count} events")
    labels = whole_numbers("labels", data["labels"], len(offsets) - 1)
    units = p * 1156 + y * 34 + x

    def samples():
        for label, first, last in zip(labels, offsets[:-1], offsets[1:], strict=True):
            yield seconds(np.cumsum(steps[first:last])), units[first:last], int(label)

    return _events(samples())


def _recordings(archive: zipfile.ZipFile, path: Path) -> list[str]:
    """Names of all recordings of an archive, in which there must be nothing else but notes.

    A list of contents that is damaged may lack some of them, or have them under other names.
    """
    held = archive.infolist()
    files.check_unpacked(archive, path)
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - (1 << 16) - 22, 0))  # its record and any comment
        end = file.read()
    end = end[end.rfind(b"PK\5\6") :]
    (count,) = struct.unpack("<H", end[10:12])
    if count not in (len(held), 0xFFFF):  # the latter: more than fit there
        raise DataError(f"{path} is corrupt: it lists {len(held)} files of {count}")
    names = [i.filename for i in held if not i.filename.endswith("/")]
    names = [name for name in names if not _is_beside(PurePosixPath(name))]
    for name in names:
        if not name.endswith(".bin"):
            raise DataError(
                f"{path}:{name} is not a recording, whose name ends in .bin; remove it from the "
                "archive"
            )
    return names


def _is_beside(name: PurePosixPath) -> bool:
    """Whether a file is a note, or one that a system puts beside others."""
    hidden = name.name.startswith(".") or "__MACOSX" in name.parts or name.name == "Thumbs.db"
    return hidden or name.suffix.lower() in (".txt", ".md", ".pdf", ".html")


def _read_archive(path: Path) -> dict[str, np.ndarray]:
    def samples():
        try:
            with zipfile.ZipFile(path) as archive:
                names = _recordings(archive, path)
                for name in sorted(names):
                    folder = PurePosixPath(name).parent.name
                    if folder not in INFO.classes:
                        raise DataError(f"{path}:{name} is not in a folder named by a digit")
                    times, units = read_bin(archive.read(name), f"{path}:{name}")
                    yield times, units, int(folder)
        except files.DAMAGE as error:
            raise DataError(f"{path} is truncated or corrupt ({error})") from error

    return _events(samples())


def _read(path: Path, checksum: str) -> Events:
    """The recordings of a file; what is slow to read is cached."""
    try:
        if path.suffix == ".npz":
            arrays = _read_npz(path)
        else:
            name = f"nmnist-{checksum[:24]}-v{VERSION}.npz"
            arrays = files.cached_arrays(name, ARRAYS, lambda: _read_archive(path))
        speakers = np.full(len(arrays["labels"]), -1, dtype=np.int64)
        return Events(**arrays, speakers=speakers, channels=CHANNELS, classes=INFO.classes)
    except DataError as error:
        raise DataError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
