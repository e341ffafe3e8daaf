"""Spike recordings as flat arrays, their binning, and batches of dense counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnsim.errors import ConfigError, DataError, check_choice
from snnsim.units import check_dt

BINNINGS = ("grid", "event_anchored", "events")
MOST_EVENTS = 512  # of a sample, with one event per step


class Batch(NamedTuple):
    """A batch: ``x [T, B, C]`` float32, ``labels [B]`` int64, ``lengths [B]`` steps."""

    x: Tensor
    labels: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class Events:
    """Spike recordings: sample ``i`` owns entries ``offsets[i]:offsets[i+1]``.

    Attributes:
        times: seconds, float32, ascending within a sample.
        units: channel numbers, ``0 .. channels - 1``.
        offsets: ``[n + 1]`` int64.
        labels: ``[n]`` int64.
        speakers: ``[n]`` int64; -1 where unknown.
        channels: number of channels.
        classes: names of the classes.
    """

    times: np.ndarray
    units: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray
    channels: int
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def sample(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Times (seconds) and units of one sample."""
        part = slice(self.offsets[i], self.offsets[i + 1])
        return self.times[part], self.units[part]

    def subset(self, indices: Sequence[int] | np.ndarray) -> Events:
        """The samples at ``indices`` (or under a boolean mask), in that order."""
        chosen = np.asarray(indices)
        indices = np.arange(len(self))[chosen if chosen.size else chosen.astype(np.int64)]
        pieces = [np.arange(self.offsets[i], self.offsets[i + 1]) for i in indices]
        take = np.concatenate(pieces) if pieces else np.zeros(0, np.int64)
        sizes = np.diff(self.offsets)[indices]
        return replace(
            self,
            times=self.times[take],
            units=self.units[take],
            offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            labels=self.labels[indices],
            speakers=self.speakers[indices],
        )


def seconds(microseconds: np.ndarray) -> np.ndarray:
    """Microseconds as float32 seconds, never rounded down: no event slips below its step.

    >>> float(seconds(np.array([20_000]))[0]) >= 0.02
    True
    """
    exact = microseconds.astype(np.float64) / 1e6
    rounded = exact.astype(np.float32)
    return np.where(rounded < exact, np.nextafter(rounded, np.float32(np.inf)), rounded)


def bin_events(
    times: np.ndarray, units: np.ndarray, dt: float, pool: int = 1, binning: str = "grid"
) -> tuple[np.ndarray, np.ndarray, int]:
    """Assign each event of one sample to a step and a pooled channel.

    Args:
        times: seconds, ascending.
        units: channel numbers.
        dt: step in ms.
        pool: this many neighbouring channels become one.
        binning: ``"grid"``: step ``floor(t / dt)`` on a regular grid from 0.
            ``"event_anchored"``: the frames of SpikingJelly in 2023: each frame begins at the
            first event not yet used and takes all events at most ``dt`` later, so silence is
            deleted and frames drift. Only for comparison with results obtained that way.
            ``"events"``: one event per step in the order of time, for models of address events;
            at most ``MOST_EVENTS`` of a sample, evenly chosen. When they came is lost.

    Returns:
        ``(steps, channels, number of steps)``; a sample has at least one step.

    >>> bin_events(np.array([0.001, 0.019, 0.02, 0.045]), np.array([0, 4, 5, 9]), dt=10.0, pool=5)
    (array([0, 1, 2, 4]), array([0, 0, 1, 1]), 5)
    """
    check_choice("binning", binning, BINNINGS)
    if binning == "events":
        count = min(len(units), MOST_EVENTS)
        chosen = np.arange(count) * len(units) // max(count, 1)
        return np.arange(count), units[chosen].astype(np.int64) // pool, max(count, 1)
    milliseconds = times.astype(np.float64) * 1000.0
    if binning == "grid":
        steps = np.floor(milliseconds / dt + 1e-9).astype(np.int64)
    else:
        steps = _event_anchored(milliseconds, dt)
    return steps, units.astype(np.int64) // pool, int(steps[-1]) + 1 if len(steps) else 1


def _event_anchored(milliseconds: np.ndarray, dt: float) -> np.ndarray:
    steps = np.zeros(len(milliseconds), np.int64)
    first, frame = 0, 0
    while first < len(milliseconds):
        last = int(np.searchsorted(milliseconds, milliseconds[first] + dt, side="right"))
        steps[first:last] = frame
        first, frame = last, frame + 1
    return steps


