"""CPU rung of hair cells, nerve fibres and bushy cells: one pass over steps and places.

Places are contiguous, so the hair cells of a step are one vector operation after the other. How
many of a place's fibres fire needs one random number, and for most steps a bound says that none
does.
"""

from __future__ import annotations

import numpy as np

from snnsim.errors import ShapeError
from snnsim.kernels.cochlea.parameters import HairCell, Nerve
from snnsim.kernels.cochlea.state import Cells
from snnsim.kernels.compile import jit
from snnsim.kernels.threads import run_chunked

ROWS = 128  # steps whose probabilities are kept between the two stages


@jit
def hair_cells(velocity, per_second, cell, pools, out, first, last):
    """Fill ``out [T, C]`` with the probability that a fibre fires; see README.md."""
    dt = 1.0 / per_second
    free, cleft, inside = pools[0], pools[1], pools[2]
    for t in range(velocity.shape[0]):
        for c in range(first, last):
            drive = max(velocity[t, c] + cell.a, 0.0)
            released = cell.release * dt * drive / (drive + cell.b) * free[c]
            made = cell.replenishment * dt * max(cell.capacity - free[c], 0.0)
            returned = cell.reprocessing * dt * inside[c]
            recovered = cell.recovery * dt * cleft[c]
            lost = cell.loss * dt * cleft[c]
            free[c] += made + returned - released
            cleft[c] += released - recovered - lost
            inside[c] += recovered - returned
            out[t, c] = cell.firing * dt * cleft[c]


@jit
def uniform(key, counter):
    """Return a number in [0, 1) for each counter: SplitMix64 (Steele, Lea & Flood 2014)."""
    z = key + counter * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.float64((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


@jit
def power(base, exponent):
    """Return ``base`` to a whole power of less than 64, by repeated squaring."""
    result = 1.0
    for bit in range(6):
        result *= base if exponent >> bit & 1 else 1.0
        base *= base
    return result


@jit
def binomial(count, p, chance):
    """Return how many of ``count`` fibres fire with probability ``p``: inversion of ``chance``."""
    if chance < 1.0 - count * p:  # no more than the probability that none fires
        return 0
    if p >= 1.0:
        return count
    term, odds = power(1.0 - p, count), p / (1.0 - p)
    total, fired = term, 0
    while chance >= total and fired < count:
        term *= odds * (count - fired) / (fired + 1.0)
        total += term
        fired += 1
    return fired


@jit
def fibres(probability, count, draw, cells, fired, first, last):
    """Fill ``fired [C]`` with the fibres that fire in one step, and note them as tired."""
    key, step = draw
    blocked, counter = cells.recent.shape[0], np.uint64(step) * np.uint64(len(fired))
    for c in range(first, last):
        fired[c] = uniform(key, counter + np.uint64(c))
    for c in range(first, last):
        fired[c] = binomial(count - cells.tired[c], probability[c], fired[c])
    if blocked:
        recent = cells.recent[step % blocked]
        for c in range(first, last):
            now = np.int32(fired[c])
            cells.tired[c] += now - recent[c]
            recent[c] = now


@jit
def bushy_cells(fired, per_second, nerve, cells, spikes, first, last):
    """Fill ``spikes [C]`` of one step from the fibres that fire."""
    dt = 1.0 / per_second
    keep_mem, keep_syn = np.exp(-dt / nerve.tau_mem), np.exp(-dt / nerve.tau_syn)
    charge = nerve.weight / nerve.fibres * dt
    rest = np.int32(np.ceil(np.round(nerve.refractory * per_second, 6)))
    for c in range(first, last):
        current = cells.current[c] * keep_syn + fired[c]
        driven = cells.potential[c] * keep_mem + charge * current
        potential = driven if cells.resting[c] == 0 else 0.0
        spike = potential >= 1.0
        cells.current[c] = current
        cells.potential[c] = 0.0 if spike else potential
        cells.resting[c] = rest if spike else max(cells.resting[c] - np.int32(1), np.int32(0))
        spikes[c] = spike


@jit
def nerve_cells(probability, per_second, nerve, draw, cells, spikes, first, last):
    """Fill ``spikes [T, C]`` of the bushy cells; ``draw`` is the key and the first step."""
    key, step = draw
    fired = np.empty(spikes.shape[1])
    for t in range(probability.shape[0]):
        fibres(probability[t], nerve.fibres, (key, step + t), cells, fired, first, last)
        bushy_cells(fired, per_second, nerve, cells, spikes[t], first, last)


def respond(
    velocity: np.ndarray,
    per_second: int,
    draw: tuple[int, int],
    state: Cells,
    cell: HairCell = HairCell(),  # noqa: B008 - a constant
    nerve: Nerve = Nerve(),  # noqa: B008 - a constant
) -> tuple[np.ndarray, Cells]:
    """See README.md."""
    channels = len(state.potential)
    if velocity.ndim != 2 or velocity.shape[1] != channels:
        raise ShapeError(f"velocity has shape {velocity.shape} but must be [T, {channels}]")
    spikes = np.zeros(velocity.shape, dtype=np.bool_)
    after, (key, step) = state.copy(), draw
    probability = np.empty((ROWS, velocity.shape[1]))

    def chunk(first: int, last: int) -> None:
        for row in range(0, len(velocity), ROWS):
            part = velocity[row : row + ROWS]
            released = probability[: len(part)]
            hair_cells(part, per_second, cell, after.pools, released, first, last)
            numbers = (np.uint64(key), step + row)
            nerve_cells(
                released, per_second, nerve, numbers, after, spikes[row : row + ROWS], first, last
            )

    run_chunked(chunk, (), velocity.shape[1], velocity.size)
    return spikes, after
