"""Spiking Heidelberg Digits: spoken digits in English and German as cochlea spikes."""

from __future__ import annotations

from pathlib import Path

from snnsim.data.events import BinnedEvents
from snnsim_datasets.tools.cochlear_sets import load_by_speaker, locate
from snnsim_datasets.tools.files import Remote
from snnsim_datasets.tools.info import Info
from snnsim_datasets.tools.splits import check_split

_URL = "https://zenkelab.org/datasets/"

INFO = Info(
    name="shd",
    title="Spiking Heidelberg Digits",
    kind="cochlea spikes of 12 speakers; 8156 training and 2264 test recordings",
    channels=700,
    classes=(
        *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
        *("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
    ),
    splits=("train", "validation", "test", "train_all"),
    licence="CC BY 4.0",
    citation="Cramer, Stradmann, Schemmel & Zenke 2020, doi:10.1109/TNNLS.2020.3044364",
    remotes=(
        Remote(
            "shd_train.h5.zip", (_URL + "shd_train.h5.zip",), "f3252aeb598ac776c1b526422d90eecb"
        ),
        Remote("shd_test.h5.zip", (_URL + "shd_test.h5.zip",), "1503a5064faa34311c398fb0a1ed0a6f"),
    ),
    note="There is no official validation split: 'validation' is a fifth of the training file, "
    "whole speakers; 'train' is the rest; 'train_all' is the training file.",
)


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
