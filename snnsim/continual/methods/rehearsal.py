"""Rehearsal, on top of any method: after every task, train on samples kept of all tasks.

The first samples of every class are kept. After each task but the first, the weights that the
method within trains take further steps on the mean loss over all tasks, with SGD and a cosine
schedule; nothing is projected, and nothing is learned of the activity. On fine-tuning this is the
published baseline "memory replay", on HLOP its extension. Source: Xiao et al. 2024 (ICLR,
arXiv:2402.11984), appendix; constants of its experiments.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from snnsim import checkpoint
from snnsim.continual import methods
from snnsim.continual.buffer import first_of_each_class, stored_bytes
from snnsim.continual.learner import Learner
from snnsim.continual.method import Method
from snnsim.continual.wrapper import Wrapper
from snnsim.errors import ConfigError, check_number
from snnsim.layer import evaluating
from snnsim.training.schedules import cosine


class Rehearsal(Wrapper):
    """Rehearsal trains on kept samples of all tasks after every task.

    Args:
        on: name of the method it is put on, with that method's own defaults.
        inner: the method itself, instead of its name.
        per_class: number of samples kept per class and task.
        epochs: number of passes over the kept samples after a task.
        batch_size: number of samples per task and step.
        lr: learning rate at the start, > 0.
    """

    needs_scores = True

    def __init__(
        self,
        on: str = "fine-tuning",
        inner: Method | None = None,
        per_class: int = 50,
        epochs: int = 20,
        batch_size: int = 50,
        lr: float = 1e-3,
    ):
        super().__init__(methods.get(on)() if inner is None else inner)
        counts = {"per_class": per_class, "epochs": epochs, "batch_size": batch_size}
        for name, value in counts.items():
            check_number(name, value, 1)
        check_number("lr", lr, above=0)
        self.per_class, self.epochs, self.batch_size, self.lr = per_class, epochs, batch_size, lr
        self.kept: dict[int, Tensor] = {}  # task -> numbers of its training samples

    def on_attach(self, learner: Learner, optimizer: str) -> None:
        super().on_attach(learner, optimizer)
        if not self.answers_as_trained:
            raise ConfigError(
                f"{type(self.inner).__name__} is tested with other weights than those it trains, "
                "and rehearsal trains the network as it is tested; put it on another method"
            )

    def on_task_end(self, task: int) -> None:
        super().on_task_end(task)
        data = self.learner.stream.tasks[task].train
        chosen = first_of_each_class(data, self.per_class, np.arange(len(data)))
        self.kept[task] = torch.from_numpy(chosen)
        if task > 0:
            self._rehearse(task)

    def _rehearse(self, task: int) -> None:
        heads = {id(p): p for past in self.kept for p in self.learner.trained_parameters(past)}
        trained = [
            p
            for name, p in self.learner.named_parameters()
            if id(p) in heads and self.inner.trains(name, p, task)
        ]
        optimizer = torch.optim.SGD(trained, lr=self.lr)
        with evaluating(self.learner):  # so that the method within sees and projects nothing
            self._train(task, optimizer)

    def _train(self, task: int, optimizer: torch.optim.Optimizer) -> None:
        for epoch in range(self.epochs):
            for group in optimizer.param_groups:
                group["lr"] = cosine(epoch, self.epochs, self.lr)
            orders = {past: kept[torch.randperm(len(kept))] for past, kept in self.kept.items()}
            steps = -(-max(map(len, orders.values())) // self.batch_size)
            for step in range(steps):
                self._step(orders, step, task, optimizer)

    def _step(
        self, orders: dict[int, Tensor], step: int, task: int, optimizer: torch.optim.Optimizer
    ) -> None:
        optimizer.zero_grad(set_to_none=True)
        first = step * self.batch_size
        numbers = {past: order[first : first + self.batch_size] for past, order in orders.items()}
        tasks = [past for past in numbers if len(numbers[past])]
        stream = self.learner.stream.tasks
        batches = [stream[past].train.batch(numbers[past].numpy()) for past in tasks]
        found = self.learner.scores_of(batches, tasks, task)
        losses = [
            functional.cross_entropy(scores, batch.target.to(scores.device))
            for batch, scores in zip(batches, found, strict=True)
        ]
        torch.stack(losses).mean().backward()
        optimizer.step()

    def tensors(self) -> dict[str, Tensor]:
        return super().tensors() | {f"kept.{task}": numbers for task, numbers in self.kept.items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        super().load(tensors)
        kept = checkpoint.without_prefix("kept", tensors)
        self.kept = {int(task): numbers.clone() for task, numbers in kept.items()}

    def memory_bytes(self) -> int:
        """Count the memory of the inner method, and the samples, one byte per value."""
        tasks = self.learner.stream.tasks
        kept = (stored_bytes(tasks[t].train, numbers.numpy()) for t, numbers in self.kept.items())
        return super().memory_bytes() + sum(kept)
