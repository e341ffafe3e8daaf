"""Sequence models of the literature, on the same spikes as the spiking networks.

One contract (:class:`Baseline`), one file per model (:mod:`snnsim.baselines.models`), one network
around them (:class:`RateNetwork`).
"""

from snnsim.baselines.baseline import Baseline, Cell
from snnsim.baselines.encoder import RateEncoder
from snnsim.baselines.ltv import LinearModel, Matrices, simulate
from snnsim.baselines.models import get, names
from snnsim.baselines.network import RateNetwork, multiple_of
from snnsim.baselines.size import Cost, cost_of, width_for

__all__ = [
    "Baseline",
    "Cell",
    "Cost",
    "LinearModel",
    "Matrices",
    "RateEncoder",
    "RateNetwork",
    "cost_of",
    "get",
    "multiple_of",
    "names",
    "simulate",
    "width_for",
]
