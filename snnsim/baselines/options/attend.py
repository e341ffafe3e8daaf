"""Attention of a model over its own past outputs.

    y'[t] = y[t] + W_o attention(y[t], y[t - reach .. t])

Source: Heidenreich, Vlachas & Koumoutsakos 2024 (arXiv:2410.02654), attention over the last hidden
states with relative positions.
"""

from __future__ import annotations

from torch import Tensor

from snnsim.baselines.baseline import Baseline, State
from snnsim.baselines.window import WindowAttention

HEADS = 4


class Attend(Baseline):
    """Let a model attend to its last outputs and add what it reads to its output.

    Args:
        inner: the model.
        reach: number of past steps that the attention sees.
        heads: number of heads of the attention; ``inner.n_out`` must be a multiple of it.

    State: the state of the model, and keys and values of its last outputs.

    >>> import torch
    >>> from snnsim.baselines.models.gru import GRU
    >>> tuple(Attend(GRU(3, 8), reach=4)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 8)
    """

    def __init__(self, inner: Baseline, *, reach: int, heads: int = HEADS):
        super().__init__(inner.n_in, inner.n_out)
        self.inner = inner
        self.causal, self.streaming, self.source = inner.causal, inner.streaming, inner.source
        self.attention = WindowAttention(inner.n_out, heads, reach)

    def initial_state(self, batch: int) -> State:
        return self.inner.initial_state(batch), self.attention.empty(batch)

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        y, inner = self.inner.run(x, state[0], lengths)
        read, later = self.attention(y, state[1])
        return y + read, (inner, later)
