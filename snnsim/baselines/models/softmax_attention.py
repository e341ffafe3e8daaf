"""Softmax attention over a window of the past: the limit of an infinite state.

    y[t] = W_o sum_j softmax_j(q[t] . k[j] / sqrt(d) + bias[t - j]) v[j],  t - reach <= j <= t

Source: Vaswani et al. 2017 (arXiv:1706.03762), equation 1; its place among the linear models:
Sieber et al. 2024 (arXiv:2405.15731).
"""

from __future__ import annotations

from torch import Tensor

from snnsim.baselines.baseline import Baseline, State, linear
from snnsim.baselines.window import WindowAttention


class SoftmaxAttention(Baseline):
    """Softmax attention stands alone here, without a feed-forward part.

    Args:
        n_in, n_out: numbers of input and output channels.
        heads: number of heads.
        reach: number of past steps that it sees.

    State: keys and values of the last ``reach`` steps, ``[reach, B, n_out]``, and which there were.

    >>> import torch
    >>> tuple(SoftmaxAttention(3, 8)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 8)
    """

    residual = True
    source = "Vaswani et al. 2017, arXiv:1706.03762"
    left_out = "positions are distances and the past is cut off, so that it can stream"

    def __init__(self, n_in: int, n_out: int, *, heads: int = 4, reach: int = 100):
        super().__init__(n_in, n_out, heads)
        self.enter = linear(n_in, n_out)
        self.attention = WindowAttention(n_out, heads, reach)

    def initial_state(self, batch: int) -> State:
        return self.attention.empty(batch)

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        found: tuple[Tensor, State] = self.attention(self.enter(x)[0], state)
        return found
