"""Binning of spikes, checked against slow loops, and batches of dense counts."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from snnsim.data.events import MOST_EVENTS, Events, bin_all, bin_events, from_tonic
from snnsim.errors import ConfigError, DataError


def events_of(samples, channels: int = 10) -> Events:
    """Events from a list of (seconds, units); the label of sample i is i."""
    times = [np.asarray(t, np.float32) for t, _ in samples]
    units = [np.asarray(u, np.uint16) for _, u in samples]
    return Events(
        times=np.concatenate([np.zeros(0, np.float32), *times]),
        units=np.concatenate([np.zeros(0, np.uint16), *units]),
        offsets=np.cumsum([0] + [len(t) for t in times]),
        labels=np.arange(len(samples)),
        speakers=np.arange(len(samples)) + 100,
        channels=channels,
        classes=tuple(f"class {i}" for i in range(max(len(samples), 1))),
    )


def random_samples(rng, sizes, channels: int = 10, seconds: float = 0.2):
    return [
        (np.sort(rng.uniform(0, seconds, n)).astype(np.float32), rng.integers(0, channels, n))
        for n in sizes
    ]


def exact_step(seconds: float, dt: float) -> int:
    """floor(t / dt) without rounding errors."""
    return int(Fraction(float(seconds)) * 1000 / Fraction(dt))


def frame_of_each(milliseconds, dt: float) -> list[int]:
    """Event-anchored frames by their definition: nothing but loops.

    A frame starts at the first event not yet used and takes all unused events at most dt later.
    """
    frame = [-1] * len(milliseconds)
    current = 0
    while -1 in frame:
        start = min(t for t, f in zip(milliseconds, frame, strict=True) if f == -1)
        for i, t in enumerate(milliseconds):
            if frame[i] == -1 and t - start <= dt:
                frame[i] = current
        current += 1
    return frame


def dense(samples, dt: float, pool: int, channels: int, steps: int) -> np.ndarray:
    """Counts ``[T, B, C]`` by a loop over single events."""
    x = np.zeros((steps, len(samples), channels // pool), np.float32)
    for b, (times, units) in enumerate(samples):
        for t, u in zip(times, units, strict=True):
            if exact_step(t, dt) < steps:
                x[exact_step(t, dt), b, u // pool] += 1
    return x


# One sample on the regular grid


def test_the_grid_starts_at_zero_not_at_the_first_event():
    steps, channels, length = bin_events(np.array([0.0351]), np.array([7]), dt=10.0, pool=5)
    assert (steps.tolist(), channels.tolist(), length) == ([3], [1], 4)


@pytest.mark.parametrize("binning", ["grid", "event_anchored"])
def test_a_sample_without_events_has_one_step(binning):
    steps, channels, length = bin_events(np.zeros(0), np.zeros(0, int), 10.0, 1, binning)
    assert (len(steps), len(channels), length) == (0, 0, 1)


@pytest.mark.parametrize("dt", [10.0, 5.0, 1.0, 0.5])
def test_an_event_at_an_edge_belongs_to_the_step_that_begins_there(dt):
    edges = np.arange(200) * dt / 1000
    steps, _, length = bin_events(edges, np.zeros(200, int), dt)
    assert steps.tolist() == list(range(200))
    assert length == 200


@pytest.mark.parametrize("dt", [10.0, 4.0, 1.0])
@pytest.mark.parametrize("dtype", [np.float16])  # a rounding error of float32 is made good
def test_stored_times_are_binned_by_their_exact_value(dtype, dt):
    """The edges themselves round up or down in few bits; what counts is what is stored."""
    random = np.random.default_rng(2).uniform(0, 1.4, 300)
    times = np.sort(np.concatenate([random, np.arange(140) / 100])).astype(dtype)
    steps, _, length = bin_events(times, np.zeros(len(times), int), dt)
    expected = [exact_step(t, dt) for t in times]
    assert steps.tolist() == expected
    assert length == expected[-1] + 1


@pytest.mark.parametrize("pool", [1, 2, 5, 10])
def test_pooling_joins_neighbouring_channels(pool):
    units = np.arange(10)
    _, channels, _ = bin_events(np.zeros(10), units, 10.0, pool)
    assert channels.tolist() == [u // pool for u in range(10)]


# Event-anchored frames


def test_event_anchored_frames_delete_silence_and_drift():
    milliseconds = np.array([5.0, 15.0, 15.5, 400.0, 401.0, 410.0, 410.5])
    steps, _, length = bin_events(milliseconds / 1000, np.zeros(7, int), 10.0, 1, "event_anchored")
    assert steps.tolist() == [0, 0, 1, 2, 2, 2, 3]
    assert length == 4


@pytest.mark.parametrize("dt", [1.0, 10.0, 33.0])
@pytest.mark.parametrize("number", [1, 2, 30, 200])
def test_event_anchored_frames_equal_the_slow_definition(number, dt):
    rng = np.random.default_rng(3)
    whole = np.sort(rng.integers(0, 600, number)).astype(np.float64)  # many ties and exact gaps
    real = np.sort(rng.uniform(0, 1.2, number)).astype(np.float16).astype(np.float64) * 1000
    for milliseconds in (whole, real):
        seconds = milliseconds / 1000
        steps, _, length = bin_events(seconds, np.zeros(number, int), dt, 1, "event_anchored")
        expected = frame_of_each((seconds * 1000).tolist(), dt)
        assert steps.tolist() == expected
        assert length == max(expected) + 1


def test_event_anchored_frames_do_not_see_a_shift_of_the_clock():
    quarter_ms = np.sort(np.random.default_rng(4).integers(0, 2000, 80)) / 4096  # exact in binary
    units = np.zeros(80, int)
    early = bin_events(quarter_ms, units, 10.0, 1, "event_anchored")[0]
    late = bin_events(quarter_ms + 0.5, units, 10.0, 1, "event_anchored")[0]
    assert early.tolist() == late.tolist()
    assert len(np.unique(early)) > 5


# Whole sets and batches


@pytest.mark.parametrize(("dt", "pool"), [(10.0, 1), (10.0, 5), (4.0, 2), (250.0, 10)])
def test_a_batch_equals_the_dense_reference(dt, pool):
    samples = random_samples(np.random.default_rng(5), [40, 0, 1, 300])
    binned = bin_all(events_of(samples), dt, pool)
    lengths = [exact_step(t[-1], dt) + 1 if len(t) else 1 for t, _ in samples]
    x, labels, found = binned.batch([0, 1, 2, 3])
    np.testing.assert_array_equal(x.numpy(), dense(samples, dt, pool, 10, max(lengths)))
    assert found.tolist() == lengths
    assert labels.tolist() == [0, 1, 2, 3]
    assert (x.dtype, labels.dtype, found.dtype) == (torch.float32, torch.int64, torch.int64)
    assert (binned.channels, len(binned)) == (10 // pool, 4)


def test_event_anchored_batches_equal_the_slow_definition():
    samples = random_samples(np.random.default_rng(6), [50, 3], seconds=0.9)
    x = bin_all(events_of(samples), 10.0, 5, "event_anchored").batch([0, 1]).x.numpy()
    expected = np.zeros_like(x)
    for b, (times, units) in enumerate(samples):
        frames = frame_of_each((times.astype(np.float64) * 1000).tolist(), 10.0)
        np.add.at(expected, (frames, b, units // 5), 1)
    np.testing.assert_array_equal(x, expected)


def test_a_batch_keeps_the_order_and_repeats_of_its_indices():
    samples = random_samples(np.random.default_rng(7), [20, 30, 40])
    binned = bin_all(events_of(samples), 10.0)
    order = [2, 0, 2]
    x, labels, lengths = binned.batch(np.array(order))
    assert labels.tolist() == order
    assert lengths.tolist() == binned.lengths[order].tolist()
    np.testing.assert_array_equal(
        x.numpy(), dense([samples[i] for i in order], 10.0, 1, 10, len(x))
    )


@pytest.mark.parametrize("steps", [0, 1, 7, 20, 50])
def test_steps_pads_with_zeros_or_cuts(steps):
    samples = random_samples(np.random.default_rng(8), [60, 5])
    binned = bin_all(events_of(samples), 10.0)
    x, _, lengths = binned.batch([0, 1], steps)
    np.testing.assert_array_equal(x.numpy(), dense(samples, 10.0, 1, 10, steps))
    assert lengths.tolist() == [min(n, steps) for n in binned.lengths]


def test_a_batch_of_empty_samples_is_one_silent_step():
    x, _, lengths = bin_all(events_of([([], []), ([], [])]), 10.0).batch([0, 1])
    assert x.shape == (1, 2, 10)
    assert not x.any()
    assert lengths.tolist() == [1, 1]


def test_a_count_stops_at_the_largest_that_fits():
    crowd = (np.zeros(70_000), np.zeros(70_000, int))
    assert bin_all(events_of([crowd]), 10.0).batch([0]).x.sum() == 65_535


def test_labels_speakers_and_provenance_are_kept():
    binned = bin_all(events_of([([0.1], [3])] * 3), 10.0, checksums={"file.h5": "abc"})
    assert binned.labels.tolist() == [0, 1, 2]
    assert binned.speakers.tolist() == [100, 101, 102]
    assert (binned.dt, binned.checksums) == (10.0, {"file.h5": "abc"})


def test_a_set_without_samples_bins_to_none():
    assert len(bin_all(events_of([]), 10.0)) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dt": 0.0}, "dt is 0.0"),
        ({"dt": -1.0}, "dt is -1.0"),
        ({"dt": float("nan")}, "dt is nan"),
        ({"dt": float("inf")}, "dt is inf"),
        ({"dt": 10.0, "pool": 0}, "pool is 0 but must divide the 10 channels"),
        ({"dt": 10.0, "pool": 3}, "pool is 3 but must divide the 10 channels"),
        ({"dt": 10.0, "binning": "event-anchored"}, "did you mean 'event_anchored'"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        bin_all(events_of([([0.1], [3])]), **options)


def test_an_empty_batch_is_refused():
    with pytest.raises(ConfigError, match="at least one sample"):
        bin_all(events_of([([0.1], [3])]), 10.0).batch([])


# Subsets

CHOICES = [[2, 0], [1, 1, 3], np.array([3]), np.array([True, False, True, False]), []]


@pytest.mark.parametrize("chosen", CHOICES, ids=str)
def test_a_subset_holds_the_chosen_samples_in_order(chosen):
    samples = random_samples(np.random.default_rng(9), [20, 0, 5, 40])
    events = events_of(samples)
    part = events.subset(chosen)
    expected = [int(i) for i in np.arange(4)[chosen]] if len(chosen) else []
    assert part.labels.tolist() == expected
    assert part.speakers.tolist() == [100 + i for i in expected]
    assert len(part) == len(expected)
    for i, original in enumerate(expected):
        np.testing.assert_array_equal(part.sample(i)[0], events.sample(original)[0])
        np.testing.assert_array_equal(part.sample(i)[1], events.sample(original)[1])


def test_binning_a_subset_equals_choosing_from_the_binned():
    samples = random_samples(np.random.default_rng(10), [20, 0, 5, 40])
    events = events_of(samples)
    one = bin_all(events.subset([3, 1]), 10.0, 5).batch([0, 1])
    other = bin_all(events, 10.0, 5).batch([3, 1])
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# Properties

spike_trains = st.lists(
    st.lists(st.tuples(st.floats(0, 0.5, width=32), st.integers(0, 9)), max_size=30).map(
        lambda spikes: tuple(zip(*sorted(spikes), strict=True)) or ((), ())
    ),
    min_size=1,
    max_size=5,
)


@seed(11)
@settings(max_examples=100, deadline=None)
@given(
    spike_trains,
    st.sampled_from([0.7, 1.0, 10.0, 1000.0]),
    st.sampled_from([1, 2, 5, 10]),
    st.sampled_from(["grid", "event_anchored"]),
)
def test_no_spike_is_lost_or_invented(trains, dt, pool, binning):
    x = bin_all(events_of(trains), dt, pool, binning).batch(range(len(trains))).x
    for b, (_, units) in enumerate(trains):
        pooled = np.bincount(np.asarray(units, int) // pool, minlength=10 // pool)
        assert x[:, b].sum(0).tolist() == pooled.tolist()


@seed(12)
@settings(max_examples=100, deadline=None)
@given(spike_trains, st.integers(1, 80), st.randoms(use_true_random=False))
def test_with_fixed_steps_a_row_does_not_depend_on_its_neighbours(trains, steps, random):
    binned = bin_all(events_of(trains), 10.0)
    order = [random.randrange(len(trains)) for _ in range(4)]
    together = binned.batch(order, steps)
    for row, i in enumerate(order):
        alone = binned.batch([i], steps)
        assert torch.equal(together.x[:, row], alone.x[:, 0])
        assert together.lengths[row] == alone.lengths[0]


# Data sets of other libraries

STRUCTURE = np.dtype([("t", np.int64), ("x", np.int16), ("p", np.int8)])


def foreign(*recordings):
    """A list of (structured events, label) as tonic's data sets give them."""
    return [(np.array(spikes, dtype=STRUCTURE), label) for spikes, label in recordings]


