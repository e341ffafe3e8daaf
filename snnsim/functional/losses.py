"""Losses on read-out scores."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy_sum(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of the softmax of scores, summed over the samples.

    It is summed and not averaged, so that parts of a batch add up to the whole. With
    :func:`snnsim.functional.readouts.sum_softmax` this is the reference system's loss: a second
    softmax over the summed softmaxes.

    Args:
        scores: the class scores, ``[B, C]``.
        labels: the classes, ``[B]``, whole numbers from 0 to ``C - 1``; or of samples that are
            mixed of several classes, the fraction of each, ``[B, C]``. The loss is then
            ``- sum_c fraction_c log softmax(scores)_c``.

    >>> import torch
    >>> round(float(cross_entropy_sum(torch.zeros(2, 4), torch.tensor([0, 3]))), 4)
    2.7726
    """
    return functional.cross_entropy(scores, labels, reduction="sum")


def supervised_contrastive(x: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """Return a loss that pulls samples of a class together on the unit sphere.

        mean_i  -1 / |P(i)| sum_{p in P(i)} log( exp(c_ip / t) / sum_{a != i} exp(c_ia / t) )

    with cosines ``c`` and the other samples ``P(i)`` of the class of ``i``; samples that are alone
    in their class do not count. Source: Khosla et al. 2020 (arXiv:2004.11362), equation 2.

    Args:
        x: the vectors of the samples, ``[B, N]``.
        labels: their classes, ``[B]``.
        temperature: the temperature ``t``, above 0.

    Returns:
        A number, which is 0 if no two samples have the same class. Gradients flow to ``x``.

    >>> apart = supervised_contrastive(torch.eye(2).repeat(2, 1), torch.tensor([0, 1, 0, 1]))
    >>> mixed = supervised_contrastive(torch.eye(2).repeat(2, 1), torch.tensor([0, 0, 1, 1]))
    >>> bool(apart < mixed)
    True
    """
    x = functional.normalize(x, dim=1)
    itself = torch.eye(len(x), dtype=torch.bool, device=x.device)
    scores = (x @ x.t() / temperature).masked_fill(itself, -torch.inf)
    log_share = scores - scores.logsumexp(1, keepdim=True)
    alike = (labels[:, None] == labels) & ~itself
    count = alike.sum(1)
    pulled = log_share.masked_fill(~alike, 0).sum(1) / count.clamp(min=1)
    return -pulled.sum() / (count > 0).sum().clamp(min=1)


def repetition_loss(now: Tensor, before: Tensor, scale: float = 0.5) -> Tensor:
    """Return a loss that keeps a repeated pattern from becoming more likely each time.

        mean -log(1 - |p_n - scale p*_{n-1}|)

    over the tokens of repetition ``n`` of a pattern, ``p*`` being without gradient. Source: Xu et
    al. 2022, arXiv:2206.02369, equation 3.

    Args:
        now: the probabilities of the tokens in one repetition, from 0 to 1, of any shape.
        before: those of the same tokens in the repetition before, of the same shape.
        scale: what a probability is to become of that before, from 0 to 1.

    Returns:
        A number; it is 0 where every probability is ``scale`` times that before. Gradients flow to
        ``now``.

    >>> import torch
    >>> float(repetition_loss(torch.tensor([0.2]), torch.tensor([0.4])))
    -0.0
    """
    distance = (now - scale * before.detach()).abs()
    return -torch.log1p(-distance.clamp(max=1 - torch.finfo(now.dtype).eps)).mean()
