"""Which recordings of the spoken digits are in which part, and how they are read."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from dataset_files import load_all, write_clip, write_heidelberg
from snnsim_datasets import fsdd
from snnsim_datasets.tools import files
from snnsim_datasets.tools.mel import MelFrontEnd
from snnsim_datasets.tools.splits import held_out_speakers

from snnsim.errors import DataError


@pytest.fixture
def digits(tmp_path) -> Path:
    """Indices around the border of 5; "aa" has only a test clip; sizes tell the clips apart."""
    size = 800
    for digit, voice in itertools.product((0, 9), ("al", "bo", "cy", "a_d")):
        for index in (0, 4, 5, 10):
            size += 1
            name = f"{digit}_{voice}_{index}.wav"
            write_clip(tmp_path / "fsdd" / "recordings" / name, size, 8000)
    write_clip(tmp_path / "fsdd" / "recordings" / "3_aa_2.wav", 2000, 8000)
    return tmp_path / "fsdd"


def test_who_is_in_which_part_of_the_spoken_digits(digits):
    clips = sorted((digits / "recordings").iterdir())
    facts = [re.fullmatch(r"(\d)_(.+)_(\d+)", clip.stem).groups() for clip in clips]
    names = sorted({voice for _, voice, _ in facts})
    assert names == ["a_d", "aa", "al", "bo", "cy"]
    numbers = np.asarray([names.index(voice) for _, voice, _ in facts])
    test = np.asarray([int(index) <= 4 for *_, index in facts])
    held = set(held_out_speakers(numbers[~test]).tolist())
    assert held != set(held_out_speakers(numbers).tolist())  # test clips have no say
    wanted = {
        "test": test,
        "train_all": ~test,
        "validation": ~test & np.isin(numbers, list(held)),
        "train": ~test & ~np.isin(numbers, list(held)),
    }
    sizes = [soundfile.info(clip).frames for clip in clips]
    parts = load_all("fsdd", digits, tuple(wanted), n_mels=20)
    for split, part in parts.items():
        mine = np.flatnonzero(wanted[split])
        assert len(mine)
        assert part.labels.tolist() == [int(facts[i][0]) for i in mine]
        assert part.speakers.tolist() == numbers[mine].tolist()
        assert np.diff(part.offsets).tolist() == [sizes[i] for i in mine]
        assert part.offsets[0] == 0 and len(part.samples) == part.offsets[-1]
        assert (part.channels, part.dt, part.one_length) == (20, 10.0, False)
        assert part.classes[:2] == ("zero", "one") and len(part.classes) == 10
        assert part.front_end == MelFrontEnd(8000, 8000, 20)
        sums = files.digest_all(digits / "recordings", clips)
        assert part.checksums == {"recordings/": sums}


def test_spoken_digits_have_140_bands_unless_told_otherwise(digits):
    assert fsdd.load("test", digits).channels == 140


def test_a_folder_without_recordings_or_without_those_of_a_part_is_named(tmp_path):
    with pytest.raises(DataError, match=r"has neither fsdd_train\.h5 nor .* github\.com/Jakobov"):
        fsdd.load("test", tmp_path)
    write_clip(tmp_path / "3_zed_7.wav", 500, 8000)
    with pytest.raises(DataError, match="has no recordings for split 'test'"):
        fsdd.load("test", tmp_path)


def test_spikes_of_spoken_digits_take_their_options(tmp_path):
    write_heidelberg(tmp_path / "fsdd_train.h5", np.arange(20) % 10, np.arange(20) % 5)
    write_heidelberg(tmp_path / "fsdd_test.h5", np.arange(10), np.arange(10) % 5)
    plain = fsdd.load("test", tmp_path)
    assert (plain.channels, plain.dt, plain.lengths.tolist()) == (140, 10.0, [3] * 10)
    other = fsdd.load("test", tmp_path, dt=4.0, pool=7, binning="event_anchored")
    assert (other.channels, other.dt, other.lengths.tolist()) == (100, 4.0, [1] * 10)
    with pytest.raises(DataError, match="has neither"):
        fsdd.load("test", tmp_path, form="audio")
