"""One body for models that use the same block again and again in depth.

Every use keeps a past of its own, since what a step attends to at one depth is what the steps
before it were at that depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import bias_of, linear
from snnsim.baselines.window import Past, TransformerBlock


class Halting(NamedTuple):
    """Halting says when each place stopped.

    Attributes:
        weights: weights ``[depth, T, B]`` of the depths, which sum to 1.
        ponder: ponder cost ``[T, B]``, the number of depths used plus the remainder.
    """

    weights: Tensor
    ponder: Tensor


class AdaptiveHalting(nn.Module):
    """Adapt the computation time of each step and sample.

    ``p = s(w . h + b)``; a place goes on while the sum of its ``p`` stays below ``1 - epsilon`` and
    there are depths left; its last depth gets what is missing to 1. Source: Graves 2016
    (arXiv:1603.08983), equations 5 to 9.

    Args:
        n: number of channels.
        epsilon: how far below 1 the sum stops, see above.
    """

    def __init__(self, n: int, epsilon: float = 0.01):
        super().__init__()
        self.score, self.epsilon = linear(n, 1), epsilon
        bias_of(self.score).fill_(1.0)

    def begin(self, x: Tensor) -> Depths:
        """Begin before the first depth, for ``x [..., n]``."""
        return Depths(self, x[..., 0])


class Depths:
    """Depths keep account of adaptive computation time while it goes on.

    Attributes:
        running: which places go on.
        used, remainder: number of depths of each place so far, and the weight of its last.
        weights: weights of every depth so far.
    """

    def __init__(self, halting: AdaptiveHalting, like: Tensor):
        self.halting = halting
        self.given, self.used, self.remainder = (torch.zeros_like(like) for _ in range(3))
        self.running = torch.ones_like(like, dtype=torch.bool)
        self.weights: list[Tensor] = []

    def add(self, h: Tensor, last: bool) -> Tensor:
        """Return the weight of a depth with outputs ``h [..., n]``; the last gets the rest."""
        p = torch.sigmoid(self.halting.score(h)[0]).squeeze(-1)
        stops = self.running & ((self.given + p >= 1 - self.halting.epsilon) | last)
        weight = torch.where(stops, 1 - self.given, p) * self.running
        self.used = self.used + self.running
        self.remainder = torch.where(stops, weight, self.remainder)
        self.given, self.running = self.given + weight, self.running & ~stops
        self.weights.append(weight)
        return weight

    @property
    def ponder(self) -> Tensor:
        """The number of depths used plus the remainder."""
        return self.used + self.remainder


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
        x: input ``[T, B, n]``.
        pasts: past of every depth.
        codes: codes ``[depth, n]``, of which one is added at each depth.
        halting: if given, places stop by themselves; a place that stopped is carried along as
            it was, so others still attend to it.
        inside: optional ``[T, B]``, 0 for steps that no other step may see.

    Returns:
        The last ``x`` (or the weighted mean over depths), the pasts after, and the halting.
    """
    later: list[Past] = []
    if halting is None:
        for past, code in zip(pasts, codes, strict=True):
            x, past = block(x + code, past, inside)
            later.append(past)
        return x, tuple(later), None
    depths, total = halting.begin(x), torch.zeros_like(x)
    for depth, (past, code) in enumerate(zip(pasts, codes, strict=True)):
        new, past = block(x + code, past, inside)
        later.append(past)
        x = torch.where(depths.running.unsqueeze(-1), new, x)
        weight = depths.add(x, depth + 1 == len(pasts))
        total = total + weight.unsqueeze(-1) * x
    return total, tuple(later), Halting(torch.stack(depths.weights), depths.ponder)
