"""Objectives: the loss that training minimises, and the score that selects the best epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from snnsim.data import Batch
from snnsim.data.targets import CLASS, CLASS_PER_STEP, LABELS, VALUES, VALUES_PER_STEP
from snnsim.errors import ConfigError, ShapeError, check_choice, check_number, short
from snnsim.functional.losses import cross_entropy_sum
from snnsim.functional.readouts import READOUTS, get_readout

LOSSES = ("cross_entropy", "mse")
FRACTIONS = ("accuracy", "f1")  # scores from 0 to 1


class Measured(NamedTuple):
    """``Measured`` holds a loss (with a gradient) and a score, summed over a batch."""

    loss: Tensor
    score: float


@dataclass(frozen=True)
class Objective:
    """An objective computes a loss and a score from the outputs and the targets of a batch.

    Both are sums and not means, so that the parts of a batch and of several processes add up to the
    whole. A batch without samples has a loss of 0, with a gradient. This is the base class;
    subclasses define :meth:`measure`.

    Attributes:
        metric: the name of the mean score in the metrics of a run.
        larger_is_better: whether a larger score is better.
        mask_padding: whether the loss ignores the steps after the end of each sample.
        kind: what the network answers, see :mod:`snnsim.data.targets`; empty for anything else.
        per_step: whether it answers every time step, and not every sample once.
    """

    metric = "accuracy"
    larger_is_better = True
    mask_padding = True
    kind = ""
    per_step = True

    def posed(self, batch: Batch) -> Batch:
        """Return the batch as the network is asked, with its input and targets.

        It is the batch itself unless the targets are made of the input.
        """
        return batch

    def penalty(self, net: nn.Module, batch: Batch) -> Tensor | None:
        """Return what training adds to the loss, summed over the samples; ``None`` for nothing.

        Args:
            net: the network, which may be run on other input.
            batch: the batch as :meth:`posed` returns it.
        """
        return None

    def answer(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return what the network answers: ``[B, ...]``, or ``[T', B, ...]`` for every step.

        Args:
            y: the outputs of the network, ``[T', B, ...]``.
            lengths: the number of output steps that belong to each sample, ``[B]``.
        """
        return in_full(y)

    def measure(self, y: Tensor, batch: Batch, lengths: Tensor) -> Measured:
        """Return the loss and the score of a batch, summed over its samples.

        Args:
            y: the outputs of the network, ``[T', B, ...]``.
            batch: the batch with its targets.
            lengths: the number of output steps that belong to each sample, ``[B]``.
        """
        raise NotImplementedError

    @property
    def name(self) -> str:
        """Return the text by which a checkpoint identifies the objective.

        A run resumes only with the same objective.
        """
        return repr(self)

    def better(self, score: float, loss: float, than: tuple[float, float]) -> bool:
        """Return whether an epoch is better than another; a tie is not better.

        Args:
            score, loss: the mean score and the mean loss of the epoch.
            than: the mean score and the mean loss of the other epoch.
        """
        sign = 1 if self.larger_is_better else -1
        return (sign * score, -loss) > (sign * than[0], -than[1])

    def possible(self, score: float, samples: int) -> bool:
        """Return whether the scores of this number of samples can add up to ``score``."""
        return 0 <= score <= samples if self.metric in FRACTIONS else 0 <= score < float("inf")


@dataclass(frozen=True)
class OfReadout(Objective):
    """An objective of a read-out looks at one answer for each sample.

    Args:
        readout: the name of the read-out, see :mod:`snnsim.functional.readouts`.
        mask_padding: whether the read-out ignores the steps after the end of a sample.
    """

    readout: str = "mean"
    mask_padding: bool = True
    per_step = False

    def __post_init__(self) -> None:
        check_choice("readout", self.readout, READOUTS)

    def answer(self, y: Tensor, lengths: Tensor) -> Tensor:
        return get_readout(self.readout)(in_full(y), lengths if self.mask_padding else None)


@dataclass(frozen=True)
class Classification(OfReadout):
    """The loss is the cross-entropy of a read-out's scores; the score is the accuracy.

    Targets are classes ``[B]``. Where samples are mixed, they are the fraction of each class in a
    sample, ``[B, C]``; the accuracy then counts the fraction of the class that is answered.

    Args:
        readout: the name of the read-out, see :mod:`snnsim.functional.readouts`.
        mask_padding: whether the read-out ignores the steps after the end of a sample.
    """

    readout: str = "sum_softmax"
    mask_padding: bool = False
    kind = CLASS

    def measure(self, y: Tensor, batch: Batch, lengths: Tensor) -> Measured:
        scores = self.answer(y, lengths)
        target, answers = batch.target.to(y.device), scores.argmax(1)
        if target.is_floating_point() and target.ndim == 2:
            _check_fractions(target, scores)
            right = target.gather(1, answers.unsqueeze(1)).clamp(max=1).sum()
            target = target.to(scores)
        else:
            _check_classes(target, scores.shape[-1], (len(scores),))
            right = (answers == target).sum()
        return Measured(cross_entropy_sum(scores, target), float(right))


