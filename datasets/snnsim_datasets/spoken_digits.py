"""Spoken digits of a speech synthesiser as cochlea spikes; comes with the package."""

from __future__ import annotations

from pathlib import Path

from snnsim.data.events import BinnedEvents
from snnsim.errors import ConfigError
from snnsim_datasets.shd import INFO as SHD
from snnsim_datasets.tools.cochlear_sets import load_by_speaker
from snnsim_datasets.tools.info import Info

_FOLDER = Path(__file__).parent / "data"

INFO = Info(
    name="spoken-digits",
    title="Spoken digits (synthetic, embedded)",
    kind="cochlea spikes of 30 synthetic voices; 480 training and 120 test recordings",
    channels=700,
    classes=SHD.classes,
    splits=("train", "validation", "test", "train_all"),
    licence="Apache-2.0, part of this project",
    citation="espeak-ng 1.52 voices through the cochlea model of Cramer et al. 2020",
    note="The test voices do not occur in training; 'validation' is a fifth of the training "
    "file, whole voices. Synthetic speech is easier than real speech.",
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
    """Load a split; arguments as in :func:`snnsim_datasets.shd.load`, without need of a root."""
    if root is not None:
        raise ConfigError("spoken-digits comes with the package and takes no root")
    paths = [_FOLDER / f"spoken_digits_{part}.h5.gz" for part in ("train", "test")]
    return load_by_speaker(INFO, split, *paths, dt=dt, pool=pool, binning=binning)
