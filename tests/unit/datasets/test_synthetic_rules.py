"""Generated tasks against loops that draw the same random numbers."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from snnsim_datasets.synthetic import (
    FastScale,
    Sequences,
    counting,
    delayed_recall,
    level_crossings,
    lorenz96,
    match_to_sample,
    moving_bar,
    parity,
)

from snnsim.errors import ConfigError, DataError, ShapeError


def assert_kinds(data: Sequences) -> None:
    assert data.x.dtype == np.float32
    assert data.labels.dtype == data.lengths.dtype == np.int64
    assert data.dt == 1.0 and len(data) == len(data.labels) == len(data.x)
    assert data.speakers.tolist() == [-1] * len(data)


# --- bits ----------------------------------------------------------------------------------------


def bit_streams(memory, samples, seed, density):
    """The bits of each sequence, cut at its end."""
    random = np.random.default_rng([seed, memory])
    lengths = random.integers(memory + 2, 4 * memory + 2, samples, endpoint=True)
    ones = random.random(samples) if density is None else np.full(samples, density)
    draws = random.random((samples, lengths.max()))
    return [
        [int(draws[i, t] < ones[i]) for t in range(lengths[i])]  #
        for i in range(samples)
    ]


@pytest.mark.parametrize("memory", [1, 2, 5])
@pytest.mark.parametrize(
    ("make", "density", "answer", "classes"),
    [
        (parity, None, lambda bits, n: sum(bits[-n:]) % 2, ("even", "odd")),
        (match_to_sample, 0.5, lambda bits, n: bits[-1] == bits[-n], ("different", "same")),
    ],
)
def test_streams_of_bits_are_those_of_a_loop(make, density, answer, classes, memory):
    data = make(memory, 60, 3)
    assert_kinds(data)
    streams = bit_streams(memory, 60, 3, density)
    assert data.lengths.tolist() == [len(bits) for bits in streams]
    assert {min(map(len, streams)), max(map(len, streams))} == {memory + 2, 4 * memory + 2}
    assert data.x.shape == (60, max(map(len, streams)), 1)
    for x, bits in zip(data.x[:, :, 0], streams, strict=True):
        assert x[: len(bits)].tolist() == bits and not x[len(bits) :].any()
    assert data.labels.tolist() == [int(answer(bits, memory)) for bits in streams]
    assert data.classes == classes


@pytest.mark.parametrize("make", [parity, match_to_sample])
def test_the_default_seed_of_bits_is_0(make):
    np.testing.assert_array_equal(make(3, 9).x, make(3, 9, seed=0).x)


# --- counting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 2, 3, 8])
@pytest.mark.parametrize("sizes", [{}, {"shortest": 5, "longest": 7, "most": 5}])
def test_counting_is_that_of_a_loop_over_symbols(chunk, sizes):
    settled = {"shortest": 10, "longest": 20, "most": 9} | sizes
    shortest, longest, most = settled.values()
    data = counting(80, chunk=chunk, seed=2, **sizes)
    assert_kinds(data)
    random = np.random.default_rng([2, longest])
    ends = random.integers(shortest, longest, 80, endpoint=True).tolist()
    counts = random.integers(0, most, 80, endpoint=True).tolist()
    ranks = random.random((80, longest))
    assert (min(ends), max(ends)) == (shortest, longest)
    assert (min(counts), max(counts)) == (0, most)
    assert data.classes == tuple(str(i) for i in range(most + 1))
    assert data.x.shape == (80, -(-longest // chunk), 2**chunk)
    for i, (end, count) in enumerate(zip(ends, counts, strict=True)):
        chosen = sorted(range(end), key=lambda place, i=i: ranks[i, place])[:count]
        steps = -(-end // chunk)
        expected = np.zeros(data.x.shape[1:])
        for step in range(steps):
            token = sum(2**k for k in range(chunk) if step * chunk + k in chosen)
            expected[step, token] = 1
        np.testing.assert_array_equal(data.x[i], expected)
        assert (data.labels[i], data.lengths[i]) == (count, steps)


def test_the_defaults_of_counting_are_those_of_its_paper():
    plain = counting(30)
    stated = counting(30, shortest=10, longest=20, most=9, chunk=1, seed=0)
    np.testing.assert_array_equal(plain.x, stated.x)


# --- moving bar ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"channels": 9, "steps": 5, "width": 8, "noise": 0.0},
        {"channels": 10, "steps": 4, "width": 1, "first": (0.4, 0.6), "noise": 0.3},
    ],
    ids=["defaults", "odd", "even"],
)
def test_a_moving_bar_is_that_of_a_loop_over_channels(options):
    settled = {"channels": 32, "steps": 12, "width": 3, "first": (0.0, 1.0), "noise": 0.02}
    channels, steps, width, (low, high), noise = (settled | options).values()
    data = moving_bar(11, seed=4, **options)
    assert_kinds(data)
    random = np.random.default_rng(4)
    labels = np.asarray([0, 1] * 5 + [0])
    random.shuffle(labels)
    middles = [low + (high - low) * u for u in random.random(11)]
    flips = random.random((11, steps, channels)) < noise
    assert data.labels.tolist() == labels.tolist()
    assert data.x.shape == flips.shape
    for i, (label, middle) in enumerate(zip(labels, middles, strict=True)):
        for t in range(steps):
            at = int(np.floor(middle * channels + (t - steps // 2) * (1 if label else -1)))
            bar = {(at + k) % channels for k in range(width)}
            expected = [(c in bar) != bool(flips[i, t, c]) for c in range(channels)]
            assert data.x[i, t].tolist() == expected
    assert data.lengths.tolist() == [steps] * 11
    assert data.classes == ("down", "up")


def test_a_bar_stays_within_the_range_that_it_is_given():
    """At the middle step; so a range that training has not seen can be tested."""
    data = moving_bar(300, channels=20, first=(0.5, 0.75), steps=1, width=1, noise=0.0)
    assert sorted(set(data.x[:, 0].argmax(1).tolist())) == [10, 11, 12, 13, 14]


# --- delayed recall ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"patterns": 3, "channels": 5, "noise": 0.5}, {"patterns": 2, "noise": 1.0}],
    ids=["defaults", "few", "all noise"],
)
@pytest.mark.parametrize("lag", [0, 4])
def test_delayed_recall_is_that_of_a_loop(options, lag):
    patterns, channels, noise = ({"patterns": 4, "channels": 12, "noise": 0.02} | options).values()
    data = delayed_recall(lag, 10, seed=6, **options)
    assert_kinds(data)
    shapes = np.random.default_rng(99).random((patterns, 3, channels)) < 0.4
    random = np.random.default_rng([6, lag])
    labels = np.asarray([i % patterns for i in range(10)])
    random.shuffle(labels)
    chance = random.random((10, 3 + lag + 1, channels)) < noise
    assert data.labels.tolist() == labels.tolist()
    assert data.x.shape == (10, 3 + lag + 1, channels + 1)
    for i, t in itertools.product(range(10), range(3 + lag + 1)):
        shown = shapes[labels[i], t] if t < 3 else np.zeros(channels, bool)
        expected = [float(a or b) for a, b in zip(shown, chance[i, t], strict=True)]
        assert data.x[i, t].tolist() == [*expected, float(t == 3 + lag)]
    assert data.lengths.tolist() == [3 + lag + 1] * 10
    assert data.classes == tuple(str(i) for i in range(patterns))


# --- Lorenz 96 -----------------------------------------------------------------------------------


def slope_of(x, y, forcing, fast, h, b, c):
    """The equations of the module, index by index, on rings of ``K`` and ``K * fast``."""
    size, small = len(x), len(y)
    dx, dy = np.zeros(size), np.zeros(small)
    for k in range(size):
        dx[k] = x[k - 1] * (x[(k + 1) % size] - x[k - 2]) - x[k] + forcing
        for j in range(k * fast, (k + 1) * fast):
            dx[k] -= h * c / b * y[j]
    for j in range(small):
        dy[j] = -c * b * y[(j + 1) % small] * (y[(j + 2) % small] - y[j - 1])
        dy[j] += -c * y[j] + h * c / b * x[j // fast]
    return np.concatenate([dx, dy])


@pytest.mark.parametrize(
    "options",
    [
        {"size": 5, "forcing": 6.0, "dt": 0.05, "every": 3},
        {"size": 4, "forcing": 7.0, "fast": FastScale(2, h=0.5, b=4.0, c=3.0), "dt": 0.02},
    ],
    ids=["slow", "fast"],
)
def test_lorenz96_is_a_runge_kutta_loop_over_its_equations(options):
    size, dt, every = (
        options.get(name, default) for name, default in {"size": 8, "dt": 0.01, "every": 1}.items()
    )
    scale = vars(options["fast"]) if "fast" in options else {"count": 0, "h": 1, "b": 10, "c": 10}
    fast = scale["count"]
    constants = {"fast": fast, "forcing": options["forcing"]} | {k: scale[k] for k in "hbc"}
    found = lorenz96(2, 4, seed=5, **options)
    assert (found.shape, found.dtype) == ((2, 4, size), np.float32)
    random = np.random.default_rng(5)
    starts = constants["forcing"] + random.standard_normal((2, size))
    small = 0.1 * random.standard_normal((2, size * fast))
    for i in range(2):
        state = np.concatenate([starts[i], small[i]])

        def f(state):
            return slope_of(state[:size], state[size:], **constants)

        seen = []
        for _ in range(round(10 / dt) + 3 * every + 1):  # ten time units are left out
            seen.append(state[:size])
            k1 = f(state)
            k2 = f(state + dt / 2 * k1)
            k3 = f(state + dt / 2 * k2)
            k4 = f(state + dt * k3)
            state = state + dt * (k1 + 2 * k2 + 2 * k3 + k4) / 6
        expected = np.stack(seen)[round(10 / dt) :: every]
        np.testing.assert_allclose(found[i], expected, rtol=0, atol=1e-3)
        assert np.abs(np.diff(expected, axis=0)).max() > 0.05


def test_the_defaults_of_lorenz96_are_the_usual_constants():
    plain = lorenz96(1, 2, fast=1)
    fast = FastScale(count=1, h=1.0, b=10.0, c=10.0)
    stated = lorenz96(1, 2, size=8, forcing=8.0, fast=fast, dt=0.01, every=1, seed=0)
    np.testing.assert_array_equal(plain, stated)


def test_every_counts_steps_of_the_integration():
    fine, coarse = lorenz96(1, 7, dt=0.05), lorenz96(1, 3, dt=0.05, every=3)
    np.testing.assert_array_equal(fine[:, ::3], coarse)


def test_a_step_with_which_lorenz96_diverges_is_refused():
    with pytest.raises(ConfigError, match=r"dt = 1 the integration diverges; take a smaller dt"):
        lorenz96(1, 3, dt=1.0)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("dt", [1.5, 11.0, 20.0, 1e300, 5e-324, float("inf")])
def test_a_step_that_leaves_no_time_to_reach_the_attractor_or_takes_for_ever_is_refused(dt, steps):
    """With dt = 20 one step was the starting point, and the second 4e22."""
    with pytest.raises(ConfigError, match="dt is .* but must be a finite number"):
        lorenz96(1, steps, dt=dt)


@pytest.mark.parametrize("options", [{"dt": 0.02, "fast": 2}, {"forcing": 1e300}, {"dt": 0.5}])
def test_what_overflows_is_refused_without_a_warning(options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConfigError, match="diverges; take a smaller dt"):
            lorenz96(2, 1, **options)


def test_fast_variables_are_a_value_of_their_own():
    plain = lorenz96(2, 3, fast=2)
    np.testing.assert_array_equal(plain, lorenz96(2, 3, fast=FastScale(2)))
    stated = lorenz96(2, 3, fast=FastScale(2, h=0.5, b=4.0, c=3.0))
    assert not np.array_equal(plain, stated)
    wanted = r"h, b, c of lorenz96 .* give fast=FastScale\(2, h=0.5, b=4.0, c=3.0\); .* one more"
    for fast in (2, FastScale(2)):
        with pytest.warns(FutureWarning, match=wanted) as told:
            former = lorenz96(2, 3, fast=fast, h=0.5, b=4.0, c=3.0)
        assert len(told) == 1 and told[0].filename == __file__
        np.testing.assert_array_equal(stated, former)
    with pytest.raises(TypeError, match="unexpected keyword argument 'd'"):
        lorenz96(2, 3, d=1.0)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("count", count) for count in (0, -1, 1.5, None, "2")),
        *((name, wrong) for name in "bc" for wrong in (0.0, -1.0)),
        *((name, wrong) for name in "hbc" for wrong in (float("nan"), None, "1")),
    ],
)
def test_constants_of_fast_variables_are_checked(name, wrong):
    with pytest.raises(ConfigError, match=f"{name} is .* but must be"):
        FastScale(**{"count": 2, name: wrong})


@pytest.mark.parametrize("shape", [(), (3,), (0, 4, 2), (2, 0, 2)])
def test_crossings_need_samples_and_steps(shape):
    with pytest.raises(ShapeError, match=r"but must be \[samples, steps, size\]"):
        level_crossings(np.zeros(shape))


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), "a"])
def test_crossings_of_what_is_no_number_are_refused(wrong):
    with pytest.raises(DataError, match="finite numbers"):
        level_crossings(np.asarray([[[wrong], [wrong]]]))


@pytest.mark.parametrize("levels", [0, -1, 1.5, None])
def test_a_number_of_levels_is_one_or_more(levels):
    with pytest.raises(ConfigError, match="levels is .* but must be a whole number of at least 1"):
        level_crossings(np.zeros((1, 3, 2)), levels)


@pytest.mark.parametrize("levels", [1, 3, 8])
def test_level_crossings_are_those_of_a_loop(levels):
    values = np.random.default_rng(8).standard_normal((2, 30, 3)).cumsum(1)
    values[0, 0, 0] = 500.0  # an outlier, which the percentiles pass over
    ordered = np.sort(values.ravel())

    def percentile(share):
        at = share * (len(ordered) - 1)
        left = int(at)
        return ordered[left] + (at - left) * (ordered[left + 1] - ordered[left])

    low, high = percentile(0.01), percentile(0.99)
    places = [low + (high - low) * (k + 0.5) / levels for k in range(levels)]
    found = level_crossings(values, levels)
    assert (found.shape, found.dtype) == ((2, 30, 6 * levels), np.float32)
    expected = np.zeros((2, 30, 3, 2 * levels))
    for s, t, c in itertools.product(range(2), range(1, 30), range(3)):
        for k, place in enumerate(places):
            before, now = values[s, t - 1, c] > place, values[s, t, c] > place
            expected[s, t, c, k] = now and not before
            expected[s, t, c, levels + k] = before and not now
    np.testing.assert_array_equal(found, expected.reshape(2, 30, -1))
    assert 5 < found.sum() < found.size / 2


def test_there_are_eight_levels_unless_said_otherwise():
    values = np.random.default_rng(9).standard_normal((1, 9, 2))
    np.testing.assert_array_equal(level_crossings(values), level_crossings(values, 8))
