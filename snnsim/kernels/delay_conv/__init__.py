"""The learnable-delay convolution. One contract, several rungs; see README.md."""

from snnsim.kernels.delay_conv.dispatch import BACKENDS, choose_rung, delay_conv

__all__ = ["BACKENDS", "choose_rung", "delay_conv"]