@dataclass(frozen=True)
class MultiLabel(OfReadout):
    """The loss is the binary cross-entropy of every label, averaged over them; the score is F1.

    A sample has any number of labels, also none: its target is a row of 0 and 1, and the network
    has an output for each label. The score is a mean over samples, of

        F1 = 2 |found and true| / (|found| + |true|),  1 where both are empty

    because, unlike the mean average precision over labels
    (:func:`snnsim.functional.metrics.average_precision`), it is a sum over samples and judges what
    is answered, not only an order.

    Args:
        readout: the name of the read-out, whose values are the logits of the labels; not
            ``"sum_softmax"``, in which labels would exclude one another.
        mask_padding: whether the read-out ignores the steps after the end of a sample.
        threshold: the probability from which a label is found, above 0 and below 1.
    """

    threshold: float = 0.5
    kind = LABELS
    metric = "f1"

    def __post_init__(self) -> None:
        check_choice("readout of several labels", self.readout, set(READOUTS) - {"sum_softmax"})
        check_number("threshold", self.threshold, most=1 - 1e-9, above=0)

    def measure(self, y: Tensor, batch: Batch, lengths: Tensor) -> Measured:
        logits = self.answer(y, lengths)
        wanted = batch.target.to(logits)
        if wanted.shape != logits.shape:
            raise ShapeError(
                f"the network gives {list(logits.shape)} but targets are {list(wanted.shape)}; "
                "several labels need an output for each of them"
            )
        if bool(((wanted != 0) & (wanted != 1)).any()):
            raise ShapeError(
                "targets of several labels must be 0 or 1 for each label, but they have other "
                "values; for values take objective=Regression()"
            )
        each = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        loss = each.mean(1).sum() if logits.shape[1] else logits.sum()
        return Measured(loss, float(f1(self.found(logits), wanted > 0).sum()))

    def found(self, logits: Tensor) -> Tensor:
        """Return which labels are found, truth values ``[B, C]``, by their logits."""
        return logits.sigmoid() >= self.threshold


def f1(found: Tensor, true: Tensor) -> Tensor:
    """Return the F1 score of each row of truth values ``[B, C]``, in float64.

    >>> found = torch.tensor([[True, False], [True, True], [False, False]])
    >>> f1(found, torch.tensor([[True, True], [True, True], [False, False]]))
    tensor([0.6667, 1.0000, 1.0000], dtype=torch.float64)
    """
    both = (found & true).sum(-1).double()
    all_of_them = (found.sum(-1) + true.sum(-1)).double()
    return torch.where(all_of_them > 0, 2 * both / all_of_them.clamp(min=1), 1.0)


@dataclass(frozen=True)
class Regression(OfReadout):
    """The loss is the squared error of a read-out, averaged over the values; it is also the score.

    A smaller score is better.

    Args:
        readout: the name of the read-out, ``"mean"``, ``"last"`` or another of
            :mod:`snnsim.functional.readouts`.
        mask_padding: whether the read-out ignores the steps after the end of a sample.
    """

    metric = "mse"
    larger_is_better = False
    kind = VALUES

    def measure(self, y: Tensor, batch: Batch, lengths: Tensor) -> Measured:
        found = self.answer(y, lengths)
        wanted = batch.target.to(found)
        wanted = wanted.flatten(1) if wanted.ndim > 1 else wanted.unsqueeze(1)
        if found.shape != wanted.shape:
            raise ShapeError(
                f"the network gives {list(found.shape)} but targets are "
                f"{list(batch.target.shape)}; a regression needs as many outputs as values"
            )
        loss = (found - wanted).square().mean(1).sum()
        return Measured(loss, float(loss.detach()))


@dataclass(frozen=True)
class PerStep(Objective):
    """The loss compares every output with a target for its time step.

    It is the mean over a sample's own steps.

    Args:
        loss: ``"cross_entropy"`` treats outputs as scores of the classes ``[T, B]``, and the score
            is the fraction of correct steps; ``"mse"`` compares with values ``[T, B, D]``, and the
            score is the loss.
    """

    loss: str = "cross_entropy"

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, LOSSES)

    @property
    def kind(self) -> str:  # type: ignore[override]
        """Return ``"class per step"`` or ``"values per step"``."""
        return CLASS_PER_STEP if self.loss == "cross_entropy" else VALUES_PER_STEP

    @property
    def metric(self) -> str:  # type: ignore[override]
        """Return ``"accuracy"`` or ``"mse"``."""
        return "accuracy" if self.loss == "cross_entropy" else "mse"

    @property
    def larger_is_better(self) -> bool:  # type: ignore[override]
        """Return whether a larger score is better: true for accuracy, false for an error."""
        return self.loss == "cross_entropy"

    def measure(self, y: Tensor, batch: Batch, lengths: Tensor) -> Measured:
        target = batch.target.to(y.device)
        if target.ndim < 2 or target.shape[1] != y.shape[1] or len(target) > len(y):
            raise ShapeError(
                f"the network gives {list(y.shape)} but targets are {list(target.shape)}; there "
                "must be one for every step, [T, B, ...]"
            )
        y, steps = in_full(y)[: len(target)], batch.lengths.to(y.device)
        if self.loss == "cross_entropy":
            _check_classes(target, y.shape[-1], y.shape[:2])
            each = functional.cross_entropy(y.flatten(0, 1), target.flatten(), reduction="none")
            right = (y.argmax(-1) == target).float()
        else:
            wanted = target.to(y).flatten(2) if target.ndim > 2 else target.to(y).unsqueeze(2)
            if wanted.shape != y.shape:
                raise ShapeError(f"outputs are {list(y.shape)} but targets {list(target.shape)}")
            right = each = (y - wanted).square().mean(-1)
        share = weights_of_steps(len(y), steps)
        return Measured(
            (each.view(share.shape) * share).sum(), float((right.detach() * share).sum())
        )


