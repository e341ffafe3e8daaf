"""LightNet: linear attention whose decay comes from the keys' own normaliser.

    z[t] = logsumexp_{s <= t} k[s],  g[t] = exp(z[t-1] - z[t]),  S[t] = g[t] S[t-1] + exp(k[t] - z[t]) v[t]^T
    o[t] = S[t]^T silu(q[t]),  y = W_o (norm(o) * silu(W_2 W_1 x))

so ``S`` is a running softmax average of the values, per key channel. Source: Qin et al. 2024
(arXiv:2405.21022), section 3.
"""  # noqa: E501

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import State, linear
from snnsim.baselines.heads import NOTHING, KeyValueModel, matrices_of
from snnsim.baselines.ltv import Matrices
from snnsim.functional.outer import outer_recurrence

PIECE = 32  # steps
MOST_GROWTH = 60.0  # exp(60) is far from the largest float32


class LightNet(KeyValueModel):
    """LightNet averages over the past and forgets nothing by itself.

    Args:
        n_in, n_out: numbers of input and output channels.
        heads: number of heads.
        keys: number of key channels per head.
        gated: whether norm, gate and output projection follow the average.

    State: ``{"z": [B, heads, keys], "s": [B, heads, keys, n_out / heads]}``.

    >>> tuple(LightNet(3, 8)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 8)
    """

    residual = True
    source = "Qin et al. 2024, arXiv:2405.21022"
    left_out = "the multi-dimensional position codes (their exact forms are not confirmed)"

    def __init__(
        self, n_in: int, n_out: int, *, heads: int = 4, keys: int = 16, gated: bool = True
    ):
        super().__init__(n_in, n_out, heads, keys)
        self.connect(n_in)
        rank = max(n_out // 8, 1)
        self.finish: GatedOutput | None = GatedOutput(n_in, n_out, rank) if gated else None

    def initial_state(self, batch: int) -> State:
        nothing = self.zeros(batch, self.heads, self.keys, fill=NOTHING)
        return {"z": nothing, "s": self.memory(batch)}

    def _parts(self, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys, values, and the normalisers from before the first step to the last."""
        q, k, v = self.projected(x)
        return nn.functional.silu(q), k, v, torch.cat([z[None], k]).logcumsumexp(0)

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        q, k, v, z = self._parts(x, state["z"])
        y, s = running_average(q, k, v, z, state["s"])
        y = y.flatten(-2)
        return y if self.finish is None else self.finish(y, x), {"z": z[-1], "s": s}

    def ltv(self, x: Tensor) -> Matrices:
        """Return the matrices of what enters the norm, which is the output unless ``gated``."""
        q, k, _, z = self._parts(x, self.initial_state(x.shape[1])["z"])
        return matrices_of((-z.diff(dim=0)).exp(), (k - z[1:]).exp(), q, self.value.weight)


def running_average(q: Tensor, k: Tensor, v: Tensor, z: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``S[t]^T q[t]`` of a running average and its last state.

        S[t] = exp(z[t-1] - z[t]) S[t-1] + exp(k[t] - z[t]) v[t]^T

    Relative to the normaliser at the end of a piece nothing decays, so a piece is matrix products;
    where a normaliser grows too much for that, pieces are single steps.

    Args:
        q, k: queries and keys ``[T, B, H, n]``.
        v: values ``[T, B, H, d]``.
        z: normalisers ``[T + 1, B, H, n]``, not decreasing and not below ``k``.
        s: state before the first step, ``[B, H, n, d]``.

    Returns:
        ``[T, B, H, d]`` and the last state.
    """
    steps = PIECE if _growth(z[1:]) < MOST_GROWTH else 1
    outputs = []
    for first in range(0, len(q), steps):
        now = slice(first, first + steps)
        inside = z[1:][now]
        end = inside[-1].detach()  # any constant gives the same
        y, s = outer_recurrence(
            q[now] * (end - inside).exp(),
            (k[now] - end).exp(),
            v[now],
            (z[first] - end).exp().unsqueeze(-1) * s,
        )
        s = (end - inside[-1]).exp().unsqueeze(-1) * s
        outputs.append(y)
    return torch.cat(outputs) if outputs else v, s


def _growth(z: Tensor) -> float:
    """The most that a normaliser grows within a piece."""
    pieces = z.detach().split(PIECE)
    return max(
        (float((piece[-1] - piece[0]).max()) for piece in pieces if piece.numel()), default=0.0
    )


class GatedOutput(nn.Module):
    """Compute ``W_o (rms(y) * silu(W_2 W_1 x))`` with a gate of low rank."""

    def __init__(self, n_in: int, n_out: int, rank: int):
        super().__init__()
        self.norm = nn.RMSNorm(n_out)
        self.down, self.up = linear(n_in, rank, bias=False), linear(rank, n_out, bias=False)
        self.out = linear(n_out, n_out, bias=False)

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        gate = nn.functional.silu(self.up(self.down(x)[0])[0])
        return self.out(self.norm(y) * gate)[0]
