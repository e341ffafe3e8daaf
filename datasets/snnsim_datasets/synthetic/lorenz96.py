"""The Lorenz-96 system: chaos on a ring, to be forecast.

    dX_k/dt = X_{k-1} (X_{k+1} - X_{k-2}) - X_k + F - (h c / b) sum_j Y_{j,k}
    dY_j/dt = -c b Y_{j+1} (Y_{j+2} - Y_{j-1}) - c Y_j + (h c / b) X_{k(j)}

The second line, fast variables on a ring of their own, is there with ``fast``. Source: Lorenz
1996; as a task Heidenreich et al. 2024 (arXiv:2410.02654).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from snnsim.errors import (
    ConfigError,
    DataError,
    ShapeError,
    check_number,
    check_seed,
    check_size,
    short,
)

LYAPUNOV_TIME = 0.6  # of the slow system with K = 8 or more and F = 8, about, in its time units


@dataclass(frozen=True)
class FastScale:
    """Fast variables are coupled to every slow variable of the system.

    Attributes:
        count: number of fast variables per slow one.
        h: coupling constant.
        b: ratio of the amplitudes of the slow variables to those of the fast ones, above 0.
        c: ratio of the time scales, above 0.
    """

    count: int
    h: float = 1.0
    b: float = 10.0
    c: float = 10.0

    def __post_init__(self) -> None:
        check_size("count", self.count)
        check_number("h", self.h)
        check_number("b", self.b, above=0)
        check_number("c", self.c, above=0)


def lorenz96(
    samples: int,
    steps: int,
    *,
    size: int = 8,
    forcing: float = 8.0,
    fast: FastScale | int = 0,
    dt: float = 0.01,
    every: int = 1,
    seed: int = 0,
    **former: float,
) -> np.ndarray:
    """Integrate trajectories of the slow variables on the attractor by the Runge-Kutta method.

    Args:
        samples: number of trajectories.
        steps: number of steps of each trajectory that are returned.
        size: number of slow variables, 4 or more.
        forcing: the constant ``F``.
        fast: fast variables; a number is that of fast variables per slow one with the usual
            constants, and 0 means none.
        dt: step of the integration in time units of the system, from 1e-8 to 1; 0.01 is small
            enough with the default values.
        every: number of integration steps from one returned step to the next.
        seed: seed of the starting points.
        former: ``h``, ``b`` and ``c``, which belong to :class:`FastScale` now.

    Returns:
        ``[samples, steps, size]`` float32.

    Raises:
        ConfigError: for values out of range, or a step so large that the integration diverges.

    >>> lorenz96(2, 5).shape
    (2, 5, 8)
    >>> lorenz96(2, 5, fast=FastScale(4, b=5.0), dt=0.005).shape
    (2, 5, 8)
    """
    check_size("samples", samples)
    check_size("steps", steps)
    check_size("size", size, 4)
    check_number("forcing", forcing)
    check_number("dt", dt, 1e-8, 1)
    check_size("every", every)
    scale = _scale(fast, former)
    count = scale.count if scale else 0
    random = np.random.default_rng(check_seed(seed))
    x = forcing + random.standard_normal((samples, size))
    state = np.concatenate([x, 0.1 * random.standard_normal((samples, size * count))], axis=1)
    found = np.empty((samples, steps, size), dtype=np.float32)
    with np.errstate(all="ignore"):  # what overflows is refused below
        for step in range(-int(10 / dt), steps * every):  # ten time units to reach the attractor
            if step >= 0 and step % every == 0:
                found[:, step // every] = state[:, :size]
            k1 = _slope(state, size, forcing, scale)
            k2 = _slope(state + dt / 2 * k1, size, forcing, scale)
            k3 = _slope(state + dt / 2 * k2, size, forcing, scale)
            k4 = _slope(state + dt * k3, size, forcing, scale)
            state = state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    if not np.isfinite(found).all():
        raise ConfigError(f"with dt = {dt:g} the integration diverges; take a smaller dt")
    return found


def _scale(fast: FastScale | int, former: dict[str, Any]) -> FastScale | None:
    """The fast variables, whose constants were once arguments of their own."""
    for name in former.keys() - {"h", "b", "c"}:
        raise TypeError(f"lorenz96() got an unexpected keyword argument {name!r}")
    if former:
        count = fast.count if isinstance(fast, FastScale) else short(fast)
        given = ", ".join(f"{name}={value!r}" for name, value in former.items())
        warnings.warn(
            f"{', '.join(former)} of lorenz96 belong to its fast variables now: give "
            f"fast=FastScale({count}, {given}); the old arguments work for one more release",
            FutureWarning,
            stacklevel=3,
        )
    if isinstance(fast, FastScale):
        return replace(fast, **former)
    return FastScale(fast, **former) if check_size("fast", fast, 0) else None


def _slope(state: np.ndarray, size: int, forcing: float, scale: FastScale | None) -> np.ndarray:
    x, y = state[:, :size], state[:, size:]
    dx = np.roll(x, 1, 1) * (np.roll(x, -1, 1) - np.roll(x, 2, 1)) - x + forcing
    if scale is None:
        return dx
    h, b, c = scale.h, scale.b, scale.c
    dx -= h * c / b * y.reshape(len(x), size, scale.count).sum(2)
    dy = -c * b * np.roll(y, -1, 1) * (np.roll(y, -2, 1) - np.roll(y, 1, 1)) - c * y
    return np.concatenate([dx, dy + h * c / b * np.repeat(x, scale.count, axis=1)], axis=1)


def level_crossings(values: np.ndarray, levels: int = 8) -> np.ndarray:
    """Encode values as spikes: a level has a channel for upward crossings and one for downward.

    Args:
        values: ``[samples, steps, size]``, finite.
        levels: number of levels, equally spaced between the 1st and the 99th percentile of all
            values.

    Returns:
        ``[samples, steps, 2 size levels]`` float32 of 0 and 1; the first step has no spikes.

    >>> spikes = level_crossings(np.array([[[0.0], [1.0], [0.0]]]), levels=1)
    >>> spikes[0].tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    """
    values = np.asarray(values)
    check_size("levels", levels)
    if values.ndim < 2 or not values.size:
        raise ShapeError(
            f"values have shape {list(values.shape)} but must be [samples, steps, size], not empty"
        )
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise DataError("values must be finite numbers; remove NaN and infinite ones first")
    low, high = np.percentile(values, [1, 99])
    places = low + (high - low) * (np.arange(levels) + 0.5) / levels
    above = values[..., None] > places
    up = np.zeros_like(above)
    down = np.zeros_like(above)
    up[:, 1:] = above[:, 1:] & ~above[:, :-1]
    down[:, 1:] = ~above[:, 1:] & above[:, :-1]
    both = np.concatenate([up, down], axis=-1)
    return both.reshape(*values.shape[:2], -1).astype(np.float32)
