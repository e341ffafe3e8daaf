"""No sample is in two parts of a task made by rules, and none is drawn from the seed of another;
permutations and streams depend on the seed."""

from __future__ import annotations

import importlib
import inspect
import itertools
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from dataset_files import PARTS, assert_disjoint, fingerprints, write_images
from snnsim_datasets import images, load, synthetic
from snnsim_experiments import Place
from snnsim_experiments.configuration import resolve
from snnsim_experiments.continual import run, streams

from snnsim import training

# --- synthetic tasks --------------------------------------------------------------------------


def rows(array) -> list[bytes]:
    return [np.ascontiguousarray(row).tobytes() for row in array]


def long_strings(data) -> list:
    """The grammar has few short strings, which every seed makes."""
    return [x.tobytes() for x, length in zip(data.x, data.lengths, strict=True) if length > 20]


DIGITS = load("spoken-digits", "validation")
MADE = {  # from a seed to samples that hardly ever are the same by chance
    "parity": lambda seed: fingerprints(synthetic.parity(20, 30, seed)),
    "match_to_sample": lambda seed: fingerprints(synthetic.match_to_sample(20, 30, seed)),
    "counting": lambda seed: fingerprints(
        synthetic.counting(30, shortest=60, longest=80, most=40, seed=seed)
    ),
    "delayed_recall": lambda seed: fingerprints(
        synthetic.delayed_recall(9, 30, noise=0.2, seed=seed)
    ),
    "patterns": lambda seed: fingerprints(synthetic.patterns(30, seed=seed)),
    "moving_bar": lambda seed: fingerprints(synthetic.moving_bar(30, noise=0.1, seed=seed)),
    "lorenz96": lambda seed: rows(synthetic.lorenz96(6, 4, dt=0.05, seed=seed)),
    "lorenz96, fast": lambda seed: rows(synthetic.lorenz96(6, 4, dt=0.01, fast=2, seed=seed)),
    "assemblies": lambda seed: rows(synthetic.assemblies(6, seed=seed).data.x),
    "hidden_states": lambda seed: rows(synthetic.hidden_states(6, seed=seed).data.x),
    "documents": lambda seed: fingerprints(synthetic.documents(20, seed=seed)),
    "facts": lambda seed: fingerprints(synthetic.facts(4, 20, noise=0.1, seed=seed)),
    "few_shot": lambda seed: fingerprints(synthetic.few_shot(20, fewest=4, seed=seed)),
    "garden_path": lambda seed: fingerprints(synthetic.garden_path(20, seed=seed)),
    "spoken_sums": lambda seed: rows(synthetic.spoken_sums(6, seed=seed).places),
    "assemblies_ahead": lambda seed: rows(synthetic.assemblies_ahead(6, seed=seed).x),
    "lorenz96_ahead": lambda seed: rows(synthetic.lorenz96_ahead(6, seed=seed).x),
    "reber": lambda seed: long_strings(synthetic.reber(60, longest=60, seed=seed)),
    "SpokenSums": lambda seed: rows(synthetic.SpokenSums(DIGITS, 6, seed=seed).places),
}
NO_TASK = {  # sudoku: below; series are a file of the user's
    "Assemblies", "FastScale", "HiddenStates", "Sequences", "ahead", "level_crossings", "series",
    "sudoku", "sudoku_cell",
}  # fmt: skip


def test_every_synthetic_task_is_looked_at_here():
    made = {name.split(",")[0] for name in MADE}
    assert made | NO_TASK == set(synthetic.__all__)


@pytest.mark.parametrize("task", MADE)
def test_another_seed_of_a_task_gives_other_samples(task):
    parts = {seed: MADE[task](seed) for seed in range(3)}
    for one, other in itertools.combinations(parts.values(), 2):
        assert not set(one) & set(other)
    assert parts[1] == MADE[task](1)


@pytest.mark.parametrize("task", ["parity", "match_to_sample", "counting", "moving_bar"])
def test_fewer_samples_of_a_seed_are_no_part_of_those_of_another(task):
    make = getattr(synthetic, task)
    arguments = (20,) if task in ("parity", "match_to_sample") else ()
    train = make(*arguments, 40, seed=6)
    held = make(*arguments, 10, seed=7)
    short = min(train.x.shape[1], held.x.shape[1])
    same = [(a[:short] == b[:short]).all() for a in train.x for b in held.x]
    assert not any(same)


@pytest.mark.parametrize("seed", range(3))
def test_sudokus_of_training_and_test_have_no_solution_in_common(seed):
    (puzzles, train), (others, test) = (
        synthetic.sudoku(150, part, seed) for part in ("train", "test")
    )
    assert not set(rows(train)) & set(rows(test))
    assert not set(rows(puzzles)) & set(rows(others))
    assert rows(synthetic.sudoku(150, "train", seed + 1)[0]) != rows(puzzles)
    cells = [synthetic.sudoku_cell(150, part=part, seed=seed) for part in ("train", "test")]
    assert_disjoint(dict(zip(("train", "test"), cells, strict=True)))


