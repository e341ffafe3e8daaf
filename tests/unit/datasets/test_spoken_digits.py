"""The embedded spoken digits."""

from __future__ import annotations

import numpy as np
import pytest
import snnsim_datasets
from dataset_files import PARTS, load_all

from snnsim.errors import ConfigError


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SNNSIM_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        return load_all("spoken-digits", None, (*PARTS, "train_all"))


def test_spoken_digits_have_the_stated_sizes(digits):
    sizes = {split: len(part) for split, part in digits.items()}
    assert sizes == {"train": 380, "validation": 100, "test": 120, "train_all": 480}


@pytest.mark.parametrize("split", [*PARTS, "train_all"])
def test_spoken_digits_are_20_equally_frequent_classes_of_140_channels(digits, split):
    part = digits[split]
    assert len(part.classes) == 20
    assert np.bincount(part.labels, minlength=20).tolist() == [len(part) // 20] * 20
    assert part.batch([0, 1]).x.shape[1:] == (2, 140)
    assert (np.diff(part.offsets) > 0).all()


def test_spoken_digits_share_no_voice_between_splits(digits):
    voices = {split: set(part.speakers.tolist()) for split, part in digits.items()}
    assert voices["test"].isdisjoint(voices["train_all"])
    assert voices["train"].isdisjoint(voices["validation"])
    assert voices["train"] | voices["validation"] == voices["train_all"]
    assert sum(len(voices[split]) for split in PARTS) == 30


def test_spoken_digits_take_no_root(tmp_path):
    with pytest.raises(ConfigError, match="takes no root"):
        snnsim_datasets.load("spoken-digits", "test", tmp_path)
