"""How the output of a layer joins what goes around it.

    add: x + f,  rate: x + a * f with a learnt a per channel,  input: g * x + (1 - g) * f, g = s(W x + b)

Source: Heidenreich, Vlachas & Koumoutsakos 2024 (arXiv:2410.02654), neural gating; its exact
equations are not confirmed.
"""  # noqa: E501

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import linear
from snnsim.errors import check_choice

JOINS = ("add", "rate", "input")


class Join(nn.Module):
    """Join two tensors ``[..., n]``: what goes around a layer, and the layer's output.

    Args:
        n: number of channels.
        kind: ``"add"``, ``"rate"`` or ``"input"``.

    >>> Join(2)(torch.ones(1, 2), torch.ones(1, 2)).tolist()
    [[2.0, 2.0]]
    """

    def __init__(self, n: int, kind: str = "add"):
        super().__init__()
        check_choice("join", kind, JOINS)
        self.kind = kind
        self.rate = nn.Parameter(torch.ones(n)) if kind == "rate" else None
        self.gate = linear(n, n) if kind == "input" else None

    def forward(self, x: Tensor, f: Tensor) -> Tensor:
        if self.gate is not None:
            g = torch.sigmoid(self.gate(x)[0])
            return g * x + (1 - g) * f
        return x + f if self.rate is None else x + self.rate * f
