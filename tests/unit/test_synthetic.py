"""Generated tasks: their answers follow from their input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from snnsim_datasets import load
from snnsim_datasets.synthetic import (
    SpokenSums,
    counting,
    delayed_recall,
    level_crossings,
    lorenz96,
    moving_bar,
    sudoku,
)
from snnsim_datasets.synthetic.sudoku import edges, solutions

from snnsim.errors import ConfigError


def test_a_pattern_can_be_read_from_the_first_steps_and_from_nothing_else():
    data = delayed_recall(10, 400, noise=0.0, seed=1)
    patterns = {tuple(x[:3].ravel()): label for x, label in zip(data.x, data.labels, strict=True)}
    assert len(patterns) == 4 and sorted(patterns.values()) == [0, 1, 2, 3]
    assert bool((data.x[:, 3:, :-1] == 0).all())
    other = delayed_recall(10, 400, noise=0.0, seed=2)
    again = {tuple(x[:3].ravel()): label for x, label in zip(other.x, other.labels, strict=True)}
    assert patterns == again


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_counts_do_not_depend_on_how_symbols_are_merged(chunk):
    data = counting(50, chunk=chunk, seed=4)
    plain = counting(50, chunk=1, seed=4)
    weights = np.asarray([bin(i).count("1") for i in range(2**chunk)])
    counts = (data.x @ weights).sum(1)
    plain_counts = plain.x[:, :, 1].sum(1)
    np.testing.assert_array_equal(counts, plain_counts)
    np.testing.assert_array_equal(counts, data.labels)
    steps = np.arange(data.x.shape[1])
    inside = (steps < data.lengths[:, None]).astype(np.float32)
    np.testing.assert_array_equal(data.x.sum(2), inside)


def test_the_bar_moves_by_one_channel_in_the_direction_of_its_label():
    data = moving_bar(20, noise=0.0, seed=1)
    for x, label in zip(data.x, data.labels, strict=True):
        step = 1 if label else -1
        for before, after in itertools.pairwise(x):
            np.testing.assert_array_equal(np.roll(before, step), after)
    inside = moving_bar(200, first=(0.0, 0.5), steps=1, width=1, noise=0.0)
    assert int(np.argmax(inside.x[:, 0], 1).max()) < 16


@pytest.mark.parametrize("fast", [0, 4])
def test_lorenz96_follows_its_equations_and_stays_bounded(fast):
    x = lorenz96(3, 400, dt=0.001, fast=fast, seed=2).astype(np.float64)
    assert np.abs(x).max() < 30
    slope = np.gradient(x, 0.001, axis=1)[:, 1:-1]
    x = x[:, 1:-1]
    expected = np.roll(x, 1, 2) * (np.roll(x, -1, 2) - np.roll(x, 2, 2)) - x + 8.0
    if fast:  # their part is bounded and not nothing
        assert 0 < np.abs(slope - expected).max() < 100
    else:
        np.testing.assert_allclose(slope, expected, rtol=0, atol=0.05)


def test_two_trajectories_of_chaos_part():
    a = lorenz96(1, 1500, seed=0)
    assert np.abs(a[0, 1000:] - a[0, :500]).max() > 3


def test_crossings_of_levels_alternate():
    values = np.cumsum(np.random.default_rng(0).standard_normal((2, 200, 3)), axis=1)
    spikes = level_crossings(values, 4).reshape(2, 200, 3, 2, 4)
    net = np.cumsum(spikes[..., 0, :] - spikes[..., 1, :], axis=1)
    assert net.min() >= -1 and net.max() <= 1


def test_sudokus_have_one_solution_each_and_no_given_too_many():
    every = solutions()
    assert len(every) == 288 and len(edges()) == 112
    puzzles, answers = sudoku(40, seed=3)
    for puzzle, answer in zip(puzzles, answers, strict=True):
        given = puzzle > 0
        assert (every[:, given] == puzzle[given]).all(1).sum() == 1
        np.testing.assert_array_equal(answer[given], puzzle[given])
        for cell in np.flatnonzero(given):
            fewer = given.copy()
            fewer[cell] = False
            assert (every[:, fewer] == puzzle[fewer]).all(1).sum() > 1
    _, tests = sudoku(400, "test", seed=3)
    _, trains = sudoku(2000, "train", seed=3)
    assert not {tuple(t) for t in tests} & {tuple(t) for t in trains}


def test_sums_of_spoken_digits_are_two_recordings_with_a_gap():
    data = load("spoken-digits", "validation")
    sums = SpokenSums(data, 30, gap=4, seed=1)
    assert sums.lengths.max() == sums.batch(range(30)).x.shape[0]
    one, two = sums.places[5]
    batch = sums.batch([5])
    first = data.batch([one]).x[:, 0]
    second = data.batch([two]).x[:, 0]
    x = batch.x[:, 0]
    assert bool((x[: len(first)] == first).all()) and bool((x[-len(second) :] == second).all())
    assert bool((x[len(first) : len(first) + 4] == 0).all())
    assert int(batch.labels) == (data.labels[one] + data.labels[two]) % 10
    held = SpokenSums(data, 500, held_out=True)
    assert not set(held.digits) & set(SpokenSums(data, 500).digits)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: delayed_recall(-1, 4),
        lambda: counting(4, shortest=5, longest=4),
        lambda: moving_bar(4, first=(0.5, 0.2)),
        lambda: lorenz96(1, 1, size=3),
        lambda: sudoku(1, "all"),
        lambda: SpokenSums(load("spoken-digits", "validation"), 0),
    ],
)
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(ConfigError):
        wrong()
