"""Loading of data sets that come as one Heidelberg-layout file for train and one for test."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snnsim.data.events import BinnedEvents, Events, bin_all
from snnsim.errors import DataError
from snnsim_datasets.tools import heidelberg
from snnsim_datasets.tools.files import Remote, default_root, fetch, find
from snnsim_datasets.tools.info import Info
from snnsim_datasets.tools.splits import check_split, held_out_speakers

ENDINGS = (".h5", ".h5.gz", ".h5.zip")


def locate(info: Info, stem: str, root: Path | str | None, download: bool, progress=None) -> Path:
    """The file ``<stem>.h5[.gz|.zip]`` in the root, downloaded if it is absent and may be."""
    folder = default_root(info.name) if root is None else Path(root)
    found = find(folder, [stem + ending for ending in ENDINGS])
    if found is not None:
        return found
    remote: Remote | None = next((r for r in info.remotes if r.name.startswith(stem + ".")), None)
    if remote is None or not download:
        raise DataError(
            f"no {stem}.h5, {stem}.h5.gz or {stem}.h5.zip in {folder}; "
            + ("allow the download or " if remote else "")
            + "give the folder that holds it with --root"
        )
    return fetch(remote, folder, progress)


def binned(
    events: Events, checksum: str, path: Path, dt: float, pool: int, binning: str
) -> BinnedEvents:
    """Bin with the source's name and checksum attached."""
    return bin_all(events, dt, pool, binning, {path.name: checksum})


def load_by_speaker(
    info: Info,
    split: str,
    train_path: Path,
    test_path: Path,
    *,
    dt: float,
    pool: int,
    binning: str,
) -> BinnedEvents:
    """Splits ``train`` and ``validation`` carved by speaker from one file, ``test`` from another.

    ``train_all`` is the whole training file.
    """
    check_split(info.name, split, info.splits)
    path = test_path if split == "test" else train_path
    events, checksum = heidelberg.read(path, info.classes, info.channels)
    if split in ("train", "validation"):
        held = np.isin(events.speakers, held_out_speakers(events.speakers))
        events = events.subset(held if split == "validation" else ~held)
    return binned(events, checksum, path, dt, pool, binning)
