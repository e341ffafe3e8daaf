"""ParaGRU: a GRU with diagonal recurrence, which Newton's method can run in parallel.

    z = s(a_z * h + B_z x + b_z),  r = s(a_r * h + B_r x + b_r)
    n = tanh(a_h * (h * r) + B_h x + b_h),  h = (1 - z) * h + z * n

Source: Danieli et al. 2025 (arXiv:2510.21450), section 4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnsim.baselines.baseline import bias_of
from snnsim.baselines.newton import DiagonalCell


class ParaGRU(DiagonalCell):
    """A ParaGRU is a diagonal GRU.

    Args:
        n_in, n_out: numbers of input and output channels; ``n_out`` units.
        parallel: whether to run by Newton iterations, see :mod:`snnsim.baselines.newton`; where
            they do not converge, the loop takes over. It pays off on GPUs with long sequences.

    State: ``[B, n_out]``.

    >>> tuple(ParaGRU(3, 5)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 5)
    """

    source = "Danieli et al. 2025, arXiv:2510.21450"
    left_out = "heads: there is one, so the matrices of the input are full"

    def __init__(self, n_in: int, n_out: int, *, parallel: bool = False):
        super().__init__(n_in, n_out, 3, parallel)
        bias_of(self.w_in)[:n_out] = -torch.linspace(0, 1, n_out)

    def transition(self, p: Tensor, h: Tensor) -> Tensor:
        """Return the next state; elementwise in ``h``."""
        z, r, n = p.chunk(3, -1)
        a_z, a_r, a_n = self.diagonal
        z, r = torch.sigmoid(z + a_z * h), torch.sigmoid(r + a_r * h)
        return (1 - z) * h + z * torch.tanh(n + a_n * (h * r))
