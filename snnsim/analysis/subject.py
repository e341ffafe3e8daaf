"""What is analysed: a network on data, or a recording that was made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import Tensor, nn

from snnsim.activity import Recording, neurons_of, record
from snnsim.analysis.nulls import NULLS
from snnsim.data import Sequences
from snnsim.errors import ConfigError, check_choice, check_seed, check_size
from snnsim.neurons import LI
from snnsim.training.evaluate import evaluate
from snnsim.training.objectives import Classification
from snnsim.training.recipe import CLASS, TARGETS


class Tasks(Protocol):
    """``Tasks`` are those that a network has learned one after the other, counted from 0.

    :class:`snnsim.continual.LearnedTasks` are some.
    """

    @property
    def names(self) -> Sequence[str]:
        """Return the names of the tasks."""
        ...

    def subject(self, task: int) -> Subject:
        """Return the network that is looked at for a task, with the task's data."""
        ...

    def line(self, start: int, end: int, points: int, mixed: int | None = None) -> Tensor:
        """Return accuracies between the weights after two tasks.

        Args:
            start, end: the numbers of the tasks.
            points: the number of points of the line, both ends included.
            mixed: the seed of another direction of the line, for the null, see
                :func:`snnsim.analysis.connectivity.in_another_order`.

        Returns:
            Fractions of right answers, ``[points, end + 1]``, on the tasks up to ``end``.
        """
        ...


@dataclass(frozen=True)
class Subject:
    """A ``Subject`` is what an analysis looks at.

    Attributes:
        net: the network.
        data: the samples it is shown.
        layer: the name of the layer whose activity is analysed; ``""`` for the last hidden one.
        null: how recordings are shuffled for the null: ``"shift"``, ``"trials"``, ``"units"`` or
            ``"steps"``, see :func:`snnsim.analysis.shuffled`.
        nulls: how many shuffled recordings the null is the mean of; 0 for no null.
        seed: of all random numbers.
        readout, mask_padding: the read-out of a classification, see
            :class:`snnsim.training.Recipe`.
        steps: the number of time steps to which samples are padded where the network is
            evaluated; with 0, that of the longest.
        tasks: the stream of tasks that the network has learned; ``None`` if it has learned one.
        answers: whether the outputs of the network are its answers.
        objective: what the network was trained for, as in :class:`snnsim.training.Trainer`;
            ``None`` for a classification by the read-out.
        target: what the network answers: ``"class"``, ``"next-event"`` or ``"next-step"``, see
            :class:`snnsim.training.Recipe`.
    """

    net: nn.Module
    data: Sequences
    layer: str = ""
    null: str = "shift"
    nulls: int = 5
    seed: int = 0
    readout: str = "sum_softmax"
    mask_padding: bool = False
    steps: int = 0
    tasks: Tasks | None = None
    answers: bool = True
    objective: Any = None
    target: str = CLASS

    def __post_init__(self) -> None:
        check_choice("null", self.null, NULLS)
        check_size("nulls", self.nulls, 0)
        check_seed(self.seed)
        check_choice("target", self.target, TARGETS)

    def recording(self, what: str = "output") -> Recording:
        """Return what the layer does in answer to the data, on the CPU."""
        name = self.layer or last_hidden(self.net)
        found = record(self.net, self.data, [name], what)[name]
        target = None if found.target is None else found.target.cpu()
        values, lengths = found.values.cpu(), found.lengths.cpu()
        return replace(found, values=values, lengths=lengths, target=target)

    def learned(self, why: str) -> Tasks:
        """Return the tasks that the network has learned.

        Args:
            why: what needs them, for the message.

        Raises:
            ConfigError: if it has not learned a stream of tasks.
        """
        if self.tasks is None:
            raise ConfigError(
                f"{why} needs a run on a stream of tasks that kept its weights; train one with "
                "snnsim continual run --keep-weights"
            )
        return self.tasks

    def check_answers(self, what: str) -> None:
        """Raise :class:`ConfigError` if the outputs of the network are not its answers.

        Args:
            what: what looks at them, for the message.
        """
        if not self.answers:
            raise ConfigError(
                f"{what} looks at the outputs of a network, but the method of this run answers "
                "otherwise, and its outputs were not trained; choose assemblies, timescales or "
                "connectivity"
            )

    def check_classes(self, what: str) -> None:
        """Raise :class:`ConfigError` if the network does not answer with a class for each sample.

        Args:
            what: what needs these, for the message.
        """
        self.check_answers(what)
        given = self.objective is not None and not isinstance(self.objective, Classification)
        if self.target != CLASS or given:
            objective = type(self.objective).__name__ if given else self.target
            raise ConfigError(
                f"{what} needs a class for each sample, but this network was trained on "
                f"{objective}; analyse a run whose samples have one class each"
            )

    def accuracy(self, net: nn.Module) -> float:
        """Return the accuracy, from 0 to 1, of a network on the data.

        Args:
            net: the network of this subject, or one that was made of it.

        Raises:
            ConfigError: the network names no classes.
        """
        if self.target != CLASS:
            raise ConfigError(
                f"this network predicts the {self.target} and has no accuracy on classes; analyse "
                "a run whose target is the class"
            )
        scores = evaluate(
            net,
            self.data,
            objective=self.objective,
            readout=self.readout,
            mask_padding=self.mask_padding,
            steps=self.steps,
        )
        if scores.metric != "accuracy":
            raise ConfigError(
                "the network of this run forecasts values, so it has no accuracy; take an analysis "
                "that needs none, or a run that classifies"
            )
        return scores.accuracy


def last_hidden(net: nn.Module) -> str:
    """Return the name of the last layer of neurons, the read-out's integrators left out.

    Raises:
        ConfigError: if there is no such layer.
    """
    hidden = [name for name, module in neurons_of(net).items() if not isinstance(module, LI)]
    if not hidden:
        raise ConfigError(
            f"{type(net).__name__} has no hidden neurons to look at; name a layer with layer=..."
        )
    return hidden[-1]
