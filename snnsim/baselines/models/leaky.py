"""Leaky recurrent network with a time constant per neuron.

    h[t] = f((1 - 1/tau) h[t-1] + (1/tau) (W h[t-1] + b + W_in x[t])),  f = leaky ReLU

``W`` has no diagonal, ``tau >= 1`` (in steps) is learnt. The nonlinearity wraps the leak too.
Source: Khajehabdollahi et al. 2023 (arXiv:2309.12927), equation 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import DrivenCell, State, linear


class Leaky(DrivenCell):
    """A leaky layer is the rate-coded twin of leaky integrate-and-fire neurons.

    Args:
        n_in, n_out: numbers of input and output channels; ``n_out`` units.

    State: ``{"h": [B, n_out]}``. The time constants are ``tau [n_out]``.

    >>> net = Leaky(3, 5)
    >>> tuple(net(torch.rand(7, 2, 3))[0].shape), bool((net.tau >= 1).all())
    ((7, 2, 5), True)
    """

    source = "Khajehabdollahi et al. 2023, arXiv:2309.12927"
    left_out = "the random initial state: it starts at 0, so that results can be repeated"

    def __init__(self, n_in: int, n_out: int):
        super().__init__(n_in, n_out)
        self.w_in = linear(n_in, n_out)
        self.w_rec = linear(n_out, n_out, bias=False)
        self.time_constant = nn.Parameter(1 + torch.rand(n_out))

    @property
    def tau(self) -> Tensor:
        """The time constants in steps, 1 or more; below there is no gradient."""
        return self.time_constant.clamp(min=1.0)

    def initial_state(self, batch: int) -> State:
        return {"h": self.zeros(batch, self.n_out)}

    def cell(self, p: Tensor, state: State) -> tuple[Tensor, State]:
        h, rate = state["h"], 1 / self.tau
        drive = p + self.w_rec(h)[0] - h * self.w_rec.weight.diagonal()  # none to itself
        h = nn.functional.leaky_relu((1 - rate) * h + rate * drive)
        return h, {"h": h}
