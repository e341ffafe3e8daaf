"""CPU rung of hair cells, nerve fibres and bushy cells: one pass over steps and places.

Places are contiguous, so the hair cells of a step are one vector operation after the other. How
many of a place's fibres fire needs one random number, and for most steps a bound says that none
does.
"""

from __future__ import annotations

import numpy as np

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
def binomial(count, p, chance):
    """Return how many of ``count`` fibres fire with probability ``p``: inversion of ``chance``."""
    if chance < 1.0 - count * p:  # no more than the probability that none fires
        return 0
    if p >= 1.0:
        return count
    term = 1.0
    for _ in range(count):
        term *= 1.0 - p
    total, fired = term, 0
    while chance >= total and fired < count:
        term *= (count - fired) / (fired + 1.0) * p / (1.0 - p)
        total += term
        fired += 1
    return fired


@jit
def nerve_cells(probability, per_second, nerve, draw, cells, spikes, first, last):
    """Fill ``spikes [T, C]`` of the bushy cells; ``draw`` is the key and the first step."""
    key, step = draw
    dt, blocked, channels = 1.0 / per_second, cells.recent.shape[0], np.uint64(spikes.shape[1])
    keep_mem, keep_syn = np.exp(-dt / nerve.tau_mem), np.exp(-dt / nerve.tau_syn)
    charge = nerve.weight / nerve.fibres * dt
    rest = int(np.ceil(np.round(nerve.refractory * per_second, 6)))
    for t in range(probability.shape[0]):
        row = (step + t) % max(blocked, 1)
        counter = np.uint64(step + t) * channels
        for c in range(first, last):
            chance = uniform(key, counter + np.uint64(c))
            fired = binomial(nerve.fibres - cells.tired[c], probability[t, c], chance)
            if blocked:
                cells.tired[c] += fired - cells.recent[row, c]
                cells.recent[row, c] = fired
            cells.current[c] = cells.current[c] * keep_syn + fired
            if cells.resting[c] > 0:
                cells.resting[c] -= 1
                continue
            cells.potential[c] = cells.potential[c] * keep_mem + charge * cells.current[c]
            if cells.potential[c] >= 1.0:
                spikes[t, c] = True
                cells.potential[c] = 0.0
                cells.resting[c] = rest


def respond(
    velocity: np.ndarray,
    per_second: int,
    draw: tuple[int, int],
    state: Cells,
    cell: HairCell = HairCell(),  # noqa: B008 - a constant
    nerve: Nerve = Nerve(),  # noqa: B008 - a constant
) -> tuple[np.ndarray, Cells]:
    """See README.md: spikes ``[T, C]`` and the state after them."""
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
