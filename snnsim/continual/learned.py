"""A stream that has been learned, as what analyses look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.analysis import Subject
from snnsim.analysis.connectivity import in_another_order
from snnsim.continual.connectivity import accuracy_between
from snnsim.continual.learner import Learner
from snnsim.continual.watcher import WeightsOfTasks
from snnsim.data import fetch
from snnsim.errors import check_number
from snnsim.layer import Layer, device_of, evaluating, run_layer
from snnsim.networks import Sequential
from snnsim.training.rules import PlasticConnection


class Outputs(Layer):
    """These outputs are the first of those of a layer: the classes that are told apart.

    Args:
        layer: the layer.
        count: the number of its outputs that are returned.
    """

    def __init__(self, layer: nn.Module, count: int):
        super().__init__()
        self.layer, self.count = layer, count

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        y, state = run_layer(self.layer, x, state)
        return y[..., : self.count], state


@dataclass(frozen=True)
class TaskSubject(Subject):
    """This subject is the network of a stream's learner for one task, with the task's test data.

    Attributes:
        learner: the learner that the network was made of, which says how outputs become scores.
    """

    learner: Learner | None = None

    @torch.no_grad()
    def accuracy(self, net: nn.Module) -> float:
        self.check_answers("accuracy")
        assert self.learner is not None
        right, size = 0, 500
        with evaluating(net):
            for first in range(0, len(self.data), size):
                batch = fetch(self.data, np.arange(first, min(first + size, len(self.data))))
                x = batch.x.to(device_of(net))
                lengths = self.learner.within(x, batch.lengths)
                scores = self.learner.readout(run_layer(net, x, None)[0], lengths)
                right += int((scores.argmax(1).cpu() == batch.target).sum())
        return right / len(self.data)


@dataclass(frozen=True)
class LearnedTasks:
    """``LearnedTasks`` are a stream's tasks with the weights that a learner had after each.

    Attributes:
        make: a function that makes the learner and its method as they were before training, the
            method attached, with the weights that were kept. What is tested is the test data of
            the learner's stream.
        after: the number of the task, from 0, after which the network of every task is looked at;
            ``None`` for each after it was learned.
        chosen: attributes of the subjects, see :class:`snnsim.analysis.Subject`.
        device: where networks run.
    """

    make: Callable[[], WeightsOfTasks]
    after: int | None = None
    chosen: Mapping[str, Any] = field(default_factory=dict)
    device: torch.device | str = "cpu"

    @property
    def names(self) -> Sequence[str]:
        """Return the names of the tasks."""
        return tuple(task.name for task in self.make().learner.stream.tasks)

    def subject(self, task: int) -> TaskSubject:
        """Return the network that is looked at for a task, with the task's test data.

        Args:
            task: the number of the task, from 0.

        Raises:
            ConfigError: if there is no such task, or its weights were not kept.
        """
        kept = self.make()
        stream = kept.learner.stream
        check_number("task", task, 0, len(stream) - 1)
        after = task if self.after is None else self.after
        kept.restore(after)
        told: dict[str, Any] = {"mask_padding": True, "readout": "mean"} | dict(self.chosen)
        told |= {"answers": kept.learner.answer is None, "tasks": self, "learner": kept.learner}
        net = _network(kept, task, max(task, after)).to(self.device).eval()
        return TaskSubject(net, stream.tasks[task].test, **told)

    def line(self, start: int, end: int, points: int, mixed: int | None = None) -> Tensor:
        """Return accuracies between the weights after two tasks.

        See :class:`~snnsim.analysis.subject.Tasks`. What a method keeps elsewhere than in the
        learner is that after the later of them.
        """
        kept = self.make()
        kept.learner.to(self.device)
        kept.restore(end)
        first, last = kept.of(start), kept.of(end)
        if mixed is not None:
            last = in_another_order(first, last, mixed)
        return accuracy_between(kept.learner, first, last, points=points, tasks=range(end + 1))


def _network(kept: WeightsOfTasks, task: int, seen: int) -> Sequential:
    """The network for a task with the classes up to ``seen``, of which the method lets go."""
    learner = kept.learner
    generated = {} if learner.generate is None else learner.generate(task)
    if kept.method is not None:
        kept.method.detach()
    with torch.no_grad():
        for name, value in generated.items():
            learner.body.get_parameter(name).copy_(value)
    head: nn.Module = learner.head(task)
    classes = learner.classes(seen if learner.stream.scenario == "class" else task)
    if learner.shares_head and classes < learner.stream.outputs:
        head = Outputs(head, classes)
    return _without_rules(Sequential(*learner.body, head))


def _without_rules(net: Sequential) -> Sequential:
    """The network with plain connections, which no learning rule is put under."""
    for parent in list(net.modules()):
        for name, child in parent.named_children():
            if isinstance(child, PlasticConnection):
                setattr(parent, name, child.connection)
    return net
