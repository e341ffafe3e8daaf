"""Elman network: ``h[t] = f(W_x x[t] + W_h h[t-1] + b)``, output ``h``.

Source: Elman 1990, doi:10.1207/s15516709cog1402_1; survey: Lipton et al. 2015
(arXiv:1506.00019), section 3. The read-out is not part of the model.
"""

from __future__ import annotations

from torch import nn

from snnsim.baselines.torch_recurrent import TorchRecurrent
from snnsim.errors import check_choice


class Elman(TorchRecurrent):
    """An Elman network is a layer of ``torch.nn.RNN``.

    Args:
        n_in, n_out: numbers of input and output channels; ``n_out`` units.
        nonlinearity: function ``f``, ``"tanh"`` or ``"relu"``.

    >>> import torch
    >>> y, state = Elman(3, 5)(torch.rand(7, 2, 3))
    >>> tuple(y.shape), sorted(state)
    ((7, 2, 5), ['h'])
    """

    source = "Elman 1990, doi:10.1207/s15516709cog1402_1"

    def __init__(self, n_in: int, n_out: int, *, nonlinearity: str = "tanh"):
        check_choice("nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(n_in, n_out, nn.RNN, nonlinearity=nonlinearity)
