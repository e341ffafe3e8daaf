"""Transforms of numbers of events ``x [T, B, ...]``, which stay whole numbers of 0 or more.

Every event is moved by itself. A count does not say when within its step an event was, so that it
may have been at any time in it, ``t + u`` with ``u`` uniform from 0 to 1:

    step'     = floor((t + u) T' / T + shift + jitter),    jitter ~ N(0, jitter_ms / dt)
    channel'  = floor((c + v - C/2) factor + C/2 + shift),   shift a whole number

What falls out of the sample is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnsim.data.augmentation.draws import OfBatch

# the options that need events one by one
ON_EVENTS = (
    "time_stretch", "time_shift_ms", "jitter_ms", "channel_stretch", "channel_shift", "drop",
    "noise",
)  # fmt: skip


class _Events(NamedTuple):
    """All events of a batch, those of each sample one after another."""

    sample: np.ndarray
    step: np.ndarray
    channel: np.ndarray


def augmented_counts(x: Tensor, before: Tensor, after: Tensor, drawn: OfBatch) -> Tensor:
    """Return a batch of counts with all transforms but masks.

    Args:
        x: the input, ``[T, B, ...]``, whole numbers of 0 or more.
        before: the number of steps of each sample, ``[B]``.
        after: the number of steps that each has afterwards, ``[B]``.
        drawn: the random numbers.
    """
    given = drawn.given
    if not any(getattr(given, name) for name in ON_EVENTS):
        return x
    events, channels = _events_of(x), int(np.prod(x.shape[2:]))
    events = _moved_in_time(events, before.numpy(), after.numpy(), drawn)
    events = _moved_in_channels(events, channels, drawn)
    shape = (int(after.max()), *x.shape[1:])
    kept = (events.step >= 0) & (events.step < shape[0])
    kept &= (events.channel >= 0) & (events.channel < channels)
    if given.drop:
        kept &= _for_each(events, drawn, "drop", _uniform) >= given.drop
    place = (events.step * x.shape[1] + events.sample) * channels + events.channel
    found = np.bincount(place[kept], minlength=int(np.prod(shape)))
    if given.noise:
        found += _noise(after.numpy(), channels, drawn)
    return torch.from_numpy(found).to(x.dtype).view(shape)


def _events_of(x: Tensor) -> _Events:
    counts = x.flatten(2).transpose(0, 1).contiguous().numpy()
    occupied = np.flatnonzero(counts)
    place = np.repeat(occupied, counts.reshape(-1)[occupied].astype(np.int64))
    sample, place = np.divmod(place, counts[0].size)
    return _Events(sample, *np.divmod(place, counts.shape[2]))


def _moved_in_time(
    events: _Events, before: np.ndarray, after: np.ndarray, drawn: OfBatch
) -> _Events:
    given, (sample, step, _) = drawn.given, events
    if not (given.time_stretch or given.time_shift_ms or given.jitter_ms):
        return events
    time = step + _for_each(events, drawn, "time", _uniform)
    time *= (after / before)[sample]
    time += drawn.in_steps("time_shift_ms").numpy()[sample, 0]
    if given.jitter_ms:
        assert drawn.dt is not None  # or the option would have been refused
        time += given.jitter_ms / drawn.dt * _for_each(events, drawn, "jitter_ms", _normal)
    return events._replace(step=np.floor(time).astype(np.int64))


def _moved_in_channels(events: _Events, channels: int, drawn: OfBatch) -> _Events:
    given, (sample, _, channel) = drawn.given, events
    if given.channel_stretch:
        factor = 1 + drawn.between("channel_stretch").numpy()[sample, 0]
        place = channel + _for_each(events, drawn, "channel", _uniform)
        place = (place - channels / 2) * factor + channels / 2
        channel = np.floor(place).astype(np.int64)
    if given.channel_shift:
        shift = np.rint(drawn.between("channel_shift").numpy()).astype(np.int64)
        channel = channel + shift[sample, 0]
    return events._replace(channel=channel)


def _for_each(
    events: _Events,
    drawn: OfBatch,
    transform: str,
    draw: Callable[[np.random.Generator, int], np.ndarray],
) -> np.ndarray:
    """A random number for each event, drawn from its sample's own generator."""
    sizes = np.bincount(events.sample, minlength=len(drawn.rows))
    own = drawn.generators(transform)
    return np.concatenate([draw(each, n) for each, n in zip(own, sizes, strict=True)])


def _uniform(generator: np.random.Generator, count: int) -> np.ndarray:
    return generator.random(count)


def _normal(generator: np.random.Generator, count: int) -> np.ndarray:
    return generator.standard_normal(count)


def _noise(lengths: np.ndarray, channels: int, drawn: OfBatch) -> np.ndarray:
    """Numbers of events of a Poisson process in each cell of the batch, one after another."""
    batch, places = len(lengths), []
    for b, (own, length) in enumerate(zip(drawn.generators("noise"), lengths, strict=True)):
        count = own.poisson(drawn.given.noise * length * channels)
        step, channel = np.divmod(own.integers(0, length * channels, count), channels)
        places.append((step * batch + b) * channels + channel)
    return np.bincount(np.concatenate(places), minlength=int(lengths.max()) * batch * channels)
