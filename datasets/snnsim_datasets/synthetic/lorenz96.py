"""The Lorenz-96 system: chaos on a ring, to be forecast.

    dX_k/dt = X_{k-1} (X_{k+1} - X_{k-2}) - X_k + F - (h c / b) sum_j Y_{j,k}
    dY_j/dt = -c b Y_{j+1} (Y_{j+2} - Y_{j-1}) - c Y_j + (h c / b) X_{k(j)}

The second line, fast variables on a ring of their own, is there with ``fast > 0``. Source: Lorenz
1996; as a task Sunol et al. 2024 (arXiv:2410.02654).
"""

from __future__ import annotations

import numpy as np

from snnsim.errors import ConfigError, check_number, check_seed

LYAPUNOV_TIME = 0.6  # of the slow system with K = 8 or more and F = 8, about, in its time units


def lorenz96(
    samples: int,
    steps: int,
    *,
    size: int = 8,
    forcing: float = 8.0,
    fast: int = 0,
    h: float = 1.0,
    b: float = 10.0,
    c: float = 10.0,
    dt: float = 0.01,
    every: int = 1,
    seed: int = 0,
) -> np.ndarray:
    """Trajectories of the slow variables on the attractor, by the Runge-Kutta method.

    Args:
        samples: trajectories.
        steps: of each that are returned.
        size: number of slow variables, 4 or more.
        forcing: ``F``.
        fast: fast variables per slow one; 0 for the system with one scale.
        h, b, c: coupling, ratio of amplitudes and of time scales.
        dt: step of the integration, from 1e-8 to 1; 0.01 is small enough with the values above.
        every: integration steps between those returned.
        seed: of the starting points.

    Returns:
        ``[samples, steps, size]`` float32.

    Raises:
        ConfigError: for values out of range, or a step so large that the integration diverges.

    >>> lorenz96(2, 5).shape
    (2, 5, 8)
    """
    if min(samples, steps, every) < 1 or size < 4 or fast < 0 or dt <= 0:
        raise ConfigError(
            f"samples {samples}, steps {steps}, every {every} must be 1 or more, size {size} 4 or "
            f"more, fast {fast} not negative and dt {dt} positive"
        )
    check_number("dt", dt, 1e-8, 1)
    random = np.random.default_rng(check_seed(seed))
    x = forcing + random.standard_normal((samples, size))
    state = np.concatenate([x, 0.1 * random.standard_normal((samples, size * fast))], axis=1)

    def slope(state: np.ndarray) -> np.ndarray:
        x, y = state[:, :size], state[:, size:]
        dx = np.roll(x, 1, 1) * (np.roll(x, -1, 1) - np.roll(x, 2, 1)) - x + forcing
        if not fast:
            return dx
        dx -= h * c / b * y.reshape(samples, size, fast).sum(2)
        dy = -c * b * np.roll(y, -1, 1) * (np.roll(y, -2, 1) - np.roll(y, 1, 1)) - c * y
        return np.concatenate([dx, dy + h * c / b * np.repeat(x, fast, axis=1)], axis=1)

    found = np.empty((samples, steps, size), dtype=np.float32)
    settle = int(10 / dt)
    with np.errstate(all="ignore"):  # what overflows is refused below
        for step in range(-settle, steps * every):
            if step >= 0 and step % every == 0:
                found[:, step // every] = state[:, :size]
            k1 = slope(state)
            k2 = slope(state + dt / 2 * k1)
            k3 = slope(state + dt / 2 * k2)
            state = state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + slope(state + dt * k3))
    if not np.isfinite(found).all():
        raise ConfigError(f"with dt = {dt:g} the integration diverges; take a smaller dt")
    return found


def level_crossings(values: np.ndarray, levels: int = 8) -> np.ndarray:
    """Values as spikes: each level has a channel for crossings upwards and one for downwards.

    Args:
        values: ``[samples, steps, size]``.
        levels: equally spaced between the 1st and 99th percentile of all values.

    Returns:
        ``[samples, steps, 2 size levels]`` float32 of 0 and 1; the first step has no spikes.

    >>> spikes = level_crossings(np.array([[[0.0], [1.0], [0.0]]]), levels=1)
    >>> spikes[0].tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    """
    low, high = np.percentile(values, [1, 99])
    places = low + (high - low) * (np.arange(levels) + 0.5) / levels
    above = values[..., None] > places
    up = np.zeros_like(above)
    down = np.zeros_like(above)
    up[:, 1:] = above[:, 1:] & ~above[:, :-1]
    down[:, 1:] = ~above[:, 1:] & above[:, :-1]
    both = np.concatenate([up, down], axis=-1)
    return both.reshape(*values.shape[:2], -1).astype(np.float32)
