"""Neuron models, one file each. :class:`Neuron` is the base class of your own models."""

from snnsim.neurons.adlif import AdLIF
from snnsim.neurons.alif import ALIF
from snnsim.neurons.cuba_lif import CubaLIF
from snnsim.neurons.integrate_fire import IF
from snnsim.neurons.izhikevich import Izhikevich
from snnsim.neurons.li import LI
from snnsim.neurons.lif import LIF
from snnsim.neurons.neuron import Neuron
from snnsim.neurons.parameters import Parameter, Tau
from snnsim.neurons.plif import PLIF
from snnsim.neurons.reset import Reset
from snnsim.neurons.resonate_fire import BRF
from snnsim.neurons.se_adlif import SEAdLIF

__all__ = [
    "ALIF",
    "BRF",
    "IF",
    "LI",
    "LIF",
    "PLIF",
    "AdLIF",
    "CubaLIF",
    "Izhikevich",
    "Neuron",
    "Parameter",
    "Reset",
    "SEAdLIF",
    "Tau",
]
