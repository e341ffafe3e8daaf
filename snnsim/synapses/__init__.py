"""Connections between layers: dense, delayed, recurrent, convolutional."""

from snnsim.synapses.bias import Bias
from snnsim.synapses.delayed import Delayed, narrow_delays
from snnsim.synapses.delayed_conv import DelayedConv2d
from snnsim.synapses.dense import Dense
from snnsim.synapses.over_time import (
    AvgPool1d,
    AvgPool2d,
    Conv1d,
    Conv2d,
    MaxPool1d,
    MaxPool2d,
    OverTime,
    SumPool2d,
)
from snnsim.synapses.recurrent import Recurrent

Linear, TimeDistributed = Dense, OverTime  # as they are called elsewhere

__all__ = [
    "AvgPool1d",
    "AvgPool2d",
    "Bias",
    "Conv1d",
    "Conv2d",
    "Delayed",
    "DelayedConv2d",
    "Dense",
    "Linear",
    "MaxPool1d",
    "MaxPool2d",
    "OverTime",
    "Recurrent",
    "SumPool2d",
    "TimeDistributed",
    "narrow_delays",
]
