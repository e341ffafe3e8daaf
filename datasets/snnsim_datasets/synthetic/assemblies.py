"""Poisson units in hidden assemblies, each of which is active in epochs of its own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from snnsim.data import Arrays
from snnsim.errors import check_number, check_seed

DT = 10.0  # of a step, in ms
EPOCH = 24  # steps


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
    steps: int = 360,
    low: float = 5.0,
    high: float = 60.0,
    seed: int = 0,
) -> Assemblies:
    """Draw spikes of units that belong to hidden assemblies.

    Time is cut into epochs of 24 steps, and an assembly is active in about a third of them, at
    least in one. While it is active, the rate of its units goes up and down twice, each assembly
    at a phase of its own, and each unit spikes independently of all others; otherwise they fire at
    the low rate.

    Args:
        samples: number of samples, with other spikes but the same epochs.
        units: number of units, which belong to the assemblies in turn.
        groups: number of assemblies, at most one per unit.
        steps: time steps of 10 ms.
        low, high: rates in Hz outside of an epoch and at its height.
        seed: of everything.

    Raises:
        ConfigError: for numbers that make no assemblies.

    >>> found = assemblies(2, units=6, steps=50)
    >>> found.data.x.shape, found.groups.tolist()
    ((2, 50, 6), [0, 1, 2, 0, 1, 2])
    """
    for name, count in (("samples", samples), ("units", units), ("steps", steps)):
        check_number(name, count, 1)
    check_number("groups", groups, 1, units)
    check_number("low", low, 0)
    check_number("high", high, low)
    random = np.random.default_rng(check_seed(seed))
    member = np.arange(units) % groups
    active = random.random((groups, -(-steps // EPOCH))) < 1 / 3
    active[np.arange(groups), random.integers(0, active.shape[1], groups)] = True
    epochs = np.repeat(active, EPOCH, axis=1)[:, :steps].astype(np.float64)
    turns = np.arange(steps) / (EPOCH / 2) + np.arange(groups)[:, None] / groups
    wave = 0.5 - 0.5 * np.cos(2 * np.pi * turns)
    rate = low + (high - low) * epochs * wave
    x = random.poisson(rate[member].T * DT / 1000, (samples, steps, units))
    lengths = np.full(samples, steps)
    data = Arrays(x.astype(np.float32), np.zeros(samples, np.int64), lengths, ("0",))
    return Assemblies(data, member, epochs)
