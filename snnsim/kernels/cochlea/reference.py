"""Reference rung of hair cells, fibres and bushy cells: numpy, one step after the other."""

from __future__ import annotations

import numpy as np

from snnsim.kernels.cochlea.parameters import HairCell, Nerve
from snnsim.kernels.cochlea.state import Cells, steps_of


def release(
    velocity: np.ndarray, per_second: int, cell: HairCell, pools: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability ``[T, C]`` that a fibre fires in a step, and the pools after it.

    Meddis (1986, 1988), solved by Euler's method.
    """
    dt = 1 / per_second
    free, cleft, inside = pools
    probability = np.empty(velocity.shape)
    for t, moved in enumerate(velocity.astype(np.float64)):
        drive = np.maximum(moved + cell.a, 0)
        released = cell.release * drive / (drive + cell.b) * free
        made = cell.replenishment * np.maximum(cell.capacity - free, 0)
        returned = cell.reprocessing * inside
        free, cleft, inside = (
            free + dt * (made + returned - released),
            cleft + dt * (released - (cell.loss + cell.recovery) * cleft),
            inside + dt * (cell.recovery * cleft - returned),
        )
        probability[t] = cell.firing * cleft * dt
    return probability, np.stack([free, cleft, inside])


def uniform(key: int, counter: np.ndarray) -> np.ndarray:
    """Return numbers in [0, 1): SplitMix64 (Steele, Lea & Flood 2014) of ``counter`` (uint64)."""
    z = np.uint64(key) + counter * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


def binomial(count: np.ndarray, p: np.ndarray, chance: np.ndarray, most: int) -> np.ndarray:
    """Return how many of ``count <= most`` fire with probability ``p``: inversion of ``chance``."""
    p = np.minimum(p, 1 - 1e-16)
    term = (1 - p) ** count
    total = term.copy()
    fired = np.zeros_like(count)
    for k in range(most):
        fired += (chance >= total) & (k < count)
        term = term * np.maximum(count - k, 0) / (k + 1) * p / (1 - p)
        total += term
    return fired


def fire(
    probability: np.ndarray, per_second: int, nerve: Nerve, draw: tuple[int, int], state: Cells
) -> tuple[np.ndarray, Cells]:
    """Return the spikes ``[T, C]`` of the bushy cells and the state after them."""
    (key, step), after = draw, state.copy()
    blocked, channels = state.recent.shape
    current, potential, resting = after.current, after.potential, after.resting
    spikes = np.zeros(probability.shape, dtype=np.bool_)
    for t, p in enumerate(probability):
        counter = np.uint64((step + t) * channels) + np.arange(channels, dtype=np.uint64)
        ready = nerve.fibres - after.recent.sum(0)
        fired = binomial(ready, p, uniform(key, counter), nerve.fibres)
        if blocked:
            after.recent[(step + t) % blocked] = fired
        current = current * np.exp(-1 / (per_second * nerve.tau_syn)) + fired
        driven = potential * np.exp(-1 / (per_second * nerve.tau_mem))
        driven = driven + nerve.weight / nerve.fibres / per_second * current
        potential = np.where(resting > 0, 0, driven)
        spikes[t] = potential >= 1
        resting = np.maximum(resting - 1, 0)
        resting[spikes[t]] = steps_of(nerve.refractory, per_second)
        potential = np.where(spikes[t], 0, potential)
    arrays = {"current": current, "potential": potential, "resting": resting}
    return spikes, after._replace(tired=after.recent.sum(0), **arrays)


def respond(
    velocity: np.ndarray,
    per_second: int,
    draw: tuple[int, int],
    state: Cells,
    cell: HairCell = HairCell(),  # noqa: B008 - a constant
    nerve: Nerve = Nerve(),  # noqa: B008 - a constant
) -> tuple[np.ndarray, Cells]:
    """See README.md."""
    probability, pools = release(velocity, per_second, cell, state.pools)
    return fire(probability, per_second, nerve, draw, state._replace(pools=pools))
