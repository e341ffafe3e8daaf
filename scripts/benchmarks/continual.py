"""A training step of HLOP: as it is, as published, and the network's own part of it."""

from __future__ import annotations

import numpy as np
import torch
from snnsim_datasets.tools.images import Images
from snnsim_experiments import resolve
from snnsim_experiments.continual import networks
from torch import Tensor, nn

from benchmarks.measure import Case, Run
from snnsim.continual import HLOP, Learner, Subspace, permuted
from snnsim.training.rules import connections


class Published(Subspace):
    """Every iteration over all rows, frozen ones too, whose change is then set to 0."""

    @torch.no_grad()
    def learn(self, x: Tensor, rest: Tensor | None = None) -> None:
        count = len(self.frozen)
        rows = torch.cat([self.frozen, self.rows])
        momentum = torch.cat([torch.zeros_like(self.frozen), self.momentum])
        for _ in range(self.iterations):
            y = x @ rows.t()
            change = (y.t() @ (x - y @ rows) / len(x)).clamp_(-10, 10)
            change[:count] = 0
            momentum = 0.9 * momentum + 0.1 * change
            rows = rows + self.rate * momentum
        self.rows, self.momentum = rows[count:], momentum[count:]


def _learner(learning: str) -> Learner:
    pixels = np.random.default_rng(0).integers(0, 255, (640, 1, 28, 28)).astype(np.uint8)
    labels = np.arange(640) % 10
    data = Images(pixels, labels, tuple("0123456789"), (0.13,), (0.31,))
    torch.manual_seed(0)
    steps = {"bptt": 6, "dsr": 20}[learning]  # as published
    changes = {"network.learning": learning, "network.steps": steps}
    config = resolve("pmnist", method="hlop", changes=changes)
    stream = permuted("p", (data, None, data), 10)
    return networks.build(stream, model=config.model, **config.network)


def hlop_step(task: int, learning: str = "bptt") -> Case:
    """One batch of 64 of permuted MNIST in a task, without the optimiser.

    As published, DSR takes gradients at every step, and all rows take part in every iteration.

    Args:
        task: from 1 on; the frozen rows are random ones.
        learning: ``"bptt"`` or ``"dsr"``.
    """

    def network() -> tuple[Learner, Run]:
        learner = _learner(learning)
        batch = learner.stream.tasks[task].train.batch(range(64))

        def run():
            learner.zero_grad(set_to_none=True)
            scores = learner.scores(batch.x, task)
            nn.functional.cross_entropy(scores, batch.labels).backward()

        return learner, run

    def alone() -> Run:
        return network()[1]

    def hlop(kind: type[Subspace], max_rows: int = 0, solver: str = "hebbian") -> Run:
        learner, step = network()
        options = resolve("pmnist", method="hlop").method_options
        method = HLOP(**(options | {"max_rows": max_rows, "solver": solver}))
        method.attach(learner)
        for subspace in method.subspaces.values():
            subspace.__class__ = kind
        for connection in connections(learner).values() if kind is Published else ():
            connection.rate_decay = None
        torch.manual_seed(1)
        for each in range(task + 1):
            method.on_task_start(each)
        method.on_epoch_start(task)
        learner.train()

        def run():
            step()
            method.on_gradients(task)
            subspaces = method.subspaces.values()
            weights = [p.grad for p in learner.parameters()]
            return [*weights, *(s.rows.clone() for s in subspaces)]

        return run

    contestants = {
        "snnsim": lambda: hlop(Subspace),
        "snnsim, 256 of 384 rows": lambda: hlop(Subspace, max_rows=256),
        "as published": lambda: hlop(Published),
        "the network alone": alone,
    }
    contestants["snnsim, power method"] = lambda: hlop(Subspace, solver="iteration")
    if learning == "dsr":  # whose rows are rates, 64 per batch
        del contestants["snnsim, 256 of 384 rows"]
    name = f"HLOP by {learning.upper()}, a batch of permuted MNIST in task {task + 1}"
    return Case(name, contestants, same={"as published": 1e-4})