def test_from_tonic_sorts_and_keeps_pairs_together():
    data = foreign(([(30_100, 2, 1), (100, 7, 0), (10_200, 9, 1)], 1), ([], 0))
    events = from_tonic(data, 10, ("a", "b"))
    assert events.sample(0)[0] == pytest.approx([0.0001, 0.0102, 0.0301], abs=1e-8)
    assert events.sample(0)[1].tolist() == [7, 9, 2]
    assert len(events.sample(1)[0]) == 0
    assert events.labels.tolist() == [1, 0]
    assert events.speakers.tolist() == [-1, -1]
    assert (events.channels, events.classes) == (10, ("a", "b"))
    x = bin_all(events, 10.0).batch([0, 1]).x
    assert torch.nonzero(x).tolist() == [[0, 0, 7], [1, 0, 9], [3, 0, 2]]


def test_from_tonic_takes_channels_from_a_function():
    data = foreign(([(200, 2, 1), (100, 3, 0)], 0))
    events = from_tonic(data, 20, ("a",), unit_of=lambda e: e["p"] * 10 + e["x"])
    assert events.units.tolist() == [3, 12]


def test_microseconds_at_an_edge_belong_to_the_step_that_begins_there():
    edges = [(10_000 * k, 0, 0) for k in range(100)]
    binned = bin_all(from_tonic(foreign((edges, 0)), 1, ("a",)), 10.0)
    assert binned.lengths.tolist() == [100]
    assert binned.batch([0]).x.flatten().tolist() == [1.0] * 100


