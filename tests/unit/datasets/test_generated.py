"""Generated data sets: parts that are drawn apart, options of their functions, honest facts."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import snnsim_datasets
from snnsim_datasets import generated, synthetic
from snnsim_datasets.synthetic import ahead, few_shot, lorenz96, lorenz96_ahead, sudoku_cell

from snnsim.errors import ConfigError, DataError, ShapeError

SMALL = {"samples": 24}
each_set = pytest.mark.parametrize("name", [n for n in generated.names() if n != "series"])
every_set = pytest.mark.parametrize("name", generated.names())


def inputs(name, split, **options):
    data = snnsim_datasets.load(name, split, **SMALL, **options)
    return data.batch(range(len(data)), 30).x.numpy()


@each_set
def test_the_facts_are_those_of_the_data_with_default_options(name):
    info, data = snnsim_datasets.info(name), snnsim_datasets.load(name, "test", **SMALL)
    assert (data.channels, tuple(data.classes)) == (info.channels, info.classes)
    assert len(data) == 6
    assert len(snnsim_datasets.load(name, "train", **SMALL)) == 24
    assert info.citation and info.kind and info.title


@each_set
def test_the_same_seed_gives_the_same_data_and_the_parts_are_drawn_apart(name):
    train = inputs(name, "train")
    np.testing.assert_array_equal(train, inputs(name, "train"))
    parts = [train, inputs(name, "validation"), inputs(name, "test"), inputs(name, "train", seed=1)]
    for i, one in enumerate(parts):
        for other in parts[i + 1 :]:
            count = min(one.shape[1], other.shape[1])
            assert not np.array_equal(one[:, :count], other[:, :count])


@every_set
def test_every_option_of_the_function_is_an_option_of_the_data_set(name):
    make = getattr(synthetic, generated._FACTS[name]["make"])
    taken = set(inspect.signature(make).parameters) - {"part", "root"}
    options = inspect.signature(snnsim_datasets.get(name).load).parameters
    assert taken == set(options) - {"split", "root"}


def test_a_generated_set_refuses_a_folder_and_a_part_that_does_not_exist():
    with pytest.raises(ConfigError, match="reads no files"):
        snnsim_datasets.load("parity", "train", "somewhere")
    with pytest.raises(ConfigError, match="must be one of train, validation, test"):
        snnsim_datasets.load("parity", "train_all")
    with pytest.raises(ConfigError, match=r"data\.samples"):
        snnsim_datasets.load("parity", "train", samples=0)


def test_the_target_is_the_series_some_steps_later():
    series = np.random.default_rng(0).normal(size=(2, 9, 3)).astype(np.float32)
    batch = ahead(series, horizon=4).batch([0, 1])
    for step in range(5):
        np.testing.assert_array_equal(batch.x[step], series[:, step])
        np.testing.assert_array_equal(batch.target[step], series[:, step + 4])
    with pytest.raises(ConfigError, match="horizon"):
        ahead(series, horizon=9)
    with pytest.raises(ShapeError, match=r"\[samples, steps, channels\]"):
        ahead(series[0])


def test_lorenz96_is_in_units_of_its_spread_in_all_parts_alike():
    one, other = (lorenz96_ahead(40, seed=seed) for seed in (0, 1))
    raw = lorenz96(40, 100, every=5, seed=0)
    scale = np.polyfit(raw[:, :96].ravel(), one.x.ravel(), 1)
    np.testing.assert_allclose(one.x, scale[0] * raw[:, :96] + scale[1], atol=1e-5)
    for data in (one, other):
        assert abs(data.x.mean()) < 0.05 and abs(data.x.std() - 1) < 0.05


def test_labelled_utterances_come_first_and_the_last_one_is_asked():
    data = few_shot(200, fewest=1, most=3, seed=2)
    told = data.x[..., 16:]
    starts = np.arange(4) * 9
    for sample in range(200):
        known = (data.lengths[sample] + 1) // 9 - 1
        assert 1 <= known <= 3
        assert (told[sample, starts[:known]].sum(1) == 1).all()
        assert not told[sample, starts[known] :].any()
    silent = data.x[:, starts[1:] - 1]
    assert not silent.any()


def test_a_speaker_shifts_all_classes_alike():
    """The bump of a class is where that of class 0 is, moved by a quarter of the channels."""
    data = few_shot(400, fewest=8, most=8, seed=1)
    for sample in range(20):
        centres = []
        for place in range(8):
            heard = data.x[sample, 9 * place : 9 * place + 8]
            label = heard[0, 16:].argmax()
            angle = 2 * np.pi * np.arange(16) / 16
            middle = np.angle((heard[:, :16].sum(0) * np.exp(1j * angle)).sum())
            centres.append(np.exp(1j * (middle - np.pi / 2 * label)))
        assert abs(np.mean(centres)) > 0.9


def test_the_cell_that_is_asked_is_empty_and_its_digit_solves_the_puzzle():
    data = sudoku_cell(50, part="test", seed=3)
    _, answers = synthetic.sudoku(50, "test", 3)
    for x, label, answer in zip(data.x, data.target, answers, strict=True):
        (asked,) = np.flatnonzero(x[:, -1])
        assert not x[asked, :4].any() and answer[asked] == label + 1
        given = x[:, :4].any(1)
        np.testing.assert_array_equal(x[given, :4].argmax(1) + 1, answer[given])


@pytest.fixture
def file(tmp_path):
    values = np.stack([np.arange(200.0), np.ones(200)], axis=1)
    np.savetxt(tmp_path / "values.csv", values, delimiter=",")
    return tmp_path / "values.csv"


def test_the_parts_of_a_series_follow_one_another_in_units_of_the_training_part(file):
    parts = {
        part: snnsim_datasets.load("series", part, file.parent, file=file.name, steps=20, horizon=3)
        for part in generated.SPLITS
    }
    training = np.arange(140.0)
    seen = [data.x[..., 0] * training.std() + training.mean() for data in parts.values()]
    ranges = [(0, 136), (140, 166), (170, 196)]
    for data, values, (first, last) in zip(parts.values(), seen, ranges, strict=True):
        assert (values.min(), values.max()) == pytest.approx((first, last), abs=1e-3)
        np.testing.assert_allclose(data.target[..., 0] - data.x[..., 0], 3 / training.std(), 1e-4)
        assert not data.x[..., 1].any()
        assert data.checksums["values.csv"].startswith("sha256:")


def test_a_series_may_be_one_array_of_numbers(tmp_path):
    np.save(tmp_path / "values.npy", np.sin(np.arange(100)))
    data = snnsim_datasets.load("series", "test", tmp_path, file="values.npy", samples=8)
    assert data.channels == 1 and data.x.shape[1] == 14 and len(data) == 1


def test_what_is_no_series_is_refused(tmp_path, file):
    load = snnsim_datasets.get("series").load
    with pytest.raises(ConfigError, match="needs the name of its file"):
        load("train")
    with pytest.raises(ConfigError, match="must end in .npy or .csv"):
        load("train", tmp_path, file="values.txt")
    with pytest.raises(DataError, match="does not exist"):
        load("train", tmp_path, file="absent.csv")
    with pytest.raises(DataError, match="200 steps, of which 30 are for test"):
        load("test", tmp_path, file=file.name, horizon=50)
    for name, content in (("words.csv", "a,b\n1,2"), ("gap.csv", "1\nnan\n3"), ("empty.csv", "")):
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match="cannot be read|NaN|must have numbers"):
            load("train", tmp_path, file=name)
    np.save(tmp_path / "deep.npy", np.zeros((2, 3, 4)))
    with pytest.raises(DataError, match="must have numbers"):
        load("train", tmp_path, file="deep.npy")
