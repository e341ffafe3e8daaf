"""Ranges of steps or channels in which a sample has its mean value, or no events.

Source: Park et al. 2019, SpecAugment (arXiv:1904.08779), without time warping. There, too, masked
values become the mean; silence is much further from what is usual.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnsim.data.augmentation.draws import OfBatch


def masked(x: Tensor, lengths: Tensor, drawn: OfBatch, counts: bool) -> Tensor:
    """Return a batch in which ranges of steps and of channels are masked.

    Args:
        x: the input, ``[T, B, ...]``; with masks of channels, ``[T, B, C]``.
        lengths: the number of steps of each sample, ``[B]``.
        drawn: the random numbers.
        counts: whether the input is numbers of events.
    """
    given = drawn.given
    if not (given.time_masks or given.channel_masks):
        return x
    fill = x.new_zeros(x.shape[1]) if counts else _means(x, lengths)
    fill = fill.view(1, -1, *(1,) * (x.ndim - 2))
    if given.time_masks:
        assert drawn.dt is not None  # or the option would have been refused
        masks = _masks("time_masks", int(given.time_mask_ms / drawn.dt), lengths, drawn)
        over = in_masks(*masks, len(x))
        x = torch.where(over.view(*over.shape, *(1,) * (x.ndim - 2)), fill, x)
    if given.channel_masks:
        channels = torch.full_like(lengths, x.shape[2])
        masks = _masks("channel_masks", given.channel_mask, channels, drawn)
        x = torch.where(in_masks(*masks, x.shape[2]).T, fill, x)
    return x


def _means(x: Tensor, lengths: Tensor) -> Tensor:
    """The mean of each sample, ``[B]``; taken one by one, so that it does not depend on others."""
    own = (x[: max(n, 1), b] for b, n in enumerate(lengths.tolist()))
    return torch.stack([each.contiguous().double().mean() for each in own]).to(x)


def _masks(name: str, widest: int, sizes: Tensor, drawn: OfBatch) -> tuple[Tensor, Tensor]:
    """Start and width of each mask, ``[B, masks]``; a wider one than its sample covers it."""
    number = getattr(drawn.given, name)
    wide, first = drawn.uniform(name, 2 * number).split(number, 1)
    width = (wide * (widest + 1)).long()
    return (first * (sizes.view(-1, 1) - width + 1)).long(), width


def in_masks(start: Tensor, width: Tensor, size: int) -> Tensor:
    """Return which of ``size`` places lie in one of the masks of each sample, ``[size, B]``.

    Args:
        start, width: the first place of each mask and how many it has, ``[B, masks]``.
        size: the number of places.
    """
    place = torch.arange(size).view(-1, 1, 1)
    return ((place >= start) & (place < start + width)).any(2)
