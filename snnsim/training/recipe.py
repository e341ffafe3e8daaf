"""The hyper-parameters of training, of one task or of each of a stream's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from snnsim.errors import check_choice, check_number
from snnsim.functional.readouts import READOUTS
from snnsim.renamed import renamed, up_to_date

PRECISIONS = ("auto", "float32", "bfloat16")
OPTIMIZERS = ("adam", "sgd")
SCHEDULES = ("one_cycle", "cosine", "constant")
SAME = "same"
RENAMED = {"max_lr": "lr", "sigma_share": "sigma_fraction", "delay_lr": "lr_delay"}

Schedule = Callable[[float], float]


@renamed(RENAMED)
@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults are those of Hammouamri et al. 2024 (arXiv:2306.17670) on SHD.

    Attributes:
        epochs: passes over the training data; of a stream, over those of each task.
        batch_size: samples per optimiser step, over all processes.
        lr: learning rate of weights and all other parameters but delays; the peak of a schedule.
        lr_delay: that of delays, in steps; ``None`` for ``100 * lr``.
        later_lr: of a stream, the learning rate in all tasks but the first, where that of delays
            falls as much; 0 for the same.
        optimizer: ``"adam"`` or ``"sgd"``.
        momentum: of SGD; Adam has its own.
        weight_decay: L2 penalty on weights, not on normalisations, biases or delays.
        clip: largest norm that the gradient of all parameters together may have; 0 for any.
        schedule: of the learning rate, per epoch (per step where there are fewer than 4 epochs):
            ``"one_cycle"``, ``"cosine"`` to 0, ``"constant"``, or a function from the part of the
            training that is done, from 0 to 1, to a factor of ``lr``.
        schedule_delay: the same of ``lr_delay``; ``"same"`` for that of ``schedule``.
        sigma_end: width of the delay kernels, in steps (before the Gaussian's offset), at the end
            of its decay.
        sigma_fraction: fraction of the epochs over which the width decays; of a stream, of the
            first task, whose width later tasks keep.
        readout: name of the read-out, see :mod:`snnsim.functional.readouts`; learners have theirs.
        mask_padding: whether steps beyond the end of a sample are kept out of the read-out.
        accumulate: parts into which a batch is cut to save memory (batch normalisation then
            sees the parts).
        patience: stop after this many epochs without a better validation score; 0 for never.
        until: stop after the epoch whose validation score is as good as this; 0 for never.
        precision: ``"auto"`` (bfloat16 on a GPU that has it), ``"float32"`` or ``"bfloat16"``.
        checkpoint_steps: also write a checkpoint every so many steps within an epoch; 0 = only
            at the ends of epochs.
        check_finite: whether every batch is searched for NaN and infinities, which costs one pass
            over it (about a thousandth of a step). Losses, gradients and weights always are.
        start_from: a run folder, or a file of :func:`snnsim.save`, from whose weights training
            starts; what has another shape there keeps its own start. Empty for none.

    Raises:
        ConfigError: for a value out of its range.
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
            "sigma_end", "until",
        ):  # fmt: skip
            check_number(name, getattr(self, name), 0)
        check_number("sigma_fraction", self.sigma_fraction, 0, 1)

    @property
    def plain(self) -> str:
        """``"sgd"`` where a projected gradient stays projected in the optimiser's step."""
        return f"{self.optimizer} with weight decay" if self.weight_decay else self.optimizer

    def of_task(self, task: int) -> Recipe:
        """The recipe of one task of a stream, by its number: learning rates and widths differ."""
        if task == 0:
            return self
        lr = self.later_lr or self.lr
        lr_delay = self.lr_delay
        if lr_delay is not None and self.lr:
            lr_delay *= lr / self.lr
        return replace(self, lr=lr, lr_delay=lr_delay)

    def as_json(self) -> dict[str, Any]:
        """Plain values; a schedule of one's own by its name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            k: getattr(v, "__qualname__", repr(v)) if callable(v) else v for k, v in found.items()
        }


def task_recipe(**changes: Any) -> Recipe:
    """The recipe of the published continual protocols: an epoch of plain SGD for each task.

    Args:
        changes: any attributes of :class:`Recipe`.

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
    """The values of a recipe as an earlier version stored them, under today's names."""
    found = {RENAMED.get(name, name): value for name, value in stored.items()}
    if stored.get("delay_lr") == 0:  # which meant 100 times that of weights
        found["lr_delay"] = None
    return {**base, **found}
