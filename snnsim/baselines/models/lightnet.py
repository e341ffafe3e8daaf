"""LightNet: linear attention whose decay comes from the keys' own normaliser.

    z[t] = logsumexp_{s <= t} k[s],  g[t] = exp(z[t-1] - z[t]),  S[t] = g[t] S[t-1] + exp(k[t] - z[t]) v[t]^T
    o[t] = S[t]^T silu(q[t]),  y = W_o (norm(o) * silu(W_2 W_1 x))

so ``S`` is a running softmax average of the values, per key channel. Source: Qin et al. 2024
(arXiv:2405.21022), section 3.
"""  # noqa: E501

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import Baseline, State, linear
from snnsim.baselines.heads import NOTHING, matrices_of, outer, recall, split
from snnsim.baselines.ltv import Matrices
from snnsim.functional.scan import linear_recurrence


class LightNet(Baseline):
    """An average over the past that forgets nothing by itself.

    Args:
        n_in, n_out: numbers of channels.
        heads: of attention.
        keys: key channels per head.
        gated: whether norm, gate and output projection follow.

    State: ``{"z": [B, heads, keys], "s": [B, heads, keys, n_out / heads]}``.

    >>> tuple(LightNet(3, 8)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 8)
    """

    residual = True
    multiple = 4
    source = "Qin et al. 2024, arXiv:2405.21022"
    left_out = "the multi-dimensional position codes (their exact forms are not confirmed)"

    def __init__(
        self, n_in: int, n_out: int, *, heads: int = 4, keys: int = 16, gated: bool = True
    ):
        super().__init__(n_in, n_out)
        self.heads, self.keys = heads, keys
        self.query, self.key = (linear(n_in, heads * keys, bias=False) for _ in range(2))
        self.value = linear(n_in, n_out, bias=False)
        rank = max(n_out // 8, 1)
        self.finish: GatedOutput | None = GatedOutput(n_in, n_out, rank) if gated else None

    def initial_state(self, batch: int) -> State:
        shape = (batch, self.heads, self.keys)
        return {
            "z": self.zeros(*shape, fill=NOTHING),
            "s": self.zeros(*shape, self.n_out // self.heads),
        }

    def _weights(self, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        """Queries, shares of the new key, decays, and the normaliser at the end."""
        q, k = (split(m(x)[0], self.heads) for m in (self.query, self.key))
        total = torch.cat([z[None], k]).logcumsumexp(0)
        return nn.functional.silu(q), (k - total[1:]).exp(), (-total.diff(dim=0)).exp(), total[-1]

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        q, share, decay, z = self._weights(x, state["z"])
        v = split(self.value(x)[0], self.heads)
        s = linear_recurrence(decay.unsqueeze(-1), outer(share, v), state["s"])
        y = recall(q, s)
        return y if self.finish is None else self.finish(y, x), {"z": z, "s": s[-1]}

    def ltv(self, x: Tensor) -> Matrices:
        """Matrices of what enters the norm (all of it if not ``gated``)."""
        q, share, decay, _ = self._weights(x, self.initial_state(x.shape[1])["z"])
        return matrices_of(decay, share, q, self.value.weight)


class GatedOutput(nn.Module):
    """``W_o (rms(y) * silu(W_2 W_1 x))`` with a gate of low rank."""

    def __init__(self, n_in: int, n_out: int, rank: int):
        super().__init__()
        self.norm = nn.RMSNorm(n_out)
        self.down, self.up = linear(n_in, rank, bias=False), linear(rank, n_out, bias=False)
        self.out = linear(n_out, n_out, bias=False)

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        gate = nn.functional.silu(self.up(self.down(x)[0])[0])
        return self.out(self.norm(y) * gate)[0]
