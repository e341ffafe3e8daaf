"""Encoders turn sounds and values into spikes.

Those of values are layers and stand in front of a network; the cochlea takes recordings.
"""

from snnsim.encoders.cochlea import Cochlea, CochleaState, Spikes
from snnsim.encoders.delta import Delta
from snnsim.encoders.latency import Latency
from snnsim.encoders.level import LevelCrossing
from snnsim.encoders.population import Population
from snnsim.encoders.rate import Rate

__all__ = [
    "Cochlea",
    "CochleaState",
    "Delta",
    "Latency",
    "LevelCrossing",
    "Population",
    "Rate",
    "Spikes",
]
