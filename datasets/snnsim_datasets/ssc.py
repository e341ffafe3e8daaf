"""Spiking Speech Commands: Google Speech Commands as cochlea spikes."""

from __future__ import annotations

from pathlib import Path

from snnsim.data.events import BinnedEvents
from snnsim_datasets.tools import heidelberg
from snnsim_datasets.tools.catalogue import SSC as INFO
from snnsim_datasets.tools.cochlear_sets import binned, locate
from snnsim_datasets.tools.splits import check_split

_PARTS = {"train": "ssc_train", "validation": "ssc_valid", "test": "ssc_test"}


def load(
    split: str,
    root: Path | str | None = None,
    *,
    dt: float = 10.0,
    pool: int = 5,
    binning: str = "grid",
    download: bool = True,
    progress=None,
) -> BinnedEvents:
    """Load a split; arguments as in :func:`snnsim_datasets.shd.load`."""
    check_split(INFO.name, split, INFO.splits)
    path = locate(INFO, _PARTS[split], root, download, progress)
    events, checksum = heidelberg.read(path, INFO.classes, INFO.channels)
    return binned(events, checksum, path, dt, pool, binning)
