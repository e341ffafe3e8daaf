"""Jordan network: recurrence from the output.

    c[t] = a c[t-1] + y[t-1],  h[t] = tanh(W_x x[t] + W_c c[t] + b),  y[t] = tanh(W_y h[t] + b_y)

Source: Jordan 1986 (ICS report 8604); survey: Lipton et al. 2015 (arXiv:1506.00019), section 3.
The network's own output is fed back, in training too: there is no target at every step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnsim.baselines.baseline import DrivenCell, State, linear
from snnsim.errors import check_number


class Jordan(DrivenCell):
    """A Jordan network gets its own past outputs as context.

    Args:
        n_in, n_out: numbers of input and output channels.
        decay: decay ``a`` of the context per step, in [0, 1].
        hidden: number of hidden units; 0 for ``n_out``.

    State: ``{"context", "y"}``, ``[B, n_out]`` each.

    >>> tuple(Jordan(3, 5)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 5)
    """

    source = "Jordan 1986, ICS report 8604"
    left_out = "teacher forcing of the context: there is no target at every step"

    def __init__(self, n_in: int, n_out: int, *, decay: float = 0.5, hidden: int = 0):
        super().__init__(n_in, n_out)
        check_number("decay", decay, 0, 1)
        self.decay, hidden = decay, hidden or n_out
        self.w_in = linear(n_in, hidden)
        self.w_context = linear(n_out, hidden, bias=False)
        self.w_out = linear(hidden, n_out)

    def initial_state(self, batch: int) -> State:
        return {name: self.zeros(batch, self.n_out) for name in ("context", "y")}

    def cell(self, p: Tensor, state: State) -> tuple[Tensor, State]:
        context = self.decay * state["context"] + state["y"]
        h = torch.tanh(p + self.w_context(context)[0])
        y = torch.tanh(self.w_out(h)[0])
        return y, {"context": context, "y": y}