@pytest.mark.parametrize("seed", range(3))
def test_sums_held_out_have_no_pair_of_digits_that_training_has(seed):
    train = synthetic.SpokenSums(DIGITS, 300, seed=seed)
    test = synthetic.SpokenSums(DIGITS, 300, held_out=True, seed=seed)
    assert not set(train.digits) & set(test.digits)
    assert len(set(train.digits)) > 50 and len(set(test.digits)) > 30


def test_another_seed_of_sums_takes_other_recordings_of_a_digit_too():
    def numbers(seed):
        """Which recording of its digit each is."""
        sums = synthetic.SpokenSums(DIGITS, 40, seed=seed)
        return [int((DIGITS.labels[:i] == DIGITS.labels[i]).sum()) for i in sums.places.flat]

    assert numbers(0) != numbers(1)


# --- who uses them ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", streams.CURRICULA)
def test_no_two_parts_of_a_curriculum_are_drawn_alike_whatever_the_streams_seeds(monkeypatch, name):
    drawn = []

    def noting(memory, samples, seed=0):
        drawn.append((memory, seed))
        return make(memory, samples, seed)

    make = streams.CURRICULA[name]
    monkeypatch.setitem(streams.CURRICULA, name, noting)
    for seed in range(5):
        built = streams.build(name, None, tasks=2, samples=8, seed=seed)
        assert [len(t.train) for t in built.tasks] == [8, 8]
    assert len(drawn) == 5 * 2 * 3
    assert max(Counter(drawn).values()) == 1


def test_parts_of_a_long_curriculum_share_no_sample():
    task = streams.build("parity", None, tasks=20, samples=40, seed=2).tasks[-1]
    parts = {name: getattr(task, name) for name in PARTS}
    assert {name: len(part) for name, part in parts.items()} == dict(
        zip(PARTS, (40, 10, 10), strict=True)
    )
    assert_disjoint(parts)


def orders(root, seed, tasks=3):
    """The permutation of every task."""
    stream = streams.build("permuted-mnist", root, tasks=tasks, seed=seed)
    return [task.test.transform.order.tolist() for task in stream.tasks]


def test_permutations_depend_on_the_seed_and_the_task(tmp_path):
    write_images(tmp_path, "mnist")
    found = [order for seed in range(3) for order in orders(tmp_path, seed)]
    for order in found:
        assert sorted(order) == list(range(784)) != order
    assert len({tuple(order) for order in found}) == len(found)
    assert orders(tmp_path, 1) == found[3:6]
    assert orders(tmp_path, 1, tasks=2) == found[3:5]


def test_all_parts_of_a_permuted_task_are_permuted_alike(tmp_path):
    write_images(tmp_path, "mnist")
    for task in streams.build("permuted-mnist", tmp_path, tasks=2, seed=4).tasks:
        order = task.test.transform.order
        for split in PARTS:
            plain = images.load("mnist", split, tmp_path)
            view = getattr(task, split)
            assert len(view) == len(plain)
            assert (view.batch([0, 1]).x == plain.batch([0, 1]).x[..., order]).all()


def test_every_seed_of_a_run_has_a_stream_of_its_own(tmp_path, monkeypatch):
    class Enough(Exception):
        pass

    seen = []

    def noting(name, root, progress, **options):
        seen.append(options["seed"])
        raise Enough

    config = resolve("pmnist", method="fine-tuning", changes=["stream.seed=5"])
    monkeypatch.setattr(run.streams, "build", noting)
    for seed in (0, 1, 2):
        with pytest.raises(Enough):
            run.run(config, [seed], Place(out=tmp_path / f"{seed}", quiet=True))
    assert len(set(seen)) == 3
    assert seen[0] == 5


CHECKS = {
    "counting": "counting",
    "fsmn": "pulses",
    "lrcn": "moving_bar",
    "recall": "delayed_recall",
}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("seed", [0, 3])
def test_a_check_is_tested_on_data_of_another_seed_than_it_was_trained_on(monkeypatch, check, seed):
    module = importlib.import_module(f"snnsim_experiments.baselines.checks.{check}")
    make, seeds, pairs, kept = getattr(module, CHECKS[check]), {}, [], []

    def noting(*arguments, **options):
        data = make(*arguments, **options)
        bound = inspect.signature(make).bind(*arguments, **options)
        seeds[id(data)] = bound.arguments["seed"]
        kept.append(data)  # or its id is given to another
        return data

    def accuracy(model, train, test, **options):
        pairs.append((seeds[id(train)], seeds[id(test)]))
        return 0.0, None

    def evaluate(net, test, **options):
        pairs.append((pairs[-1][0], seeds[id(test)]))
        return SimpleNamespace(accuracy=0.0)

    monkeypatch.setattr(module, CHECKS[check], noting)
    monkeypatch.setattr(module, "accuracy", accuracy)
    for place in (module, training):
        monkeypatch.setattr(place, "evaluate", evaluate, raising=False)
    module.run(seed, short=True)
    assert pairs
    assert all(train != test for train, test in pairs)
