"""A network with the heads that a stream of tasks needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from snnsim.baselines import Baseline
from snnsim.continual.stream import Stream
from snnsim.data import Batch, Sequences, fetch
from snnsim.data.protocol import resized
from snnsim.errors import ConfigError
from snnsim.finite import check_input
from snnsim.functional.readouts import mean
from snnsim.layer import Layer, evaluating, run_layer
from snnsim.networks import Sequential
from snnsim.synapses import Dense
from snnsim.training.rules import prepare
from snnsim.training.rules.dsr import decay_of_rates

Readout = Callable[..., Tensor]


def dense_head(features: int, bias: bool = False) -> Callable[[int], Layer]:
    """Return a function that makes heads with weights from ``N(0, 0.01^2)``.

    Args:
        features: the number of features that enter a head.
        bias: whether heads have a bias; that of a shared head is frozen by HLOP after the first
            task.
    """

    def make(classes: int) -> Layer:
        head = Dense(features, classes, bias=bias)
        nn.init.normal_(head.weight, 0.0, 0.01)
        return head

    return make


def joined(batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
    """Join several batches to one ``x [T, B, ...]``, padded with zeros, and ``lengths [B]``."""
    longest = max(batch.x.shape[0] for batch in batches)
    lengths = torch.cat([batch.lengths for batch in batches])
    return torch.cat([resized(batch.x, longest) for batch in batches], 1), lengths


def _check_baselines(body: nn.Module, training: str, feedback: str) -> None:
    for module in body.modules():
        name = type(module).__name__
        if isinstance(module, Baseline) and not module.causal:
            raise ConfigError(
                f"{name} looks ahead, and a stream's samples are padded; choose a causal model"
            )
        if isinstance(module, Baseline) and (training, feedback) != ("bptt", "backprop"):
            raise ConfigError(
                f"{name} is trained by 'bptt' and feedback 'backprop' only, not {training!r} and "
                f"{feedback!r}"
            )


class Learner(nn.Module):
    """A learner has a body that all tasks share, and a head for all of them or one for each.

    Args:
        body: any network ``[T, B, ...] -> [T', B, features]``.
        head: a function that makes a head for a number of classes; see :func:`dense_head`.
        stream: the tasks; in the scenario ``"task"`` each gets a head of its own.
        training, feedback, trace_decay: the learning rule, as in
            :func:`snnsim.training.rules.prepare`.
        readout: a function from outputs ``[T, B, C]`` (and lengths) to scores ``[B, C]``.

    If a method sets them, ``generate`` gives the body's weights for a task, and ``answer``, which
    takes the arguments of :meth:`scores`, gives the scores by which a task is tested.
    """

    def __init__(
        self,
        body: Sequential,
        head: Callable[[int], Layer],
        stream: Stream,
        *,
        training: str = "bptt",
        feedback: str = "backprop",
        trace_decay: float = 0.5,
        readout: Readout = mean,
    ):
        super().__init__()
        if training == "ottt" and readout is not mean:
            raise ConfigError(
                "online training takes the loss at every step, which is the read-out 'mean'; "
                "use it, or training='bptt'"
            )
        _check_baselines(body, training, feedback)
        self.stream, self.learning, self.readout = stream, training, readout
        self.generate: Callable[[int], dict[str, Tensor]] | None = None
        self.answer: Callable[[Tensor, int, Tensor | None], Tensor] | None = None
        rule: dict[str, Any] = {
            "training": training,
            "feedback": feedback,
            "trace_decay": trace_decay,
        }
        self.body = prepare(body, **rule, rate_decay=decay_of_rates(body))
        own = stream.scenario == "task"
        sizes = [task.classes for task in stream.tasks] if own else [stream.outputs]
        rule["rate_decay"] = getattr(readout, "decay", None)  # of a weighted mean
        heads = prepare(Sequential(*map(head, sizes)), **rule, spikes_enter=True)
        self.heads = nn.ModuleList(heads)

    @property
    def shares_head(self) -> bool:
        """Say whether all tasks use the same head."""
        return self.stream.scenario != "task"

    def head(self, task: int) -> Layer:
        """Return the head of a task."""
        head: Any = self.heads[0 if self.shares_head else task]
        return head

    def classes(self, task: int) -> int:
        """Return the number of outputs that take part when a task is trained or tested."""
        return self.stream.tasks[task].classes

    def outputs(self, x: Tensor, task: int) -> Tensor:
        """Compute the outputs ``[T, B, C]`` of the classes of a task."""
        return self._outputs(self._features(x, task)[0], task)

    def _outputs(self, features: Tensor, task: int) -> Tensor:
        y, _ = run_layer(self.head(task), features, None)
        return y[..., : self.classes(task)]

    def _features(self, x: Tensor, task: int) -> tuple[Tensor, Any]:
        if self.generate is None:
            found: tuple[Tensor, Any] = self.body(x)
            return found
        generated: tuple[Tensor, Any] = functional_call(self.body, self.generate(task), (x,))
        return generated

    def scores(self, x: Tensor, task: int, lengths: Tensor | None = None) -> Tensor:
        """Compute class scores ``[B, C]``."""
        return self.readout(self.outputs(x, task), self.within(x, lengths))

    def scores_of(
        self, batches: Sequence[Batch], tasks: Sequence[int], present: int
    ) -> list[Tensor]:
        """Compute class scores of batches of several tasks; the body runs once for all of them.

        Args:
            batches: the batches, with ``x [T, B, ...]`` and ``lengths [B]``.
            tasks: the number of the task that each batch is from.
            present: the task whose classes a shared head tells apart.

        Returns:
            Scores ``[B, C]`` for each batch.
        """
        if not batches:
            return []
        tasks = [present] * len(tasks) if self.shares_head else tasks
        device = next(self.parameters()).device
        if self.generate is not None:  # a body for each task
            each = zip(batches, tasks, strict=True)
            return [self.scores(b.x.to(device), task, b.lengths) for b, task in each]
        x, lengths = joined(batches)
        features, _ = self.body(x.to(device))
        counts = [len(batch.lengths) for batch in batches]
        parts = zip(features.split(counts, 1), lengths.split(counts), tasks, strict=True)
        return [
            self.readout(self._outputs(part, task), self.within(x, own))
            for part, own, task in parts
        ]

    @staticmethod
    def within(x: Tensor, lengths: Tensor | None) -> Tensor | None:
        """Return lengths for the read-out; none for still inputs, whose repeats all count."""
        return None if x.shape[0] == 1 else lengths

    def forward(self, x: Tensor, task: int, lengths: Tensor | None = None) -> Tensor:
        """Do the same as :meth:`scores`."""
        return self.scores(x, task, lengths)

    def trained_parameters(self, task: int) -> list[nn.Parameter]:
        """Return the parameters that a task may train: all but the heads of other tasks."""
        shared = [p for name, p in self.named_parameters() if not name.startswith("heads.")]
        return [p for p in (*shared, *self.head(task).parameters()) if p.requires_grad]

    @torch.no_grad()
    def correct(
        self, data: Sequences, task: int, batch_size: int = 500, seen: int | None = None
    ) -> int:
        """Count right answers on a data set, among the classes up to those of task ``seen``."""
        right, answer = 0, self.answer or self.scores
        device = next(self.parameters()).device
        with evaluating(self):
            for first in range(0, len(data), batch_size):
                batch = fetch(data, range(first, min(first + batch_size, len(data))))
                x = batch.x.to(device)
                check_input(x)
                scores = answer(x, task if seen is None else seen, batch.lengths)
                right += int((scores.argmax(1).cpu() == batch.target).sum())
        return right

    def accuracy(self, task: int, after: int) -> float:
        """Return the accuracy on the test data of a task after training up to another.

        In the scenario ``"class"`` all classes seen by then are told apart (those up to the task
        itself if it comes later).
        """
        data = self.stream.tasks[task].test
        if len(data) == 0:
            raise ConfigError(f"task {task} of {self.stream.name} has no test data; give it some")
        seen = max(task, after) if self.stream.scenario == "class" else None
        return self.correct(data, task, seen=seen) / len(data)
