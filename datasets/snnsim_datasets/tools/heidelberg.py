"""Files in the HDF5 layout of the Heidelberg spiking data sets (SHD, SSC and alike)."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from snnsim.data.events import Events, in_range, whole_numbers
from snnsim.data.limits import check_bytes, most_bytes, read_seconds
from snnsim.errors import DataError
from snnsim_datasets.tools.apart import run_apart
from snnsim_datasets.tools.files import cached_arrays, digest, unpacked

CHANNELS = 700
LAYOUT = "spikes/times, spikes/units, labels"
SPEAKER = "extra/speaker"
ARRAYS = ("times", "units", "sizes", "labels", "speakers")
VERSION = 2  # of what this reader makes of a file, and so of what is cached
BLOCK = 1000  # samples read at a time
MANY_SAMPLES, MANY_SPIKES = 50, 1000  # from which it shows which channels a file has


def read(
    path: Path, classes: Sequence[str], channels: int = CHANNELS, declared: bool = False
) -> tuple[Events, str]:
    """Read a file (``.h5``, ``.h5.gz`` or ``.h5.zip``) and return its events and SHA-256.

    The flat arrays are cached under the checksum of the file, so that the slow reading of
    variable-length HDF5 happens once. It happens in a process of its own, which is killed if the
    library hangs; what it unpacks or declares is bounded (:mod:`snnsim.data.limits`).

    Args:
        path: path of the file.
        classes: names of the classes, in the order of their labels.
        channels: number of channels; units must be below it.
        declared: whether the file itself says how many channels it has; otherwise one whose spikes
            lie in the lowest quarter of them is taken for a file of another data set.

    Raises:
        DataError: naming the file and what is wrong with it.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes); delete it and download it again")
    checksum = digest(path)

    def convert() -> dict[str, np.ndarray]:
        with unpacked(path) as plain:
            size = plain.stat().st_size
            return run_apart(lambda: _read_hdf5(plain, size), read_seconds(size), str(path))

    try:
        name = f"{path.name.split('.')[0]}-{checksum[:24]}-v{VERSION}.npz"
        arrays = cached_arrays(name, ARRAYS, convert)
        return _events(arrays, classes, channels, declared), checksum
    except DataError as error:
        text = " ".join(str(error).split())
        raise DataError(text if str(path) in text else f"{path}: {text}") from error


def _read_hdf5(plain: Path, size: int) -> dict[str, np.ndarray]:
    """The arrays of a file of ``size`` bytes; whatever goes wrong is a :class:`DataError`."""
    import h5py

    try:
        with h5py.File(plain, "r") as file:
            missing = [name for name in LAYOUT.split(", ") if not there(file, name)]
            if missing:
                raise DataError(f"it has no {', '.join(missing)}; expected {LAYOUT}")
            times, units = (_ragged(file, f"spikes/{name}", size) for name in ("times", "units"))
            labels = _flat(file, "labels", size)
            speakers = _flat(file, SPEAKER, size) if there(file, SPEAKER) else None
    except DataError:
        raise
    except BlockingIOError as error:
        raise DataError("it is in use: another program has it open for writing (lock)") from error
    except MemoryError as error:
        raise DataError(f"it needs more memory than there is ({error})") from error
    except Exception as error:  # whatever the library raises of a damaged file
        kind = type(error).__name__
        raise DataError(
            f"it is not a readable HDF5 file ({kind}: {error}); delete it and download it again"
        ) from error
    if len(labels) == 0:
        raise DataError("it holds no samples")
    counts = {"times": len(times[1]), "units": len(units[1]), "labels": len(labels)}
    if speakers is not None:
        counts["speakers"] = len(speakers)
    if len(set(counts.values())) > 1:
        *most, last = (f"{count} {name}" for name, count in counts.items())
        found = f"{', '.join(most)} and {last}"
        raise DataError(f"it has {found}; the numbers must be equal")
    if not np.array_equal(times[1], units[1]):
        i = int(np.flatnonzero(times[1] != units[1])[0])
        raise DataError(f"sample {i} has {times[1][i]} times but {units[1][i]} units")
    return {
        "times": times[0],
        "units": units[0],
        "sizes": times[1],
        "labels": labels,
        "speakers": np.full(len(labels), -1) if speakers is None else speakers,
    }


