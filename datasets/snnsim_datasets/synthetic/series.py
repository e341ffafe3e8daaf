"""A series of your own, to be forecast: values over time from a file, in three parts of time."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from snnsim.data import Arrays
from snnsim.errors import ConfigError, DataError, check_choice, check_size
from snnsim_datasets.synthetic.ahead import ahead

PARTS = {"train": (0.0, 0.7), "validation": (0.7, 0.85), "test": (0.85, 1.0)}  # of the time
LARGEST = 1 << 30  # bytes of a file


def series(
    samples: int,
    *,
    part: str = "train",
    root: str | None = None,
    file: str = "",
    horizon: int = 1,
    steps: int = 100,
    dt: float = 1.0,
) -> Arrays:
    """Cut windows from one part of a series, with the values ``horizon`` steps later as targets.

    The first 70 % of the time are for training, the next 15 % for validation and the last 15 % for
    tests. Every channel is in units of its spread about its mean, both of the training part.

    Args:
        samples: largest number of windows; they lie evenly in the part and may overlap.
        part: ``"train"``, ``"validation"`` or ``"test"``.
        root: folder of the file; ``None`` for the working directory.
        file: name of the file: ``.npy`` with values ``[steps]`` or ``[steps, channels]``, or
            ``.csv`` with a row per step and no titles.
        horizon: number of steps from an input to its target, 1 or more.
        steps: number of steps of a window, more than ``horizon``; shorter if the part is.
        dt: length of a step in ms.

    Raises:
        ConfigError: no file is named, or an option is out of range.
        DataError: the file cannot be read, or is too short.
    """
    check_size("samples", samples)
    check_size("horizon", horizon, 1, check_size("steps", steps, 2) - 1)
    check_choice("part", part, PARTS)
    if not file:
        raise ConfigError(
            "a series needs the name of its file, for example --set data.file=values.csv (and "
            "--root FOLDER if it is elsewhere)"
        )
    path = Path(root or ".") / file
    values, checksum = _read(path)
    length = len(values)
    first, last = (round(length * edge) for edge in PARTS[part])
    training = values[: round(length * PARTS["train"][1])]
    if last - first <= horizon or len(training) < 2:
        raise DataError(
            f"{path} has {length} steps, of which {last - first} are for {part}, but more than "
            f"the horizon of {horizon} are needed"
        )
    spread = training.std(0)
    scaled = (values - training.mean(0)) / np.where(spread > 0, spread, 1.0)
    size = min(steps, last - first)
    starts = np.unique(np.linspace(first, last - size, samples).round().astype(int))
    windows = np.stack([scaled[start : start + size] for start in starts])
    return replace(ahead(windows, horizon, dt), checksums={path.name: checksum})


def _read(path: Path) -> tuple[np.ndarray, str]:
    """The values ``[steps, channels]`` of a file and its checksum."""
    if path.suffix.lower() not in (".npy", ".csv"):
        raise ConfigError(f"{path.name} is no file of a series: its name must end in .npy or .csv")
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise DataError(f"{path} does not exist, or is no file of at most {LARGEST >> 20} MB")
    try:
        if path.suffix.lower() == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            values = np.loadtxt(path, delimiter=",", ndmin=2)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read as numbers: {error}") from error
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or not values.size or values.dtype.kind not in "biuf":
        raise DataError(
            f"{path} has {values.dtype} of shape {list(values.shape)} but must have numbers "
            "[steps] or [steps, channels]"
        )
    if not np.isfinite(values).all():
        raise DataError(f"{path} has values that are NaN or infinite; remove or fill them first")
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    return values.astype(np.float64), f"sha256:{checksum}"
