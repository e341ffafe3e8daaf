"""Recurrent layers of torch.nn under the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import Baseline, State


def lstm_step(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``h`` and ``c`` after a step of an LSTM whose forget gate starts open.

    Args:
        gates: ``[..., 4 n]``: input, forget and output gate, and the candidate.
        c: ``[..., n]``, before the step.
    """
    i, f, o, g = gates.chunk(4, -1)
    c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


class TorchRecurrent(Baseline):
    """Run one layer of ``torch.nn.RNN``, ``GRU`` or ``LSTM``.

    State: ``{"h": [B, n_out]}``, with ``"c"`` for an LSTM.
    """

    def __init__(self, n_in: int, n_out: int, kind: Callable[..., nn.RNNBase], **options: Any):
        super().__init__(n_in, n_out)
        self.module = kind(n_in, n_out, **options)
        self.has_cell = kind is nn.LSTM

    def initial_state(self, batch: int) -> State:
        return {name: self.zeros(batch, self.n_out) for name in ("h", "c")[: 1 + self.has_cell]}

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        before: Any = tuple(state[name][None] for name in ("h", "c") if name in state)
        # on CPUs torch's recurrent layers refuse bfloat16
        with torch.autocast("cpu", enabled=False):
            x = x.to(state["h"].dtype) if x.device.type == "cpu" else x
            y, after = self.module(x, before if self.has_cell else before[0])
        after = after if self.has_cell else (after,)
        return y, {name: a[0] for name, a in zip(("h", "c"), after, strict=False)}
