"""Recordings of event cameras of your own: a folder of files for each class, or a table of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from snnsim.data.events import Events, offsets_of
from snnsim.errors import DataError, check_size
from snnsim_datasets.tools import files
from snnsim_datasets.tools.camera_events import Camera, CameraEvents, sensor_of
from snnsim_datasets.tools.cameras import LARGEST, READERS, read
from snnsim_datasets.tools.catalogue import INFOS
from snnsim_datasets.tools.files import Fetching, check_fetching
from snnsim_datasets.tools.listing import Listing
from snnsim_datasets.tools.own_files import divided
from snnsim_datasets.tools.rows import Finding, Row
from snnsim_datasets.tools.splits import check_split

INFO = INFOS["cameras"]
VERSION = 1  # of what is cached of recordings


def load(
    split: str,
    root: Path | str | None = None,
    *,
    dt: float = 10.0,
    size: int = 34,
    binning: str = "grid",
    speaker: str = "",
    held_out: float = 0.2,
    split_seed: int = 0,
    split_by: str = "auto",
    **fetching: Unpack[Fetching],
) -> CameraEvents:
    """Load a split.

    All recordings must be of cameras of one size. Where files do not say it (N-MNIST's, arrays and
    tables), it is the smallest size that has room for all of their events.

    Args:
        split: ``"train"``, ``"validation"`` or ``"test"``.
        root: a folder with a folder for each class, or a table (``.csv``, ``.tsv``) that lists the
            recordings, or the folder of a table called ``recordings``; see
            :func:`snnsim_datasets.tools.listing.listed`.
        dt: length of a time step in ms.
        size: the largest number of rows and of columns that a step has: pixels are joined in
            squares of the fewest that achieve it, and their events are added; 1 .. 16384.
        binning: how events become steps; see :func:`snnsim.data.events.bin_events`.
        speaker: regular expression whose first group is the person or object in the place of a
            file, such as ``"user(\\\\d+)"``, of which none is on two sides of a split; empty for
            what folders or table say.
        held_out: about which fraction of the recordings validation and test have each, where the
            parts are not given.
        split_seed: of the choice of these.
        split_by: ``"speaker"``, ``"class"`` or ``"auto"``, see
            :func:`snnsim_datasets.tools.splits.divide`.
        fetching: see :class:`snnsim_datasets.tools.files.Fetching`.

    Raises:
        DataError: if there are no recordings, one of them cannot be read, or their cameras differ.
    """
    check_fetching(fetching)
    check_split(INFO.name, split, INFO.splits)
    check_size("data.size", size, 1, LARGEST)
    how: dict[str, Any] = {"held_out": held_out, "split_seed": split_seed, "split_by": split_by}
    all_of_them = divided(INFO.name, root, tuple(READERS), speaker=speaker, **how)
    found, parts = all_of_them.found, all_of_them.parts
    chosen = parts == split
    camera = Camera(*_sensor(found), size)
    arrays = _events(found.folder, found.where(chosen), camera)
    events = Events(
        **arrays,
        labels=found.labels[chosen],
        speakers=found.speakers[chosen],
        channels=camera.channels,
        classes=found.classes,
    )
    return camera.binned(events, dt, binning, all_of_them.checksums)


def rows(root: Path | str | None = None, **options: Any) -> list[Row]:
    """Return what is in which split, without reading a recording.

    Args:
        root: as in :func:`load`.
        options: those of :func:`load`.
    """
    return divided(INFO.name, root, tuple(READERS), **options).rows()


def findings(
    root: Path | str | None = None, progress: Any = None, **options: Any
) -> Iterator[Finding]:
    """Read every recording and tell what is wrong with which.

    Args:
        root: as in :func:`load`.
        progress: function of (recordings so far, recordings in all).
        options: those of :func:`load`.
    """
    return divided(INFO.name, root, tuple(READERS), **options).findings(_oddities, progress)


def _oddities(path: Path) -> Iterator[str]:
    if not len(read(path).t):
        yield "has no events"


def _sensor(found: Listing) -> tuple[int, int]:
    """Rows and columns of the camera of all recordings; kept in the cache."""
    key = files.place_key(found.folder, found.paths)

    def look() -> dict[str, np.ndarray]:
        return {"sensor": np.asarray(sensor_of(found.paths))}

    stored = files.cached_arrays(f"cameras-{key[:24]}-sensor-v{VERSION}.npz", ("sensor",), look)
    height, width = stored["sensor"].tolist()
    return height, width


def _events(folder: Path, paths: list[Path], camera: Camera) -> dict[str, np.ndarray]:
    """Times and channels of the events of recordings, one after another; kept in the cache."""
    key = files.place_key(folder, paths)

    def convert() -> dict[str, np.ndarray]:
        times, units = zip(*(_read(path, camera) for path in paths), strict=True)
        return {
            "times": np.concatenate(times),
            "units": np.concatenate(units),
            "offsets": offsets_of([len(each) for each in times]),
        }

    name = f"cameras-{key[:24]}-{camera.height}-{camera.width}-{camera.size}-v{VERSION}.npz"
    return files.cached_arrays(name, ("times", "units", "offsets"), convert)


def _read(path: Path, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    try:
        return camera.events(read(path))
    except DataError as error:
        raise DataError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
