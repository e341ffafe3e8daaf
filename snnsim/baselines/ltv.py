"""Linear time-varying recurrences: one base for attention, state-space and gated linear models.

    h[t] = L[t] h[t-1] + B[t] x[t],  y[t] = C[t] h[t] + D[t] x[t]

with matrices that depend on ``x[t]`` (and, through a normaliser, on what came before). ``L`` is
diagonal here unless said otherwise. Source: Sieber et al. 2024 (arXiv:2405.15731).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnsim.baselines.baseline import Baseline, State
from snnsim.functional.scan import linear_recurrence

CACHED_VALUES = 1 << 19  # 2 MB of float32, a half of what a core's caches hold


class Matrices(NamedTuple):
    """The matrices say what a linear model does with an input, step by step.

    Attributes:
        transition: ``L``, its diagonal ``[T, B, n]`` or the matrices ``[T, B, n, n]``.
        entry: ``B``, ``[T, B, n, n_in]``.
        read: ``C``, ``[T, B, n_out, n]``.
        direct: ``D``, ``[T, B, n_out, n_in]``, or ``None``.
    """

    transition: Tensor
    entry: Tensor
    read: Tensor
    direct: Tensor | None = None


def simulate(matrices: Matrices, x: Tensor) -> Tensor:
    """Return outputs ``[T, B, n_out]`` of the recurrence from a state of 0, by a plain loop.

    >>> ones = torch.ones(3, 1, 1, 1)
    >>> integrator = Matrices(torch.ones(3, 1, 1), ones, ones)
    >>> simulate(integrator, torch.ones(3, 1, 1)).flatten().tolist()
    [1.0, 2.0, 3.0]
    """
    L, B, C, D = matrices
    h, outputs = x.new_zeros(L.shape[1:3]), []
    for t in range(len(x)):
        drive = (B[t] @ x[t].unsqueeze(-1)).squeeze(-1)
        kept = L[t] * h if L.dim() == 3 else (L[t] @ h.unsqueeze(-1)).squeeze(-1)
        h = kept + drive
        y = (C[t] @ h.unsqueeze(-1)).squeeze(-1)
        outputs.append(y if D is None else y + (D[t] @ x[t].unsqueeze(-1)).squeeze(-1))
    return torch.stack(outputs)


def memory_steps(matrices: Matrices) -> Tensor:
    """Return how many steps each state remembers, ``mean(1 / (1 - |L|))``, ``[n]``, at most 1e6.

    >>> L = torch.full((3, 1, 1), 0.9)
    >>> round(float(memory_steps(Matrices(L, L[..., None], L[..., None]))))
    10
    """
    size = matrices.transition
    size = size.abs() if size.dim() == 3 else torch.linalg.vector_norm(size, 2, dim=-1)
    return (1 / (1 - size).clamp(min=1e-6)).mean((0, 1))


def in_pieces(
    run: Callable[[Tensor, State], tuple[Tensor, State]], x: Tensor, state: State, values: int
) -> tuple[Tensor, State]:
    """Return ``run(x, state)``, computed a few steps at a time on a CPU.

    A state much larger than an input makes tensors ``[T, B, ...]`` that no cache holds; pieces
    that fit halve the time. The results are the same.

    Args:
        run: function from inputs ``[T, B, n]`` and a state to outputs ``[T, B, m]`` and the next
            state.
        x: inputs ``[T, B, n]``.
        state: the state before them.
        values: how many numbers a step makes.
    """
    steps = max(CACHED_VALUES // max(values, 1), 1)
    if x.device.type != "cpu" or len(x) <= steps:
        return run(x, state)
    outputs = []
    for piece in x.split(steps):
        y, state = run(piece, state)
        outputs.append(y)
    return torch.cat(outputs), state


class LinearModel(Baseline):
    """A linear model is a baseline whose state follows an elementwise linear recurrence.

    A subclass writes :meth:`terms` and :meth:`read`, and :meth:`ltv` where it can give its
    matrices. The state is one tensor ``[B, ...]``.
    """

    def terms(self, x: Tensor) -> tuple[Tensor, Tensor, Any]:
        """Return decays and drives ``[T, B, ...]`` of the state, and what :meth:`read` needs."""
        raise NotImplementedError

    def read(self, h: Tensor, context: Any) -> Tensor:
        """Return outputs ``[T, B, n_out]`` from all states."""
        raise NotImplementedError

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        return in_pieces(self._run, x, state, state.numel())

    def _run(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        decay, drive, context = self.terms(x)
        h = linear_recurrence(decay, drive, state)
        return self.read(h, context), h[-1]

    def ltv(self, x: Tensor) -> Matrices:
        """Return the matrices with which :func:`simulate` gives this model's outputs from 0."""
        raise NotImplementedError(f"{type(self).__name__} does not give its matrices")