def there(file: Any, name: str) -> bool:
    """Return whether an open file has an array of this name in itself.

    Raises:
        DataError: if the name is a link that leads elsewhere, or no array.
    """
    import h5py

    place = file
    for part in name.split("/"):
        link = place.get(part, getlink=True) if isinstance(place, h5py.Group) else None
        if link is None:
            return False
        if not isinstance(link, h5py.HardLink):
            raise DataError(f"{name} is a link to something outside of this file, or to nothing")
        place = place[part]
    if not isinstance(place, h5py.Dataset):
        raise DataError(f"{name} is a {type(place).__name__.lower()}, not an array")
    if place.shape is None or place.is_virtual or place.external:
        raise DataError(f"{name} is empty or kept in another file, which is not here")
    return name in file


def array_of(file: Any, name: str, size: int) -> Any:
    """Return a dataset of an open file of ``size`` bytes, not yet read.

    Raises:
        DataError: if it has not one axis, or declares more than such a file can hold.
    """
    found = file[name]
    check_bytes(name, found.size * max(found.dtype.itemsize, 1), size)
    if found.ndim != 1:
        raise DataError(f"{name} has shape {found.shape} but must have one entry for each sample")
    return found


def _flat(file: Any, name: str, size: int) -> np.ndarray:
    values = array_of(file, name, size)[:]
    return whole_numbers(name.split("/")[-1].rstrip("s") + "s", values)


def _ragged(file: Any, name: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """All values of a dataset of rows one after another, and the length of each row."""
    dataset, rows, held = array_of(file, name, size), [], 0
    for first in range(0, len(dataset), BLOCK):
        for row in dataset[first : first + BLOCK]:
            if np.ndim(row) != 1:
                raise DataError(f"{name} must hold a row of numbers for each sample")
            held += row.nbytes
            rows.append(row)
        if held > most_bytes(size):
            check_bytes(name, held, size)
    lengths = np.asarray([len(row) for row in rows], dtype=np.int64)
    flat = np.concatenate(rows) if rows else np.zeros(0)
    if name.endswith("units"):
        return whole_numbers("units", flat), lengths
    if flat.dtype.kind not in "iuf":
        raise DataError(f"{name} are {flat.dtype} but must be seconds")
    return flat.astype(np.float32) if flat.dtype.itemsize <= 4 else flat, lengths


def _events(
    arrays: dict[str, np.ndarray], classes: Sequence[str], channels: int, declared: bool = False
) -> Events:
    units = in_range("units", whole_numbers("units", arrays["units"]), channels)
    labels = arrays["labels"]
    many = len(labels) >= MANY_SAMPLES and len(units) >= MANY_SPIKES
    if many and not declared and units.max() < channels // 4:
        raise DataError(
            f"no spike of its {len(labels)} samples is above unit {units.max()} of {channels}, so "
            "it is probably a file of another data set, with fewer channels"
        )
    offsets = np.concatenate([[0], np.cumsum(arrays["sizes"])])
    return Events(
        arrays["times"], units, offsets, labels, arrays["speakers"], channels, tuple(classes)
    )


def write(path: Path, events: Events) -> None:
    """Write events as a file that :func:`read` reads; one that is there is replaced.

    Args:
        path: path of the file.
        events: the events; their times are written as float64, in seconds.
    """
    import h5py

    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with h5py.File(beside, "w") as file:
            put(file, events, np.float64, np.uint32)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def put(file: Any, events: Events, times: type, units: type) -> None:
    """Write events into an open file.

    Args:
        file: the open HDF5 file.
        events: the events.
        times, units: the types of the numbers that the file has.
    """
    import h5py

    for place, (name, kind) in enumerate((("times", times), ("units", units))):
        rows = file.create_dataset(f"spikes/{name}", len(events), h5py.vlen_dtype(kind))
        for i in range(len(events)):
            rows[i] = events.sample(i)[place].astype(kind)
    file["labels"] = events.labels
    file[SPEAKER] = events.speakers
