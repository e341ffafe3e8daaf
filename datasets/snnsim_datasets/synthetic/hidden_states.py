"""Spikes of Poisson units whose rates follow a hidden Markov chain, with the path of the chain.

    P(z_t = j | z_{t-1} = i) = 1 - leave                 if j = i
                             = leave / neighbours of i   if j is a neighbour of i, else 0
    x_t,n ~ Poisson(rate[z_t, n] dt)

The chain starts from its stationary distribution. The teachers of Torre et al. 2025
(arXiv:2510.25674) are linear, cyclic and fully connected chains that emit symbols; spikes instead
of symbols are our choice.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from snnsim.data import Arrays
from snnsim.errors import ConfigError, check_choice, check_number, check_seed, check_size, short

DT = 10.0  # of a step, in ms
TOPOLOGIES = ("linear", "cyclic", "full")


class HiddenStates(NamedTuple):
    """Spikes, and what they were drawn from.

    Attributes:
        data: the spikes, ``[S, T, N]`` counts per step; the target of every step is the state.
        path: the state of the chain at every step, ``[S, T]``.
        rates: the rate of each unit in each state in Hz, ``[K, N]``.
        transitions: the probability of going from one state (row) to another, ``[K, K]``.
        initial: the distribution of the first state, ``[K]``.
    """

    data: Arrays
    path: np.ndarray
    rates: np.ndarray
    transitions: np.ndarray
    initial: np.ndarray


def hidden_states(
    samples: int,
    *,
    states: int = 3,
    topology: str = "linear",
    leave: float = 0.05,
    units: int = 12,
    steps: int = 200,
    hz: tuple[float, float] = (5.0, 60.0),
    seed: int = 0,
) -> HiddenStates:
    """Draw spikes of units that each prefer one state of a hidden Markov chain.

    Args:
        samples: number of samples, each with a path of its own.
        states: number of states, 2 or more.
        topology: where a state may lead to: ``"linear"``, the states before and after it in a
            row; ``"cyclic"``, the next state on a ring; ``"full"``, every other state.
        leave: probability per time step, from 0 to 1, of leaving a state.
        units: number of units, at least one per state; they prefer the states in turn.
        steps: number of time steps of 10 ms in a sample.
        hz: rates in Hz of a unit outside of its preferred state and in it, the first 0 or more and
            the second no smaller.
        seed: seed of the paths and the spikes.

    Raises:
        ConfigError: for arguments out of range.

    >>> found = hidden_states(2, steps=50, leave=0.1)
    >>> found.data.x.shape, found.path.shape
    ((2, 50, 12), (2, 50))
    """
    check_size("samples", samples)
    check_size("units", units, check_size("states", states, 2))
    check_size("steps", steps)
    low, high = _pair(hz)
    onward = transitions(states, topology, leave)
    initial = _stationary(states, topology)
    random = np.random.default_rng(check_seed(seed))
    path = _path(onward, initial, random.random((samples, steps)))
    rates = np.where(np.arange(units) % states == np.arange(states)[:, None], high, low)
    x = random.poisson(rates[path] * DT / 1000).astype(np.float32)
    names = tuple(map(str, range(states)))
    data = Arrays(x, path, classes=names, dt=DT, per_step=True)
    return HiddenStates(data, path, rates, onward, initial)


def _pair(hz: tuple[float, float]) -> tuple[float, float]:
    if not isinstance(hz, tuple | list) or len(hz) != 2:
        raise ConfigError(f"hz is {short(hz)} but must be two rates: outside of a state, and in it")
    check_number("the first of hz", hz[0], 0)
    check_number("the second of hz", hz[1], hz[0])
    return hz[0], hz[1]


def transitions(states: int, topology: str, leave: float) -> np.ndarray:
    """Return the probabilities of going from each state (row) to each (column), ``[K, K]``.

    Args:
        states: number of states, 2 or more.
        topology: ``"linear"``, ``"cyclic"`` or ``"full"``.
        leave: probability per time step of leaving a state, from 0 to 1.

    >>> transitions(3, "linear", 0.5).tolist()
    [[0.5, 0.5, 0.0], [0.25, 0.5, 0.25], [0.0, 0.5, 0.5]]
    """
    check_number("leave", leave, 0, 1)
    neighbours = _neighbours(states, topology)
    return (1 - leave) * np.eye(states) + leave * neighbours / neighbours.sum(1, keepdims=True)


def _neighbours(states: int, topology: str) -> np.ndarray:
    check_size("states", states, 2)
    check_choice("topology", topology, TOPOLOGIES)
    if topology == "full":
        return 1 - np.eye(states)
    if topology == "cyclic":
        return np.roll(np.eye(states), 1, axis=1)
    return np.eye(states, k=1) + np.eye(states, k=-1)


def _stationary(states: int, topology: str) -> np.ndarray:
    """In proportion to the number of neighbours, as on every undirected graph; equal on a ring."""
    neighbours = _neighbours(states, topology).sum(1)
    return neighbours / neighbours.sum()


def _path(onward: np.ndarray, initial: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Paths ``[S, T]`` of the chain, by inversion of uniform numbers of the same shape."""
    below = onward.cumsum(1)
    path = np.zeros(uniform.shape, dtype=np.int64)
    probability = initial.cumsum()
    for step in range(uniform.shape[1]):
        at = (uniform[:, step, None] >= probability).sum(1)
        path[:, step] = np.minimum(at, len(initial) - 1)  # rounding may leave the sum below 1
        probability = below[path[:, step]]
    return path
