"""Reference rung of the event-driven layer: one step after the other, in torch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snnsim.kernels.derive import Equations


class Connections(NamedTuple):
    """Weights and targets ``[I, F]`` of the inputs, and recurrent weights ``[N, N]`` or none."""

    weight: Tensor
    target: Tensor
    w_rec: Tensor


def forward(
    equations: Equations,
    x: Tensor,
    pending: Tensor,
    state: Tensor,
    params: Tensor,
    bias: Tensor,
    connections: Connections,
) -> tuple[Tensor, Tensor, Tensor]:
    """See README.md."""
    weight, target, w_rec = connections
    T, B, _ = x.shape
    N = state.shape[2]
    rows = pending.shape[1]
    currents = torch.cat([pending, x.new_zeros((B, T, N))], dim=1)
    y = x.new_empty((T, B, N))
    states = state.unbind(0)
    for t in range(T):
        window = currents[:, t : t + rows + 1].reshape(B, -1)
        spread = (x[t].unsqueeze(2) * weight).flatten(1)
        window.index_add_(1, target.flatten().long(), spread)
        currents[:, t : t + rows + 1] = window.view(B, rows + 1, N)
        y[t], states = equations(currents[:, t] + bias, states, params.unbind(0))
        if len(w_rec):
            currents[:, t + 1] += y[t] @ w_rec
    return y, currents[:, T:].clone(), torch.stack(list(states))
