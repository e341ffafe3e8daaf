"""Transforms of values ``x [T, B, ...]``; in none does a sample depend on its neighbours.

    stretched and shifted time       x'[t] = x((t + 1/2 - shift) T / T' - 1/2)
    stretched and shifted channels   x'[c] = x((c - m - shift) / factor + m),   m = (C - 1) / 2

where ``x(p)`` between two steps or channels is interpolated linearly.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from snnsim.data.augmentation.draws import OfBatch


def augmented_values(
    x: Tensor, before: Tensor, after: Tensor, drawn: OfBatch, silence: float
) -> Tensor:
    """Return a batch of values with all transforms but masks.

    Args:
        x: the input, ``[T, B, ...]``.
        before: the number of steps of each sample, ``[B]``.
        after: the number of steps that each has afterwards, ``[B]``.
        drawn: the random numbers.
        silence: the value of what lies before or after a sample.
    """
    given = drawn.given
    if given.time_stretch or given.time_shift_ms:
        position = _places_in_time(before, after, drawn.in_steps("time_shift_ms").T)
        flat = moved_in_time(x.flatten(2), position, before, silence)
        x = flat.view(len(flat), *x.shape[1:])
    if given.channel_stretch or given.channel_shift:
        middle = (x.shape[2] - 1) / 2
        channel = torch.arange(x.shape[2], dtype=torch.float64) - middle
        factor = 1 + drawn.between("channel_stretch")
        x = moved_in_channels(x, (channel - drawn.between("channel_shift")) / factor + middle)
    return _changed(x, after, drawn)


def _places_in_time(before: Tensor, after: Tensor, shift: Tensor) -> Tensor:
    step = torch.arange(int(after.max()), dtype=torch.float64).view(-1, 1)
    return (step + 0.5 - shift) * (before.double() / after) - 0.5


def _changed(x: Tensor, lengths: Tensor, drawn: OfBatch) -> Tensor:
    """The input with other values, everything being where it was."""
    given, alike = drawn.given, (1, x.shape[1], *(1,) * (x.ndim - 2))
    if given.gain:
        x = x * drawn.factor("gain").to(x).view(alike)
    if given.level:
        x = _louder(x, drawn.between("level").to(x).view(alike))
    if given.tilt:
        x = _louder(x, drawn.between("tilt").to(x) * torch.linspace(-1, 1, x.shape[2]).to(x))
    return x + given.noise * _gaussian(x, lengths, drawn) if given.noise else x


def _louder(x: Tensor, more: Tensor) -> Tensor:
    """All values but zeros plus something; of a sample without negative ones, none becomes so."""
    negative = (x < 0).flatten(2).any(2).any(0).view(1, -1, *(1,) * (x.ndim - 2))
    moved = x + more
    return torch.where(x == 0, x, torch.where(negative, moved, moved.clamp(min=0)))


def _gaussian(x: Tensor, lengths: Tensor, drawn: OfBatch) -> Tensor:
    """Standard normal numbers within each sample, 0 beyond."""
    found = np.zeros(x.shape, np.float32)
    for b, (own, length) in enumerate(
        zip(drawn.generators("noise"), lengths.tolist(), strict=True)
    ):
        found[:length, b] = own.standard_normal((length, *x.shape[2:]), np.float32)
    return torch.from_numpy(found).to(x)


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
    found = _between(_steps_of(x, early), _steps_of(x, late), weight)
    return found.masked_fill(outside.unsqueeze(2), silence)


def _between(low: Tensor, high: Tensor, weight: Tensor) -> Tensor:
    """Not torch.lerp, whose last bit may depend on the place in memory, and so on the batch."""
    return low + weight * (high - low)


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
    return _between(_channels_of(x, low), _channels_of(x, high), weight)


def _channels_of(x: Tensor, channel: Tensor) -> Tensor:
    return x.gather(2, channel.unsqueeze(0).expand(len(x), -1, -1))
