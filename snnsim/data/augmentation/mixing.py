"""Samples that are mixed with others of the same data set.

    same     x' = w x_i + (1 - w) x_j, both of one class; of counts, every event of i is kept
             with the probability w, and every event of j with 1 - w
    cutmix   the steps a .. a + n - 1 of x_i become those of x_j, and the target becomes
             (1 - n / T_i) y_i + (n / T_i) y_j

with ``w`` uniform from 0 to 1, ``n`` uniform from 0 to the length of the shorter sample, and ``a``
uniform among the places where n steps are within both. Sources: Zhang et al. 2018, mixup
(arXiv:1710.09412), here within a class; Yun et al. 2019, CutMix (arXiv:1905.04899), here in time.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from snnsim.data.augmentation.draws import Draws, OfBatch
from snnsim.data.augmentation.options import SAME


def partners(draws: Draws, labels: np.ndarray) -> np.ndarray:
    """Return with which sample each is mixed, ``[samples]``; -1 for none.

    Args:
        draws: the random numbers.
        labels: the classes, ``[samples]``; of mixes within a class, no sample is alone in it and
            still mixed.
    """
    chance, choice = draws.uniform("mix", 4)[:, :2].T
    mixed = chance < draws.given.mix_probability
    found = np.full(draws.samples, -1)
    groups = np.unique(labels) if draws.given.mix == SAME else [None]
    for group in groups:
        members = np.flatnonzero(labels == group) if group is not None else np.arange(len(labels))
        others = len(members) - 1
        if others < 1:
            continue
        place = np.arange(len(members))
        other = (place + 1 + (choice[members] * others).astype(np.int64)) % len(members)
        found[members] = np.where(mixed[members], members[other], -1)
    return found


def mixed_lengths(draws: Draws, lengths: np.ndarray, partner: np.ndarray) -> np.ndarray:
    """Return the number of steps of each sample: within a class, that of the longer of the two."""
    if draws.given.mix != SAME:
        return lengths
    return np.where(partner < 0, lengths, np.maximum(lengths, lengths[partner]))


def blended(x: Tensor, other: Tensor, drawn: OfBatch, counts: bool) -> Tensor:
    """Return samples that are mixed with others of their class.

    Args:
        x, other: the two inputs, ``[T, B, ...]``.
        drawn: the random numbers of the samples of ``x``.
        counts: whether they are numbers of events.
    """
    weight = drawn.uniform("mix", 4)[:, 2]
    if not counts:
        fraction = weight.to(x).view(1, -1, *(1,) * (x.ndim - 2))
        return fraction * x + (1 - fraction) * other
    kept = torch.empty_like(x)
    for b, (own, w) in enumerate(zip(drawn.generators("mix"), weight.tolist(), strict=True)):
        kept[:, b] = _thinned(x[:, b], w, own) + _thinned(other[:, b], 1 - w, own)
    return kept


def _thinned(counts: Tensor, kept: float, generator: np.random.Generator) -> Tensor:
    """Counts of which every event is kept with a probability."""
    found = torch.zeros_like(counts)
    occupied = counts != 0
    some = generator.binomial(counts[occupied].numpy().astype(np.int64), kept)
    found[occupied] = torch.from_numpy(some).to(counts)
    return found


def cut(
    x: Tensor, other: Tensor, lengths: Tensor, others: Tensor, drawn: OfBatch
) -> tuple[Tensor, Tensor]:
    """Return samples in which some steps are those of others, and the fraction that these are.

    Args:
        x, other: the two inputs, ``[T, B, ...]``.
        lengths, others: the number of their steps, ``[B]``.
        drawn: the random numbers of the samples of ``x``.
    """
    wide, first = drawn.uniform("mix", 4)[:, 2:].T
    shorter = torch.minimum(lengths, others)
    width = (wide * (shorter + 1)).long()
    start = (first * (shorter - width + 1)).long()
    step = torch.arange(len(x)).view(-1, 1)
    inside = (step >= start) & (step < start + width)
    inside = inside.view(*inside.shape, *(1,) * (x.ndim - 2))
    return torch.where(inside, other, x), width / lengths.clamp(min=1)
