"""Events: what numbers may be, at the very bounds; conversion of times; what is kept of them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from snnsim.data import events as tools
from snnsim.data import limits
from snnsim.data.events import (
    BinnedEvents,
    Events,
    bin_all,
    bin_events,
    from_tonic,
    in_range,
    seconds,
    sorted_within,
    whole_numbers,
)
from snnsim.errors import ConfigError, DataError


def given(times, units=None, **changes) -> Events:
    """One sample unless told otherwise."""
    times = np.asarray(times)
    values = {
        "units": np.zeros(len(times), int) if units is None else units,
        "offsets": [0, len(times)],
        "labels": [0] * (len(changes.get("offsets", [0, 0])) - 1),
        "speakers": [5] * (len(changes.get("offsets", [0, 0])) - 1),
        "channels": 10,
        "classes": ("a", "b"),
    } | changes
    return Events(times, **values)


# --- whole numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.asarray([3, -4], np.int8), [3, -4]),
        (np.asarray([True, False]), [1, 0]),
        (np.asarray([2**62], np.uint64), [2**62]),
        (np.asarray([2.0**61, -(2.0**61), 5.0]), [2**61, -(2**61), 5]),
        (np.zeros(0), []),
        (np.zeros(0, np.uint64), []),
        ([1, 2], [1, 2]),
    ],
    ids=str,
)
def test_whole_numbers_of_any_kind_become_64_bits(values, expected):
    found = whole_numbers("labels", values, len(expected))
    assert found.tolist() == expected and found.dtype == np.int64


@pytest.mark.parametrize(
    ("values", "size", "match"),
    [
        (np.asarray([2**62 + 1], np.uint64), None, "which is too large"),
        (np.asarray([0.0, 2.0**62]), None, r"labels have the value 4\.6.* whole numbers"),
        (np.asarray([0.0, -(2.0**62)]), None, "labels have the value -4.6"),
        (np.asarray([1.0, 2.5, 3.5]), None, "labels have the value 2.5 but"),
        (np.asarray([np.nan]), None, "labels have the value nan"),
        (np.asarray([np.inf]), None, "labels have the value inf"),
        (np.asarray([[1]]), None, r"labels are int64 of shape \(1, 1\)"),
        (np.asarray(1), None, r"of shape \(\)"),
        (np.asarray([1j]), None, "complex128"),
        (np.asarray(["1"]), None, "labels are <U1"),
        (np.asarray([1, 2]), 3, "there are 2 labels but 3 are needed"),
        (np.asarray([1, 2]), 0, "there are 2 labels but 0 are needed"),
    ],
    ids=str,
)
def test_what_are_no_whole_numbers_is_named(values, size, match):
    with pytest.raises(DataError, match=match):
        whole_numbers("labels", values, size)


def test_a_range_includes_0_but_not_its_count():
    values = np.asarray([0, 4])
    assert in_range("units", values, 5) is values
    with pytest.raises(DataError, match=r"^it has unit 4 but units must lie in 0 \.\. 3$"):
        in_range("units", values, 4)
    with pytest.raises(DataError, match="it has unit -1 but"):
        in_range("units", np.asarray([2, -1, 9]), 4)


# --- times ------------------------------------------------------------------------------------


def test_a_spike_may_come_at_0_and_at_the_last_second_that_is_allowed():
    assert given([0.0, 300.0]).times.tolist() == [0.0, 300.0]
    with pytest.raises(DataError, match="recordings last at most 300 s"):
        given([0.0, np.nextafter(300.0, 301)])


@pytest.mark.parametrize(
    ("latest", "said"),
    [
        (301.0, "times look like milliseconds (ms): divide them by 1000;"),
        (60_000.0, "times look like milliseconds (ms): divide them by 1000;"),
        (60_001.0, "times look like microseconds (us): divide them by 1e+06;"),
        (60_000_000.0, "times look like microseconds (us): divide them by 1e+06;"),
        (60_000_064.0, "last at most 300 s; raise SNNSIM_MAX_SECONDS"),
    ],
)
def test_times_that_are_too_late_are_said_to_be_of_the_unit_in_which_they_are_a_minute(
    latest, said
):
    with pytest.raises(DataError) as caught:
        given([1.0, latest, 2.0])
    assert said in str(caught.value) and "sample 0 has a spike at" in str(caught.value)


@pytest.mark.parametrize("bad", [-1e-9, np.nan, np.inf, 1e4])
def test_the_sample_of_a_wrong_time_is_named_even_behind_silent_ones(bad):
    for place, sample in ((0, 0), (2, 0), (3, 3), (4, 3), (5, 4)):
        times = np.full(6, 0.5)
        times[place] = bad
        with pytest.raises(DataError, match=f"sample {sample} has a spike"):
            given(times, offsets=[0, 3, 3, 3, 5, 6, 6])


@pytest.mark.parametrize("times", [[True], ["1"], [[0.5]], [1j]], ids=str)
def test_times_that_are_no_numbers_of_seconds_are_refused(times):
    with pytest.raises(DataError, match="must be seconds"):
        given(times, units=np.zeros(1, int), offsets=[0, 1])


def test_times_keep_their_precision_and_whole_seconds_become_64_bits():
    for kind, kept in ((np.float32, np.float32), (np.float64, np.float64), (np.uint8, np.float64)):
        assert given(np.asarray([1, 2], kind)).times.dtype == kept


def test_a_longer_recording_is_taken_where_the_environment_says_so(monkeypatch):
    monkeypatch.setenv("SNNSIM_MAX_SECONDS", "400")
    assert given([399.0]).times.tolist() == [399.0]
    with pytest.raises(DataError, match="at most 400 s"):
        given([401.0])


# --- samples ----------------------------------------------------------------------------------


def test_events_are_sorted_within_their_sample_and_ties_keep_their_order():
    times = np.asarray([0.3, 0.1, 0.1, 0.2, 0.0, 0.9, 0.4, 0.4])
    units = np.asarray([0, 1, 2, 3, 4, 5, 6, 7])
    events = given(times, units, offsets=[0, 4, 4, 5, 8])
    assert events.times.tolist() == [0.1, 0.1, 0.2, 0.3, 0.0, 0.4, 0.4, 0.9]
    assert events.units.tolist() == [1, 2, 3, 0, 4, 6, 7, 5]


def test_what_is_sorted_already_is_handed_on_as_it_is():
    times, units = np.asarray([0.1, 0.1, 0.5, 0.2, 0.3]), np.arange(5)
    found = sorted_within(times, units, np.asarray([0, 3, 5]))
    assert found[0] is times and found[1] is units


def test_each_sample_has_its_own_entries_labels_and_speakers():
    events = given([0.1, 0.2, 0.05], [7, 8, 9], offsets=[0, 2, 2, 3], labels=[1, 0, 1],
                   speakers=[4, -1, 6])  # fmt: skip
    assert len(events) == 3
    assert [part.tolist() for part in events.sample(0)] == [[0.1, 0.2], [7, 8]]
    assert [part.tolist() for part in events.sample(1)] == [[], []]
    assert [part.tolist() for part in events.sample(2)] == [[0.05], [9]]
    for name in ("offsets", "labels", "speakers"):
        assert getattr(events, name).dtype == np.int64
    assert (events.labels.tolist(), events.speakers.tolist()) == ([1, 0, 1], [4, -1, 6])


@pytest.mark.parametrize(
    ("channels", "kind"), [(1, np.uint16), (65_536, np.uint16), (65_537, np.uint32)]
)
def test_units_are_kept_in_as_many_bits_as_the_channels_need(channels, kind):
    events = given([0.5], [channels - 1], channels=channels)
    assert events.units.tolist() == [channels - 1] and events.units.dtype == kind


def test_labels_may_be_any_number_where_no_classes_are_named():
    assert given([0.5], labels=[99], classes=()).labels.tolist() == [99]
    with pytest.raises(DataError, match=r"label 2 but labels must lie in 0 \.\. 1"):
        given([0.5], labels=[2])


@pytest.mark.parametrize("offsets", [[], [1, 2], [0, 1], [0, 3], [0, 2, 1, 2], [-1, 2]], ids=str)
def test_offsets_must_rise_from_0_to_all_events(offsets):
    with pytest.raises(DataError, match="offsets must rise from 0 to the 2 events"):
        given([0.1, 0.2], offsets=offsets, labels=[0], speakers=[0])


@pytest.mark.parametrize("name", ["units", "labels", "speakers"])
def test_arrays_that_do_not_fit_one_another_are_named(name):
    with pytest.raises(DataError, match=f"there are 3 {name} but"):
        given([0.1, 0.2], **{name: [0, 0, 0]})


def test_a_subset_under_a_mask_of_nothing_is_empty():
    events = given([0.1, 0.2])
    for nothing in ([], np.zeros(1, bool), np.zeros(0, int)):
        part = events.subset(nothing)
        assert (len(part), part.offsets.tolist(), part.times.tolist()) == (0, [0], [])
    assert (part.channels, part.classes) == (10, ("a", "b"))


# --- microseconds -----------------------------------------------------------------------------


@pytest.mark.parametrize("latest", [7_999_999, 8_000_000])
def test_microseconds_are_never_rounded_down_and_stay_as_near_as_they_can(latest):
    ticks = np.asarray([0, 1, 2, 10_000, 20_000, 123_457, 3_000_001, latest])
    found = seconds(ticks)
    assert found.dtype == (np.float32 if latest < 8e6 else np.float64)
    for tick, value in zip(ticks.tolist(), found, strict=True):
        wanted = Fraction(tick) / 10**6 if latest < 8e6 else Fraction(tick / 1e6)
        assert Fraction(float(value)) >= (tick / 1e6)
        if latest < 8e6:  # one that is smaller would be below
            below = np.nextafter(np.float32(value), np.float32(-1))
            assert Fraction(float(below)) < Fraction(tick / 1e6)
        else:
            assert Fraction(float(value)) == wanted
    assert seconds(np.zeros(0, int)).shape == (0,)


# --- steps ------------------------------------------------------------------------------------


def test_each_binning_takes_step_and_pool():
    times, units = np.asarray([0.004, 0.011, 0.0405]), np.asarray([9, 4, 6])
    expected = {
        "grid": ([1, 2, 10], 11),
        "event_anchored": ([0, 1, 2], 3),
        "events": ([0, 1, 2], 3),
    }
    for binning, (steps, length) in expected.items():
        found = bin_events(times, units, 4.0, 3, binning)
        assert [part.tolist() for part in found[:2]] == [steps, [3, 1, 2]] and found[2] == length


def test_one_channel_per_unit_on_a_grid_is_the_default():
    times, units = np.asarray([0.012, 0.013]), np.asarray([3, 8])
    assert [np.asarray(part).tolist() for part in bin_events(times, units, 5.0)] == [
        [2, 2],
        [3, 8],
        3,
    ]
    binned = bin_all(given(times, units), 5.0)
    assert (binned.channels, binned.lengths.tolist(), binned.checksums) == (10, [3], {})


def test_one_sample_is_sorted_before_it_is_binned():
    times, units = np.asarray([0.03, 0.0, 0.02]), np.asarray([1, 2, 3])
    steps, channels, length = bin_events(times, units, 10.0)
    assert (steps.tolist(), channels.tolist(), length) == ([0, 2, 3], [2, 3, 1], 4)


@pytest.mark.parametrize("number", [511, 512, 513, 700, 1024])
def test_at_most_512_single_events_are_taken_evenly(number):
    assert tools.MOST_EVENTS == 512
    steps, channels, length = bin_events(
        np.arange(number) / 1e4, np.arange(number), 1.0, 1, "events"
    )
    count = min(number, 512)
    assert steps.tolist() == list(range(count)) and length == count
    assert channels.tolist() == [k * number // count for k in range(count)]


def test_a_grid_may_have_as_many_steps_as_the_limit_and_no_more(monkeypatch):
    monkeypatch.setenv("SNNSIM_MAX_CELLS", "50")
    times = np.asarray([0.0, 0.05])
    assert bin_events(times, np.zeros(2, int), 1.0)[2] == 51
    with pytest.raises(DataError, match=r"spike at 51 ms makes 51 steps of 1 ms.*limit of 50"):
        bin_events(times + 0.001, np.zeros(2, int), 1.0)


def test_all_cells_of_a_sample_may_be_as_many_as_the_limit_and_no_more(monkeypatch):
    events = given([0.1, 0.041], offsets=[0, 1, 2], channels=12)
    monkeypatch.setenv("SNNSIM_MAX_CELLS", str(11 * 12))
    assert bin_all(events, 10.0).lengths.tolist() == [11, 5]
    monkeypatch.setenv("SNNSIM_MAX_CELLS", str(11 * 12 - 1))
    with pytest.raises(DataError, match=r"sample 0 has 11 steps of 12 channels.*131 cells"):
        bin_all(events, 10.0)
    assert bin_all(events, 10.0, 2).channels == 6  # pooled ones count


def test_times_of_32_bits_are_refused_where_they_cannot_tell_steps_apart():
    """A step of them is 2^-24 of the time; half a step of the grid is the most that is borne."""
    late = 100.0
    steps = np.float32(late) * 1000 / 0.0119  # 8.4 million steps, of which a rounding is 0.5
    assert 0.5 < steps * 2.0**-24 < 0.51
    with pytest.raises(DataError, match=r"kept as float32, which at 100 s does not tell"):
        bin_events(np.asarray([late], np.float32), [0], 0.0119)
    assert bin_events(np.asarray([late], np.float32), [0], 0.0121)[2] > 8e6
    assert bin_events(np.asarray([late], np.float64), [0], 0.0119)[2] > 8e6


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_time_stored_just_before_its_step_belongs_to_it_and_one_further_before_does_not(kind):
    edge = kind(0.25)  # exact, as are the numbers below
    one = np.nextafter(edge, kind(0))
    further = edge - kind(2.0**-24 if kind is np.float32 else 2.0**-36)
    for time, step in ((edge, 25), (one, 25), (further - kind(1e-6), 24)):
        assert bin_events(np.asarray([time], kind), [0], 10.0)[0].tolist() == [step]
    exact = 10.0 * 7 - 1e-7  # ms: more than a rounding of 64 bits, less than a step of it
    assert bin_events(np.asarray([exact / 1000]), [0], 10.0)[0].tolist() == [6]


# --- sets -------------------------------------------------------------------------------------


def test_binned_cells_are_sorted_unique_and_counted():
    events = given([0.021, 0.001, 0.001, 0.002, 0.05], [9, 4, 4, 0, 2], offsets=[0, 4, 4, 5])
    sums = {"file": "abc"}
    binned = bin_all(events, 10.0, 2, "grid", sums)
    assert binned.cells.tolist() == [0, 2, 2 * 5 + 4, 5 * 5 + 1]
    assert binned.counts.tolist() == [1, 2, 1, 1]
    assert binned.offsets.tolist() == [0, 3, 3, 4]
    assert binned.lengths.tolist() == [3, 1, 6]
    assert (binned.cells.dtype, binned.counts.dtype) == (np.uint32, np.uint16)
    assert (binned.channels, binned.dt, binned.classes, len(binned)) == (5, 10.0, ("a", "b"), 3)
    assert binned.speakers.tolist() == [5, 5, 5]
    sums["file"] = "changed"
    assert binned.checksums == {"file": "abc"}


def test_the_largest_count_of_a_cell_is_kept_and_more_are_cut():
    for number, kept in ((65_534, 65_534), (65_535, 65_535), (65_536, 65_535)):
        assert bin_all(given(np.zeros(number)), 10.0).counts.tolist() == [kept]


def test_batches_read_the_cells_of_their_own_samples_only():
    binned = BinnedEvents(
        cells=np.asarray([1, 5, 2, 0, 7], np.uint32),
        counts=np.asarray([3, 65_535, 4, 9, 1], np.uint16),
        offsets=np.asarray([0, 2, 2, 3, 5]),
        lengths=np.asarray([2, 3, 1, 4]),
        labels=np.asarray([0, 1, 0, 1]),
        speakers=np.full(4, -1),
        channels=3,
        classes=("a", "b"),
        dt=1.0,
    )
    x, labels, lengths = binned.batch([2, 0, 3, 0])
    assert x.shape == (4, 4, 3) and x.dtype == torch.float32
    expected = np.zeros((4, 4, 3))
    expected[0, 0, 2] = 4
    expected[0, [1, 3], 1], expected[1, [1, 3], 2] = 3, 65_535
    expected[0, 2, 0], expected[2, 2, 1] = 9, 1
    assert x.tolist() == expected.tolist()
    assert (labels.tolist(), lengths.tolist()) == ([0, 0, 1, 0], [1, 2, 4, 2])
    for steps in (1, 2, 3, 6):
        cut = binned.batch([2, 0, 3, 0], steps)
        assert cut.x.tolist() == [*expected.tolist(), *np.zeros((9, 4, 3)).tolist()][:steps]
        assert cut.lengths.tolist() == [min(n, steps) for n in (1, 2, 4, 2)]
    assert binned.checksums == {}
    assert binned.batch([1]).x.shape == (3, 1, 3) and not binned.batch([1]).x.any()


@pytest.mark.parametrize(("pool", "channels"), [(1, 10), (10, 1)])
def test_all_channels_may_be_pooled_into_one_but_not_into_less(pool, channels):
    assert bin_all(given([0.1]), 10.0, pool).channels == channels
    with pytest.raises(ConfigError, match="pool is 20 but must divide the 10 channels"):
        bin_all(given([0.1]), 10.0, 20)


# --- foreign sets -----------------------------------------------------------------------------

STRUCTURE = np.dtype([("t", np.int64), ("x", np.int64)])


def test_foreign_events_at_the_same_time_keep_their_order():
    data = [(np.asarray([(5, 3), (2, 1), (5, 0), (2, 9), (5, 4)], STRUCTURE), np.int64(1))]
    events = from_tonic(data, 10, ["a", "b"])
    assert events.units.tolist() == [1, 9, 3, 0, 4]
    assert events.labels.tolist() == [1] and events.classes == ("a", "b")
    assert events.offsets.tolist() == [0, 5]
    ticks = np.random.default_rng(2).integers(0, 5, 400).tolist()
    many = from_tonic([(np.asarray(list(zip(ticks, range(400), strict=True)), STRUCTURE), 0)],
                      400, ("a",))  # fmt: skip
    assert many.units.tolist() == sorted(range(400), key=lambda i: ticks[i])


@pytest.mark.parametrize(("unit", "good"), [(0, True), (9, True), (10, False), (-1, False)])
def test_foreign_units_must_be_of_the_announced_channels(unit, good):
    data = [(np.asarray([(5, unit), (6, 4)], STRUCTURE), 0)]
    if good:
        assert from_tonic(data, 10, ("a",)).units.tolist() == [unit, 4]
    else:
        with pytest.raises(DataError, match=r"units .* but 10 channels were announced"):
            from_tonic(data, 10, ("a",))


# --- limits -----------------------------------------------------------------------------------


def test_the_limits_are_those_that_are_documented():
    assert limits.DEFAULTS == {
        "SNNSIM_MAX_SECONDS": 300.0,
        "SNNSIM_MAX_CELLS": 268_435_456.0,
        "SNNSIM_MAX_RATIO": 100.0,
        "SNNSIM_MAX_SMALL_MB": 256.0,
        "SNNSIM_READ_SECONDS": 20.0,
    }


@pytest.mark.parametrize("name", limits.DEFAULTS)
def test_a_limit_is_that_of_the_environment_or_the_default(monkeypatch, name):
    monkeypatch.delenv(name, raising=False)
    assert limits.limit(name) == limits.DEFAULTS[name]
    for text, value in (("2.5", 2.5), ("1e-9", 1e-9), ("inf", float("inf"))):
        monkeypatch.setenv(name, text)
        assert limits.limit(name) == value
    for text in ("0", "-1", "nan", "many", ""):
        monkeypatch.setenv(name, text)
        with pytest.raises(ConfigError, match=f"{name} is '{text}' but must be a positive number"):
            limits.limit(name)


def test_a_file_may_hold_a_hundred_times_its_size_and_a_small_one_256_mb():
    small = 256 * 2**20
    assert limits.most_bytes(0) == limits.most_bytes(small // 100) == small
    assert limits.most_bytes(small // 100 + 1) == 100 * (small // 100 + 1)
    limits.check_bytes("it", small, 10)
    with pytest.raises(DataError, match=r"^it holds 2.68e\+08 bytes.*268435456 for a file of 10 "):
        limits.check_bytes("it", small + 1, 10)


def test_reading_may_take_20_seconds_and_a_second_per_megabyte_of_large_files(monkeypatch):
    megabyte = 2**20
    for size, seconds_ in ((0, 20.0), (20 * megabyte, 20.0), (60 * megabyte, 60.0)):
        assert limits.read_seconds(size) == pytest.approx(seconds_)
    monkeypatch.setenv("SNNSIM_READ_SECONDS", "3")
    assert limits.read_seconds(40 * megabyte) == pytest.approx(6.0)
