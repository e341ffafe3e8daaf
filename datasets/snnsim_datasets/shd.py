"""Spiking Heidelberg Digits: spoken digits in English and German as cochlea spikes."""

from __future__ import annotations

from pathlib import Path

from snnsim.data.events import BinnedEvents
from snnsim_datasets.tools.catalogue import SHD as INFO
from snnsim_datasets.tools.cochlear_sets import load_by_speaker, locate
from snnsim_datasets.tools.splits import check_split


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
    """Load a split.

    Args:
        split: ``"train"``, ``"validation"``, ``"test"`` or ``"train_all"``.
        root: folder of ``shd_train.h5`` and ``shd_test.h5`` (also ``.gz`` or ``.zip``).
        dt: step in ms.
        pool: neighbouring channels summed into one.
        binning: see :func:`snnsim.data.events.bin_events`.
        download: whether to fetch missing files from the official source.
        progress: optional function of (bytes so far, bytes in all).
    """
    check_split(INFO.name, split, INFO.splits)
    paths = [locate(INFO, f"shd_{part}", root, download, progress) for part in ("train", "test")]
    return load_by_speaker(INFO, split, *paths, dt=dt, pool=pool, binning=binning)
