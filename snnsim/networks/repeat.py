"""A still input shown for some steps."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from snnsim.errors import ShapeError, check_size
from snnsim.layer import Layer


class Repeat(Layer):
    """Show one step for ``steps`` steps: ``[1, B, ...] -> [steps, B, ...]``, without a copy.

    What comes before it in a network is computed once.

    Args:
        steps: number of steps, 1 or more.

    >>> import torch
    >>> Repeat(6)(torch.zeros(1, 2, 3))[0].shape
    torch.Size([6, 2, 3])
    """

    def __init__(self, steps: int):
        super().__init__()
        self.steps = check_size("steps", steps)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, None]:
        if x.shape[0] != 1:
            raise ShapeError(
                f"x has {x.shape[0]} steps but Repeat takes a still input, [1, B, ...]; remove "
                "Repeat for a sequence"
            )
        return x.expand(self.steps, *x.shape[1:]), None

    def extra_repr(self) -> str:
        return str(self.steps)
