"""Nonlinear recurrences in parallel: Newton's method on all time steps at once.

The states solve ``F(h)[t] = h[t] - f(p[t], h[t-1]) = 0``. With the Jacobian ``J[t]`` of ``f`` at
the current guess, Newton's update solves ``d[t] - J[t] d[t-1] = -F[t]``: a linear recurrence,
scanned in parallel. Where channels do not mix, ``J`` is diagonal, or has small blocks. Backward
is one linear recurrence from the end with the transposed ``J`` at the solution (the implicit
function theorem); no iteration is unrolled. Source: Danieli et al. 2025 (arXiv:2510.21450),
sections 3 and 4.

Not every recurrence converges: a step with a threshold has no useful ``J``, and recurrent weights
around 1 need more iterations than the loop has steps. So the residual is checked, and the loop
takes over where it is large.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from snnsim.baselines.baseline import DrivenCell, linear
from snnsim.functional import scan as scans
from snnsim.functional.scan import Elements, scan

Transition = Callable[[Tensor, Tensor], Tensor]
ITERATIONS = 8  # at most
TOLERANCE = {torch.float64: 1e-11}  # of the largest residual; others: 1e-6
OTHER_TOLERANCE = 1e-6


class Solution(NamedTuple):
    """A solution has states ``[T, ...]``, the residual after each iteration, and a verdict."""

    states: Tensor
    residuals: list[float]
    converged: bool


def run_diagonal(f: Transition, p: Tensor, h: Tensor) -> Tensor:
    """Return all states of ``h[t] = f(p[t], h[t-1])`` with ``f`` elementwise in ``h``.

    Args:
        f: smooth function that works on ``p [T, ...]`` and states ``[T, ...]`` at once as on one
            step.
        p: what ``f`` gets at each step, ``[T, ...]``.
        h: the state before the first step, ``[...]``.

    Returns:
        The states ``[T, ...]``, with gradients to ``p``, ``h`` and the parameters of ``f``.
    """
    return _run(f, p, h[None], _diagonal_jacobian, _scan_diagonal)


def run_blocks(f: Transition, p: Tensor, h: Tensor) -> Tensor:
    """Return the same for states ``[2, B, N]`` whose two parts mix within a channel."""
    return _run(f, p, h[None], _block_jacobian, _scan_blocks)


def solve(f: Transition, p: Tensor, h: Tensor, iterations: int = ITERATIONS) -> Solution:
    """Return what the iteration alone gives for an elementwise ``f``, converged or not."""
    with torch.no_grad():
        return _solve(f, p, h[None], _diagonal_jacobian, _scan_diagonal, iterations)


def _run(f, p, first, jacobian, scan_) -> Tensor:
    with torch.no_grad():
        found = _solve(f, p, first, jacobian, scan_, ITERATIONS)
    if not found.converged:
        return _loop(f, p, first[0])
    # one more application of f carries the gradients of everything f holds; what comes back
    # through the states before is replaced by the implicit solution of the adjoint
    states = found.states
    before = torch.cat([first, states[:-1]])
    wanted = before.detach()
    J = jacobian(f, p.detach(), wanted)
    outer = f(p, torch.cat([first, wanted[1:]]))
    return _Implicit.apply(outer, J, scan_) if torch.is_grad_enabled() else states


def _loop(f: Transition, p: Tensor, h: Tensor) -> Tensor:
    states = []
    for each in p:
        h = f(each, h)
        states.append(h)
    return torch.stack(states)


def _solve(f, p, first, jacobian, scan_, iterations: int) -> Solution:
    limit = TOLERANCE.get(p.dtype, OTHER_TOLERANCE)
    states = f(p, torch.zeros_like(first).expand(len(p), *first.shape[1:]))
    states = torch.cat([f(p[:1], first), states[1:]])
    residuals: list[float] = []
    for _ in range(iterations + 1):
        before = torch.cat([first, states[:-1]])
        residual = f(p, before) - states
        residuals.append(float(residual.abs().max()) if residual.numel() else 0.0)
        if not residuals[-1] > limit:  # also stops at NaN
            break
        if len(residuals) <= iterations:
            states = states + scan_(jacobian(f, p, before), residual)
    return Solution(states, residuals, residuals[-1] <= limit)


def _diagonal_jacobian(f: Transition, p: Tensor, h: Tensor) -> Tensor:
    """``df/dh`` of an elementwise ``f``."""
    return _slopes(f, p, h, lambda y: (y,))[0]


def _block_jacobian(f: Transition, p: Tensor, h: Tensor) -> Tensor:
    """``[T, 2, 2, B, N]``: rows are outputs."""
    return torch.stack(_slopes(f, p, h, lambda y: y.unbind(1)), 1)


def _slopes(f: Transition, p: Tensor, h: Tensor, parts: Callable[..., Any]) -> list[Tensor]:
    """Derivatives with respect to ``h`` of the parts of ``f``, each along ones."""
    with torch.inference_mode(False), torch.enable_grad():
        p, h = p.detach().clone(), h.detach().clone().requires_grad_()
        return [torch.autograd.grad(y.sum(), h, retain_graph=True)[0] for y in parts(f(p, h))]


def _scan_diagonal(J: Tensor, b: Tensor, transposed: bool = False) -> Tensor:
    return scan(scans.linear, (J, b))[1]


def _scan_blocks(J: Tensor, b: Tensor, transposed: bool = False) -> Tensor:
    J = J.transpose(1, 2) if transposed else J
    return scan(_blocks, (J, b))[1]


def _blocks(earlier: Elements, later: Elements) -> Elements:
    J = torch.einsum("tijbn,tjkbn->tikbn", later[0], earlier[0])
    return J, torch.einsum("tijbn,tjbn->tibn", later[0], earlier[1]) + later[1]


class _Implicit(torch.autograd.Function):
    """Passes ``outer`` on; backward solves ``G[t] = g[t] + J[t+1]^T G[t+1]``."""

    @staticmethod
    def forward(ctx, outer: Tensor, J: Tensor, scan_) -> Tensor:
        ctx.save_for_backward(J)
        ctx.scan = scan_
        return outer.view_as(outer)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor):
        (g,), (J,) = grads, ctx.saved_tensors
        following = torch.cat([J[1:], torch.zeros_like(J[:1])]).flip(0)
        return ctx.scan(following, g.flip(0), True).flip(0), None, None


class DiagonalCell(DrivenCell):
    """A diagonal cell does not mix channels from step to step.

    A subclass writes :meth:`transition`, and says by ``parts`` how many numbers the state of a
    channel has; the output is the first.

    Args:
        n_in, n_out: numbers of input and output channels.
        rows: number of recurrent weights per channel; they start as ``N(0, 4 / (5 n_out))``.
        parallel: whether to run by Newton iterations; where they do not converge, the loop takes
            over. It pays off on GPUs with long sequences, and has no second derivatives.
    """

    tables = ("diagonal",)
    parts = 1
    left_out = "input matrices in blocks: ours are full"

    def __init__(self, n_in: int, n_out: int, rows: int, parallel: bool):
        super().__init__(n_in, n_out)
        self.parallel = parallel
        self.w_in = linear(n_in, 3 * n_out)
        self.diagonal = nn.Parameter(torch.randn(rows, n_out) * (4 / (5 * n_out)) ** 0.5)

    def transition(self, p: Tensor, state: Tensor) -> Tensor:
        """Return the next state, for all steps at once as for one."""
        raise NotImplementedError

    def initial_state(self, batch: int) -> Tensor:
        shape = (batch, self.n_out)
        return self.zeros(*shape) if self.parts == 1 else self.zeros(self.parts, *shape)

    def cell(self, p: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = self.transition(p, state)
        return (state if self.parts == 1 else state[0]), state

    def run(self, x: Tensor, state: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        if not self.parallel:
            return super().run(x, state, lengths)
        solve_all = run_diagonal if self.parts == 1 else run_blocks
        states = solve_all(self.transition, self.project(x), state)
        return (states if self.parts == 1 else states[:, 0]), states[-1]
