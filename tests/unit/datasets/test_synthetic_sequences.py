"""Sudoku, spoken sums and sequences against loops; every option and refusal."""

from __future__ import annotations

import inspect
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from snnsim_datasets import load
from snnsim_datasets.synthetic import (
    Sequences,
    SpokenSums,
    counting,
    delayed_recall,
    lorenz96,
    match_to_sample,
    moving_bar,
    parity,
    sudoku,
)
from snnsim_datasets.synthetic.sudoku import edges, solutions

from snnsim.data import Batch, View
from snnsim.errors import ConfigError, DataError, short

# --- sudoku --------------------------------------------------------------------------------------


def allowed(grid) -> bool:
    cells = np.reshape(grid, (4, 4))
    boxes = [cells[r : r + 2, c : c + 2].ravel() for r in (0, 2) for c in (0, 2)]
    return all(set(part) == {1, 2, 3, 4} for part in (*cells, *cells.T, *boxes))


def test_the_288_solutions_of_sudoku_are_all_different_and_allowed():
    every = solutions()
    assert len({tuple(grid) for grid in every}) == len(every) == 288
    assert all(map(allowed, every))


def test_the_edges_of_sudoku_join_cells_of_a_row_column_or_box():
    expected = set()
    for a, b in itertools.permutations(range(16), 2):
        (ra, ca), (rb, cb) = divmod(a, 4), divmod(b, 4)
        if ra == rb or ca == cb or (ra // 2 == rb // 2 and ca // 2 == cb // 2):
            expected.add((a, b))
    assert set(edges()) == expected and len(edges()) == len(expected)


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("seed", [0, 1])
def test_sudokus_are_those_of_a_loop_and_the_parts_are_the_same_for_every_seed(part, seed):
    every = solutions()
    order = np.random.default_rng(0).permutation(288)
    mine = order[:230] if part == "train" else order[230:]
    random = np.random.default_rng([seed, len(mine)])
    grids = every[random.choice(mine, 12)]
    puzzles, answers = sudoku(12, part, seed)
    np.testing.assert_array_equal(answers, grids)
    for puzzle, grid in zip(puzzles, grids, strict=True):
        given = set(range(16))
        for cell in random.permutation(16):
            rest = sorted(given - {int(cell)})
            if sum(all(other[i] == grid[i] for i in rest) for other in every) == 1:
                given.remove(int(cell))
        assert puzzle.tolist() == [int(grid[i]) if i in given else 0 for i in range(16)]


@pytest.mark.parametrize("other", [1, 2, 17])
def test_training_and_test_sudokus_share_no_solution_even_with_different_seeds(other):
    train = {tuple(grid) for grid in sudoku(400, "train", 0)[1]}
    test = {tuple(grid) for grid in sudoku(200, "test", other)[1]}
    assert not train & test
    assert len(train) > 150 and 45 < len(test) <= 58


def test_sudokus_are_of_the_training_part_and_seed_0_unless_said_otherwise():
    for one, two in zip(sudoku(5), sudoku(5, "train", 0), strict=True):
        np.testing.assert_array_equal(one, two)


# --- spoken sums ---------------------------------------------------------------------------------


class Clips:
    """30 recordings; recording i is of i % 12 and is i + 1 long, of value i + 1 everywhere."""

    labels = np.arange(30) % 12
    lengths = np.arange(30) + 1
    channels = 3
    classes = tuple("0123456789ab")
    dt = 2.5

    def batch(self, indices):
        (i,) = indices
        x = torch.full((i + 1, 1, 3), float(i + 1))
        return Batch(x, torch.tensor([self.labels[i]]), torch.tensor([i + 1]))


def pairs_of(pairs, held_out, seed):
    """The pairs of digits and of recordings by a loop with the same draws."""
    grid = np.random.default_rng(7).permutation(100).tolist()
    mine = np.asarray(grid[60:] if held_out else grid[:60])
    codes = np.random.default_rng([seed, pairs]).choice(mine, pairs)
    digits = [divmod(int(code), 10) for code in codes]
    random = np.random.default_rng([seed, pairs, 1])
    places = []
    for pair in digits:
        mine = [[i for i in range(30) if i % 12 == digit] for digit in pair]
        places.append([int(random.choice(np.asarray(each))) for each in mine])
    return digits, places


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("gap", [0, 5])
@pytest.mark.parametrize("seed", [0, 3])
def test_sums_are_those_of_a_loop(held_out, gap, seed):
    sums = SpokenSums(Clips(), 12, held_out, gap, seed)
    digits, places = pairs_of(12, held_out, seed)
    assert sums.digits == digits and sums.places.tolist() == places
    assert sums.labels.tolist() == [(a + b) % 10 for a, b in digits]
    assert sums.lengths.tolist() == [a + 1 + gap + b + 1 for a, b in places]
    assert (sums.labels.dtype, sums.lengths.dtype) == (np.int64, np.int64)
    assert (len(sums), sums.channels, sums.dt) == (12, 3, 2.5)
    assert sums.classes == tuple("0123456789")
    for order, steps in (([4, 0, 4], None), ([1], 6), ([7, 2], 90)):
        x, labels, lengths = sums.batch(order, steps)
        frames = steps or max(sums.lengths[order])
        assert x.shape == (frames, len(order), 3)
        assert labels.tolist() == [int(sums.labels[i]) for i in order]
        assert lengths.tolist() == [min(int(sums.lengths[i]), frames) for i in order]
        for row, i in enumerate(order):
            a, b = places[i]
            heard = [a + 1.0] * (a + 1) + [0.0] * gap + [b + 1.0] * (b + 1) + [0.0] * 90
            assert x[:, row].T.tolist() == [heard[:frames]] * 3


def test_sums_have_a_gap_of_5_steps_and_are_those_of_training_unless_said_otherwise():
    plain = SpokenSums(Clips(), 9)
    assert (plain.held_out, plain.gap, plain.seed) == (False, 5, 0)


def test_a_batch_of_no_sums_is_refused():
    with pytest.raises(ConfigError, match="at least one sample"):
        SpokenSums(Clips(), 9).batch([])


def test_ten_classes_are_enough_for_sums_and_nine_are_not():
    data = Clips()
    data.classes = tuple("0123456789")
    assert len(SpokenSums(data, 1, gap=0)) == 1
    data.classes = tuple("012345678")
    with pytest.raises(ConfigError, match="have 9 classes but 10 digits are needed"):
        SpokenSums(data, 1)


# --- sequences -----------------------------------------------------------------------------------


def sequences() -> Sequences:
    x = np.zeros((3, 5, 2), np.float32)
    lengths = np.asarray([2, 5, 3])
    for i, length in enumerate(lengths):
        x[i, :length] = 10 * i + np.arange(1, 2 * length + 1).reshape(-1, 2)
    return Sequences(x, np.asarray([7, 8, 9]), lengths, tuple("abcdefghij"), dt=4.0)


@pytest.mark.parametrize("steps", [None, 0, 1, 3, 5, 6, 8])
@pytest.mark.parametrize("order", [[0], [2, 0], [1, 1, 2]])
def test_a_batch_of_sequences_is_cut_or_padded_and_keeps_the_order(order, steps):
    data = sequences()
    x, labels, lengths = data.batch(order, steps)
    frames = max(int(data.lengths[i]) for i in order) if steps is None else steps
    assert (x.shape, x.dtype) == ((frames, len(order), 2), torch.float32)
    assert labels.tolist() == [7 + i for i in order]
    assert lengths.tolist() == [min(int(data.lengths[i]), frames) for i in order]
    assert lengths.dtype == labels.dtype == torch.int64
    for row, i in enumerate(order):
        whole = np.concatenate([data.x[i], np.zeros((9, 2))])[:frames]
        assert x[:, row].tolist() == whole.tolist()
    x.fill_(-1.0)
    np.testing.assert_array_equal(data.x, sequences().x)


def test_sequences_say_what_they_are():
    data = sequences()
    assert (len(data), data.channels, data.dt) == (3, 2, 4.0)
    assert data.speakers.tolist() == [-1, -1, -1] and data.speakers.dtype == np.int64
    with pytest.raises(ConfigError, match="at least one sample"):
        data.batch([])


# --- refusals ------------------------------------------------------------------------------------


WRONG = {
    "parity": [(0, 4), (4, 0), (-1, 4)],
    "match_to_sample": [(0, 4), (4, 0)],
    "delayed_recall": [
        *((-1, 4), (1, 0)),
        *((1, 4, {name: value}) for name, value in (("channels", 0), ("patterns", 1))),
        *((1, 4, {"noise": noise}) for noise in (-0.01, 1.01)),
    ],
    "counting": [
        (0,),
        *((4, {"most": most}) for most in (0, 11)),
        *((4, {"chunk": chunk}) for chunk in (0, 9)),
        (4, {"shortest": 21}),
        (4, {"longest": 9}),
    ],
    "moving_bar": [
        (0,),
        *((4, {name: 0}) for name in ("steps", "width")),
        *((4, {"width": width}) for width in (32, 33)),
        *((4, {"first": first}) for first in ((-0.1, 0.5), (0.5, 1.1), (0.4, 0.4), (0.6, 0.4))),
    ],
    "lorenz96": [
        *((0, 1), (1, 0)),
        *((1, 1, {name: value}) for name, value in (("size", 3), ("every", 0), ("fast", -1))),
        *((1, 1, {"dt": dt}) for dt in (0.0, -0.01)),
    ],
    "sudoku": [(0,), (1, "all"), (1, "validation")],
}


MAKERS = {
    f.__name__: f
    for f in (parity, match_to_sample, delayed_recall, counting, moving_bar, lorenz96, sudoku)
}


CASES = [(name, case) for name, cases in WRONG.items() for case in cases]


def call(name, case):
    *arguments, options = case if isinstance(case[-1], dict) else (*case, {})
    return MAKERS[name](*arguments, **options)


@pytest.mark.parametrize(("name", "case"), CASES, ids=str)
def test_what_no_task_can_be_is_refused(name, case):
    with pytest.raises(ConfigError, match=r" is | must be |1 or more"):
        call(name, case)


@pytest.mark.parametrize(
    ("name", "case"),
    [
        *(("parity", (1, 1)), ("match_to_sample", (1, 1)), ("sudoku", (1, "test"))),
        ("delayed_recall", (0, 1, {"channels": 1, "patterns": 2, "noise": 0.0})),
        ("delayed_recall", (0, 1, {"noise": 1.0})),
        ("counting", (1, {"shortest": 1, "longest": 1, "most": 1, "chunk": 8})),
        ("moving_bar", (1, {"steps": 1, "channels": 2, "width": 1})),
        ("moving_bar", (1, {"width": 31, "first": (0.0, 1.0)})),
        ("lorenz96", (1, 1, {"size": 4, "every": 1, "dt": 0.05})),
    ],
    ids=str,
)
def test_the_smallest_of_everything_is_taken(name, case):
    made = call(name, case)
    assert len(made) == (2 if name == "sudoku" else 1)


@pytest.mark.parametrize("gap", [-1])
def test_sums_with_a_negative_gap_or_no_pairs_are_refused(gap):
    with pytest.raises(ConfigError, match="gap is -1 but must be a whole number of at least 0"):
        SpokenSums(Clips(), 1, gap=gap)
    with pytest.raises(ConfigError, match=r"pairs is 0"):
        SpokenSums(Clips(), 0)


def test_sums_need_ten_classes_and_a_recording_of_each_digit():
    with pytest.raises(ConfigError, match="have 0 classes but 10 digits are needed"):
        SpokenSums(None, 1)
    data = load("spoken-digits", "validation")
    few = View(data, np.flatnonzero((data.labels != 3) & (data.labels != 8)))
    with pytest.raises(DataError, match="no recording of 3, 8; give data"):
        SpokenSums(few, 100).batch([0])


ODD = [None, "2", 1.5, float("nan"), True, [2], 10**400]


@pytest.mark.parametrize("odd", ODD, ids=short)
@pytest.mark.parametrize("name", MAKERS)
def test_what_is_no_number_is_refused_by_every_argument(name, odd):
    function = MAKERS[name]
    for argument in inspect.signature(function).parameters.values():
        taken = (argument.name, odd) in (("forcing", 1.5), ("rare", None))
        if argument.kind == argument.VAR_KEYWORD or taken:
            continue
        required = {"memory": 2, "samples": 3, "lag": 2, "steps": 3}
        given = {k: v for k, v in required.items() if k in inspect.signature(function).parameters}
        with pytest.raises(ConfigError, match=f"{argument.name} is "):
            function(**{**given, argument.name: odd})


@pytest.mark.parametrize("first", [None, 0.5, (0.1,), (0.1, 0.2, 0.3), ("a", "b"), (0.1, None)])
def test_a_range_of_places_is_two_numbers(first):
    with pytest.raises(ConfigError, match="first is .* but must be two numbers between 0 and 1"):
        moving_bar(3, first=first)


@pytest.mark.parametrize("noise", [-0.1, 1.1])
def test_a_probability_of_a_bar_is_between_0_and_1(noise):
    with pytest.raises(ConfigError, match="noise is .* at least 0 and at most 1"):
        moving_bar(3, noise=noise)
    assert moving_bar(3, noise=1.0).x.mean() == 1 - moving_bar(3, noise=0.0).x.mean()


SEEDED = {
    "parity": lambda seed: parity(2, 3, seed),
    "match_to_sample": lambda seed: match_to_sample(2, 3, seed),
    "delayed_recall": lambda seed: delayed_recall(2, 3, seed=seed),
    "counting": lambda seed: counting(3, seed=seed),
    "moving_bar": lambda seed: moving_bar(3, seed=seed),
    "lorenz96": lambda seed: lorenz96(1, 1, dt=0.05, seed=seed),
    "sudoku": lambda seed: sudoku(1, "train", seed),
    "sums": lambda seed: SpokenSums(Clips(), 1, seed=seed),
}


@pytest.mark.parametrize("name", SEEDED)
@pytest.mark.parametrize("seed", [-1, 1.5, 2**63])
def test_what_is_no_seed_is_refused_by_every_task(name, seed):
    with pytest.raises(ConfigError, match="seed"):
        SEEDED[name](seed)


def test_labels_of_a_task_are_evenly_frequent():
    """None is drawn by chance where the order alone is."""
    tasks = SimpleNamespace(bar=moving_bar(10, seed=1), recall=delayed_recall(2, 12, seed=1))
    assert np.bincount(tasks.bar.labels).tolist() == [5, 5]
    assert np.bincount(tasks.recall.labels).tolist() == [3, 3, 3, 3]


def test_a_batch_of_sums_of_no_steps_has_none():
    data = load("spoken-digits", "validation")
    assert data.batch([0, 1], 0).x.shape[0] == 0
    assert SpokenSums(data, 4).batch([0, 1], 0).x.shape[0] == 0