@dataclass(frozen=True)
class BinnedEvents:
    """Recordings on a time grid, ready to be made into dense batches.

    Kept sparse in memory: 7 bytes per occupied (step, channel) cell.

    Attributes:
        cells: ``step * channels + channel`` of every occupied cell, ascending per sample.
        counts: events in that cell (at most 65535).
        offsets: ``[n + 1]``, as in :class:`Events`.
        lengths: ``[n]``, number of steps of each sample.
    """

    cells: np.ndarray
    counts: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray
    channels: int
    classes: tuple[str, ...]
    dt: float
    checksums: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Sequence[int] | np.ndarray, steps: int | None = None) -> Batch:
        """Dense counts of some samples, zero-padded to the longest (or to ``steps``)."""
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) == 0:
            raise ConfigError("a batch needs at least one sample, but no indices were given")
        longest = int(self.lengths[indices].max())
        frames, size = longest if steps is None else steps, len(indices)
        starts, ends = self.offsets[indices], self.offsets[indices + 1]
        cells = np.concatenate([self.cells[a:b] for a, b in zip(starts, ends, strict=True)])
        counts = np.concatenate([self.counts[a:b] for a, b in zip(starts, ends, strict=True)])
        row = np.repeat(np.arange(size), ends - starts)
        step, channel = np.divmod(cells.astype(np.int64), self.channels)
        flat = (step * size + row) * self.channels + channel
        x = torch.zeros(frames, size, self.channels, dtype=torch.float32)
        if frames < longest:
            inside = step < frames
            flat, counts = flat[inside], counts[inside]
        x.view(-1)[torch.from_numpy(flat)] = torch.from_numpy(counts.astype(np.float32))
        lengths = torch.from_numpy(np.minimum(self.lengths[indices], frames))
        return Batch(x, torch.from_numpy(self.labels[indices]), lengths)


def bin_all(
    events: Events, dt: float, pool: int = 1, binning: str = "grid", checksums: dict | None = None
) -> BinnedEvents:
    """Bin every sample; arguments as in :func:`bin_events`."""
    check_dt(dt)
    if pool < 1 or events.channels % pool:
        raise ConfigError(f"pool is {pool} but must divide the {events.channels} channels")
    channels = events.channels // pool
    cells, counts, lengths = [], [], []
    for i in range(len(events)):
        steps, pooled, length = bin_events(*events.sample(i), dt, pool, binning)
        occupied, number = np.unique(steps * channels + pooled, return_counts=True)
        cells.append(occupied.astype(np.uint32))
        counts.append(np.minimum(number, 65535).astype(np.uint16))
        lengths.append(length)
    sizes = [len(c) for c in cells]
    return BinnedEvents(
        cells=np.concatenate(cells) if cells else np.zeros(0, np.uint32),
        counts=np.concatenate(counts) if counts else np.zeros(0, np.uint16),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        lengths=np.asarray(lengths, dtype=np.int64),
        labels=events.labels,
        speakers=events.speakers,
        channels=channels,
        classes=events.classes,
        dt=dt,
        checksums=dict(checksums or {}),
    )


def from_tonic(dataset, channels: int, classes: Sequence[str], unit_of=None) -> Events:
    """Take over any indexable data set of (structured events, label) pairs, such as tonic's.

    Args:
        dataset: ``dataset[i] -> (events, label)`` with fields ``t`` in microseconds and ``x``.
        channels: number of channels.
        classes: names of the classes.
        unit_of: function from an events array to channel numbers; ``None`` takes ``x``.
    """
    times, units, labels = [], [], []
    for i in range(len(dataset)):
        events, label = dataset[i]
        order = np.argsort(events["t"], kind="stable")
        times.append(seconds(events["t"][order]))
        units.append(np.asarray(events["x"] if unit_of is None else unit_of(events))[order])
        labels.append(int(label))
    if not labels:
        raise DataError("the data set has no samples")
    sizes = [len(t) for t in times]
    together = np.concatenate(units)
    if together.size and not 0 <= together.min() <= together.max() < channels:
        raise DataError(
            f"the data set has units {together.min()} .. {together.max()} but {channels} channels "
            "were announced; give the right number, or unit_of="
        )
    return Events(
        times=np.concatenate(times),
        units=together.astype(np.uint16),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        labels=np.asarray(labels, dtype=np.int64),
        speakers=np.full(len(labels), -1, dtype=np.int64),
        channels=channels,
        classes=tuple(classes),
    )
