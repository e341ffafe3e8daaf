"""ParaLSTM: an LSTM with diagonal recurrence, peepholes and coupled input and forget gates.

    f = s(a_f * h + B_f x + p_f * c + b_f),  c' = f * c + (1 - f) * tanh(a_c * h + B_c x + b_c)
    o = s(a_o * h + B_o x + p_o * c' + b_o),  h' = o * tanh(c')

Source: Danieli et al. 2025 (arXiv:2510.21450), section 4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import Cell, State, linear
from snnsim.baselines.newton import run_blocks


class ParaLSTM(Cell):
    """A diagonal LSTM.

    Args:
        n_in, n_out: numbers of channels; ``n_out`` units.
        parallel: run by Newton iterations, as :class:`ParaGRU` does; the Jacobian has blocks of
            2 x 2.

    State: ``(h, c)`` stacked, ``[2, B, n_out]``.

    >>> tuple(ParaLSTM(3, 5)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 5)
    """

    tables = ("diagonal",)
    source = "Danieli et al. 2025, arXiv:2510.21450"
    left_out = "input matrices in blocks: ours are full"

    def __init__(self, n_in: int, n_out: int, *, parallel: bool = False):
        super().__init__(n_in, n_out)
        self.parallel = parallel
        self.w_in = linear(n_in, 3 * n_out)
        self.diagonal = nn.Parameter(torch.randn(5, n_out) * (4 / (5 * n_out)) ** 0.5)
        assert self.w_in.bias is not None
        with torch.no_grad():
            self.w_in.bias[:n_out] = torch.linspace(0, 1, n_out)

    def zero_state(self, batch: int) -> State:
        return self.zeros(2, batch, self.n_out)

    def project(self, x: Tensor) -> Tensor:
        return self.w_in(x)[0]

    def cell(self, p: Tensor, state: State) -> tuple[Tensor, State]:
        state = self.transition(p, state)
        return state[0], state

    def transition(self, p: Tensor, state: Tensor) -> Tensor:
        """The next ``(h, c)`` on axis ``-3``; channels do not mix."""
        h, c = state.unbind(-3)
        f, g, o = p.chunk(3, -1)
        a_f, a_c, a_o, p_f, p_o = self.diagonal
        f = torch.sigmoid(f + a_f * h + p_f * c)
        c = f * c + (1 - f) * torch.tanh(g + a_c * h)
        o = torch.sigmoid(o + a_o * h + p_o * c)
        return torch.stack([o * torch.tanh(c), c], -3)

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        if not self.parallel:
            return super().run(x, state, lengths)
        states = run_blocks(self.transition, self.project(x), state)
        return states[:, 0], states[-1]
