"""Spectral rung: the same dense kernel, applied as a product of spectra."""

from __future__ import annotations

from torch import Tensor

from snnsim.functional.delays import delay_kernel
from snnsim.functional.spectral import causal_convolution


def delay_conv(
    x: Tensor,
    weight: Tensor,
    delay: Tensor,
    sigma: Tensor | float,
    length: int,
    profile: str,
    tail: int,
) -> Tensor:
    """See :func:`snnsim.kernels.delay_conv.delay_conv`."""
    kernel = delay_kernel(weight, delay, sigma, length, profile).permute(2, 1, 0)
    return causal_convolution(x, kernel, x.shape[0] + tail)
