"""Encoders turn values into spikes; they are layers and stand in front of a network."""

from snnsim.encoders.delta import Delta
from snnsim.encoders.latency import Latency
from snnsim.encoders.level import LevelCrossing
from snnsim.encoders.population import Population
from snnsim.encoders.rate import Rate

__all__ = ["Delta", "Latency", "LevelCrossing", "Population", "Rate"]
