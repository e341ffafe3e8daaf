"""Answers by nearest neighbours among stored codes, each compared within units of its own."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Codes(NamedTuple):
    """Codes are features of samples whose class is known.

    Attributes:
        features: activity of the units, ``[S, N]``.
        labels: class of each sample, ``[S]``.
        relevant: mask of the units in which a code is compared, ``[S, N]``.
    """

    features: Tensor
    labels: Tensor
    relevant: Tensor


def encode(features: Tensor, labels: Tensor, fraction: float, allowed: Tensor) -> Codes:
    """Make codes whose relevant units hold a fraction of the activity of their class.

    Args:
        features: activity of the units, ``[S, N]``, not negative.
        labels: class of each sample, ``[S]``.
        fraction: the fraction of a class's activity, between 0 and 1.
        allowed: mask of the units that may be relevant, ``[N]``.
    """
    classes, place = labels.unique(return_inverse=True)
    means = (features[labels == c].mean(0) for c in classes)
    masks = [most_active(mean * allowed, fraction) & allowed for mean in means]
    return Codes(features, labels, torch.stack(masks)[place])


def nearest(x: Tensor, codes: list[Codes], neighbours: int, outputs: int) -> Tensor:
    """Sum the cosines of the nearest codes, by class.

    Args:
        x: features, ``[B, N]``.
        codes: one or more sets of codes.
        neighbours: the number of nearest codes that answer.
        outputs: the number of classes.

    Returns:
        A score for each class, ``[B, outputs]``.

    >>> codes = encode(torch.eye(3), torch.tensor([0, 1, 1]), 1.0, torch.ones(3) > 0)
    >>> nearest(torch.tensor([[0.0, 2.0, 0.0]]), [codes], 1, 2).tolist()
    [[0.0, 1.0]]
    """
    features, labels, relevant = (
        torch.cat(parts).to(x.device) for parts in zip(*codes, strict=True)
    )
    masked = functional.normalize(features * relevant, dim=1)
    norms = (x.square() @ relevant.to(x).t()).sqrt().clamp(min=1e-12)
    best = (x @ masked.t() / norms).topk(min(neighbours, len(features)), 1)
    return x.new_zeros(len(x), outputs).scatter_add_(1, labels[best.indices], best.values)


def most_active(activity: Tensor, fraction: float) -> Tensor:
    """Return a mask of the fewest units, at least one, that hold a fraction of the activity.

    >>> most_active(torch.tensor([1.0, 6.0, 3.0]), 0.7).tolist()
    [False, True, True]
    """
    order = activity.argsort(descending=True)
    held = activity[order].cumsum(0)
    count = int((held < fraction * held[-1] * (1 - 1e-6)).sum()) + 1
    chosen = torch.zeros(len(activity), dtype=torch.bool, device=activity.device)
    chosen[order[:count]] = True
    return chosen
