"""What can be reached without a network: by a constant answer, and by a linear probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snnsim.data import Batch, Sequences, describe
from snnsim.training.objectives import Classification, MultiLabel, PerStep, Regression

# pieces of time in which the probe sums the input: one tells what rates say, eight also the rough
# order of things
PIECES = (1, 8)
# the ridge's penalty beside a mean squared sample; labels are told as well with a tenth of it
RIDGE = 1.0


def constant_loss(objective: Any, targets: list[Tensor]) -> float | None:
    """Return the mean loss of the best constant answer; ``None`` where that is unknown.

    Args:
        objective: the objective that training minimises.
        targets: the targets of batches.

    >>> round(constant_loss(Classification(), [torch.tensor([0, 1, 2, 3])]), 4)  # log 4
    1.3863
    """
    classes = isinstance(objective, Classification) or (
        isinstance(objective, PerStep) and objective.loss == "cross_entropy"
    )
    if classes and all(not t.is_floating_point() for t in targets):
        counts = torch.bincount(torch.cat([t.flatten() for t in targets]).clamp(min=0)).double()
        p = counts[counts > 0] / counts.sum()
        return float(-(p * p.log()).sum())
    if isinstance(objective, Regression):
        return float(_stacked(targets).var(0, correction=0).mean())
    if isinstance(objective, MultiLabel):
        p = _stacked(targets).mean(0).clamp(1e-12, 1 - 1e-12)
        return float(-(p * p.log() + (1 - p) * (1 - p).log()).mean())
    return None


def _stacked(targets: list[Tensor]) -> Tensor:
    rows = [t.double() for t in targets]
    return torch.cat([row.flatten(1) if row.dim() > 1 else row[:, None] for row in rows])


def like_chance(p: float, samples: int) -> float:
    """Return the largest accuracy that is still like chance: three standard errors above it.

    Args:
        p: the accuracy of the best constant answer.
        samples: the number of samples on which an accuracy is measured.

    >>> round(like_chance(0.1, 100), 2)
    0.19
    """
    return p + 3 * float(np.sqrt(p * (1 - p) / samples))


@dataclass(frozen=True)
class Probe:
    """A ``Probe`` is what a ridge regression on the input reaches, without any network.

    Attributes:
        accuracy: the fraction of samples that it answers rightly when each is left out in turn.
        most_frequent: the fraction of the most frequent class.
        samples: the number of samples.
    """

    accuracy: float
    most_frequent: float
    samples: int

    @property
    def chance(self) -> float:
        """Return the largest accuracy that is still like chance."""
        return like_chance(self.most_frequent, self.samples)


def probe(batches: list[Batch]) -> Probe | None:
    """Return what a ridge regression on the summed input says of the classes.

    The input is summed over the whole time, and over eight pieces of it; the better of the two
    counts. Each sample is answered by the regression on all others, in closed form:
    ``y_i - f_i = (y_i - f(x_i)) / (1 - h_ii)`` with the hat matrix ``H = K (K + a I)^-1``.

    Args:
        batches: batches with a class for each sample; for others the answer is ``None``.
    """
    if any(b.target.dim() != 1 or b.target.is_floating_point() for b in batches):
        return None
    labels = torch.cat([b.target for b in batches]).cpu()
    names, labels = labels.unique(return_inverse=True)
    if len(names) < 2 or len(labels) < 2 * len(names):
        return None
    wanted = torch.nn.functional.one_hot(labels).double()
    right = [_left_out(_summed(batches, pieces), wanted) for pieces in PIECES]
    return Probe(max(right), float(wanted.mean(0).max()), len(labels))


def _summed(batches: list[Batch], pieces: int) -> Tensor:
    """The input of every sample, summed over pieces of its own time, ``[n, pieces * N]``."""
    rows = []
    for batch in batches:
        x = batch.x.detach().double().flatten(2).cpu()
        for b, length in enumerate(batch.lengths.tolist()):
            parts = np.array_split(np.arange(length), pieces)
            rows.append(torch.cat([x[part, b].sum(0) for part in parts]))
    return torch.stack(rows)


def _left_out(x: Tensor, wanted: Tensor) -> float:
    """The fraction of samples that a ridge regression on all others answers rightly."""
    x = (x - x.mean(0)) / x.std(0).clamp(min=1e-9)
    kernel = x @ x.T
    scale = kernel.diagonal().mean().clamp(min=1e-12)
    kernel = kernel / scale + 1.0  # which stands for the constant
    eye = torch.eye(len(x), dtype=x.dtype)
    hat = torch.linalg.solve(kernel + RIDGE * eye, kernel).T
    own = hat.diagonal()[:, None]
    answers = (hat @ wanted - own * wanted) / (1 - own).clamp(min=1e-9)
    return float((answers.argmax(1) == wanted.argmax(1)).double().mean())


def labels_of(data: Sequences, batches: list[Batch]) -> np.ndarray | None:
    """Return the classes of all samples if the data know them, else of those in the batches.

    Args:
        data: a data set.
        batches: batches of it.
    """
    known = describe(data).labels
    if known is not None:
        return np.asarray(known)
    if any(b.target.dim() != 1 or b.target.is_floating_point() for b in batches):
        return None
    return torch.cat([b.target for b in batches]).cpu().numpy()
