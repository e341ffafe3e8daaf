"""Quasi-LSTM: an LSTM whose gates do not see the state.

    L = s(W_f x + b),  h[t] = L h[t-1] + (1 - L) W x[t],  y[t] = s(W_o x + b_o) * h[t]

With ``sharpness`` ``c`` the gate is reversed, ``L = 1 - s(W_f x + b)^c``, flat near one. Source:
Bradbury et al. 2017 (arXiv:1611.01576); as a dynamical system Sieber et al. 2024
(arXiv:2405.15731), section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import State, bias_of, linear
from snnsim.baselines.ltv import LinearModel, Matrices


class QuasiLSTM(LinearModel):
    """A quasi-LSTM has one decay per channel and step.

    Args:
        n_in, n_out: numbers of input and output channels; ``n_out`` units.
        sharpness: ``c`` of the reversed gate ``L = 1 - s(W_f x + b)^c``; 0 for the plain gate.

    State: ``[B, n_out]``.

    >>> tuple(QuasiLSTM(3, 5)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 5)
    """

    residual = True
    source = "Bradbury et al. 2017, arXiv:1611.01576; Sieber et al. 2024, arXiv:2405.15731"
    left_out = "the reversed gate's exact form is not confirmed; ours is stated in the equation"

    def __init__(self, n_in: int, n_out: int, *, sharpness: float = 0.0):
        super().__init__(n_in, n_out)
        self.sharpness = sharpness
        self.gates = linear(n_in, 2 * n_out)
        self.value = linear(n_in, n_out, bias=False)
        bias_of(self.gates)[:n_out] += -1.0 if sharpness else 1.0  # remembers a few steps at first

    def initial_state(self, batch: int) -> State:
        return self.zeros(batch, self.n_out)

    def _gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        forget, output = self.gates(x)[0].chunk(2, -1)
        if self.sharpness:  # 1 - s(f)^sharpness, without the infinite slope of a power at 0
            decay = -torch.expm1(self.sharpness * nn.functional.logsigmoid(forget))
        else:
            decay = torch.sigmoid(forget)
        return decay, torch.sigmoid(output)

    def terms(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        decay, output = self._gates(x)
        return decay, (1 - decay) * self.value(x)[0], output

    def read(self, h: Tensor, context: Tensor) -> Tensor:
        return context * h

    def ltv(self, x: Tensor) -> Matrices:
        decay, output = self._gates(x)
        entry = (1 - decay).unsqueeze(-1) * self.value.weight
        return Matrices(decay, entry, torch.diag_embed(output))
