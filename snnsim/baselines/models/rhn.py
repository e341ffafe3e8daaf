"""Recurrent highway network, with neural gating and attention over its past.

    for l = 1 .. D:  n = tanh(W_n x [l=1] + R_n^l s + b_n^l),  t = s(W_t x [l=1] + R_t^l s + b_t^l)
                     s = n t + s (1 - t)

Source: Zilly et al. 2017 (arXiv:1607.03474), equations 6 to 8; gating and attention as options:
Heidenreich, Vlachas & Koumoutsakos 2024 (arXiv:2410.02654).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import DrivenCell, State, bias_of, linear


class RHN(DrivenCell):
    """A recurrent highway network takes several nonlinear steps of its state per time step.

    Args:
        n_in, n_out: numbers of input and output channels; ``n_out`` units.
        depth: ``D``, the number of steps of the state per time step.

    State: ``[B, n_out]``. Gates (``join``) and attention (``attend``) are options of every
    network, see :class:`snnsim.baselines.RateNetwork`.

    >>> tuple(RHN(3, 5, depth=2)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 5)
    """

    source = (
        "Zilly et al. 2017, arXiv:1607.03474; Heidenreich, Vlachas & Koumoutsakos 2024, "
        "arXiv:2410.02654"
    )

    def __init__(self, n_in: int, n_out: int, *, depth: int = 3):
        super().__init__(n_in, n_out)
        self.w_in = linear(n_in, 2 * n_out, bias=False)
        self.w_rec = nn.ModuleList(linear(n_out, 2 * n_out) for _ in range(depth))
        for layer in self.w_rec:
            bias_of(layer)[n_out:] = -2.0  # carries at first

    def initial_state(self, batch: int) -> State:
        return self.zeros(batch, self.n_out)

    def cell(self, p: Tensor, state: State) -> tuple[Tensor, State]:
        for level, w_rec in enumerate(self.w_rec):
            drive = w_rec(state)[0]
            n, t = (drive + p if level == 0 else drive).chunk(2, -1)
            t = torch.sigmoid(t)
            state = torch.tanh(n) * t + state * (1 - t)
        return state, state
