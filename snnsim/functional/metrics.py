"""Figures that say how good answers are, beside the objectives that training uses.

With ``n`` samples, a fraction ``p`` of them right, and ``z = 1.96`` (95 %), Wilson's interval is

    (p + z^2 / 2n  +-  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

and, with the ``n_b`` samples whose probability of their best class lies in bin ``b``, the expected
calibration error is

    sum over bins of  n_b / n  |accuracy of the bin - mean probability in the bin|

Of ``n`` values with the mean ``m`` and the sample standard deviation ``s``, such as the accuracies
of ``n`` seeds, the mean of all that could be drawn lies in ``m +- t s / sqrt(n)``, where ``t`` is
the quantile of Student's distribution with ``n - 1`` degrees of freedom.

Sources: Student 1908 (doi:10.1093/biomet/6.1.1); Wilson 1927 (doi:10.1080/01621459.1927.10502953);
Guo et al. 2017 (arXiv:1706.04599), equation 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

import torch
from torch import Tensor

from snnsim.errors import ConfigError, ShapeError, check_number, check_size


def wilson_interval(right: int, samples: int, level: float = 0.95) -> tuple[float, float]:
    """Return the interval in which the accuracy lies with a given confidence.

    Unlike the interval of a normal distribution, it never leaves 0 to 1 and is not empty where all
    answers are right.

    Args:
        right: the number of right answers, from 0 to ``samples``.
        samples: the number of answers, at least 1.
        level: the confidence, above 0 and below 1.

    >>> [round(end, 3) for end in wilson_interval(90, 100)]
    [0.826, 0.945]
    """
    check_size("samples", samples)
    check_size("right", right, 0, samples)
    check_number("level", level, 0, 1 - 1e-12, above=0)
    z, p = NormalDist().inv_cdf((1 + level) / 2), right / samples
    middle = p + z * z / (2 * samples)
    half = z * math.sqrt(p * (1 - p) / samples + (z / (2 * samples)) ** 2)
    scale = 1 + z * z / samples
    return max((middle - half) / scale, 0.0), min((middle + half) / scale, 1.0)


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Return the interval in which the mean of a population lies with a given confidence.

    Args:
        values: independent samples of the population, which is taken to be normal.
        level: the confidence, above 0 and below 1.

    Returns:
        Its two ends; ``None`` for fewer than two values, of which no spread is known.

    >>> [round(end, 2) for end in mean_interval([80.0, 82.0, 84.0])]
    [77.03, 86.97]
    """
    check_number("level", level, 0, 1 - 1e-6, above=0)
    if len(values) < 2:
        return None
    half = student_quantile(level, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def student_quantile(level: float, freedom: int) -> float:
    """Return the ``t`` for which ``-t`` to ``t`` holds a given part of Student's distribution.

    Args:
        level: that part, above 0 and below 1.
        freedom: the degrees of freedom, at least 1.

    >>> round(student_quantile(0.95, 2), 4), round(student_quantile(0.95, 30), 4)
    (4.3027, 2.0423)
    """
    check_number("level", level, 0, 1 - 1e-6, above=0)
    check_size("freedom", freedom)
    # with t = sqrt(freedom) tan(a), the density is that of an angle, cos(a) ** (freedom - 1)
    angles = torch.linspace(0, math.pi / 2, 200_001, dtype=torch.float64)
    density = angles.cos() ** (freedom - 1)
    below = torch.cumulative_trapezoid(density, angles)
    place = int(torch.searchsorted(below, level * below[-1]))
    before = float(below[place - 1]) if place else 0.0
    part = (level * float(below[-1]) - before) / (float(below[place]) - before)
    step = float(angles[1])
    return math.sqrt(freedom) * math.tan((place + part) * step)


def confusion_matrix(found: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return how often each class was answered by each class, ``[classes, classes]``.

    A row belongs to a true class and a column to an answer.

    Args:
        found: the classes that were answered, ``[n]``.
        labels: the true classes, ``[n]``.
        classes: the number of classes.

    >>> confusion_matrix(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    for name, each in (("answers", found), ("labels", labels)):
        check_labels(name, each, classes, len(labels))
    counts = torch.bincount(labels * classes + found, minlength=classes * classes)
    return counts.view(classes, classes)


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Return the expected calibration error: how far probabilities are from frequencies.

    It is 0 where, among the answers with a probability of 80 %, 80 % are right.

    Args:
        probabilities: the probabilities of the classes, ``[n, C]``; each row adds up to 1.
        labels: the true classes, ``[n]``.
        bins: the number of bins of equal width from 0 to 1; an edge belongs to the bin below it.

    >>> calibration_error(torch.tensor([[0.8, 0.2], [0.8, 0.2]]), torch.tensor([0, 1]))
    0.3...
    """
    check_size("bins", bins)
    check_probabilities(probabilities)
    check_labels("labels", labels, probabilities.shape[1], len(probabilities))
    sure, best = probabilities.double().max(1)
    right = (best == labels).double()
    edges = torch.arange(1, bins, dtype=torch.float64) / bins
    place = torch.bucketize(sure, edges.to(sure.device))
    gaps = torch.zeros(bins, dtype=torch.float64, device=sure.device)
    gaps.index_add_(0, place, right - sure)  # n_b times the difference of the means
    return float(gaps.abs().sum() / len(labels))


def average_precision(scores: Tensor, labels: Tensor) -> Tensor:
    """Return how well each label's samples are ranked before the others, ``[C]``, in float64.

        AP = sum over thresholds of  (recall - recall before) precision

    from the highest score to the lowest; samples with the same score pass a threshold together. It
    is 1 where all samples of a label have higher scores than the others, and NaN for a label
    without a sample.

    Args:
        scores: the scores of the labels, ``[n, C]``.
        labels: which labels each sample has, truth values ``[n, C]``.

    >>> average_precision(torch.tensor([[0.9], [0.5], [0.1]]), torch.tensor([[1], [0], [1]]) > 0)
    tensor([0.8333], dtype=torch.float64)
    """
    if scores.shape != labels.shape or scores.ndim != 2 or labels.dtype != torch.bool:
        raise ShapeError(
            f"scores are {list(scores.shape)} and labels {labels.dtype} {list(labels.shape)}, but "
            "both must be [samples, labels], and labels truth values"
        )
    found = [_one_precision(s, true) for s, true in zip(scores.t(), labels.t(), strict=True)]
    return torch.tensor(found, dtype=torch.float64)


def _one_precision(scores: Tensor, true: Tensor) -> float:
    ranked, order = scores.sort(descending=True)
    hits = true[order].double().cumsum(0)
    last = torch.ones_like(ranked, dtype=torch.bool)  # of the samples with the same score
    last[:-1] = ranked[1:] != ranked[:-1]
    places = last.nonzero()[:, 0]
    hits_there = hits[places]
    gained = hits_there.diff(prepend=hits_there.new_zeros(1))
    return float((gained * hits_there / (places + 1)).sum() / true.sum())


def check_probabilities(probabilities: Tensor) -> None:
    """Raise an error unless every row ``[n, C]`` has numbers from 0 to 1 that add up to 1."""
    if probabilities.ndim != 2 or not len(probabilities) or not probabilities.is_floating_point():
        raise ShapeError(
            f"probabilities are {probabilities.dtype} {list(probabilities.shape)} but must be "
            "numbers [samples, classes], of one sample or more"
        )
    off = (probabilities.sum(1) - 1).abs()
    if not bool((off < 1e-3).all()) or bool((probabilities < 0).any()):
        raise ConfigError(
            "probabilities must be 0 or more and add up to 1 for each sample, but those of sample "
            f"{int(off.nan_to_num(torch.inf).argmax())} do not; normalise the scores first, see "
            "snnsim.functional.readouts.fractions"
        )


def check_labels(name: str, labels: Tensor, classes: int, samples: int) -> None:
    """Raise an error unless there is a whole number from 0 to ``classes - 1`` for each sample."""
    if labels.dtype != torch.int64 or labels.shape != (samples,):
        raise ShapeError(
            f"{name} are {labels.dtype} {list(labels.shape)} but must be int64 [{samples}], a "
            "class for each sample"
        )
    if samples and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ShapeError(
            f"{name} are {int(labels.min())} .. {int(labels.max())} but must lie in 0 .. "
            f"{classes - 1}, the classes"
        )
