"""From spike counts to the input of a rate-coded model; a part of every reported configuration."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnsim.errors import ConfigError, ShapeError, check_choice, check_size
from snnsim.layer import Layer

NORMS = ("none", "sqrt", "log1p", "layer")


class RateEncoder(Layer):
    """Merge bins and channels, clip counts and compress their range, in this order.

    Args:
        n_in: number of channels of the counts.
        bins: number of steps that are merged into one; their counts add up.
        pool: number of neighbouring channels that are merged into one.
        clip: largest count that is passed on, larger ones become it; 0 for no limit.
        norm: ``"none"``, ``"sqrt"``, ``"log1p"`` or ``"layer"`` (over the channels of a step,
            with learnt scale and shift).

    Call: ``[T, B, n_in] -> [ceil(T / bins), B, n]``. A sequence may be cut only between merged
    bins; only the last of all may be incomplete. There is no state.

    >>> y, _ = RateEncoder(4, bins=2, pool=2, clip=3)(torch.ones(3, 1, 4))
    >>> y.squeeze(1).tolist()
    [[3.0, 3.0], [2.0, 2.0]]
    """

    def __init__(
        self, n_in: int, *, bins: int = 1, pool: int = 1, clip: float = 0.0, norm: str = "none"
    ):
        super().__init__()
        check_choice("norm", norm, NORMS)
        for name, size in (("n_in", n_in), ("bins", bins), ("pool", pool)):
            check_size(name, size)
        if not clip >= 0:  # nor NaN
            raise ConfigError(f"clip is {clip} but must be at least 0, which means no limit")
        self.n_in, self.bins, self.pool, self.clip, self.norm = n_in, bins, pool, clip, norm
        self.n = -(-n_in // pool)
        self.layer = nn.LayerNorm(self.n) if norm == "layer" else None

    def lengths(self, lengths: Tensor | None) -> Tensor | None:
        """Return lengths in merged bins."""
        return None if lengths is None else (lengths + self.bins - 1) // self.bins

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, None]:
        if x.shape[-1] != self.n_in:
            raise ShapeError(f"x has {x.shape[-1]} channels but the encoder is for {self.n_in}")
        if self.bins > 1:
            short = -len(x) % self.bins
            x = torch.cat([x, x.new_zeros(short, *x.shape[1:])]) if short else x
            x = x.unflatten(0, (-1, self.bins)).sum(1)
        if self.pool > 1:
            x = nn.functional.pad(x, (0, -self.n_in % self.pool))
            x = x.unflatten(-1, (-1, self.pool)).sum(-1)
        x = x.clamp(max=self.clip) if self.clip else x
        if self.norm in ("sqrt", "log1p"):
            size = x.abs()  # what is not counts may be negative
            x = x.sign() * (size.sqrt() if self.norm == "sqrt" else size.log1p())
        return (x if self.layer is None else self.layer(x)), None

    def extra_repr(self) -> str:
        return (
            f"{self.n_in}, bins={self.bins}, pool={self.pool}, clip={self.clip}, norm={self.norm!r}"
        )
