"""Streams by name: which there are, what their options do, and what they are made of."""

from __future__ import annotations

import numpy as np
import pytest
import snnsim_datasets
import torch
from snnsim_datasets import images
from snnsim_datasets.synthetic import match_to_sample, parity
from snnsim_experiments.continual import streams
from snnsim_experiments.continual.streams import build, check_used, is_still, names, parse

from snnsim.continual import Task, View
from snnsim.errors import ConfigError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Sixty and thirty made-up images, in the form of every set of the five."""
    generator = np.random.default_rng(0)
    grey = {}
    for part, count in (("train", 60), ("test", 30)):
        grey[f"x_{part}"] = generator.integers(0, 255, (count, 28, 28)).astype(np.uint8)
        grey[f"y_{part}"] = (np.arange(count) % 10).astype(np.uint8)
    colour = {n: np.stack([v] * 3, -1) if n[0] == "x" else v for n, v in grey.items()}
    files = {
        "cifar10": "cifar10_small.npz", "mnist": "mnist_full.npz", "svhn": "svhn.npz",
        "fashion-mnist": "fashion_full.npz", "notmnist": "notmnist.npz",
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("images")
    for name, file in files.items():
        (folder / name).mkdir()
        np.savez(folder / name / file, **(colour if name in ("cifar10", "svhn") else grey))
    return folder


def pixels(data, count=5):
    return data.batch(range(count)).x


# --- names --------------------------------------------------------------------------------------


def test_there_is_a_stream_of_every_kind_for_every_data_set():
    found = names()
    assert found == sorted(set(found))
    expected = {f"{kind}-{name}" for kind in ("permuted", "rotated", "split")
                for name in images.names()}  # fmt: skip
    expected |= {f"split-{name}" for name in snnsim_datasets.names()}
    spoken = ("spoken-digits", "fsdd", "recordings", "shd", "spikes", "ssc")
    expected |= {f"speakers-{name}" for name in spoken}
    expected |= {"pmnist", "spoken-digits", "parity", "match-to-sample", "5-datasets"}
    assert set(found) == expected


@pytest.mark.parametrize(
    ("name", "kind", "data", "still"),
    [
        ("pmnist", "permuted", "mnist", True),
        ("spoken-digits", "split", "spoken-digits", False),
        ("rotated-fashion-mnist", "rotated", "fashion-mnist", True),
        ("split-mini-imagenet", "split", "mini-imagenet", True),
        ("speakers-fsdd", "speakers", "fsdd", False),
        ("parity", "curriculum", "parity", False),
        ("match-to-sample", "curriculum", "match-to-sample", False),
        ("5-datasets", "collection", "cifar10", True),
    ],
)
def test_a_name_says_kind_and_data(name, kind, data, still):
    assert parse(name) == (kind, data) and is_still(name) is still
    with pytest.raises(ConfigError, match="stream"):
        parse(f"{name}x")


USED = {
    "pmnist": {"tasks", "seed", "protocol"},
    "rotated-mnist": {"tasks", "turn", "protocol"},
    "split-mnist": {"scenario", "per_task", "order_seed", "protocol"},
    "speakers-fsdd": {"protocol"},
    "parity": {"scenario", "tasks", "samples", "seed"},
    "5-datasets": {"scenario"},
}


@pytest.mark.parametrize("name", USED)
def test_a_stream_takes_the_options_of_its_kind_and_refuses_the_others(name):
    every = {"scenario", "tasks", "per_task", "seed", "order_seed", "turn", "samples", "protocol",
             "validation", "evaluate"}  # fmt: skip
    for option in every:
        if option in USED[name] | {"validation", "evaluate"}:
            check_used(name, [option])
        else:
            with pytest.raises(ConfigError, match=f"stream.{option} has no effect on {name}"):
                check_used(name, [option])


# --- images -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["split-mnist", "permuted-mnist", "rotated-mnist"])
def test_validation_data_are_held_out_unless_they_are_to_be_trained_on(root, name):
    folder = str(root / "mnist")
    apart, whole = (build(name, folder, validation=v) for v in (True, False))
    sizes = [len(images.load("mnist", part, folder)) for part in ("train", "validation", "test")]
    splits = name.startswith("split")

    def total(part):
        found = [len(part(task)) for task in (apart.tasks if splits else apart.tasks[:1])]
        return sum(found)

    assert [total(lambda t: t.train), total(lambda t: t.validation), total(lambda t: t.test)] == (
        sizes
    )
    assert sizes[0] + sizes[1] == 60
    tasks = whole.tasks if splits else whole.tasks[:1]
    assert sum(len(task.train) for task in tasks) == 60
    assert all(task.validation is None for task in whole.tasks)


def test_permutations_are_those_of_the_seed_given(root):
    folder = str(root / "mnist")
    plain = pixels(images.load("mnist", "test", folder))
    found = build("pmnist", folder, tasks=2, seed=3)
    assert len(found) == 2 and found.name == "pmnist"
    for number, task in enumerate(found.tasks):
        order = np.random.default_rng([3, number]).permutation(784)
        assert torch.equal(pixels(task.test), plain[..., order])


def test_rotations_turn_by_the_same_angle_from_task_to_task(root):
    folder = str(root / "mnist")
    stream = build("rotated-mnist", folder, tasks=5, turn=90.0)
    first = pixels(images.load("mnist", "test", folder)).view(1, 5, 28, 28)
    for number, task in enumerate(stream.tasks):
        turned = torch.rot90(first, number, (2, 3))
        torch.testing.assert_close(pixels(task.test).view_as(first), turned, rtol=0, atol=1e-3)
    assert len(build("rotated-mnist", folder)) == 10


def test_classes_are_in_their_order_or_in_that_of_a_seed(root):
    folder = str(root / "mnist")
    usual = build("split-mnist", folder)
    classes = images.load("mnist", "test", folder).classes
    assert [task.name for task in usual.tasks] == [
        ", ".join(classes[i : i + 2]) for i in range(0, 10, 2)
    ]
    for seed in (0, 4):
        order = np.random.default_rng(seed).permutation(10)
        found = build("split-mnist", folder, order_seed=seed, per_task=5, scenario="class")
        assert [task.name for task in found.tasks] == [
            ", ".join(classes[c] for c in order[i : i + 5]) for i in (0, 5)
        ]
        assert found.scenario == "class" and [task.classes for task in found.tasks] == [5, 10]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("split-mnist", {"scenario": "class", "per_task": 5, "order_seed": 2}),
        ("pmnist", {"tasks": 3, "seed": 4}),
        ("rotated-mnist", {"tasks": 3, "turn": 40.0}),
        ("parity", {"tasks": 2, "samples": 40, "seed": 3, "scenario": "domain"}),
        ("5-datasets", {"scenario": "domain"}),
    ],
)
def test_a_stream_to_choose_by_is_the_same_stream_tested_on_what_it_holds_out(root, name, options):
    folder = str(root if name == "5-datasets" else root / "mnist")
    usual, chosen = (build(name, folder, evaluate=e, **options) for e in ("test", "validation"))
    assert (chosen.name, chosen.scenario, len(chosen)) == (name, usual.scenario, len(usual))
    for mine, task in zip(chosen.tasks, usual.tasks, strict=True):
        assert (mine.name, mine.classes, mine.validation) == (task.name, task.classes, None)
        assert torch.equal(pixels(mine.train), pixels(task.train))
        assert torch.equal(pixels(mine.test, 2), pixels(task.validation, 2))
        assert len(mine.test) == len(task.validation) and len(mine.train) == len(task.train)


def test_options_that_are_none_are_refused():
    for options, said in (
        ({"evaluate": "train"}, "evaluate"),
        ({"seed": -1}, "seed"),
        ({"scenario": "tasks"}, "scenario"),
        ({"evaluate": "validation", "validation": False}, "set stream.validation=true"),
    ):
        with pytest.raises(ConfigError, match=said):
            build("parity", None, samples=8, tasks=1, **options)


def test_a_task_without_validation_data_is_tested_on_every_fifth_of_its_training_data():
    data = parity(3, 22, 1)
    task = Task("one", data, None, data, 2)
    for number in (0, 3):
        found = streams._on_held_out(task, number)
        order = np.argsort(data.labels, kind="stable")
        held = sorted(order[number::5].tolist())
        assert found.test.indices.tolist() == held and found.validation is None
        assert found.train.indices.tolist() == [i for i in range(22) if i not in held]
        assert found.train.data is found.test.data is data
    alone = Task("alone", View(data, np.array([0])), None, data, 2)
    with pytest.raises(ConfigError, match="alone has only .* samples, too few to hold any out"):
        streams._on_held_out(alone, 0)


# --- five sets ----------------------------------------------------------------------------------


def test_five_sets_come_in_their_order_on_one_canvas(root):
    stream = build("5-datasets", str(root))
    order = ["cifar10", "mnist", "svhn", "fashion-mnist", "notmnist"]
    assert [task.name for task in stream.tasks] == order and stream.scenario == "task"
    assert {task.classes for task in stream.tasks} == {10}
    for task in stream.tasks:
        wanted = ("train", "validation", "test")
        for part, data in zip(wanted, (task.train, task.validation, task.test), strict=True):
            alone = images.load(task.name, part, root / task.name, flat=False)
            assert len(data) == len(alone)
            assert pixels(data).shape == (1, 5, 3, 32, 32)
    whole = build("5-datasets", str(root), validation=False, scenario="domain")
    assert [len(task.train) for task in whole.tasks] == [60] * 5
    assert all(task.validation is None for task in whole.tasks) and whole.scenario == "domain"
    with pytest.raises(ConfigError, match="scenario is 'class'.*use 'task' or 'domain'"):
        build("5-datasets", str(root), scenario="class")


# --- curricula ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "make"), [("parity", parity), ("match-to-sample", match_to_sample)]
)
@pytest.mark.parametrize(("samples", "part"), [(40, 10), (3, 1), (1, 1)])
def test_tasks_of_a_curriculum_are_of_2_bits_and_more_with_seeds_of_their_own(
    name, make, samples, part
):
    stream = build(name, None, tasks=3, samples=samples, seed=2)
    assert [task.name for task in stream.tasks] == [f"last {n} bits" for n in (2, 3, 4)]
    for memory, task in zip((2, 3, 4), stream.tasks, strict=True):
        sizes = (samples, part, part)
        for i, data in enumerate((task.train, task.validation, task.test)):
            expected = make(memory, sizes[i], 6 + i)
            assert len(data) == sizes[i]
            every = range(sizes[i])
            assert torch.equal(data.batch(every).x, expected.batch(every).x)
            assert torch.equal(data.batch(every).labels, expected.batch(every).labels)
        assert task.classes == 2
    assert stream.scenario == "task" and stream.name == name


# --- spoken digits ------------------------------------------------------------------------------


def test_speakers_are_tasks_on_all_training_data():
    stream = build("speakers-spoken-digits", None)
    data = snnsim_datasets.load("spoken-digits", "train_all")
    assert len(stream) == len(set(data.speakers)) and stream.scenario == "domain"
    kept = sum(len(task.train) + len(task.test) for task in stream.tasks)
    assert kept == len(data)


def test_a_split_of_sequences_has_ten_tasks_of_two_digits():
    stream = build("spoken-digits", None)
    parts = [snnsim_datasets.load("spoken-digits", p) for p in ("train", "validation", "test")]
    assert len(stream) == 10 and stream.name == "spoken-digits"
    for i, task in enumerate(stream.tasks):
        for mine, whole in zip((task.train, task.validation, task.test), parts, strict=True):
            assert mine.indices.tolist() == np.flatnonzero(whole.labels // 2 == i).tolist()


def test_the_split_of_a_data_set_that_has_several_is_asked_for_by_name(monkeypatch):
    asked = []

    def load(name, part, root, **options):
        asked.append((name, part, options))
        return snnsim_datasets.load("spoken-digits", part)

    monkeypatch.setattr(streams, "snnsim_datasets", Stand(load))
    build("split-gsc", None, protocol="speaker")
    build("split-gsc", None)
    build("split-gsc", None, protocol="speaker", validation=False)
    given = [(part, options.get("protocol")) for _, part, options in asked]
    parts = ["train", "validation", "test"]
    assert given[:6] == [(p, "speaker") for p in parts] + [(p, None) for p in parts]
    assert given[6][0].startswith("train") and given[7:] == [("test", "speaker")]


class Stand:
    """The data sets, of which one function is another."""

    def __init__(self, load):
        self.load = load

    def __getattr__(self, name):
        return getattr(snnsim_datasets, name)
