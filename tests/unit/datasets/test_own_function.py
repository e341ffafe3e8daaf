"""Data of a function of one's own."""

from __future__ import annotations

import numpy as np
import pytest
import snnsim_datasets
from dataset_files import PARTS, load_all

from snnsim.errors import ConfigError, DataError

CODE = '''
import numpy as np
from types import SimpleNamespace
from snnsim.data import Arrays, Batch
import torch

calls = []

def words(count=20, first=0):
    calls.append(1)
    x = np.arange(count * 6.0).reshape(count, 3, 2) + first
    return Arrays(x, np.arange(count) % 2, classes=("no", "yes"), dt=5.0,
                  speakers=np.arange(count) // 5)

def three():
    return words(10), words(4, 1000), words(6, 2000)

def named():
    return dict(zip(("test", "train", "validation"), three()))

def values():
    return Arrays(np.zeros((12, 3, 2)), np.arange(24.0).reshape(12, 2))

def steps():
    return Arrays(np.zeros((12, 3, 2)), np.arange(36).reshape(12, 3) % 4, per_step=True, dt=2.0)

class Bare:
    """Only what the protocol asks for."""
    lengths = np.full(12, 4)
    def __len__(self):
        return 12
    def batch(self, indices, steps=None):
        n = len(indices)
        x = torch.ones(steps or 4, n, 2, 3)
        return Batch(x, torch.as_tensor(indices) % 3, torch.full((n,), 4))

def bare():
    return Bare()

def empty():
    return Arrays(np.zeros((0, 3, 2)), np.zeros(0, int))

def each_speaker_a_class():
    return Arrays(np.zeros((12, 3, 2)), np.arange(12) // 4, speakers=np.arange(12) // 4)

def two():
    return words(), words()

def other_names():
    return {"train": words(), "dev": words(), "test": words()}

def nothing():
    pass

def fails():
    raise KeyError("missing.wav")

def needs(argument):
    return words()

number = 3
'''


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(CODE)
    return tmp_path


def made(function, **options):
    return load_all("python", None, function=f"own.py:{function}", **options)


def test_one_data_set_is_divided_by_speaker_or_by_class(place):
    parts = made("words")
    speakers = [set(part.speakers.tolist()) for part in parts.values()]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 4  # none is in two
    by_class = made("words", split_by="class", held_out=0.3)
    assert set(by_class["train"].speakers.tolist()) & set(by_class["test"].speakers.tolist())
    assert [np.bincount(part.labels).tolist() for part in by_class.values()] == [
        [5, 5], [2, 2], [3, 3],
    ]  # fmt: skip
    for part in parts.values():
        assert (part.classes, part.dt, part.channels) == (("no", "yes"), 5.0, 2)


@pytest.mark.parametrize("function", ["three", "named"])
def test_three_data_sets_are_the_parts(place, function):
    parts = made(function)
    sizes = {"three": [10, 4, 6], "named": [4, 6, 10]}[function]
    assert [len(parts[part]) for part in PARTS] == sizes


def test_a_function_is_called_once_for_all_parts(place):
    made("words")
    (place / "own.py").write_text("gone = 1")  # what was made stays
    assert len(made("words")["train"]) > 0


def test_a_module_is_found_in_the_root(place, monkeypatch):
    monkeypatch.chdir("/")
    (place / "own_module.py").write_text(CODE)
    assert len(snnsim_datasets.load("python", "test", place, function="own_module:three")) == 6


def test_targets_may_be_values_or_for_every_step(place):
    assert made("values")["train"].target.shape[1] == 2
    assert made("values")["train"].classes == ()
    steps = made("steps")["train"]
    assert steps.target.shape[1:] == (3,) and steps.labels is None and steps.dt == 2.0
    assert snnsim_datasets.load("python", "test", function="own.py:steps", dt=1.0).dt == 1.0


def test_the_plainest_data_set_is_enough_with_a_length_of_step(place):
    data = made("bare", dt=2.0)["train"]
    assert (data.channels, data.shape, data.dt) == (6, (2, 3), 2.0)
    assert data.batch([0, 1]).x.shape == (4, 2, 6)
    assert data.classes == ("0", "1", "2")
    with pytest.raises(ConfigError, match=r"own\.py:bare does not say how long a step is"):
        _ = made("bare")["train"].dt


def test_a_checksum_is_of_what_the_samples_are(place):
    sums = made("three")["train"].checksums
    assert len(sums) == 1
    (place / "other.py").write_text(CODE.replace("+ first", "+ first + 1e-3"))
    other = snnsim_datasets.load("python", "train", function="other.py:three").checksums
    assert list(other.values()) != list(sums.values())


BAD = {
    "empty": "returns a data set without samples",
    "each_speaker_a_class": "no recording of '.' is left for training",
    "two": "returns 2 things but must return a data set",
    "other_names": "a mapping with the names .*dev",
    "nothing": "returns 'NoneType' but must return",
    "fails": r"failed with KeyError in own\.py, line \d+: 'missing\.wav'",
    "needs": r"failed with TypeError .*argument",
}


@pytest.mark.parametrize("function", BAD)
def test_what_a_function_must_not_return_is_refused(place, function):
    with pytest.raises(DataError, match=BAD[function]) as caught:
        made(function)
    assert f"own.py:{function}" in str(caught.value) or "left for training" in str(caught.value)


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("", "data.function is '' but must be module:function"),
        ("own", "must be module:function"),
        ("own.py:number", "has no function number; it has .*words"),
        ("own.py:wrods", "has no function wrods"),
        ("none.py:words", "does not exist"),
        ("no_such_module:words", "there is no module no_such_module"),
    ],
)
def test_what_is_no_function_is_refused(place, function, error):
    with pytest.raises(ConfigError, match=error):
        snnsim_datasets.load("python", "train", function=function)


def test_a_module_that_fails_says_where(place):
    (place / "broken.py").write_text("x = 1\ny = 1 / 0\n")
    for name in ("broken.py:f", "broken:f"):
        with pytest.raises(DataError, match=r"broken.*ZeroDivisionError in broken\.py, line 2"):
            snnsim_datasets.load("python", "train", place, function=name)
