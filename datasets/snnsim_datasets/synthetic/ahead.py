"""Series to be forecast: the input up to now, and as its target the values some steps later."""

from __future__ import annotations

from typing import Any

import numpy as np

from snnsim.data import Arrays
from snnsim.errors import ShapeError, check_size
from snnsim_datasets.synthetic.assemblies import DT, assemblies
from snnsim_datasets.synthetic.lorenz96 import lorenz96

REFERENCE = 2**40  # a seed that no part has: of the run that mean and spread are taken from


def ahead(series: np.ndarray, horizon: int = 1, dt: float = 1.0) -> Arrays:
    """Make data whose target at every step is the values of the series ``horizon`` steps later.

    Args:
        series: values ``[samples, steps, channels]``, finite, with more steps than ``horizon``.
        horizon: number of steps from an input to its target, 1 or more.
        dt: length of a step in ms.

    >>> data = ahead(np.arange(4.0).reshape(1, 4, 1), horizon=2)
    >>> data.x.ravel().tolist(), data.target.ravel().tolist()
    ([0.0, 1.0], [2.0, 3.0])
    """
    series = np.asarray(series, dtype=np.float32)
    if series.ndim != 3:
        raise ShapeError(
            f"the series has shape {list(series.shape)} but must be [samples, steps, channels]"
        )
    check_size("horizon", horizon, 1, series.shape[1] - 1)
    return Arrays(series[:, :-horizon], series[:, horizon:], dt=dt, per_step=True)


def lorenz96_ahead(
    samples: int,
    *,
    horizon: int = 4,
    steps: int = 100,
    size: int = 8,
    forcing: float = 8.0,
    fast: int = 0,
    every: int = 5,
    seed: int = 0,
) -> Arrays:
    """Make trajectories of the Lorenz-96 system with the values ``horizon`` steps later.

    The values are in units of their spread about their mean, both over all variables, as they are
    in a run of the same system from other starting points.

    Args:
        samples: number of trajectories.
        horizon: number of steps from an input to its target, 1 or more.
        steps: number of steps of each trajectory, more than ``horizon``.
        size: number of slow variables, 4 or more.
        forcing: the constant ``F``.
        fast: number of fast variables per slow one; 0 for none.
        every: number of integration steps of 0.01 time units from one step to the next.
        seed: seed of the starting points.
    """
    check_size("steps", steps, 2)
    check_size("horizon", horizon, 1, steps - 1)
    system: dict[str, Any] = {"size": size, "forcing": forcing, "fast": fast, "every": every}
    usual = lorenz96(20, 200, seed=REFERENCE, **system)
    series = lorenz96(samples, steps, seed=seed, **system)
    spread = float(usual.std()) or 1.0  # 0 where the system rests
    return ahead((series - usual.mean()) / spread, horizon)


def assemblies_ahead(
    samples: int,
    *,
    horizon: int = 1,
    units: int = 60,
    groups: int = 3,
    steps: int = 360,
    low: float = 5.0,
    high: float = 60.0,
    seed: int = 0,
) -> Arrays:
    """Make counts of units in hidden assemblies with the counts ``horizon`` steps later.

    Args:
        samples: number of samples, with other spikes but the same epochs.
        horizon: number of steps from an input to its target, 1 or more.
        units, groups, steps, low, high, seed: as in
            :func:`snnsim_datasets.synthetic.assemblies`.
    """
    check_size("horizon", horizon, 1, check_size("steps", steps, 2) - 1)
    found = assemblies(
        samples, units=units, groups=groups, steps=steps, low=low, high=high, seed=seed
    )
    return ahead(found.data.x, horizon, DT)
