"""Spoken digits of a speech synthesiser as cochlea spikes; comes with the package."""

from __future__ import annotations

from pathlib import Path

from snnsim.data.events import BinnedEvents
from snnsim.errors import ConfigError
from snnsim_datasets.tools.catalogue import SPOKEN_DIGITS as INFO
from snnsim_datasets.tools.cochlear_sets import load_by_speaker

_FOLDER = Path(__file__).parent / "data"


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
    """Load a split; arguments as in :func:`snnsim_datasets.shd.load`, without need of a root."""
    if root is not None:
        raise ConfigError("spoken-digits comes with the package and takes no root")
    paths = [_FOLDER / f"spoken_digits_{part}.h5.gz" for part in ("train", "test")]
    return load_by_speaker(INFO, split, *paths, dt=dt, pool=pool, binning=binning)
