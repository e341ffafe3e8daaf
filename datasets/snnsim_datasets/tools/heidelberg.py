"""Files in the HDF5 layout of the Heidelberg spiking data sets (SHD, SSC and alike)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from snnsim.errors import DataError
from snnsim_datasets.tools.events import Events
from snnsim_datasets.tools.files import DAMAGE, atomic, cache_root, digest, unpacked

CHANNELS = 700
LAYOUT = "spikes/times, spikes/units, labels"
ARRAYS = ("times", "units", "sizes", "labels", "speakers")


def read(path: Path, classes: Sequence[str], channels: int = CHANNELS) -> tuple[Events, str]:
    """Read a file (``.h5``, ``.h5.gz`` or ``.h5.zip``) and return its events and SHA-256.

    The flat arrays are cached under the checksum of the file, so that the slow reading of
    variable-length HDF5 happens once.

    Raises:
        DataError: naming the file and what is wrong with it.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes); delete it and download it again")
    checksum = digest(path)
    cached = cache_root() / f"{path.name.split('.')[0]}-{checksum[:24]}.npz"
    arrays = _load_cached(cached)
    if arrays is None:
        with unpacked(path) as plain:
            arrays = _read_hdf5(plain, path)
        _save_cached(cached, arrays)
    return _checked(arrays, path, classes, channels), checksum


def _load_cached(path: Path) -> dict[str, np.ndarray] | None:
    try:
        with np.load(path) as stored:
            return {name: stored[name] for name in ARRAYS}
    except (*DAMAGE, TypeError):
        return None  # absent or damaged: read the source again


def _save_cached(path: Path, arrays: dict[str, np.ndarray]) -> None:
    try:
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    except OSError:
        return  # a cache that cannot be written costs time, nothing else


def _read_hdf5(plain: Path, path: Path) -> dict[str, np.ndarray]:
    import h5py

    try:
        with h5py.File(plain, "r") as file:
            missing = [name for name in LAYOUT.split(", ") if name not in file]
            if missing:
                raise DataError(f"{path} has no {', '.join(missing)}; expected {LAYOUT}")
            times, units = file["spikes/times"][:], file["spikes/units"][:]
            labels = np.asarray(file["labels"][:], dtype=np.int64)
            speakers = np.full(len(labels), -1, dtype=np.int64)
            if "extra/speaker" in file:
                speakers = np.asarray(file["extra/speaker"][:], dtype=np.int64)
    except OSError as error:
        raise DataError(
            f"{path} is not a readable HDF5 file ({error}); delete it and download it again"
        ) from error
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: {LAYOUT} are not arrays as expected ({error})") from error
    if not len(times) == len(units) == len(labels) == len(speakers):
        raise DataError(
            f"{path} has {len(times)} times, {len(units)} units, {len(labels)} labels and "
            f"{len(speakers)} speakers; the numbers must be equal"
        )
    if len(labels) == 0:
        raise DataError(f"{path} holds no samples")
    for i, (t, u) in enumerate(zip(times, units, strict=True)):
        if np.ndim(t) != 1 or np.ndim(u) != 1 or len(t) != len(u):
            raise DataError(f"{path}: sample {i} has {np.size(t)} times but {np.size(u)} units")
    return {
        "times": np.concatenate(times).astype(np.float32),
        "units": np.concatenate(units).astype(np.int64),
        "sizes": np.asarray([len(t) for t in times], dtype=np.int64),
        "labels": labels,
        "speakers": speakers,
    }


def _checked(arrays, path: Path, classes: Sequence[str], channels: int) -> Events:
    times, units, labels = arrays["times"], arrays["units"], arrays["labels"]
    if not (np.isfinite(times).all() and (times >= 0).all()):
        raise DataError(f"{path} has spike times that are negative, NaN or infinite")
    if len(units) and (units.min() < 0 or units.max() >= channels):
        raise DataError(
            f"{path} has unit {_outside(units, channels)} but units must lie in 0 .. {channels - 1}"
        )
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(
            f"{path} has label {_outside(labels, len(classes))} but labels must lie in "
            f"0 .. {len(classes) - 1}"
        )
    offsets = np.concatenate([[0], np.cumsum(arrays["sizes"])]).astype(np.int64)
    times, units = _sorted_within(times, units, offsets)
    return Events(
        times,
        units.astype(np.uint16),
        offsets,
        labels,
        arrays["speakers"],
        channels,
        tuple(classes),
    )


def _outside(values: np.ndarray, limit: int) -> int:
    """The value to name when not all lie in ``0 .. limit - 1``."""
    return int(values.max() if values.max() >= limit else values.min())


def _sorted_within(times, units, offsets):
    """Bring each sample's events into ascending order of time, if they are not."""
    falls = np.flatnonzero(np.diff(times) < 0) + 1
    if np.isin(falls, offsets).all():
        return times, units
    sample = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((times, sample))
    return times[order], units[order]
