"""Spike recordings as flat arrays, their binning, and batches of dense counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from snnsim.data.limits import limit
from snnsim.data.protocol import Batch, DataSet, chosen
from snnsim.errors import ConfigError, DataError, check_choice
from snnsim.units import check_dt

BINNINGS = ("grid", "event_anchored", "events")
MOST_EVENTS = 512  # of a sample, with one event per step


def whole_numbers(name: str, values: Any, size: int | None = None) -> np.ndarray:
    """Return an array ``[n]`` of whole numbers as int64; raise :class:`DataError` for others.

    >>> whole_numbers("labels", np.array([1.0, 0.0]))
    array([1, 0])
    """
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "biuf":
        raise DataError(
            f"{name} are {array.dtype} of shape {array.shape} but must be whole numbers [n]"
        )
    if size is not None and len(array) != size:
        raise DataError(f"there are {len(array)} {name} but {size} are needed")
    if array.dtype.kind == "f":
        odd = array[~(np.isfinite(array) & (array == np.floor(array)) & (np.abs(array) < 2.0**62))]
        if odd.size:
            raise DataError(f"{name} have the value {odd[0]} but must be whole numbers")
    if array.dtype.kind == "u" and array.size and int(array.max()) > 2**62:
        raise DataError(f"{name} have the value {array.max()}, which is too large")
    return array.astype(np.int64)


def in_range(name: str, values: np.ndarray, count: int) -> np.ndarray:
    """Return the values if they lie in ``0 .. count - 1``; else raise :class:`DataError`."""
    outside = values[(values < 0) | (values >= count)]
    if outside.size:
        raise DataError(f"it has {name[:-1]} {outside[0]} but {name} must lie in 0 .. {count - 1}")
    return values


def _checked_times(times: Any, offsets: np.ndarray) -> np.ndarray:
    """Times as numbers of seconds that can be: finite, not negative and not too late."""
    array = np.asarray(times)
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise DataError(f"times are {array.dtype} of shape {array.shape} but must be seconds [n]")
    array = array if array.dtype.kind == "f" else array.astype(np.float64)
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(~(np.isfinite(array) & (array >= 0)))
    if bad.size:
        raise DataError(
            f"sample {_sample_of(bad[0], offsets)} has a spike time of {array[bad[0]]} s, but "
            "times must not be negative, NaN or infinite"
        )
    most = limit("SNNSIM_MAX_SECONDS")
    if array.size and array.max() > most:
        latest = int(np.argmax(array))
        raise DataError(
            f"sample {_sample_of(latest, offsets)} has a spike at {float(array[latest]):g} s, but "
            f"recordings last at most {most:g} s{_other_unit(float(array[latest]))}; raise "
            "SNNSIM_MAX_SECONDS if they are longer"
        )
    return array


def _sample_of(entry: int, offsets: np.ndarray) -> int:
    return int(np.searchsorted(offsets, entry, side="right")) - 1


def _other_unit(latest: float) -> str:
    """What times are likely to be where they are too late as seconds."""
    for factor, name in ((1e3, "milliseconds (ms)"), (1e6, "microseconds (us)")):
        if latest / factor <= 60:
            return f"; the times look like {name}: divide them by {factor:g}"
    return ""


def sorted_within(times, units, offsets):
    """Bring each sample's events into ascending order of time, if they are not."""
    falls = np.flatnonzero(np.diff(times) < 0) + 1
    if np.isin(falls, offsets).all():
        return times, units
    sample = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((times, sample))
    return times[order], units[order]


