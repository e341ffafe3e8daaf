"""Stacks of layers and builders of whole networks."""

from snnsim.networks.checkpointed import run_checkpointed
from snnsim.networks.conv_delay_network import conv_delay_network
from snnsim.networks.delay_network import delay_network, gsc_network, shd_network, ssc_network
from snnsim.networks.dropout import Dropout
from snnsim.networks.normalization import BatchNorm
from snnsim.networks.recoded import Recoded, recoded
from snnsim.networks.repeat import Repeat
from snnsim.networks.sequential import Sequential, Skip
from snnsim.networks.stochastic_depth import StochasticDepth

__all__ = [
    "BatchNorm",
    "Dropout",
    "Recoded",
    "Repeat",
    "Sequential",
    "Skip",
    "StochasticDepth",
    "conv_delay_network",
    "delay_network",
    "gsc_network",
    "recoded",
    "run_checkpointed",
    "shd_network",
    "ssc_network",
]
