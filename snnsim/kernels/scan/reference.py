"""Reference rung of the scans: a loop over time in torch, differentiated by autograd."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from snnsim.kernels.derive import Equations

# recurrent weights ``[N, N]``, to by from, and the output of the step before the first, ``[B, N]``
Feedback = tuple[Tensor, Tensor]


def steps(
    equations: Equations, x: Tensor, state: Tensor, params: Tensor, feedback: Feedback | None = None
) -> Iterator[tuple[Tensor, tuple[Tensor, ...]]]:
    """Output and states after every step; for the arguments see :func:`scan`."""
    states, rows = state.unbind(0), params.unbind(0)
    w_rec, output = (x, x) if feedback is None else feedback
    for x_t in x.unbind(0):
        current = x_t if feedback is None else x_t + output @ w_rec.t()
        output, states = equations(current, states, rows)
        yield output, states


def scan(
    equations: Equations, x: Tensor, state: Tensor, params: Tensor, feedback: Feedback | None = None
) -> tuple[Tensor, Tensor]:
    """Apply a neuron's step at every time step.

    Args:
        equations: the neuron's equations.
        x: input current, ``[T, B, N]``.
        state: initial state variables, stacked, ``[S, B, N]``.
        params: parameters, one row each, ``[P, N]``.
        feedback: of a recurrent layer, whose current is ``x[t] + w_rec @ y[t-1]``.

    Returns:
        ``(y, final_state)`` of shapes ``[T, B, N]`` and ``[S, B, N]``.
    """
    outputs, last = [], tuple(state.unbind(0))
    for output, states in steps(equations, x, state, params, feedback):
        outputs.append(output)
        last = states
    y = torch.stack(outputs) if outputs else torch.empty_like(x)
    return y, torch.stack(list(last))


def trace(
    equations: Equations, x: Tensor, state: Tensor, params: Tensor, feedback: Feedback | None = None
) -> tuple[Tensor, Tensor]:
    """Like :func:`scan`, but returns ``(y, states)`` with every state at every step.

    ``states`` is ``[T, S, B, N]``: the values after each step.
    """
    taken = list(steps(equations, x, state, params, feedback))
    if not taken:
        return torch.empty_like(x), x.new_empty((0, *state.shape))
    y = torch.stack([output for output, _ in taken])
    return y, torch.stack([torch.stack(list(states)) for _, states in taken])