@dataclass(frozen=True)
class Events:
    """Holds spike recordings: sample ``i`` owns entries ``offsets[i]:offsets[i+1]``.

    A :class:`DataError` refuses units, labels or times that are out of range, fractional or not
    finite, and arrays that do not fit one another. Events of each sample are brought into the
    order of time.

    Attributes:
        times: times of the events in seconds, float32 or float64.
        units: channel numbers, ``0 .. channels - 1``.
        offsets: where the entries of each sample begin, ``[n + 1]`` int64.
        labels: class of each sample, ``[n]`` int64, ``0 .. len(classes) - 1`` (any where
            ``classes`` is empty).
        speakers: speaker of each sample, ``[n]`` int64; -1 where unknown.
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

    def __post_init__(self) -> None:
        offsets = whole_numbers("offsets", self.offsets)
        entries = int(np.size(self.times))
        steps = np.diff(offsets)
        if not len(offsets) or offsets[0] != 0 or offsets[-1] != entries or (steps < 0).any():
            raise DataError(
                f"offsets must rise from 0 to the {entries} events, but are "
                f"{offsets[:8].tolist()} ... {offsets[-1:].tolist()}"
            )
        samples = len(offsets) - 1
        units = whole_numbers("units", self.units, entries)
        units = in_range("units", units, self.channels)
        labels = whole_numbers("labels", self.labels, samples)
        if self.classes:
            in_range("labels", labels, len(self.classes))
        times = _checked_times(self.times, offsets)
        times, units = sorted_within(times, units, offsets)
        small = np.min_scalar_type(max(self.channels - 1, 0))
        checked = {
            "times": times,
            "units": units.astype(np.result_type(small, np.uint16)),
            "offsets": offsets,
            "labels": labels,
            "speakers": whole_numbers("speakers", self.speakers, samples),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.labels)

    def sample(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return times (in seconds) and units of one sample."""
        part = slice(self.offsets[i], self.offsets[i + 1])
        return self.times[part], self.units[part]

    def subset(self, indices: Sequence[int] | np.ndarray) -> Events:
        """Return the samples at ``indices`` (or under a boolean mask), in that order."""
        chosen = np.asarray(indices)
        indices = np.arange(len(self))[chosen if chosen.size else chosen.astype(np.int64)]
        pieces = [np.arange(self.offsets[i], self.offsets[i + 1]) for i in indices]
        take = np.concatenate(pieces) if pieces else np.zeros(0, np.int64)
        return replace(
            self,
            times=self.times[take],
            units=self.units[take],
            offsets=offsets_of(np.diff(self.offsets)[indices]),
            labels=self.labels[indices],
            speakers=self.speakers[indices],
        )


