"""Reference rung of the scan: a loop over time in torch, differentiated by autograd."""

from __future__ import annotations

import torch

from snnsim.kernels.derive import Equations


def scan(equations: Equations, x, state, params):
    """Apply a neuron's step at every time step.

    Args:
        equations: the neuron's equations.
        x: input current, ``[T, B, N]``.
        state: initial state variables, stacked, ``[S, B, N]``.
        params: parameters, one row each, ``[P, N]``.

    Returns:
        ``(y, final_state)`` of shapes ``[T, B, N]`` and ``[S, B, N]``.
    """
    outputs = []
    states, rows = state.unbind(0), params.unbind(0)
    for x_t in x.unbind(0):
        output, states = equations(x_t, states, rows)
        outputs.append(output)
    y = torch.stack(outputs) if outputs else torch.empty_like(x)
    return y, torch.stack(list(states))


def trace(equations: Equations, x, state, params):
    """Like :func:`scan`, but returns ``(y, states)`` with every state at every step.

    ``states`` is ``[T, S, B, N]``: the values after each step.
    """
    outputs, traces = [], []
    states, rows = state.unbind(0), params.unbind(0)
    for x_t in x.unbind(0):
        output, states = equations(x_t, states, rows)
        outputs.append(output)
        traces.append(torch.stack(list(states)))
    if not outputs:
        return torch.empty_like(x), x.new_empty((0, *state.shape))
    return torch.stack(outputs), torch.stack(traces)
