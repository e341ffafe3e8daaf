"""Reference rung of the recurrent scan: a loop over time in torch, differentiated by autograd."""

from __future__ import annotations

import torch

from snnsim.kernels.derive import Equations


def recurrent_scan(equations: Equations, x, state, params, w_rec, y0):
    """Apply a neuron's step to ``x[t] + w_rec @ y[t-1]`` at every time step.

    Args:
        equations: the neuron's equations.
        x: input current, ``[T, B, N]``.
        state: initial state variables, stacked, ``[S, B, N]``.
        params: parameters, one row each, ``[P, N]``.
        w_rec: recurrent weights ``[to, from]``, ``[N, N]``.
        y0: output of the step before the first, ``[B, N]``.

    Returns:
        ``(y, final_state)`` of shapes ``[T, B, N]`` and ``[S, B, N]``.
    """
    outputs = []
    states, rows, output = state.unbind(0), params.unbind(0), y0
    for x_t in x.unbind(0):
        output, states = equations(x_t + output @ w_rec.t(), states, rows)
        outputs.append(output)
    y = torch.stack(outputs) if outputs else torch.empty_like(x)
    return y, torch.stack(list(states))
