"""Connections between layers: dense, delayed, recurrent, convolutional."""

from snnsim.synapses.delayed import Delayed, narrow_delays
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

__all__ = [
    "AvgPool1d",
    "AvgPool2d",
    "Conv1d",
    "Conv2d",
    "Delayed",
    "Dense",
    "MaxPool1d",
    "MaxPool2d",
    "OverTime",
    "Recurrent",
    "SumPool2d",
    "narrow_delays",
]
