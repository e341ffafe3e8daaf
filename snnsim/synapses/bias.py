"""A value for each channel, added at every step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnsim.errors import ShapeError, check_size
from snnsim.layer import Layer, as_input


class Bias(Layer):
    """A bias adds a learnable value to each channel, at every step, without delay.

    It is for connections that have none of their own, such as :class:`Delayed`.

    Args:
        n: the number of channels, the third axis of ``[T, B, n, ...]``; the values start at 0.

    Call: ``[T, B, n, ...] -> [T, B, n, ...]``, without state.

    >>> y, state = Bias(3)(torch.ones(4, 1, 3))
    >>> tuple(y.shape), state
    ((4, 1, 3), None)
    """

    def __init__(self, n: int):
        super().__init__()
        self.n = check_size("n", n)
        self.bias = nn.Parameter(torch.zeros(n))

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, None]:
        x = as_input(x, self.bias, "Bias")
        if x.dim() < 3 or x.shape[2] != self.n:
            raise ShapeError(f"x has shape {tuple(x.shape)} but Bias needs [T, B, {self.n}, ...]")
        return x + self.bias.view(-1, *[1] * (x.dim() - 3)), None

    def extra_repr(self) -> str:
        return f"{self.n}"
