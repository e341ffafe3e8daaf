"""What all data sets have in common, and splits by speaker."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import snnsim_datasets
from dataset_files import PARTS
from snnsim_datasets.tools.splits import hash_fraction, held_out_speakers

from snnsim.errors import ConfigError, DataError

NAMES = snnsim_datasets.names()
OWN = ("cameras", "python", "recordings", "sequences", "spikes")


def test_the_known_data_sets_are_there():
    assert {"fsdd", "gsc", "nmnist", "shd", "spoken-digits", "ssc"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_info_is_complete(name):
    info = snnsim_datasets.get(name).INFO
    assert info.name == name
    for text in (info.title, info.kind, info.licence, info.citation, info.note):
        assert text.strip()
    assert info.channels > 0
    known = name not in OWN  # whose classes are those of a user's data
    assert len(info.classes) == len(set(info.classes)) >= 2 * known
    assert set(info.splits) >= set(PARTS)
    for remote in info.remotes:
        assert remote.urls
        assert len(remote.checksum) == 2 * hashlib.new(remote.algorithm).digest_size
        assert set(remote.checksum) <= set("0123456789abcdef")


@pytest.mark.parametrize("name", NAMES)
def test_a_split_that_does_not_exist_is_a_config_error_before_anything_is_sought(name, tmp_path):
    root = None if name == "spoken-digits" else tmp_path
    with pytest.raises(ConfigError, match=r"'tset' .* did you mean 'test'"):
        snnsim_datasets.load(name, "tset", root, download=False)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "spoken-digits"])
@pytest.mark.parametrize("split", PARTS)
def test_absent_files_are_a_data_error_that_names_the_folder(name, split, tmp_path):
    with pytest.raises(DataError, match="--root") as caught:
        snnsim_datasets.load(name, split, tmp_path / "nowhere", download=False)
    assert str(tmp_path / "nowhere") in str(caught.value)
    assert not (tmp_path / "nowhere").exists()


def test_an_unknown_data_set_is_a_config_error_with_a_hint():
    with pytest.raises(ConfigError, match="did you mean 'spoken-digits'"):
        snnsim_datasets.load("spoken_digit", "test")


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_held_out_speakers_reach_the_fraction_and_no_more_than_needed(fraction, seed):
    speakers = np.random.default_rng(seed).integers(0, 12, 300)
    held = held_out_speakers(speakers, fraction, seed)
    share = np.isin(speakers, held).mean()
    largest = max((speakers == s).mean() for s in held)
    assert held.tolist() == sorted(set(held.tolist()))
    assert fraction <= share < fraction + largest
    assert held.tolist() == held_out_speakers(speakers[::-1], fraction, seed).tolist()


def test_another_seed_holds_out_other_speakers():
    speakers = np.arange(100) % 20
    assert len({tuple(held_out_speakers(speakers, 0.2, seed)) for seed in range(5)}) > 1


@pytest.mark.parametrize("fraction", [0.9, 1.0])
def test_at_least_one_speaker_stays(fraction):
    assert len(held_out_speakers(np.array([1, 1, 1, 2]), fraction)) == 1


def test_one_speaker_cannot_be_split():
    with pytest.raises(ConfigError, match="at least 2 speakers, but the data have 1"):
        held_out_speakers(np.zeros(5, int))


def test_hash_fractions_are_spread_evenly_and_depend_on_the_salt():
    at = np.array([hash_fraction(str(i), "a") for i in range(2000)])
    assert np.histogram(at, 10, (0, 1))[0].min() > 150
    assert hash_fraction("1", "a") != hash_fraction("1", "b")
