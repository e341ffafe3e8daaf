"""What training makes small, and the figure by which the best epoch is chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from snnsim.data import Batch
from snnsim.errors import ConfigError, ShapeError, check_choice, short
from snnsim.functional.losses import cross_entropy_sum
from snnsim.functional.readouts import READOUTS, get_readout

LOSSES = ("cross_entropy", "mse")


class Measured(NamedTuple):
    """A loss (with a gradient) and a score, both summed over the samples of a batch."""

    loss: Tensor
    score: float


@dataclass(frozen=True)
class Objective:
    """Base: from outputs and targets of a batch to a loss and a score.

    Sums and not means, so that parts of a batch add up to the whole, also over processes; a batch
    of no samples has a loss of 0, with a gradient.

    Attributes:
        metric: name of the mean score, in the metrics of a run.
        larger_is_better: whether a larger score is a better one.
        mask_padding: whether the loss depends on the steps of each sample alone, not on padding.
    """

    metric = "accuracy"
    larger_is_better = True
    mask_padding = True

    def measure(self, y: Tensor, batch: Batch, lengths: Tensor) -> Measured:
        """Loss and score of outputs ``y [T', B, ...]``, of which ``lengths [B]`` are a sample's."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """What a checkpoint keeps of it: a run goes on with the same objective only."""
        return repr(self)

    def better(self, score: float, loss: float, than: tuple[float, float]) -> bool:
        """Whether an epoch of this mean score and loss is better than another; a tie is not."""
        sign = 1 if self.larger_is_better else -1
        return (sign * score, -loss) > (sign * than[0], -than[1])

    def possible(self, score: float, samples: int) -> bool:
        """Whether scores of so many samples can add up to ``score``."""
        return 0 <= score <= samples if self.metric == "accuracy" else 0 <= score < float("inf")


@dataclass(frozen=True)
class Classification(Objective):
    """Cross-entropy of a read-out's scores; the score is the share of right answers.

    Args:
        readout: see :mod:`snnsim.functional.readouts`.
        mask_padding: whether steps beyond the end of a sample are kept out of the read-out.
    """

    readout: str = "sum_softmax"
    mask_padding: bool = False

    def __post_init__(self) -> None:
        check_choice("readout", self.readout, READOUTS)

    def measure(self, y: Tensor, batch: Batch, lengths: Tensor) -> Measured:
        scores = get_readout(self.readout)(in_full(y), lengths if self.mask_padding else None)
        target = batch.target.to(y.device)
        _check_classes(target, scores.shape[-1], (len(scores),))
        right = float((scores.argmax(1) == target).sum())
        return Measured(cross_entropy_sum(scores, target), right)


@dataclass(frozen=True)
class Regression(Objective):
    """Squared error of a read-out's values, mean over values; so is the score, less being better.

    Args:
        readout: ``"mean"``, ``"last"`` or another of :mod:`snnsim.functional.readouts`.
        mask_padding: whether steps beyond the end of a sample are kept out of the read-out.
    """

    readout: str = "mean"
    mask_padding: bool = True
    metric = "mse"
    larger_is_better = False

    def __post_init__(self) -> None:
        check_choice("readout", self.readout, READOUTS)

    def measure(self, y: Tensor, batch: Batch, lengths: Tensor) -> Measured:
        found = get_readout(self.readout)(in_full(y), lengths if self.mask_padding else None)
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
    """A target for every step: the mean over a sample's own steps.

    Args:
        loss: ``"cross_entropy"`` of the outputs as scores of classes ``[T, B]``, whose score is
            the share of right steps; or ``"mse"`` of values ``[T, B, D]``, whose score is itself.
    """

    loss: str = "cross_entropy"

    def __post_init__(self) -> None:
        check_choice("loss", self.loss, LOSSES)

    @property
    def metric(self) -> str:  # type: ignore[override]
        """``"accuracy"`` or ``"mse"``."""
        return "accuracy" if self.loss == "cross_entropy" else "mse"

    @property
    def larger_is_better(self) -> bool:  # type: ignore[override]
        """Of accuracy, but not of an error."""
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
        inside = torch.arange(len(y), device=y.device)[:, None] < steps
        share = inside / steps.clamp(min=1)
        return Measured(
            (each.view(share.shape) * share).sum(), float((right.detach() * share).sum())
        )


@dataclass(frozen=True)
class Custom(Objective):
    """A loss of one's own; the score is the loss, less being better.

    Args:
        function: of outputs ``y [T', B, ...]`` and a :class:`snnsim.data.Batch` to the loss of
            each sample ``[B]``, or to their mean.
        mask_padding: whether it depends on the steps of each sample alone, not on padding.
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
        """A function has no better one that would last."""
        return "Custom"

    def possible(self, score: float, samples: int) -> bool:
        return abs(score) < float("inf")


def as_objective(given: Any, readout: str, mask_padding: bool) -> Objective:
    """An objective, a function as one, or, for ``None``, classification by a read-out."""
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


def in_full(y: Tensor) -> Tensor:
    """Outputs in float32 at least: losses and read-outs sum up."""
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
