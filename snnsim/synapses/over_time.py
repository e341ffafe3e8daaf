"""Convolution and pooling at every time step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnsim.layer import Layer, as_input

POOLING = (nn.AvgPool1d, nn.AvgPool2d, nn.MaxPool1d, nn.MaxPool2d)


class OverTime(Layer):
    """Apply a module without memory to every time step: ``[T, B, ...]`` is one big batch for it.

    Spikes that are stored as bool or whole numbers become numbers of the module's type, or, for
    pooling, of torch's default type.

    Args:
        module: any module from ``[batch, ...]`` to ``[batch, ...]``.

    >>> import torch
    >>> y, _ = OverTime(nn.Conv2d(1, 4, 3))(torch.zeros(5, 2, 1, 8, 8))
    >>> tuple(y.shape)
    (5, 2, 4, 6, 6)
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, None]:
        like = next(self.module.parameters(), None)
        if like is not None:
            x = as_input(x, like, type(self.module).__name__)
        elif isinstance(self.module, POOLING) and not x.is_floating_point():
            x = x.to(torch.get_default_dtype())
        return self.module(x.flatten(0, 1)).unflatten(0, x.shape[:2]), None


def Conv1d(channels_in: int, channels_out: int, kernel_size: int, **options: Any) -> OverTime:
    """Make a 1-D convolution over space, ``[T, B, C, L]``; it has no bias unless you ask for one.

    Args:
        channels_in, channels_out: the numbers of input and output channels.
        kernel_size: the width of the kernel.
        options: further arguments of ``torch.nn.Conv1d``.
    """
    return OverTime(nn.Conv1d(channels_in, channels_out, kernel_size, **{"bias": False, **options}))


def Conv2d(channels_in: int, channels_out: int, kernel_size: int, **options: Any) -> OverTime:
    """Make a 2-D convolution, ``[T, B, C, H, W]``; it has no bias unless you ask for one.

    Args:
        channels_in, channels_out: the numbers of input and output channels.
        kernel_size: the width of the kernel.
        options: further arguments of ``torch.nn.Conv2d``.

    >>> Conv2d(2, 4, 3, padding=1).module.bias is None
    True
    """
    return OverTime(nn.Conv2d(channels_in, channels_out, kernel_size, **{"bias": False, **options}))


def AvgPool1d(size: int, **options: Any) -> OverTime:
    """Make a layer that averages over windows of ``size``, ``[T, B, C, L]``."""
    return OverTime(nn.AvgPool1d(size, **options))


def AvgPool2d(size: int | tuple[int, int], **options: Any) -> OverTime:
    """Make a layer that averages over windows of ``size``, ``[T, B, C, H, W]``."""
    return OverTime(nn.AvgPool2d(size, **options))


def MaxPool1d(size: int, **options: Any) -> OverTime:
    """Make a layer that takes the maximum over windows: a spike if any input spikes."""
    return OverTime(nn.MaxPool1d(size, **options))


def MaxPool2d(size: int, **options: Any) -> OverTime:
    """Make a layer that takes the maximum over windows: a spike if any input spikes."""
    return OverTime(nn.MaxPool2d(size, **options))


def SumPool2d(size: int, **options: Any) -> OverTime:
    """Make a layer that sums over windows of ``size``, as neuromorphic hardware pools.

    >>> import torch
    >>> SumPool2d(2)(torch.ones(1, 1, 1, 2, 2))[0].item()
    4.0
    """
    return OverTime(nn.AvgPool2d(size, **{"divisor_override": 1, **options}))
