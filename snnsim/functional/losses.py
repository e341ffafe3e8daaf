"""Losses on read-out scores."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def cross_entropy_sum(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the softmax of ``scores`` ``[B, C]`` at ``labels`` ``[B]``, summed over B.

    Summed and not averaged, so that parts of a batch add up to the whole. With
    :func:`snnsim.functional.readouts.sum_softmax` this is the reference system's loss: a
    second softmax over the summed softmaxes.

    >>> import torch
    >>> round(float(cross_entropy_sum(torch.zeros(2, 4), torch.tensor([0, 3]))), 4)
    2.7726
    """
    return functional.cross_entropy(scores, labels, reduction="sum")
