"""What hair cells, fibres and bushy cells are left with after a step."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from snnsim.kernels.cochlea.parameters import HairCell, Nerve


class Cells(NamedTuple):
    """The state of all places: arrays whose last axis is the place."""

    pools: np.ndarray  # [3, C]: transmitter that is free, in the cleft, and taken up again
    recent: np.ndarray  # [R, C]: fibres that fired in each of the last R steps, a ring
    tired: np.ndarray  # [C]: their sum, the fibres that cannot fire
    current: np.ndarray  # [C]: synaptic current of the bushy cell, in spikes of a fibre
    potential: np.ndarray  # [C]: of the bushy cell; the threshold is 1
    resting: np.ndarray  # [C]: steps for which the bushy cell stays at 0

    def copy(self) -> Cells:
        """Return the same state in arrays of its own."""
        return Cells(*(array.copy() for array in self))


def steps_of(seconds: float, per_second: int) -> int:
    """Return the steps that last at least so many seconds.

    >>> steps_of(1e-3, 24000), steps_of(1e-3, 22050)
    (24, 23)
    """
    return math.ceil(round(seconds * per_second, 6))


def at_rest(channels: int, per_second: int, cell: HairCell, nerve: Nerve) -> Cells:
    """Return the state after a long silence, without spikes in the last steps."""
    permeability = cell.release * cell.a / (cell.a + cell.b)
    leaving = cell.loss + cell.recovery
    inflow = cell.capacity * cell.replenishment * permeability
    cleft = inflow / (cell.loss * permeability + cell.replenishment * leaving)
    pools = (cleft * leaving / permeability, cleft, cleft * cell.recovery / cell.reprocessing)
    blocked = max(steps_of(nerve.fibre_refractory, per_second) - 1, 0)
    return Cells(
        np.repeat(np.array(pools)[:, None], channels, axis=1),
        np.zeros((blocked, channels), dtype=np.int32),
        np.zeros(channels, dtype=np.int32),
        np.zeros(channels),
        np.zeros(channels),
        np.zeros(channels, dtype=np.int32),
    )
