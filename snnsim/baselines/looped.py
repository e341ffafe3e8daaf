"""One body for models that use the same block again and again in depth.

Every use keeps a past of its own, since what a step attends to at one depth is what the steps
before it were at that depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import linear
from snnsim.baselines.window import Past, TransformerBlock


class Halting(NamedTuple):
    """When each place stopped: weights ``[depth, T, B]`` of the depths, which sum to 1, and the
    ponder cost ``[T, B]``, the number of depths used plus the remainder."""

    weights: Tensor
    ponder: Tensor


class AdaptiveHalting(nn.Module):
    """Adaptive computation time, per step and sample.

    ``p = s(w . h + b)``; a place goes on while the sum of its ``p`` stays below ``1 - epsilon`` and
    there are depths left; its last depth gets what is missing to 1. Source: Graves 2016
    (arXiv:1603.08983), equations 5 to 9.

    Args:
        n: channels.
        epsilon: see above.
    """

    def __init__(self, n: int, epsilon: float = 0.01):
        super().__init__()
        self.score, self.epsilon = linear(n, 1), epsilon
        assert self.score.bias is not None
        nn.init.constant_(self.score.bias, 1.0)

    def begin(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What was given so far, and which places still run, for ``x [T, B, n]``."""
        return torch.zeros_like(x[..., 0]), torch.ones_like(x[..., 0], dtype=torch.bool)

    def weight(
        self, h: Tensor, given: Tensor, running: Tensor, last: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The weight of this depth, and the two of :meth:`begin` after it."""
        p = torch.sigmoid(self.score(h)[0]).squeeze(-1)
        stops = running & ((given + p >= 1 - self.epsilon) | last)
        weight = torch.where(stops, 1 - given, p) * running
        return weight, given + weight, running & ~stops


def loop(
    block: TransformerBlock,
    x: Tensor,
    pasts: Sequence[Past],
    codes: Tensor,
    halting: AdaptiveHalting | None = None,
    inside: Tensor | None = None,
) -> tuple[Tensor, tuple[Past, ...], Halting | None]:
    """Apply a block ``len(pasts)`` times.

    Args:
        block: the tied block.
        x: ``[T, B, n]``.
        pasts: of every depth.
        codes: added at each depth, ``[depth, n]``.
        halting: if given, places stop by themselves; a place that stopped is carried along as
            it was, so others still attend to it.
        inside: ``[T, B]``, 0 for steps that nobody is to see.

    Returns:
        The last ``x`` (or the weighted mean over depths), the pasts after, and the halting.
    """
    later: list[Past] = []
    if halting is None:
        for past, code in zip(pasts, codes, strict=True):
            x, past = block(x + code, past, inside)
            later.append(past)
        return x, tuple(later), None
    given, running = halting.begin(x)
    weights: list[Tensor] = []
    total, depths = torch.zeros_like(x), torch.zeros_like(given)
    remainder = torch.zeros_like(given)
    for depth, (past, code) in enumerate(zip(pasts, codes, strict=True)):
        new, past = block(x + code, past, inside)
        later.append(past)
        x = torch.where(running.unsqueeze(-1), new, x)
        depths = depths + running
        still = running
        weight, given, running = halting.weight(x, given, running, depth + 1 == len(pasts))
        remainder = torch.where(still & ~running, weight, remainder)
        weights.append(weight)
        total = total + weight.unsqueeze(-1) * x
    return total, tuple(later), Halting(torch.stack(weights), depths + remainder)
