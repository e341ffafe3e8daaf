"""Layers that see a window of the past: attention with relative positions, and its blocks.

State of each: ``(keys [reach, B, n], values [reach, B, n], known [reach, B])`` of the last
``reach`` steps, oldest first; ``known`` is 1 where there was a step. A step projects only itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import linear
from snnsim.errors import ConfigError
from snnsim.synapses import Dense

Past = tuple[Tensor, Tensor, Tensor]
PIECE = 128  # steps whose attention is computed at once, at least


class WindowAttention(nn.Module):
    """Attend, with several heads and a softmax, to the current step and the ``reach`` before it.

    ``a[t, j] = q[t] . k[j] / sqrt(d) + bias[t - j]`` with a learnt bias per head and distance,
    which says where in time a step is (absolute positions would have no end in a stream).

    Args:
        n: number of input and output channels.
        heads: number of heads.
        reach: number of steps before the current one that it sees.
        ahead: number of steps after it that it sees; above 0 a past cannot be continued.
        persistent: number of learnt tokens that every step sees besides.
    """

    tables = ("distance", "persistent")

    def __init__(self, n: int, heads: int, reach: int, ahead: int = 0, persistent: int = 0):
        super().__init__()
        if heads < 1 or n % heads:
            raise ConfigError(
                f"{n} channels cannot be split into {heads} heads of attention; the number of "
                "heads must divide that of channels"
            )
        self.heads, self.reach, self.ahead = heads, reach, ahead
        self.query, self.key, self.value, self.out = (linear(n, n, bias=False) for _ in range(4))
        self.distance = nn.Parameter(torch.zeros(heads, ahead + 1 + reach))
        drawn = torch.randn(persistent, n) / n**0.5 if persistent else None
        self.persistent = None if drawn is None else nn.Parameter(drawn)

    def empty(self, batch: int) -> Past:
        """Return the past of ``batch`` samples before the first step."""
        like = self.query.weight
        return (
            like.new_zeros(self.reach, batch, like.shape[0]),
            like.new_zeros(self.reach, batch, like.shape[0]),
            like.new_zeros(self.reach, batch),
        )

    def forward(self, x: Tensor, past: Past, inside: Tensor | None = None) -> tuple[Tensor, Past]:
        """Return the output for ``x [T, B, n]`` after a past, and the past of what comes next.

        ``inside [T, B]`` is 0 for steps that no other step may see, such as padding ahead."""
        there = torch.ones_like(x[..., 0]) if inside is None else inside
        own = (self.key(x)[0], self.value(x)[0], there)
        keys, values, known = (torch.cat(both) for both in zip(past, own, strict=True))
        q, k, v = (
            a.unflatten(-1, (self.heads, -1)).permute(1, 2, 0, 3)
            for a in (self.query(x)[0], keys, values)
        )
        pieces = []
        step = max(PIECE, self.reach + self.ahead)  # work grows with the length, not its square
        for first in range(0, len(x), step):
            seen = slice(first, first + step + self.reach + self.ahead)
            piece = (q[:, :, first : first + step], k[:, :, seen], v[:, :, seen], known[seen])
            pieces.append(self._attend(*piece))
        later = (keys[len(x) :], values[len(x) :], known[len(x) :])
        return self.out(torch.cat(pieces, 2).permute(2, 0, 1, 3).flatten(2))[0], later

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, known: Tensor) -> Tensor:
        """``[B, H, t, n]`` for ``t`` queries; keys begin ``reach`` steps before the first."""
        back = torch.arange(q.shape[2], device=q.device)[:, None] + self.reach
        back = back - torch.arange(k.shape[2], device=q.device)  # how long ago
        near = (back >= -self.ahead) & (back <= self.reach)
        bias = self.distance[:, back.clamp(-self.ahead, self.reach) + self.ahead]
        allowed = near & ((known.t() > 0)[:, None, None] | (back == 0))  # each sees itself
        mask = bias.masked_fill(~allowed, -torch.inf)
        if self.persistent is not None:
            k, v, mask = self._with_persistent(self.persistent, k, v, mask)
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    def _with_persistent(
        self, tokens: Tensor, k: Tensor, v: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Keys, values and mask with those of tokens, which are at no distance, before them."""
        own_k, own_v = (
            m(tokens)[0].unflatten(-1, (self.heads, -1)).transpose(0, 1).expand(len(k), -1, -1, -1)
            for m in (self.key, self.value)
        )
        open_to_all = nn.functional.pad(mask, (len(tokens), 0))
        return torch.cat([own_k, k], 2), torch.cat([own_v, v], 2), open_to_all


class TransformerBlock(nn.Module):
    """Apply ``x + attention(norm(x))``, then ``x + feed_forward(norm(x))``.

    Args:
        n: number of channels.
        heads, reach, ahead: arguments of :class:`WindowAttention`.
        expand: number of hidden channels of the feed-forward part, as a multiple of ``n``.
        activation: nonlinearity of the feed-forward part.
    """

    def __init__(
        self,
        n: int,
        heads: int,
        reach: int,
        expand: int = 2,
        activation: Callable[[Tensor], Tensor] = nn.functional.gelu,
        ahead: int = 0,
    ):
        super().__init__()
        self.attention = WindowAttention(n, heads, reach, ahead)
        self.norms = nn.ModuleList(nn.LayerNorm(n) for _ in range(2))
        self.up: Dense = linear(n, expand * n)
        self.down: Dense = linear(expand * n, n)
        self.activation = activation

    def forward(self, x: Tensor, past: Past, inside: Tensor | None = None) -> tuple[Tensor, Past]:
        """Take input and past to output and later past, as :meth:`WindowAttention.forward` does."""
        y, later = self.attention(self.norms[0](x), past, inside)
        x = x + y
        hidden = self.activation(self.up(self.norms[1](x))[0])
        return x + self.down(hidden)[0], later
