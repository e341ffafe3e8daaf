"""Answers by nearest neighbours among stored codes, each compared within units of its own."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Codes(NamedTuple):
    """Features of samples whose class is known.

    Attributes:
        features: ``[S, N]``.
        labels: ``[S]``.
        relevant: ``[S, N]``, the units within which a code is compared.
    """

    features: Tensor
    labels: Tensor
    relevant: Tensor


def encode(features: Tensor, labels: Tensor, share: float, allowed: Tensor) -> Codes:
    """Codes with the units that hold a share of their class's activity, among those ``allowed``.

    Args:
        features: ``[S, N]``, not negative.
        labels: ``[S]``.
        share: between 0 and 1.
        allowed: ``[N]``.
    """
    classes, place = labels.unique(return_inverse=True)
    masks = [most_active(features[labels == c].mean(0) * allowed, share) & allowed for c in classes]
    return Codes(features, labels, torch.stack(masks)[place])


def nearest(x: Tensor, codes: list[Codes], neighbours: int, outputs: int) -> Tensor:
    """Summed cosines of the nearest codes, by class.

    Args:
        x: features ``[B, N]``.
        codes: one or more sets of them.
        neighbours: how many answer.
        outputs: number of classes.

    Returns:
        ``[B, outputs]``.

    >>> codes = encode(torch.eye(3), torch.tensor([0, 1, 1]), 1.0, torch.ones(3) > 0)
    >>> nearest(torch.tensor([[0.0, 2.0, 0.0]]), [codes], 1, 2).tolist()
    [[0.0, 1.0]]
    """
    features, labels, relevant = (
        torch.cat(parts).to(x.device) for parts in zip(*codes, strict=True)
    )
    within = functional.normalize(features * relevant, dim=1)
    norms = (x.square() @ relevant.to(x).t()).sqrt().clamp(min=1e-12)
    best = (x @ within.t() / norms).topk(min(neighbours, len(features)), 1)
    return x.new_zeros(len(x), outputs).scatter_add_(1, labels[best.indices], best.values)


def most_active(activity: Tensor, share: float) -> Tensor:
    """The fewest units that hold a share of the activity ``[N]`` (at least one), as a mask.

    >>> most_active(torch.tensor([1.0, 6.0, 3.0]), 0.7).tolist()
    [False, True, True]
    """
    order = activity.argsort(descending=True)
    held = activity[order].cumsum(0)
    count = int((held < share * held[-1] * (1 - 1e-6)).sum()) + 1
    chosen = torch.zeros(len(activity), dtype=torch.bool, device=activity.device)
    chosen[order[:count]] = True
    return chosen