def offsets_of(sizes: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return where the entries of each sample begin, and the last end, from their numbers.

    >>> offsets_of([2, 0, 3])
    array([0, 2, 2, 5])
    """
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def seconds(microseconds: np.ndarray) -> np.ndarray:
    """Convert microseconds to seconds, never rounded down: no event slips below its step.

    The result is float32 where all are below 8 s, so that it tells microseconds apart; else
    float64.

    >>> float(seconds(np.array([20_000]))[0]) >= 0.02
    True
    """
    exact = microseconds.astype(np.float64) / 1e6
    if exact.size and exact.max() >= 8:
        return exact
    rounded = exact.astype(np.float32)
    return np.where(rounded < exact, np.nextafter(rounded, np.float32(np.inf)), rounded)


def bin_events(
    times: np.ndarray, units: np.ndarray, dt: float, pool: int = 1, binning: str = "grid"
) -> tuple[np.ndarray, np.ndarray, int]:
    """Assign each event of one sample to a step and a pooled channel.

    Args:
        times: times in seconds, ascending.
        units: channel numbers.
        dt: length of a step in ms.
        pool: number of neighbouring channels that become one.
        binning: ``"grid"``: step ``floor(t / dt)`` on a regular grid from 0.
            ``"event_anchored"``: the frames of SpikingJelly in 2023: each frame begins at the
            first event not yet used and takes all events at most ``dt`` later, so silence is
            deleted and frames drift. Only for comparison with results obtained that way.
            ``"events"``: one event per step in the order of time, for models of address events;
            at most ``MOST_EVENTS`` of a sample, evenly chosen. Their times are lost.

    Returns:
        ``(steps, channels, number of steps)``; a sample has at least one step.

    >>> bin_events(np.array([0.001, 0.019, 0.02, 0.045]), np.array([0, 4, 5, 9]), dt=10.0, pool=5)
    (array([0, 1, 2, 4]), array([0, 0, 1, 1]), 5)
    """
    check_choice("binning", binning, BINNINGS)
    check_dt(dt)
    ends = np.asarray([0, np.size(times)])
    units = whole_numbers("units", units, np.size(times))
    in_range("units", units, 2**62)
    times, units = sorted_within(_checked_times(times, ends), units, ends)
    return _bin(times, units, dt, pool, binning)


def _bin(
    times: np.ndarray, units: np.ndarray, dt: float, pool: int, binning: str
) -> tuple[np.ndarray, np.ndarray, int]:
    """:func:`bin_events` of what is known to be right."""
    if binning == "events":
        count = min(len(units), MOST_EVENTS)
        chosen = np.arange(count) * len(units) // max(count, 1)
        return np.arange(count), units[chosen].astype(np.int64) // pool, max(count, 1)
    milliseconds = times.astype(np.float64) * 1000.0
    if binning == "grid":
        steps = _grid(milliseconds, times.dtype, dt)
    else:
        steps = _event_anchored(milliseconds, dt)
    return steps, units.astype(np.int64) // pool, int(steps[-1]) + 1 if len(steps) else 1


def _grid(milliseconds: np.ndarray, stored: np.dtype, dt: float) -> np.ndarray:
    """Step of each time; one that was stored a rounding error before a step belongs to it."""
    rounding = 2.0**-24 if stored == np.float32 else 2.0**-51
    with np.errstate(over="ignore"):
        exact = milliseconds / dt
    last = float(exact.max()) if exact.size else 0.0
    if last > limit("SNNSIM_MAX_CELLS"):
        raise DataError(
            f"a spike at {milliseconds.max():g} ms makes {last:.3g} steps of {dt:g} ms, more than "
            f"the limit of {limit('SNNSIM_MAX_CELLS'):.3g}; take a larger dt, or raise "
            "SNNSIM_MAX_CELLS"
        )
    if last * rounding > 0.5 and stored == np.float32:
        raise DataError(
            f"times are kept as float32, which at {milliseconds.max() / 1000:g} s does not tell "
            f"steps of {dt:g} ms apart; give them as float64 or take a larger dt"
        )
    return np.floor(exact * (1 + rounding) + 1e-9).astype(np.int64)


def _event_anchored(milliseconds: np.ndarray, dt: float) -> np.ndarray:
    steps = np.zeros(len(milliseconds), np.int64)
    first, frame = 0, 0
    while first < len(milliseconds):
        last = int(np.searchsorted(milliseconds, milliseconds[first] + dt, side="right"))
        steps[first:last] = frame
        first, frame = last, frame + 1
    return steps


@dataclass(frozen=True)
class BinnedEvents(DataSet):
    """Holds recordings on a time grid, ready to be made into dense batches.

    They are sparse in memory: 7 bytes per occupied (step, channel) cell.

    Attributes:
        cells: ``step * channels + channel`` of every occupied cell, ascending per sample.
        counts: number of events in that cell (at most 65535).
        offsets: ``[n + 1]``, as in :class:`Events`.
        lengths: ``[n]``, number of steps of each sample.
        pool, binning: how they were binned.
        source: how the events were made of recordings, as plain values; empty for unknown.
        shape: the shape of one step, of a camera ``(polarities, rows, columns)``; ``None`` if the
            channels are a row. Batches have them as a row in either case.
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
    pool: int = 1
    binning: str = "grid"
    source: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def encoder(self) -> dict[str, Any]:
        """Say how events become input."""
        found = {"kind": "events", "pool": self.pool, "binning": self.binning}
        return found | ({"source": dict(self.source)} if self.source else {})

    def batch(self, indices: Sequence[int] | np.ndarray, steps: int | None = None) -> Batch:
        """Return dense counts of some samples, padded to the longest or brought to ``steps``."""
        indices = chosen(indices, len(self))
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
    """Bin every sample, with the arguments of :func:`bin_events`."""
    check_dt(dt)
    check_choice("binning", binning, BINNINGS)
    if pool < 1 or events.channels % pool:
        raise ConfigError(f"pool is {pool} but must divide the {events.channels} channels")
    channels = events.channels // pool
    cells, counts, lengths = [], [], []
    for i in range(len(events)):
        try:
            steps, pooled, length = _bin(*events.sample(i), dt, pool, binning)
        except DataError as error:
            raise DataError(f"sample {i}: {error}") from error
        if length * channels > limit("SNNSIM_MAX_CELLS"):
            raise DataError(
                f"sample {i} has {length} steps of {channels} channels, more than the limit of "
                f"{limit('SNNSIM_MAX_CELLS'):.3g} cells; take a larger dt, or raise "
                "SNNSIM_MAX_CELLS"
            )
        occupied, number = np.unique(steps * channels + pooled, return_counts=True)
        cells.append(occupied.astype(np.uint32))
        counts.append(np.minimum(number, 65535).astype(np.uint16))
        lengths.append(length)
    return BinnedEvents(
        cells=np.concatenate(cells) if cells else np.zeros(0, np.uint32),
        counts=np.concatenate(counts) if counts else np.zeros(0, np.uint16),
        offsets=offsets_of([len(c) for c in cells]),
        lengths=np.asarray(lengths, dtype=np.int64),
        labels=events.labels,
        speakers=events.speakers,
        channels=channels,
        classes=events.classes,
        dt=dt,
        checksums=dict(checksums or {}),
        pool=pool,
        binning=binning,
    )


def from_events(
    recordings: Sequence[tuple[Any, Any]],
    labels: Any,
    channels: int,
    dt: float,
    *,
    classes: Sequence[str] = (),
    speakers: Any = None,
    pool: int = 1,
) -> BinnedEvents:
    """Make a data set of spike recordings, each ``(times in seconds, units)``.

    Args:
        recordings: one pair per sample, in any order of time.
        labels: class of each sample, ``[n]``.
        channels: number of units.
        dt: length of a step in ms.
        classes: names of the classes; without them, their numbers.
        speakers: speaker of each sample, ``[n]``; ``None`` for unknown.
        pool: number of neighbouring channels that become one.

    Raises:
        DataError: what :class:`Events` refuses.

    >>> data = from_events([([0.001, 0.013], [0, 2]), ([0.004], [1])], [0, 1], 3, dt=5.0)
    >>> data.batch([0, 1]).x.shape, data.lengths
    (torch.Size([3, 2, 3]), array([3, 1]))
    """
    times = [np.asarray(t, dtype=np.float64) for t, _ in recordings]
    units = [np.asarray(u) for _, u in recordings]
    for i, (t, u) in enumerate(zip(times, units, strict=True)):
        if t.ndim != 1 or t.shape != u.shape:
            raise DataError(
                f"recording {i} has times {list(t.shape)} and units {list(u.shape)}, but both must "
                "be [events]"
            )
    if not times:
        raise DataError("there are no recordings; give one or more")
    numbers = in_range("labels", whole_numbers("labels", labels, len(times)), 2**31)
    names = tuple(classes) or tuple(map(str, range(int(numbers.max()) + 1)))
    events = Events(
        times=np.concatenate(times),
        units=np.concatenate([u for u in units if u.size] or [np.zeros(0, np.int64)]),
        offsets=offsets_of([len(t) for t in times]),
        labels=numbers,
        speakers=np.full(len(times), -1) if speakers is None else speakers,
        channels=channels,
        classes=names,
    )
    return bin_all(events, dt, pool)


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
        raise DataError("the data set has no samples; give one with some")
    together = np.concatenate(units)
    if together.size and not 0 <= together.min() <= together.max() < channels:
        raise DataError(
            f"the data set has units {together.min()} .. {together.max()} but {channels} channels "
            "were announced; give the right number, or unit_of="
        )
    return Events(
        times=np.concatenate(times),
        units=together,
        offsets=offsets_of([len(t) for t in times]),
        labels=np.asarray(labels, dtype=np.int64),
        speakers=np.full(len(labels), -1, dtype=np.int64),
        channels=channels,
        classes=tuple(classes),
    )
