"""Parameters of the stages, in the units of their sources; docs/cochlea.md has the tables."""

from __future__ import annotations

from typing import NamedTuple


class Membrane(NamedTuple):
    """A basilar membrane of exponentially falling stiffness in shallow water (cgs units)."""

    length: float = 3.5  # cm
    stiffness: float = 1e9  # at the base, g / (cm^2 s^2)
    stiffness_offset: float = 3500.0  # subtracted from it everywhere
    decline: float = 3.0  # alpha, of the stiffness, 1 / cm
    damping: float = 0.15  # delta: resistance / sqrt(stiffness * mass)
    mass: float = 0.05  # g / cm^2
    depth: float = 0.1  # of the channel of water, cm
    density: float = 1.0  # of water, g / cm^3


class HairCell(NamedTuple):
    """Three pools of transmitter in an inner hair cell; rates per second."""

    a: float = 5.0  # velocity above which the membrane is permeable is -a
    b: float = 300.0  # velocity + a at which permeability is half of its greatest value
    release: float = 2000.0  # g, greatest permeability
    replenishment: float = 5.05  # y, from the factory into the free pool
    loss: float = 2500.0  # l, from the cleft
    recovery: float = 6580.0  # r, from the cleft back into the cell
    reprocessing: float = 66.3  # x, from there into the free pool
    capacity: float = 1.0  # M, of the free pool
    firing: float = 50000.0  # h, rate of a fibre per transmitter in the cleft


class Nerve(NamedTuple):
    """Fibres of the auditory nerve at one place, and the bushy cell that they drive."""

    fibres: int = 40
    fibre_refractory: float = 1e-3  # s
    tau_mem: float = 1e-3  # s
    tau_syn: float = 5e-4  # s
    refractory: float = 1e-3  # of the bushy cell, s
    weight: float = 13e3  # of all fibres together, 1 / s
