"""snnsim: layer-wise spiking networks with learnable delays.

Time-major tensors ``[T, B, N]``, time in milliseconds, explicit state: ``net(x, state)``
returns ``(y, state)`` and nothing is remembered in between.
"""

from snnsim.equations import detach, spike
from snnsim.errors import SnnsimError
from snnsim.inference import CompiledNetwork, compile
from snnsim.layer import Layer, detach_state, map_state
from snnsim.networks import (
    BatchNorm,
    Dropout,
    Repeat,
    Sequential,
    Skip,
    delay_network,
    gsc_network,
    run_checkpointed,
    shd_network,
    ssc_network,
)
from snnsim.neurons import (
    ALIF,
    BRF,
    IF,
    LI,
    LIF,
    PLIF,
    AdLIF,
    CubaLIF,
    Izhikevich,
    Neuron,
    Parameter,
    Reset,
    SEAdLIF,
    Tau,
)
from snnsim.synapses import (
    AvgPool1d,
    AvgPool2d,
    Conv1d,
    Conv2d,
    Delayed,
    Dense,
    MaxPool1d,
    MaxPool2d,
    OverTime,
    Recurrent,
    SumPool2d,
    narrow_delays,
)

__version__ = "0.1.0"

__all__ = [
    "ALIF",
    "BRF",
    "IF",
    "LI",
    "LIF",
    "PLIF",
    "AdLIF",
    "AvgPool1d",
    "AvgPool2d",
    "BatchNorm",
    "CompiledNetwork",
    "Conv1d",
    "Conv2d",
    "CubaLIF",
    "Delayed",
    "Dense",
    "Dropout",
    "Izhikevich",
    "Layer",
    "MaxPool1d",
    "MaxPool2d",
    "Neuron",
    "OverTime",
    "Parameter",
    "Recurrent",
    "Repeat",
    "Reset",
    "SEAdLIF",
    "Sequential",
    "Skip",
    "SnnsimError",
    "SumPool2d",
    "Tau",
    "compile",
    "delay_network",
    "detach",
    "detach_state",
    "gsc_network",
    "map_state",
    "narrow_delays",
    "run_checkpointed",
    "shd_network",
    "spike",
    "ssc_network",
]
