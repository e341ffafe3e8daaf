"""Spikes go into the step and channel that they name, or are refused: nothing wraps or slips."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from snnsim.data.events import BINNINGS, Events, bin_all, bin_events, from_tonic
from snnsim.errors import SnnsimError

CHANNELS = 10
TIMES = [0.001, 0.025, 0.1, 0.002, 0.05]  # two samples: three spikes and two
UNITS = [3, 9, 0, 5, 5]


def events(**changes) -> Events:
    """Two samples of labels 1 and 0, and one thing changed."""
    given = {
        "times": np.asarray(TIMES, np.float32),
        "units": np.asarray(UNITS, np.uint16),
        "offsets": np.asarray([0, 3, 5]),
        "labels": np.asarray([1, 0]),
        "speakers": np.asarray([-1, -1]),
        "channels": CHANNELS,
        "classes": ("a", "b"),
    }
    return Events(**(given | changes))


def with_value(values, at: int, value, dtype=np.float64) -> np.ndarray:
    changed = np.asarray(values, dtype).copy()
    changed[at] = value
    return changed


def dense(binning: str = "grid", dt: float = 1.0, **changes) -> np.ndarray:
    binned = bin_all(events(**changes), dt, 1, binning)
    return binned.batch(range(len(binned))).x.numpy()


def assert_refused(binning: str = "grid", match: str = ".", dt: float = 1.0, **changes) -> None:
    with pytest.raises(SnnsimError, match=match):
        dense(binning, dt, **changes)


def test_the_samples_of_these_tests_are_good():
    x = dense()
    assert [tuple(map(int, place)) for place in np.argwhere(x)] == [
        (1, 0, 3), (2, 1, 5), (25, 0, 9), (50, 1, 5), (100, 0, 0)
    ]  # fmt: skip


every_binning = pytest.mark.parametrize("binning", BINNINGS)
every_place = pytest.mark.parametrize("at", [0, 2, 4])


@every_binning
@every_place
@pytest.mark.parametrize("unit", [-1, CHANNELS, 255, 65_535, 65_536 + 3, 2**32 + 3, 2**40])
def test_a_unit_that_no_channel_has_is_refused(binning, at, unit):
    assert_refused(binning, str(unit), units=with_value(UNITS, at, unit, np.int64))


@every_binning
@pytest.mark.parametrize("unit", [3.5, -0.5, np.nan, np.inf, 1e300])
def test_a_unit_that_is_no_whole_number_is_refused(binning, unit):
    assert_refused(binning, units=with_value(UNITS, 1, unit))


@every_binning
@pytest.mark.parametrize("unit", [-1, 3.5, np.nan])
def test_binning_of_one_sample_refuses_units_that_cannot_be(binning, unit):
    with pytest.raises(SnnsimError):
        bin_events(np.array([0.001, 0.002]), np.array([0.0, unit]), 1.0, 1, binning)


@pytest.mark.parametrize(
    "labels",
    [[1, 2], [-1, 0], [1, 2**40], [0.5, 1.0], [np.nan, 0.0], [[1], [0]], [[0, 1], [1, 0]], [1],
     [1, 0, 1], ["a", "b"]],
    ids=str,
)  # fmt: skip
def test_labels_that_name_no_class_are_refused(labels):
    assert_refused(labels=np.asarray(labels))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64, np.float32])
def test_whole_labels_of_any_kind_are_taken(dtype):
    labels = bin_all(events(labels=np.asarray([1, 0], dtype)), 1.0).batch([0, 1]).labels
    assert labels.tolist() == [1, 0] and not labels.is_floating_point()


@every_binning
@every_place
@pytest.mark.parametrize("time", [-1e-6, -0.5, np.nan, np.inf, -np.inf])
def test_a_time_that_cannot_be_is_refused(binning, at, time):
    assert_refused(binning, times=with_value(TIMES, at, time, np.float32))


@every_binning
@pytest.mark.parametrize("time", [-0.5, np.nan, np.inf])
def test_binning_of_one_sample_refuses_times_that_cannot_be(binning, time):
    with pytest.raises(SnnsimError):
        bin_events(np.array([0.001, time]), np.array([0, 1]), 1.0, 1, binning)


@every_binning
def test_the_order_in_which_spikes_are_given_does_not_matter(binning):
    order = [2, 0, 1, 4, 3]
    x = dense(binning, times=np.asarray(TIMES)[order], units=np.asarray(UNITS)[order])
    np.testing.assert_array_equal(x, dense(binning))


@pytest.mark.parametrize(
    "offsets",
    [[0, 3], [0, 3, 4, 5], [0, 4, 3], [0, -1, 5], [1, 3, 5], [0, 3, 6], [0, 3, 4], [0.0, 2.5, 5.0]],
    ids=str,
)
def test_offsets_that_do_not_cut_the_spikes_into_samples_are_refused(offsets):
    assert_refused(offsets=np.asarray(offsets))


@pytest.mark.parametrize(
    "changes",
    [
        {"units": np.asarray(UNITS[:4])},
        {"times": np.asarray(TIMES[:4])},
        {"speakers": np.zeros(3, int)},
        {"times": np.asarray([TIMES] * 2).T},
        {"units": np.asarray([UNITS] * 2).T},
    ],
    ids=lambda c: f"{next(iter(c))} {next(iter(c.values())).shape}",
)
def test_arrays_of_other_sizes_are_refused(changes):
    assert_refused(**changes)


# Units of time


@pytest.mark.parametrize("binning", ["grid", "event_anchored"])
@pytest.mark.parametrize(("factor", "name"), [(1e3, r"ms|milli"), (1e6, r"us|µs|micro")])
@pytest.mark.parametrize("dt", [1.0, 10.0])
def test_times_in_other_units_are_recognised_and_named(binning, factor, name, dt):
    """The recording is 0.9 s: as seconds it would be a quarter of an hour, or ten days."""
    seconds = np.linspace(0.001, 0.9, 5)[[0, 2, 4, 1, 3]]
    assert_refused(binning, rf"sample 0(.|\n)*({name})", dt, times=seconds * factor)


WHOLE = np.arange(1000)


@pytest.mark.parametrize("dt", [0.5, 1.0, 2.0, 5.0, 10.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_times_of_whole_milliseconds_land_in_the_step_that_begins_there(dt, dtype):
    """Rounding to the nearest number of 32 bits is no reason to be a step early."""
    times = (WHOLE / 1000).astype(dtype)
    steps, _, length = bin_events(times, np.zeros(1000, int), dt)
    expected = [int(Fraction(int(k)) / Fraction(dt)) for k in WHOLE]
    assert steps.tolist() == expected
    assert length == expected[-1] + 1


@pytest.mark.parametrize("dt", [0.5, 1.0, 2.0, 5.0, 10.0])
@pytest.mark.parametrize("early", [1e-6, 1e-5, 1e-4])
def test_times_a_little_before_a_step_are_still_in_the_one_before(dt, early):
    milliseconds = np.arange(1, 1000) * dt - early
    steps, _, _ = bin_events(milliseconds / 1000, np.zeros(999, int), dt)
    assert steps.tolist() == list(range(999))


STRUCTURE = np.dtype([("t", np.int64), ("x", np.int64)])


def foreign(pairs):
    return [(np.array(pairs, STRUCTURE), 0)]


def after(start: float) -> np.ndarray:
    """Microseconds from ``start`` s on, 7 apart."""
    return round(start * 1e6) + np.arange(0, 200, 7)


def from_microseconds(ticks: np.ndarray) -> Events:
    return from_tonic(foreign([(t, 0) for t in ticks.tolist()]), 1, ("a",))


def from_seconds(ticks: np.ndarray) -> Events:
    sizes = {"units": np.zeros(len(ticks), int), "offsets": np.asarray([0, *[len(ticks)] * 2])}
    return events(times=ticks / 1e6, channels=1, **sizes)


every_unit = pytest.mark.parametrize("given", [from_microseconds, from_seconds])


@every_unit
@pytest.mark.parametrize("start", [0, 1, 17, 40.000001])
def test_microseconds_are_binned_at_a_microsecond_however_late(given, start):
    assert bin_all(given(after(start)), 0.001).cells.tolist() == after(start).tolist()


@every_unit
@pytest.mark.parametrize("start", [1000, 3600])
def test_recordings_of_more_than_minutes_are_refused(given, start):
    with pytest.raises(SnnsimError, match="last at most 300 s"):
        given(after(start))


# Nothing wraps


@pytest.mark.parametrize("unit", [65_535, 65_536, 100_000, 199_999])
def test_many_channels_do_not_wrap(unit):
    data = foreign([(100, unit), (2100, 7)])
    tonic = from_tonic(data, 200_000, ("a",))
    assert tonic.units.tolist() == [unit, 7]
    assert np.argwhere(bin_all(tonic, 1.0).batch([0]).x[:, 0].numpy()).tolist() == [
        [0, unit],
        [2, 7],
    ]


@pytest.mark.parametrize("step", [1000, 2**32 // 4000, 2**32 // 4000 + 1, 3_000_000])
def test_a_step_far_out_times_many_channels_does_not_wrap(step):
    given = events(
        times=np.asarray([step / 1e6 + 5e-7]),
        units=np.asarray([3999]),
        offsets=np.asarray([0, 1, 1]),
        channels=4000,
    )
    try:
        binned = bin_all(given, 0.001)
    except SnnsimError as error:
        assert step > 1000 and "sample 0" in str(error)
    else:
        assert binned.cells.tolist() == [step * 4000 + 3999]


# What is allocated has a bound


@every_place
@pytest.mark.parametrize("time", [1e5, 1e9, 1e30, 3e38])
def test_a_spike_far_out_is_refused_by_its_sample_and_says_what_the_bound_is(at, time):
    sample = 0 if at < 3 else 1
    wanted = rf"(?i)(?=(.|\n)*sample {sample})(.|\n)*(limit|bound|at most)"
    assert_refused("grid", wanted, 10.0, times=with_value(TIMES, at, time, np.float32))


@pytest.mark.parametrize("dt", [1e-7, 1e-12, 1e-300, 5e-324])
def test_a_step_so_short_that_nothing_holds_the_sample_is_refused(dt):
    assert_refused(dt=dt)
