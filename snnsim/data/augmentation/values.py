"""Transforms of values ``x [T, B, ...]``; in none does a sample depend on its neighbours."""

from __future__ import annotations

import torch
from torch import Tensor


def moved_in_time(x: Tensor, position: Tensor, lengths: Tensor, silence: float) -> Tensor:
    """Return samples that are read at other times, interpolated between steps.

    Args:
        x: the input, ``[T, B, N]``.
        position: where each step of the result is in the input, in steps, ``[T', B]``.
        lengths: the number of steps of each sample of the input, ``[B]``.
        silence: the value of what lies before or after a sample.
    """
    last = lengths - 1
    outside = (position < -0.5) | (position > last + 0.5)
    inside = torch.minimum(position.clamp(min=0), last.to(position))
    early = inside.floor().long()
    late = torch.minimum(early + 1, last)
    weight = (inside - early).to(x.dtype).unsqueeze(2)
    found = torch.lerp(_steps_of(x, early), _steps_of(x, late), weight)
    return found.masked_fill(outside.unsqueeze(2), silence)


def _steps_of(x: Tensor, step: Tensor) -> Tensor:
    return x.gather(0, step.unsqueeze(2).expand(-1, -1, x.shape[2]))


def moved_in_channels(x: Tensor, position: Tensor) -> Tensor:
    """Return samples that are read at other channels, interpolated between them.

    Args:
        x: the input, ``[T, B, C]``.
        position: where each channel of the result is in the input, in channels, ``[B, C]``.
            Beyond the edge, it is the channel at the edge.
    """
    last = x.shape[2] - 1
    inside = position.clamp(0, last)
    low = inside.floor().long()
    high = (low + 1).clamp(max=last)
    weight = (inside - low).to(x.dtype)
    return torch.lerp(_channels_of(x, low), _channels_of(x, high), weight)


def _channels_of(x: Tensor, channel: Tensor) -> Tensor:
    return x.gather(2, channel.unsqueeze(0).expand(len(x), -1, -1))


def in_masks(start: Tensor, width: Tensor, size: int) -> Tensor:
    """Return which of ``size`` places lie in one of the masks of each sample, ``[size, B]``.

    Args:
        start, width: the first place of each mask and how many it has, ``[B, masks]``.
        size: the number of places.
    """
    place = torch.arange(size).view(-1, 1, 1)
    return ((place >= start) & (place < start + width)).any(2)
