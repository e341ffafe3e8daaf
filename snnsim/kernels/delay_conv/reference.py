"""Reference rung: the dense kernel and torch's own convolution."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from snnsim.functional.delays import delay_kernel


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
    kernel = delay_kernel(weight, delay, sigma, length, profile).flip(-1)
    padded = F.pad(x.permute(1, 2, 0), (length - 1, tail))
    return F.conv1d(padded, kernel).permute(2, 0, 1)
