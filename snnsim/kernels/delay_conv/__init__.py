"""The learnable-delay convolution. One contract, several rungs; see README.md."""

from snnsim.kernels.delay_conv.dispatch import (
    BACKENDS,
    FUSED,
    choose_rung,
    delay_conv,
    most_spikes,
)

__all__ = ["BACKENDS", "FUSED", "choose_rung", "delay_conv", "most_spikes"]
