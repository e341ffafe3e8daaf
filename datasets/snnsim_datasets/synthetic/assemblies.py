"""Poisson units in hidden assemblies, each of which is active in epochs of its own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from snnsim.data import Arrays
from snnsim.errors import ConfigError, check_seed

DT = 10.0  # of a step, in ms


class Assemblies(NamedTuple):
    """Spikes, and what they were drawn from.

    Attributes:
        data: the spikes, ``[S, T, N]`` counts; its labels are all 0.
        groups: the assembly of each unit, ``[N]``.
        epochs: the activity of each assembly, ``[K, T]``, 0 or 1: the same in all samples.
    """

    data: Arrays
    groups: np.ndarray
    epochs: np.ndarray


def assemblies(
    samples: int = 20,
    *,
    units: int = 60,
    groups: int = 3,
    steps: int = 120,
    low: float = 5.0,
    high: float = 60.0,
    seed: int = 0,
) -> Assemblies:
    """Draw spikes of units that belong to hidden assemblies.

    An assembly's epochs last 6 steps and come at random, about a fifth of the time. While it is
    active, its units fire at a common rate that goes up and down twice as a cosine, each spike
    independently of all others; otherwise they fire at the low rate.

    Args:
        samples: number of samples, with other spikes but the same epochs.
        units: number of units, which belong to the assemblies in turn.
        groups: number of assemblies.
        steps: time steps of 10 ms.
        low, high: rates in Hz outside of an epoch and at its height.
        seed: of everything.

    Raises:
        ConfigError: for numbers that make no assemblies.

    >>> found = assemblies(2, units=6, steps=50)
    >>> found.data.x.shape, found.groups.tolist()
    ((2, 50, 6), [0, 1, 2, 0, 1, 2])
    """
    if not 1 <= groups <= units or min(samples, steps) < 1 or not 0 <= low <= high:
        raise ConfigError(
            f"samples {samples}, steps {steps} and groups {groups} must be 1 or more, units "
            f"{units} as many as groups at least, and rates {low} .. {high} Hz not negative"
        )
    random = np.random.default_rng(check_seed(seed))
    member = np.arange(units) % groups
    epochs = np.zeros((groups, steps))
    for start in range(0, steps, 6):
        active = random.random(groups) < 0.2
        epochs[:, start : start + 6] = active[:, None]
    wave = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(steps) / 3 + 0.0)
    rate = low + (high - low) * epochs * wave
    x = random.poisson(rate[member].T * DT / 1000, (samples, steps, units))
    lengths = np.full(samples, steps)
    data = Arrays(x.astype(np.float32), np.zeros(samples, np.int64), lengths, ("0",))
    return Assemblies(data, member, epochs)
