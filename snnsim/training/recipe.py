"""The hyper-parameters of training, for a single task and for every task of a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from snnsim.errors import ConfigError, check_choice, check_number
from snnsim.functional.readouts import READOUTS
from snnsim.renamed import renamed, up_to_date
from snnsim.sparsity import WAYS

PRECISIONS = ("auto", "float32", "bfloat16")
OPTIMIZERS = ("adam", "sgd")
SCHEDULES = ("one_cycle", "cosine", "constant")
SAME = "same"
# which only the training on a data set has
OF_ONE_TASK = ("repeat", "repeat_fraction", "density", "prune_at", "prune_way")
GENERATING = ("target", "repetition", "repetition_steps", "repetition_scale")  # nor these
CLASS = "class"
TARGETS = (CLASS, "next-event", "next-step")
RENAMED = {"max_lr": "lr", "sigma_share": "sigma_fraction", "delay_lr": "lr_delay"}

Schedule = Callable[[float], float]


@renamed(RENAMED)
@dataclass(frozen=True)
class Recipe:
    """A recipe says how to train: it holds the hyper-parameters of a training.

    The defaults are those of Hammouamri et al. 2024 (arXiv:2306.17670) on SHD.

    Attributes:
        epochs: the number of passes over the training data, at least 1; on a stream, over the data
            of each task.
        batch_size: the number of samples per optimiser step, over all processes, at least 1.
        lr: the learning rate of weights and of all other parameters except delays, 0 or more; it is
            the peak value of a schedule.
        lr_delay: the learning rate of delays, in time steps, 0 or more; ``None`` means ``100 *
            lr``.
        later_lr: the learning rate in all tasks of a stream except the first, 0 or more; the
            learning rate of delays is scaled by the same factor. 0 means the same as in the first.
        optimizer: the optimiser, ``"adam"`` or ``"sgd"``.
        momentum: the momentum of SGD, 0 or more; Adam ignores it.
        weight_decay: the L2 penalty on weights, 0 or more; it does not apply to normalisations,
            biases and delays.
        clip: the largest norm that the gradient of all parameters together may have; 0 means no
            limit.
        schedule: the schedule of the learning rate, per epoch (per step if there are fewer than 4
            epochs): ``"one_cycle"``, ``"cosine"`` (to 0), ``"constant"``, or a function from the
            fraction of the training that is done, from 0 to 1, to a factor of ``lr``.
        schedule_delay: the schedule of ``lr_delay``, with the same values; ``"same"`` means that of
            ``schedule``.
        sigma_end: the width of the delay kernels in time steps (before the Gaussian's offset) at
            the end of their narrowing, 0 or more.
        sigma_fraction: the fraction of the epochs, from 0 to 1, during which the kernels are
            narrowed; on a stream, of those of the first task, whose final width the later tasks
            keep.
        readout: the name of the read-out, see :mod:`snnsim.functional.readouts`. Learners of a
            stream have their own.
        mask_padding: whether the read-out ignores the steps after the end of a sample.
        accumulate: the number of parts into which a batch is cut to save memory, at least 1. Batch
            normalisation then sees the parts.
        patience: the number of epochs without a better validation score after which training stops;
            0 means never.
        until: the validation score at which training stops; 0 means never.
        precision: ``"auto"`` (bfloat16 on a GPU that supports it), ``"float32"`` or ``"bfloat16"``.
        checkpoint_steps: the number of optimiser steps between two checkpoints within an epoch;
            with 0, checkpoints are written at the end of each epoch only.
        check_finite: whether every batch is searched for NaN and infinities, which costs one pass
            over it (about a thousandth of a step). Losses, gradients and weights are always
            checked.
        start_from: a run folder, or a file of :func:`snnsim.save`, from whose weights training
            starts; what has another shape there keeps its own initial value. Empty means none.
        repeat: the number of training samples that are shown again and again, 0 or more: they fill
            a part of every epoch, and the others take turns in the rest, see
            :func:`snnsim.training.repeated`. 0 shows every sample once per epoch. Not on a stream.
        repeat_fraction: the fraction of an epoch that these samples fill, from 0 to 1.
        density: the fraction of the synapses that are kept when the others are cut for good, see
            :func:`snnsim.sparsity.sparsify`, above 0 and at most 1; with 1 none are cut. Training
            goes on with the rest, and the best epoch is one after the cut. Not on a stream.
        prune_at: the number of epochs before the cut, from 0 to ``epochs - 1``. With 0, weights are
            cut as they are drawn, or as ``start_from`` gives them.
        prune_way: which synapses are cut: ``"magnitude"`` cuts those with the smallest absolute
            weights in the whole network, ``"random"`` as many at random, as a control.
        keep_weights: whether a trainer of a stream keeps the weights after every task, see
            :class:`snnsim.continual.WeightsOfTasks`; other trainers have one task only.

    Raises:
        ConfigError: if a value is out of its range.
    """

    epochs: int = 150
    batch_size: int = 256
    lr: float = 5e-3
    lr_delay: float | None = 0.1
    later_lr: float = 0.0
    optimizer: str = "adam"
    momentum: float = 0.0
    weight_decay: float = 1e-5
    clip: float = 0.0
    schedule: str | Schedule = "one_cycle"
    schedule_delay: str | Schedule = "cosine"
    sigma_end: float = 0.23
    sigma_fraction: float = 0.25
    readout: str = "sum_softmax"
    mask_padding: bool = False
    accumulate: int = 1
    patience: int = 0
    until: float = 0.0
    precision: str = "auto"
    checkpoint_steps: int = 0
    check_finite: bool = True
    start_from: str = ""
    repeat: int = 0
    repeat_fraction: float = 0.5
    density: float = 1.0
    prune_at: int = 0
    prune_way: str = "magnitude"
    keep_weights: bool = False
    target: str = CLASS
    repetition: float = 0.0
    repetition_steps: int = 0
    repetition_scale: float = 0.5

    def __post_init__(self) -> None:
        check_choice("readout", self.readout, READOUTS)
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        if not callable(self.schedule):
            check_choice("schedule", self.schedule, SCHEDULES)
        if not callable(self.schedule_delay):
            check_choice("schedule_delay", self.schedule_delay, (*SCHEDULES, SAME))
        for name in ("epochs", "batch_size", "accumulate"):
            check_number(name, getattr(self, name), 1)
        if self.lr_delay is not None:
            check_number("lr_delay", self.lr_delay, 0)
        for name in (
            "lr", "later_lr", "momentum", "weight_decay", "clip", "patience", "checkpoint_steps",
            "sigma_end", "until", "repeat", "prune_at",
        ):  # fmt: skip
            check_number(name, getattr(self, name), 0)
        for name in ("sigma_fraction", "repeat_fraction"):
            check_number(name, getattr(self, name), 0, 1)
        check_number("density", self.density, most=1, above=0)
        check_choice("prune_way", self.prune_way, WAYS)
        if self.prunes and self.prune_at >= self.epochs:
            raise ConfigError(
                f"prune_at is {self.prune_at} and epochs {self.epochs}, so that training would end "
                "before the cut; give prune_at a value below epochs, or density=1"
            )
        check_choice("target", self.target, TARGETS)
        check_number("repetition", self.repetition, 0)
        check_number("repetition_steps", self.repetition_steps, 0)
        check_number("repetition_scale", self.repetition_scale, 0, 1)
        if self.repetition and self.target == CLASS:
            raise ConfigError(
                f"repetition is {self.repetition}, but a network whose target is the class repeats "
                'nothing; set target to "next-event" or "next-step", or repetition to 0'
            )

    @property
    def prunes(self) -> bool:
        """Return whether synapses are cut during the training."""
        return self.density < 1

    @property
    def plain(self) -> str:
        """Return the optimiser's name, with a note if weight decay is used.

        With ``"sgd"`` alone, a projected gradient stays projected in the optimiser's step.
        """
        return f"{self.optimizer} with weight decay" if self.weight_decay else self.optimizer

    def of_task(self, task: int) -> Recipe:
        """Return the recipe of one task of a stream; learning rates and kernel widths may differ.

        Args:
            task: the number of the task, from 0.
        """
        if task == 0:
            return self
        lr = self.later_lr or self.lr
        lr_delay = self.lr_delay
        if lr_delay is not None and self.lr:
            lr_delay *= lr / self.lr
        return replace(self, lr=lr, lr_delay=lr_delay)

    def as_json(self) -> dict[str, Any]:
        """Return the recipe as plain values; a schedule that is a function appears by its name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            k: getattr(v, "__qualname__", repr(v)) if callable(v) else v for k, v in found.items()
        }


def task_recipe(**changes: Any) -> Recipe:
    """Return the recipe of the published continual protocols: one epoch of plain SGD for each task.

    Args:
        changes: values for any attributes of :class:`Recipe`.

    >>> recipe = task_recipe(lr=0.01)
    >>> recipe.epochs, recipe.optimizer, recipe.lr, recipe.lr_delay
    (1, 'sgd', 0.01, None)
    """
    return Recipe(**(TASKS | up_to_date(changes, RENAMED, "")))


TASKS: dict[str, Any] = {
    "epochs": 1, "batch_size": 64, "lr": 0.1, "lr_delay": None, "optimizer": "sgd",
    "weight_decay": 0.0, "schedule": "constant", "schedule_delay": SAME, "precision": "float32",
}  # fmt: skip


def complete(stored: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a recipe that an earlier version stored, under today's names.

    Args:
        stored: the values as they were stored.
        base: values for the attributes that are missing.
    """
    found = {RENAMED.get(name, name): value for name, value in stored.items()}
    if stored.get("delay_lr") == 0:  # which meant 100 times that of weights
        found["lr_delay"] = None
    return {**base, **found}
