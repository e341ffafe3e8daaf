"""LSTM with peepholes, and the original one without a forget gate.

    i, f = s(W x + U h + p * c + b),  g = tanh(W_g x + U_g h + b_g)
    c' = f * c + i * g,  o = s(W_o x + U_o h + p_o * c' + b_o),  h = o * tanh(c')

Without the forget gate ``f = 1``. Source: Hochreiter & Schmidhuber 1997,
doi:10.1162/neco.1997.9.8.1735; Gers & Schmidhuber 2000, doi:10.1109/IJCNN.2000.861302.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import DrivenCell, State, bias_of, linear


class PeepholeLSTM(DrivenCell):
    """A peephole LSTM is one of the LSTMs that torch.nn does not have.

    Args:
        n_in, n_out: numbers of input and output channels; ``n_out`` units.
        peepholes: whether the gates see the state ``c``.
        forget_gate: whether there is a forget gate; its bias starts at 1.

    State: ``{"h", "c"}``, ``[B, n_out]`` each.

    >>> original = PeepholeLSTM(3, 5, peepholes=False, forget_gate=False)
    >>> tuple(original(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 5)
    """

    tables = ("peephole",)
    source = "Gers & Schmidhuber 2000, doi:10.1109/IJCNN.2000.861302"

    def __init__(self, n_in: int, n_out: int, *, peepholes: bool = True, forget_gate: bool = True):
        super().__init__(n_in, n_out)
        self.forget_gate = forget_gate
        gates = 4 if forget_gate else 3
        self.w_in = linear(n_in, gates * n_out)
        self.w_rec = linear(n_out, gates * n_out, bias=False)
        self.peephole = nn.Parameter(torch.zeros(gates - 1, n_out)) if peepholes else None
        if forget_gate:
            bias_of(self.w_in)[3 * n_out :] = 1.0

    def initial_state(self, batch: int) -> State:
        return {name: self.zeros(batch, self.n_out) for name in ("h", "c")}

    def cell(self, p: Tensor, state: State) -> tuple[Tensor, State]:
        c = state["c"]
        g, i, o, *f = (p + self.w_rec(state["h"])[0]).chunk(3 + self.forget_gate, -1)
        peephole = torch.zeros(3, 1).to(c) if self.peephole is None else self.peephole
        kept = torch.sigmoid(f[0] + peephole[2] * c) * c if f else c
        c = kept + torch.sigmoid(i + peephole[0] * c) * torch.tanh(g)
        h = torch.sigmoid(o + peephole[1] * c) * torch.tanh(c)
        return h, {"h": h, "c": c}
