"""Spiking Speech Commands: Google Speech Commands as cochlea spikes."""

from __future__ import annotations

from pathlib import Path

from snnsim.data.events import BinnedEvents
from snnsim_datasets.gsc import WORDS
from snnsim_datasets.tools import heidelberg
from snnsim_datasets.tools.cochlear_sets import binned, locate
from snnsim_datasets.tools.files import Remote
from snnsim_datasets.tools.info import Info
from snnsim_datasets.tools.splits import check_split

_URL = "https://zenkelab.org/datasets/"
_PARTS = {"train": "ssc_train", "validation": "ssc_valid", "test": "ssc_test"}

INFO = Info(
    name="ssc",
    title="Spiking Speech Commands",
    kind="cochlea spikes; 75466 training, 9981 validation and 20382 test recordings",
    channels=700,
    classes=WORDS,
    splits=("train", "validation", "test"),
    licence="CC BY 4.0",
    citation="Cramer, Stradmann, Schemmel & Zenke 2020, doi:10.1109/TNNLS.2020.3044364",
    remotes=(
        Remote(
            "ssc_train.h5.zip", (_URL + "ssc_train.h5.zip",), "d102be95e7144fcc0553d1f45ba94170"
        ),
        Remote(
            "ssc_valid.h5.zip", (_URL + "ssc_valid.h5.zip",), "b4eee3516a4a90dd0c71a6ac23a8ae43"
        ),
        Remote("ssc_test.h5.zip", (_URL + "ssc_test.h5.zip",), "a35ff1e9cffdd02a20eb850c17c37748"),
    ),
    note="The splits are the official ones. Class names are listed alphabetically.",
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
    """Load a split; arguments as in :func:`snnsim_datasets.shd.load`."""
    check_split(INFO.name, split, INFO.splits)
    path = locate(INFO, _PARTS[split], root, download, progress)
    events, checksum = heidelberg.read(path, INFO.classes, INFO.channels)
    return binned(events, checksum, path, dt, pool, binning)
