"""Aaren: attention of a learnt query over the past, as a recurrence.

    s[t] = q . k[t] / sqrt(d),  y[t] = sum_{j <= t} exp(s[j]) v[j] / sum_{j <= t} exp(s[j])

with the state ``(m, u, w)`` of the largest score, the normaliser and the weighted sum, which an
associative rule joins. Source: Feng et al. 2024 (arXiv:2405.13956), section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import Baseline, State, linear
from snnsim.baselines.heads import NOTHING, split
from snnsim.functional.scan import Elements, scan


class Aaren(Baseline):
    """Aaren keeps a running softmax average in constant memory.

    Args:
        n_in, n_out: numbers of input and output channels.
        heads: number of heads; each has its own query.

    State: ``(m, u, w)``: ``[B, heads]``, ``[B, heads]``, ``[B, heads, n_out / heads]``.

    >>> y, (m, u, w) = Aaren(3, 8)(torch.rand(7, 2, 3))
    >>> tuple(y.shape), tuple(w.shape)
    ((7, 2, 8), (2, 4, 2))
    """

    residual = True
    tables = ("query",)
    source = "Feng et al. 2024, arXiv:2405.13956"
    left_out = (
        "passing the query token from layer to layer (every layer learns its own), feed-forward "
        "parts between layers"
    )

    def __init__(self, n_in: int, n_out: int, *, heads: int = 4):
        super().__init__(n_in, n_out, heads)
        self.heads = heads
        self.query = nn.Parameter(torch.randn(heads, n_out // heads))
        self.key, self.value = (linear(n_in, n_out, bias=False) for _ in range(2))

    def initial_state(self, batch: int) -> State:
        flat = (batch, self.heads)
        return (
            self.zeros(*flat, fill=NOTHING),
            self.zeros(*flat),
            self.zeros(*flat, self.n_out // self.heads),
        )

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        k, v = (split(m(x)[0], self.heads) for m in (self.key, self.value))
        score = (k * self.query).sum(-1) / self.query.shape[1] ** 0.5
        new = (score, torch.ones_like(score), v)
        before = tuple(torch.cat([old[None], each]) for old, each in zip(state, new, strict=True))
        m, u, w = (each[1:] for each in scan(joined, before))
        return (w / u.unsqueeze(-1)).flatten(2), (m[-1], u[-1], w[-1])


def joined(a: Elements, b: Elements) -> Elements:
    """Join the averages over two neighbouring stretches into one."""
    m = torch.maximum(a[0], b[0])
    one, two = (a[0] - m).exp(), (b[0] - m).exp()
    u = a[1] * one + b[1] * two
    return m, u, a[2] * one.unsqueeze(-1) + b[2] * two.unsqueeze(-1)