def test_a_microsecond_before_an_edge_is_still_in_the_step_before():
    early = [(10_000 * k - 1, 0, 0) for k in range(1, 101)]
    binned = bin_all(from_tonic(foreign((early, 0)), 1, ("a",)), 10.0)
    assert binned.batch([0]).x.flatten().tolist() == [1.0] * 100


@pytest.mark.parametrize("unit", [-1, 10])
def test_from_tonic_refuses_units_beyond_the_channels(unit):
    data = foreign(([(100, 3, 0)], 0), ([(100, unit, 0)], 0))
    with pytest.raises(DataError, match=str(unit)):
        from_tonic(data, 10, ("a",))


def test_from_tonic_refuses_a_data_set_without_samples():
    with pytest.raises(DataError, match="no samples"):
        from_tonic([], 10, ("a",))


def test_one_event_per_step_keeps_their_order_and_thins_evenly():
    steps, channels, length = bin_events(
        np.array([0.001, 0.001, 0.9]), np.array([7, 3, 9]), 10.0, 2, "events"
    )
    assert steps.tolist() == [0, 1, 2] and channels.tolist() == [3, 1, 4] and length == 3
    many = np.arange(3 * MOST_EVENTS)
    _, channels, length = bin_events(many / 1000, many, 10.0, 1, "events")
    assert length == MOST_EVENTS and channels.tolist() == many[::3].tolist()
    steps, _, length = bin_events(np.zeros(0), np.zeros(0, int), 10.0, 1, "events")
    assert len(steps) == 0 and length == 1


def test_batches_of_single_events_have_one_per_step():
    samples = [(np.array([0.0, 0.1, 0.1]), np.array([4, 2, 2])), (np.array([0.5]), np.array([9]))]
    batch = bin_all(events_of(samples), 10.0, 1, "events").batch([0, 1])
    assert batch.lengths.tolist() == [3, 1]
    assert batch.x[:, 0].argmax(-1).tolist() == [4, 2, 2]
    assert batch.x.sum(-1).t().tolist() == [[1, 1, 1], [1, 0, 0]]
