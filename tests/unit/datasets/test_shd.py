"""SHD and SSC on small files of their form."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from dataset_files import PARTS, identities, load_all, write_heidelberg
from snnsim_datasets import shd

from snnsim.errors import DataError


@pytest.fixture
def shd_folder(tmp_path):
    folder = tmp_path / "shd"
    folder.mkdir()
    write_heidelberg(folder / "shd_train.h5", np.arange(40) % 20, np.arange(40) % 8)
    write_heidelberg(folder / "shd_test.h5", np.arange(6), np.full(6, 9))
    return folder


def test_shd_is_binned_and_pooled(shd_folder):
    train = shd.load("train_all", shd_folder)
    x, labels, lengths = train.batch([7, 13])
    assert x.shape == (3, 2, 140)
    assert torch.nonzero(x).tolist() == [[2, 0, 1], [2, 1, 2]]
    assert (x[2, 0, 1], x[2, 1, 2]) == (8, 14)
    assert (labels.tolist(), lengths.tolist()) == ([7, 13], [3, 3])
    checksum = hashlib.sha256((shd_folder / "shd_train.h5").read_bytes()).hexdigest()
    assert train.checksums == {"shd_train.h5": checksum}


def test_shd_takes_step_pool_and_binning(shd_folder):
    options = {"dt": 4.0, "pool": 7, "binning": "event_anchored"}
    train = shd.load("train_all", shd_folder, **options)
    assert torch.nonzero(train.batch([13], 9).x).tolist() == [[0, 0, 1]]
    assert (train.channels, train.dt) == (100, 4.0)


def test_shd_validation_is_whole_speakers_out_of_train(shd_folder):
    parts = load_all("shd", shd_folder, (*PARTS, "train_all"))
    train, validation = parts["train"], parts["validation"]
    assert set(train.speakers.tolist()).isdisjoint(validation.speakers.tolist())
    assert sorted(identities(train) + identities(validation)) == list(range(40))
    assert identities(parts["train_all"]) == list(range(40))
    assert len(validation) == 10  # 2 speakers of 8: the first number that reaches a fifth
    assert identities(parts["test"]) == list(range(6))
    for part in (train, validation):
        assert part.labels.tolist() == [i % 20 for i in identities(part)]
        assert part.speakers.tolist() == [i % 8 for i in identities(part)]


def test_shd_validation_is_the_same_every_time(shd_folder, monkeypatch):
    first = identities(shd.load("validation", shd_folder))
    monkeypatch.setenv("SNNSIM_CACHE_DIR", str(shd_folder / "other cache"))
    np.random.seed(1)  # noqa: NPY002  the global generator must not matter
    assert identities(shd.load("validation", shd_folder)) == first


def test_a_folder_with_a_fault_in_one_file_names_that_file(shd_folder):
    (shd_folder / "shd_test.h5").write_bytes(b"")
    with pytest.raises(DataError, match=r"shd_test\.h5 is empty"):
        shd.load("test", shd_folder)


def test_ssc_splits_are_its_three_files(tmp_path):
    for number, part in enumerate(("train", "valid", "test"), 1):
        write_heidelberg(tmp_path / f"ssc_{part}.h5", [35 - number] * number)
    labels = {s: p.labels.tolist() for s, p in load_all("ssc", tmp_path).items()}
    assert labels == {"train": [34], "validation": [33] * 2, "test": [32] * 3}
