"""Selective state space (S6, the recurrence of Mamba).

    D[t] = softplus(W_d u[t] + b),  L = exp(-D[t] A),  h[t] = L h[t-1] + D[t] u[t] B(u[t])^T
    y[t] = h[t] C(u[t]) + d * u[t]

Source: Gu & Dao 2023 (arXiv:2312.00752), algorithm 2, with ``B`` discretised by Euler as there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import State, bias_of, linear
from snnsim.baselines.ltv import LinearModel, Matrices


class S6(LinearModel):
    """S6 has several states per channel, whose forgetting depends on the input.

    Args:
        n_in, n_out: numbers of input and output channels.
        states: number of states per channel.
        gated: whether the output is multiplied by ``silu(W x)`` as in the Mamba block.

    State: ``[B, n_out, states]``.

    >>> tuple(S6(3, 5)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 5)
    """

    residual = True
    tables = ("log_decay",)
    source = "Gu & Dao 2023, arXiv:2312.00752"
    left_out = "of the Mamba block: short convolution, SiLU before the scan, output projection"

    def __init__(self, n_in: int, n_out: int, *, states: int = 16, gated: bool = True):
        super().__init__(n_in, n_out)
        self.states, self.rank = states, max(n_out // 16, 1)
        self.enter = linear(n_in, n_out, bias=False)
        self.gate = linear(n_in, n_out, bias=False) if gated else None
        self.select = linear(n_out, self.rank + 2 * states, bias=False)
        self.rate = linear(self.rank, n_out)
        rates = torch.arange(1, states + 1, dtype=torch.get_default_dtype()).log()
        self.log_decay = nn.Parameter(rates.expand(n_out, states).clone())
        self.skip = nn.Parameter(torch.ones(n_out))
        # steps between 0.001 and 0.1, as published
        start = torch.exp(torch.rand(n_out) * math.log(100) + math.log(1e-3))
        bias_of(self.rate).copy_(start + torch.log(-torch.expm1(-start)))

    def initial_state(self, batch: int) -> State:
        return self.zeros(batch, self.n_out, self.states)

    def _selected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        u = self.enter(x)[0]
        low, b, c = self.select(u)[0].split([self.rank, self.states, self.states], -1)
        return u, nn.functional.softplus(self.rate(low)[0]), b, c

    def _decay(self, step: Tensor) -> Tensor:
        return torch.exp(-step.unsqueeze(-1) * self.log_decay.exp())

    def terms(self, x: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        u, step, b, c = self._selected(x)
        return self._decay(step), (step * u).unsqueeze(-1) * b.unsqueeze(-2), (u, c, x)

    def read(self, h: Tensor, context: tuple[Tensor, ...]) -> Tensor:
        u, c, x = context
        y = (h @ c.unsqueeze(-1)).squeeze(-1) + self.skip * u
        return y if self.gate is None else y * nn.functional.silu(self.gate(x)[0])

    def ltv(self, x: Tensor) -> Matrices:
        _, step, b, c = self._selected(x)
        w = self.enter.weight
        entry = torch.einsum("tbd,tbn,di->tbdni", step, b, w).flatten(2, 3)
        read = torch.einsum("tbn,de->tbden", c, torch.eye(self.n_out).to(c)).flatten(3)
        direct = (self.skip[:, None] * w).expand(*x.shape[:2], *w.shape)
        if self.gate is not None:
            gate = nn.functional.silu(self.gate(x)[0]).unsqueeze(-1)
            read, direct = gate * read, gate * direct
        return Matrices(self._decay(step).flatten(2), entry, read, direct)
