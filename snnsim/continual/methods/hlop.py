"""HLOP: Hebbian learning based orthogonal projection.

Subspace neurons of every connection learn, by Hebbian and anti-Hebbian changes of their
lateral weights, where the activity of a task lives (:mod:`snnsim.functional.subspace`). Later
tasks change the connection's weights only outside of it. Source: Xiao, Meng, Zhang, He & Lin
2024 (ICLR, arXiv:2402.11984), section 4.

From the second task on, everything without such a guarantee is frozen: statistics and scale of
batch normalisation, thresholds and time constants, biases of shared parts, delays (which are
rounded). The head of a task of its own is an ordinary layer and learns freely, bias included.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from snnsim.continual.learner import Learner
from snnsim.continual.method import Method, bytes_of, freeze_statistics
from snnsim.continual.presynaptic import (
    Connection,
    Part,
    as_matrix,
    from_matrix,
    rows_of,
    shared_connections,
    weight_of,
)
from snnsim.continual.subspace import SOLVERS, Subspace
from snnsim.data import Batch
from snnsim.errors import ConfigError, check_choice, check_number
from snnsim.synapses import Delayed, Dense, Recurrent
from snnsim.synapses.delayed import PER_SYNAPSE
from snnsim.training.rules import PlasticConnection
from snnsim.training.rules.dsr import RateLIF, weighted_mean

FEW_OUTPUTS = 64  # with fewer, projecting the gradient is cheaper than projecting activity
PROJECTIONS = ("auto", "input", "gradient", "update")
Sizes = Sequence[Sequence[int]]


class HLOP(Method):
    """HLOP projects the weight updates of every connection out of a learned subspace.

    Args:
        sizes: for every task, the number of new subspace neurons of every connection (body
            first, then a shared head); the last entry serves all later tasks. ``None``: a tenth
            of the connection's inputs in every task.
        rates: Hebbian learning rate, > 0: one for all connections or a list of one for each.
        solver: ``"hebbian"`` as published, ``"iteration"``: one step of the power method per
            batch, or ``"covariance"``: principal axes at the end of a task, as many (up to
            ``sizes``, if given) as leave ``fraction`` of the energy outside. For these two
            ``rates``, ``iterations`` and ``levels`` have no meaning while learning.
        fraction: fraction of the energy of a task's activity that may stay outside the subspace,
            from 0 to 1; for the solver ``"covariance"`` only.
        iterations: number of Hebbian updates per batch.
        levels: number of steps of spiking subspace neurons; 0 for linear ones. Activity is
            projected by them; changes of weights, whose coefficients are far below a step, never
            are.
        max_rows: largest number of presynaptic rows used per batch, evenly spread; 0 for all.
        orthonormal: whether a finished task's rows are made orthonormal, which makes the
            protection exact; ``False`` as published.
        projection: ``"input"`` projects what carries the weight update, ``"gradient"`` the
            weight's gradient, with equal results without ``levels``; ``"update"`` the change of
            the weight after the optimiser's step, which holds for any optimiser. ``"auto"``:
            ``"update"`` unless the optimiser is plain SGD, else the cheaper of the others.

    >>> HLOP(sizes=[[80, 200, 100], [70, 70, 70]]).sizes_of(5, 3)
    [70, 70, 70]
    """

    former: ClassVar[dict[str, str]] = {"share": "fraction", "most_rows": "max_rows"}

    def __init__(
        self,
        sizes: Sizes | None = None,
        *,
        rates: float | Sequence[float] = 0.01,
        solver: str = "hebbian",
        fraction: float = 0.02,
        iterations: int = 5,
        levels: int = 0,
        max_rows: int = 0,
        orthonormal: bool = True,
        projection: str = "auto",
    ):
        check_choice("solver", solver, SOLVERS)
        check_choice("projection", projection, PROJECTIONS)
        check_number("fraction", fraction, 0, 1)
        for name, value in (("iterations", iterations), ("levels", levels)):
            check_number(name, value, 0)
        check_number("max_rows", max_rows, 0)
        for given in sizes or ():
            for size in given:
                check_number("an entry of sizes", size, 0)
        if sizes is not None and not len(sizes):
            raise ConfigError("sizes is empty; give a list of numbers for every task, or no sizes")
        for rate in rates if isinstance(rates, Sequence) else [rates]:
            check_number("an entry of rates", rate, above=0)
        self.sizes, self.rates, self.fraction, self.projection = sizes, rates, fraction, projection
        self.options: dict[str, Any] = {
            "solver": solver,
            "iterations": iterations,
            "levels": levels,
            "max_rows": max_rows,
            "orthonormal": orthonormal,
        }
        self.task = 0
        self.inside: Tensor | None = None  # [T, B], which steps are within their samples

    def on_attach(self, learner: Learner, optimizer: str) -> None:
        self.connections = protected(learner)
        _check_online(learner, self.connections)
        count = len(self.connections)
        rates = list(self.rates) if isinstance(self.rates, Sequence) else [self.rates] * count
        for given, what in ((rates, "rates"), *((s, "sizes") for s in self.sizes or ())):
            if len(given) != count:
                raise ConfigError(
                    f"{what} has {len(given)} entries but the network has {count} connections "
                    f"to protect: {', '.join(self.connections)}"
                )
        self.subspaces: dict[str, Subspace] = {}
        self.modes: dict[str, str] = {}
        for (name, module), rate in zip(self.connections.items(), rates, strict=True):
            weight = weight_of(module)
            size = as_matrix(module, weight).shape[1]
            self.subspaces[name] = Subspace(size, rate=rate, **self.options).to(weight)
            self.modes[name] = self._mode(module, optimizer)
        decays = {m.decay for m in learner.modules() if isinstance(m, RateLIF)}
        self.decay = next(iter(decays), 1.0)
        for name, module in self.connections.items():
            if isinstance(module, PlasticConnection):
                self.on_detach(setattr, module, "observe", module.observe)
                module.observe = partial(self._carry, name)
            else:
                self.listen({name: module}, self._hear)

    def _mode(self, module: nn.Module | Part, optimizer: str) -> str:
        dense = isinstance(module, PlasticConnection) and isinstance(module.inner, Dense)
        if self.projection == "auto":
            if optimizer != "sgd":
                return "update"
            return "input" if dense and len(weight_of(module)) >= FEW_OUTPUTS else "gradient"
        if self.projection != "update" and optimizer != "sgd":
            raise ConfigError(
                f"projection {self.projection!r} with the optimiser {optimizer!r}: scaling each "
                "weight by itself turns a projected gradient out of its subspace; use "
                "projection='update' (or 'auto')"
            )
        if self.projection == "input" and not dense:
            return "gradient"  # equal, and far cheaper than projecting patches
        return self.projection

    def sizes_of(self, task: int, count: int) -> list[int]:
        """Return the number of new subspace neurons of each connection in a task."""
        if self.sizes is None:
            return [max(s.size // 10, 1) for s in self.subspaces.values()]
        return list(self.sizes[min(task, len(self.sizes) - 1)])[:count]

    def on_batch(self, batch: Batch, task: int) -> None:
        """Take the batch whose activity comes next: what its padding causes is not learned."""
        steps, lengths = torch.arange(len(batch.x), device=batch.x.device), batch.lengths
        self.inside = steps[:, None] < lengths.to(batch.x.device)

    def within(self, rows: Tensor, x: Tensor) -> Tensor:
        """Select the rows, of ``[R, N]`` from ``x [T, B, ...]``, whose step lies in its sample.

        All rows remain where steps are not those of the batch: still images, rates, online
        training.
        """
        inside = self.inside
        if inside is None or len(inside) == 1 or x.shape[:2] != inside.shape or not len(rows):
            return rows
        return rows.unflatten(0, (inside.numel(), -1))[inside.flatten()].flatten(0, 1)

    def learn(self, name: str, rows: Tensor, rest: Tensor | None) -> None:
        """Learn from a batch of activity ``[R, N]``; ``rest`` is its projection, if known."""
        self.subspaces[name].learn(rows, rest)

    def _carry(self, name: str, x: Tensor, carried: Tensor) -> Tensor:
        """See what enters a connection in training; returns what carries its weight update."""
        if not self.observes:
            return carried
        module, subspace = self.connections[name], self.subspaces[name]
        projects = self.task > 0 and self.modes[name] == "input"
        learning = self.learner.learning
        if learning == "dsr":
            x = weighted_mean(x, self.decay)[None]
        rows = rows_of(module, x)
        if learning == "ottt" and carried is not x:
            rows = torch.cat([rows, rows_of(module, carried)])
        same = projects and rows.numel() == carried.numel()
        rest = subspace.project(rows) if same else None
        seen = None if rest is None else self.within(rest, x)
        self.learn(name, self.within(rows, x), seen)
        if not projects:
            return carried
        return subspace.project(carried) if rest is None else rest.view_as(carried)

    def _hear(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        """See what entered and left a connection that is under no learning rule."""
        if not (module.training and torch.is_grad_enabled() and self.observes):
            return
        x, y = inputs[0].detach(), output[0].detach()
        if self.learner.learning == "dsr":
            x, y = (weighted_mean(a, self.decay)[None] for a in (x, y))
        rows = rows_of(self.connections[name], x, y)  # perhaps a part of the module
        if len(y) == len(x):  # not where delays lengthen a sequence
            rows = self.within(rows, x)
        self.learn(name, rows, None)

    def on_task_start(self, task: int) -> None:
        sizes = self.sizes_of(task, len(self.subspaces))
        grows = self.options["solver"] != "covariance"
        for subspace, size in zip(self.subspaces.values(), sizes, strict=True):
            subspace.grow(size if grows else 0)

    def on_epoch_start(self, task: int) -> None:
        self.task = task
        freeze_statistics(self, task)

    def trains(self, name: str, parameter: nn.Parameter, task: int) -> bool:
        own_head = name.startswith("heads.") and not self.learner.shares_head
        protected = any(parameter is weight_of(m) for m in self.connections.values())
        return task == 0 or own_head or protected

    def on_gradients(self, task: int) -> None:
        self.before: dict[str, Tensor] = {}
        for name, module in self.connections.items() if task > 0 else ():
            weight = weight_of(module)
            if self.modes[name] == "update":
                self.before[name] = weight.detach().clone()
            elif self.modes[name] == "gradient" and weight.grad is not None:
                weight.grad = self._outside(name, module, weight.grad)

    def on_step_end(self, task: int) -> None:
        for name, before in self.before.items():
            module = self.connections[name]
            weight = weight_of(module)
            with torch.no_grad():
                weight.copy_(before + self._outside(name, module, weight - before))

    def allowed(self, parameter: nn.Parameter, change: Tensor) -> Tensor:
        for name, module in self.connections.items() if self.task > 0 else ():
            if parameter is weight_of(module):
                return self._outside(name, module, change)
        return change

    def _outside(self, name: str, module: nn.Module | Part, change: Tensor) -> Tensor:
        matrix = self.subspaces[name].project_change(as_matrix(module, change))
        return from_matrix(module, matrix, change)

    def on_task_end(self, task: int) -> None:
        sizes = self.sizes_of(task, len(self.subspaces))
        for subspace, size in zip(self.subspaces.values(), sizes, strict=True):
            subspace.finish(subspace.size if self.sizes is None else size, self.fraction)

    def tensors(self) -> dict[str, Tensor]:
        return {
            f"{name}.{key}": value
            for name, subspace in self.subspaces.items()
            for key, value in subspace.state_dict().items()
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        for name, subspace in self.subspaces.items():
            for key in subspace.state_dict():
                held = tensors[f"{name}.{key}"].clone().to(subspace.rows.device)
                setattr(subspace, key, held)

    def memory_bytes(self) -> int:
        """Return the bytes of lateral weights; what only a running task needs is not counted."""
        return bytes_of(t for s in self.subspaces.values() for t in (s.frozen, s.rows))


def _check_online(learner: Learner, connections: dict[str, Connection]) -> None:
    """Online training shows one step at a time: what entered before is not seen."""
    for name, module in connections.items() if learner.learning == "ottt" else ():
        delayed = isinstance(module, Delayed) and module.granularity != "dendritic"
        if delayed or isinstance(module, Recurrent | Part):
            raise ConfigError(
                f"{name} passes on activity of earlier steps, which training 'ottt' does not show "
                "to the subspace; use training='bptt', or dense and convolutional connections"
            )


def protected(learner: Learner) -> dict[str, Connection]:
    """Return the connections whose updates are projected: the body's, and a shared head's."""
    found = shared_connections(learner)
    for name, module in found.items():
        if isinstance(module, Delayed) and module.granularity == "synaptic":
            raise ConfigError(f"HLOP cannot protect {name}, Delayed(synaptic): {PER_SYNAPSE}")
        if isinstance(module, Recurrent) and not bool(module.mask.all()):
            raise ConfigError(
                f"HLOP cannot protect {name}: without self-connections every output sees other "
                "units, and one subspace cannot protect all; use self_connections=True"
            )
    if not found:
        raise ConfigError(
            "the network has no connection whose activity can be protected; give it a layer such "
            "as snnsim.Dense"
        )
    return found
