"""Long short-term memory with a forget gate.

    i, f, o = s(W x + U h + b),  g = tanh(W_g x + U_g h + b_g)
    c = f * c + i * g,  h = o * tanh(c)

Source: Gers, Schmidhuber & Cummins 2000, doi:10.1162/089976600300015015. The forget gate's bias
starts at 1 in total.
"""

from __future__ import annotations

import torch
from torch import nn

from snnsim.baselines.torch_recurrent import TorchRecurrent


class LSTM(TorchRecurrent):
    """An LSTM is a layer of ``torch.nn.LSTM``; see ``peephole-lstm`` for the other forms.

    Args:
        n_in, n_out: numbers of input and output channels; ``n_out`` units.

    >>> y, state = LSTM(3, 5)(torch.rand(7, 2, 3))
    >>> sorted(state)
    ['c', 'h']
    """

    source = "Gers, Schmidhuber & Cummins 2000, doi:10.1162/089976600300015015"

    def __init__(self, n_in: int, n_out: int):
        super().__init__(n_in, n_out, nn.LSTM)
        with torch.no_grad():
            for name, value in (("bias_ih_l0", 1.0), ("bias_hh_l0", 0.0)):
                getattr(self.module, name)[n_out : 2 * n_out] = value
