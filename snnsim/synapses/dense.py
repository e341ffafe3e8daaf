"""Connections without delay."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from snnsim.errors import ShapeError, check_choice, check_size
from snnsim.layer import Layer, as_input


def kaiming_uniform(shape: tuple[int, ...], fan_in: int) -> Tensor:
    """Return weights from ``U(-sqrt(6 / fan_in), sqrt(6 / fan_in))``.

    Source: He et al. 2015, for rectifying units.
    """
    bound = math.sqrt(6.0 / fan_in)
    return torch.empty(shape).uniform_(-bound, bound)


def linear_uniform(shape: tuple[int, ...], fan_in: int) -> Tensor:
    """Return weights from ``U(-1 / sqrt(fan_in), 1 / sqrt(fan_in))``, as in ``torch.nn.Linear``."""
    bound = 1.0 / math.sqrt(fan_in)
    return torch.empty(shape).uniform_(-bound, bound)


STARTS = {"linear": linear_uniform, "he": kaiming_uniform}


class Dense(Layer):
    """A dense connection leads from every input to every output: ``y = x @ weight.T (+ bias)``.

    Args:
        n_in, n_out: the numbers of input and output channels, at least 1.
        bias: whether to add a learnable bias, which starts at 0.
        init: the distribution of the initial weights. ``"linear"`` is that of ``torch.nn.Linear``,
            within ``1 / sqrt(n_in)``, which suits networks of many time steps without
            normalisation. ``"he"`` is within ``sqrt(6 / n_in)``, 2.4 times as wide, which suits a
            following normalisation or sparse input; the published delay networks use it.

    Call: ``[T, B, n_in] -> [T, B, n_out]``, without state.

    >>> y, state = Dense(3, 2)(torch.ones(4, 1, 3))
    >>> tuple(y.shape), state
    ((4, 1, 2), None)
    """

    def __init__(self, n_in: int, n_out: int, bias: bool = False, init: str = "linear"):
        super().__init__()
        self.n_in, self.n_out = check_size("n_in", n_in), check_size("n_out", n_out)
        check_choice("init", init, STARTS)
        self.weight = nn.Parameter(STARTS[init]((n_out, n_in), max(n_in, 1)))
        self.bias = nn.Parameter(torch.zeros(n_out)) if bias else None

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, None]:
        x = as_input(x, self.weight, "Dense")
        if x.dim() == 0 or x.shape[-1] != self.n_in:
            raise ShapeError(
                f"x has shape {tuple(x.shape)} but Dense was built for {self.n_in} channels"
            )
        return nn.functional.linear(x, self.weight, self.bias), None

    def extra_repr(self) -> str:
        return f"{self.n_in}, {self.n_out}, bias={self.bias is not None}"
