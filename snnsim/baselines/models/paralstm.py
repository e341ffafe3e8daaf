"""ParaLSTM: an LSTM with diagonal recurrence, peepholes and coupled input and forget gates.

    f = s(a_f * h + B_f x + p_f * c + b_f),  c' = f * c + (1 - f) * tanh(a_c * h + B_c x + b_c)
    o = s(a_o * h + B_o x + p_o * c' + b_o),  h' = o * tanh(c')

Source: Danieli et al. 2025 (arXiv:2510.21450), section 4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnsim.baselines.baseline import bias_of
from snnsim.baselines.newton import DiagonalCell


class ParaLSTM(DiagonalCell):
    """A ParaLSTM is a diagonal LSTM.

    Args:
        n_in, n_out: numbers of input and output channels; ``n_out`` units.
        parallel: whether to run by Newton iterations, as
            :class:`~snnsim.baselines.models.paragru.ParaGRU`; the Jacobian has blocks of 2 x 2.

    State: ``(h, c)`` stacked, ``[2, B, n_out]``.

    >>> tuple(ParaLSTM(3, 5)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 5)
    """

    source = "Danieli et al. 2025, arXiv:2510.21450"
    left_out = (
        "heads: there is one, so the matrices of the input are full; the published start of the "
        "forget gate: ours, from 0 to 1, remembers more"
    )
    parts = 2

    def __init__(self, n_in: int, n_out: int, *, parallel: bool = False):
        super().__init__(n_in, n_out, 5, parallel)
        bias_of(self.w_in)[:n_out] = torch.linspace(0, 1, n_out)

    def transition(self, p: Tensor, state: Tensor) -> Tensor:
        """Return the next ``(h, c)`` on axis ``-3``; channels do not mix."""
        h, c = state.unbind(-3)
        f, g, o = p.chunk(3, -1)
        a_f, a_c, a_o, p_f, p_o = self.diagonal
        f = torch.sigmoid(f + a_f * h + p_f * c)
        c = f * c + (1 - f) * torch.tanh(g + a_c * h)
        o = torch.sigmoid(o + a_o * h + p_o * c)
        return torch.stack([o * torch.tanh(c), c], -3)