@dataclass(frozen=True)
class Custom(Objective):
    """The loss is your own function; it is also the score, and a smaller one is better.

    Args:
        function: a function from outputs ``y [T', B, ...]`` and a :class:`snnsim.data.Batch` to the
            loss of each sample ``[B]``, or to their mean.
        mask_padding: whether the function ignores the steps after the end of each sample.
    """

    function: Callable[[Tensor, Batch], Tensor]
    mask_padding: bool = False
    metric = "loss"
    larger_is_better = False

    def measure(self, y: Tensor, batch: Batch, lengths: Tensor) -> Measured:
        count = y.shape[1]
        if not count:  # a process without a sample
            return Measured(in_full(y).sum(), 0.0)
        found = self.function(in_full(y), batch)
        if not isinstance(found, Tensor) or found.shape not in ((), (count,)):
            shape = list(found.shape) if isinstance(found, Tensor) else short(found, 40)
            raise ShapeError(
                f"the loss returns {shape} but must return a tensor: the loss of each of the "
                f"{count} samples, or their mean"
            )
        loss = found.sum() if found.ndim else found * count
        return Measured(loss, float(loss.detach()))

    @property
    def name(self) -> str:
        """Return ``"Custom"``, because a function has no name that lasts."""
        return "Custom"

    def possible(self, score: float, samples: int) -> bool:
        return abs(score) < float("inf")


def as_objective(given: Any, readout: str, mask_padding: bool) -> Objective:
    """Return the objective that was given, or make one of a function or of ``None``.

    Args:
        given: an objective, a function of outputs and batch, or ``None``.
        readout, mask_padding: the arguments of :class:`Classification` for ``None``.
    """
    if given is None:
        return Classification(readout, mask_padding)
    if isinstance(given, Objective):
        return given
    if isinstance(given, type) or not callable(given):
        raise ConfigError(
            f"objective is {short(given)} but must be an Objective, such as Regression(), or a "
            "function (y, batch) -> loss"
        )
    return Custom(given)


def weights_of_steps(steps: int, lengths: Tensor) -> Tensor:
    """Return weights ``[steps, B]`` with which a sum over steps is each sample's own mean.

    >>> weights_of_steps(3, torch.tensor([2, 0])).tolist()
    [[0.5, 0.0], [0.5, 0.0], [0.0, 0.0]]
    """
    inside = torch.arange(steps, device=lengths.device)[:, None] < lengths
    return inside / lengths.clamp(min=1)


def in_full(y: Tensor) -> Tensor:
    """Return outputs in float32 or more, because losses and read-outs sum them up."""
    return y.float() if y.dtype in (torch.float16, torch.bfloat16) else y


def _check_classes(target: Tensor, count: int, shape: tuple[int, ...]) -> None:
    """Whole numbers of the right shape that the network has outputs for."""
    if target.dtype != torch.int64 or target.shape != torch.Size(shape):
        raise ShapeError(
            f"targets are {target.dtype} {list(target.shape)} but a classification needs whole "
            f"numbers {list(shape)}; for values take objective=Regression()"
        )
    if target.numel() and not 0 <= int(target.min()) <= int(target.max()) < count:
        raise ShapeError(
            f"targets are {int(target.min())} .. {int(target.max())} but the network has "
            f"{count} outputs"
        )


def _check_fractions(target: Tensor, scores: Tensor) -> None:
    """Fractions of the classes that the network has outputs for, which add up to 1."""
    what = "for values take objective=Regression()"
    if target.shape != scores.shape:
        raise ShapeError(
            f"targets are {target.dtype} {list(target.shape)} but a classification needs whole "
            f"numbers {[len(scores)]}, or the fractions of classes {list(scores.shape)}; {what}"
        )
    total = target.sum(1)
    wrong = (target < 0).any(1) | ((total - 1).abs() > 1e-4) | ~total.isfinite()
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ShapeError(
            f"targets of sample {row} are {short(target[row].tolist(), 80)} but fractions of "
            f"classes must be 0 or more and add up to 1; {what}"
        )
