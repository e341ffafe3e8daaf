"""Subspace neurons of one connection: they learn where its activity lives."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.functional.subspace import (
    CLAMP,
    hebbian_update,
    orthonormal_rows,
    outside,
    principal_rows,
    residual,
    scaled_axes,
    subspace_iteration,
)
from snnsim.renamed import renamed
from snnsim.training import distributed

SOLVERS = ("hebbian", "iteration", "covariance")
MEMORY = 200  # batches that an iteration remembers, since activity drifts while weights learn


@renamed({"most_rows": "max_rows"})
class Subspace(nn.Module):
    """Holds lateral weights: frozen rows, and rows that learn in the present task.

    Args:
        size: number of presynaptic channels ``N``.
        solver: ``"hebbian"``: Oja's subspace rule with momentum, as published.
            ``"iteration"``: one step per batch of the power method on a running mean of
            ``x x^T`` kept within the subspace (history PCA, Yang, Hsieh & Wang 2018,
            arXiv:1802.05447). ``"covariance"``: sums ``x x^T`` and takes its principal axes at
            the end of a task.
        rate: learning rate of the Hebbian updates, > 0.
        iterations: number of Hebbian updates per batch.
        levels: number of levels of spiking subspace neurons; 0 for linear ones.
        max_rows: largest number of rows of activity used per batch, evenly spread; 0 for all.
        orthonormal: whether rows are made orthonormal, to each other and to those frozen
            before, when they are frozen. Hebbian rows are so only to about 1e-3, and what is
            protected holds as exactly as they are; rows without a direction of their own are
            dropped.
    """

    frozen: Tensor
    rows: Tensor
    momentum: Tensor
    batches: Tensor
    covariance: Tensor

    def __init__(
        self,
        size: int,
        solver: str = "hebbian",
        rate: float = 0.01,
        iterations: int = 5,
        levels: int = 0,
        max_rows: int = 0,
        orthonormal: bool = True,
    ):
        super().__init__()
        self.size, self.solver, self.rate = size, solver, rate
        self.iterations, self.levels, self.max_rows = iterations, levels, max_rows
        self.orthonormal = orthonormal
        for name in ("frozen", "rows", "momentum"):
            self.register_buffer(name, torch.zeros(0, size))
        self.register_buffer("batches", torch.tensor(0))
        self.register_buffer("covariance", torch.zeros(0, size))

    def grow(self, count: int) -> None:
        """Freeze what was learnt, and add ``count`` rows that learn."""
        learnt = outside(self.rows, self.frozen) if self.orthonormal else self.rows
        self.frozen = torch.cat([self.frozen, learnt])
        self.rows = orthonormal_rows(count, self.size, self.frozen)
        self.momentum = torch.zeros_like(self.rows)
        self.batches.zero_()
        distributed.broadcast(self)

    def project(self, x: Tensor) -> Tensor:
        """Return ``x [..., N]`` less what the frozen rows explain."""
        return residual(x, self.frozen, self.levels)

    def project_change(self, change: Tensor) -> Tensor:
        """Project the change of a weight, which no neuron fires for: never in levels."""
        return residual(change, self.frozen)

    @torch.no_grad()
    def learn(self, x: Tensor, rest: Tensor | None = None) -> None:
        """Learn from a batch of activity ``[R, N]``; ``rest`` is ``project(x)`` if known.

        The frozen rows' part of the update is the same in all iterations and is computed
        once, so an iteration costs ``3 R N k`` for the ``k`` rows that learn, and nothing for
        the frozen ones.
        """
        if 0 < self.max_rows < len(x):
            chosen = torch.arange(self.max_rows) * len(x) // self.max_rows
            x, rest = x[chosen], None if rest is None else rest[chosen]
        if self.solver == "covariance":
            if not len(self.covariance):
                self.covariance = x.new_zeros(self.size, self.size)
            self.covariance += x.t() @ x
            return
        if not len(self.rows):
            return
        rest = self.project(x) if rest is None else rest
        count = torch.tensor([float(len(x))])
        count = distributed.sum_over_processes(count, x.device)
        if self.solver == "iteration":
            self._iterate(rest, float(count))
            return
        for _ in range(self.iterations):
            change = hebbian_update(rest, x, self.rows, self.levels)
            change = distributed.sum_over_processes(change, x.device).div_(float(count))
            self.momentum.mul_(0.9).add_(change.clamp_(-CLAMP, CLAMP), alpha=0.1)
            self.rows.add_(self.momentum, alpha=self.rate)

    def _iterate(self, rest: Tensor, count: float) -> None:
        """``momentum`` holds the axes times the variance along them."""
        self.batches += 1
        weight = 1 / min(int(self.batches), MEMORY)
        products = distributed.sum_over_processes(subspace_iteration(rest, self.rows), rest.device)
        mixed = self.momentum.mul(1 - weight).add_(products, alpha=weight / count)
        if float(mixed.abs().max()) > 0:
            self.rows, self.momentum = scaled_axes(mixed)

    @torch.no_grad()
    def finish(self, most: int, share: float) -> None:
        """Take new rows at the end of a task of the solver ``"covariance"``.

        Args:
            most: largest number of new rows.
            share: fraction of the energy that may stay outside all rows; no more rows are taken
                than that needs.
        """
        if self.solver != "covariance" or not len(self.covariance):
            return
        total = distributed.sum_over_processes(self.covariance, self.covariance.device)
        self.covariance = total.new_zeros(0, self.size)
        rest = residual(residual(total, self.frozen).t(), self.frozen)
        energy = float(total.trace())
        if energy > 0 and float(rest.trace()) > share * energy:
            # the fraction of the whole, as one of the rest
            self.rows = principal_rows(rest, share * energy / float(rest.trace()), most)
            self.momentum = torch.zeros_like(self.rows)
