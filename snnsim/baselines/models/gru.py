"""Gated recurrent unit.

    r = s(W_r x + U_r h),  z = s(W_z x + U_z h)
    n = tanh(W_n x + b + r * (U_n h + b')),  h = (1 - z) * n + z * h

Source: Cho et al. 2014 (arXiv:1406.1078), with ``r`` behind the matrix, as in cuDNN.
"""

from __future__ import annotations

from torch import nn

from snnsim.baselines.torch_recurrent import TorchRecurrent


class GRU(TorchRecurrent):
    """A GRU is a layer of ``torch.nn.GRU``.

    Args:
        n_in, n_out: numbers of input and output channels; ``n_out`` units.

    >>> import torch
    >>> tuple(GRU(3, 5)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 5)
    """

    source = "Cho et al. 2014, arXiv:1406.1078"
    left_out = "the reset gate before the recurrent matrix: it is behind it, as in cuDNN"

    def __init__(self, n_in: int, n_out: int):
        super().__init__(n_in, n_out, nn.GRU)
