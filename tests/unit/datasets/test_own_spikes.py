"""Spike files of one's own: any channels and classes, pairs, and what the files say."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import snnsim_datasets
from dataset_files import PARTS, load_all, write_heidelberg
from snnsim_datasets.spikes import pooling
from snnsim_datasets.tools import spike_files
from snnsim_datasets.tools.spike_files import SpikeFile, channels_of

from snnsim.data.events import Events, offsets_of
from snnsim.errors import ConfigError, DataError


def events(count=12, channels=64, classes=("a", "b"), speakers=None):
    """Sample i has i + 1 spikes of unit i."""
    units = np.repeat(np.arange(count), np.arange(count) + 1)
    return Events(
        times=np.linspace(0, 0.1, len(units)),
        units=units,
        offsets=offsets_of(np.arange(count) + 1),
        labels=np.arange(count) % len(classes),
        speakers=np.arange(count) // 3 if speakers is None else speakers,
        channels=channels,
        classes=classes,
    )


def written(path, content=None, **more):
    spike_files.write(path, SpikeFile(content or events(), **more))
    return path


def test_a_file_says_its_channels_classes_speakers_and_how_it_was_made(tmp_path):
    source = {"kind": "delta", "threshold": 0.2}
    path = written(tmp_path / "x.h5", encoder=source, speaker_names=("ann", "bob", "cy", "di"))
    parts = load_all("spikes", path)
    for data in parts.values():
        assert (data.channels, data.classes, data.pool) == (64, ("a", "b"), 1)
        assert data.encoder["source"] == source
    people = [set(data.speakers.tolist()) for data in parts.values()]
    assert sum(map(len, people)) == len(set.union(*people)) == 4
    rows = snnsim_datasets.get("spikes").rows(path)
    assert {row.speaker for row in rows} == {"ann", "bob", "cy", "di"}
    assert sum(row.split == "test" for row in rows) == len(parts["test"])


def test_splits_of_the_file_are_kept(tmp_path):
    splits = ("train",) * 6 + ("validation",) * 2 + ("test",) * 4
    parts = load_all("spikes", written(tmp_path / "x.h5", splits=splits))
    assert [len(parts[part]) for part in PARTS] == [6, 2, 4]
    assert parts["test"].counts.sum() == 9 + 10 + 11 + 12


@pytest.mark.parametrize("names", [("W_train.h5", "W_test.h5"), ("train.h5", "test.h5")])
def test_files_of_parts_are_read_together_whichever_is_named(tmp_path, names):
    write_heidelberg(tmp_path / names[0], np.arange(20) % 4, np.arange(20) % 5)
    write_heidelberg(tmp_path / names[1], np.arange(4), np.full(4, 9))
    sizes = [[len(p) for p in load_all("spikes", tmp_path / n).values()] for n in (*names, "")]
    assert sizes[0] == sizes[1] == sizes[2] and sizes[0][2] == 4 and sum(sizes[0]) == 24
    assert load_all("spikes", tmp_path)["train"].classes == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("units", "channels"), [([0, 3], 4), ([127], 128), ([350], 700), ([699], 700), ([700], 701)]
)
def test_channels_of_a_file_that_does_not_say_them(units, channels):
    assert channels_of(np.array(units)) == channels


@pytest.mark.parametrize(
    ("channels", "pool"), [(700, 5), (140, 1), (64, 1), (512, 4), (2312, 17), (151, 1), (1, 1)]
)
def test_channels_are_pooled_to_at_most_150_where_that_leaves_enough(channels, pool):
    assert pooling(channels) == pool


def test_pooling_and_channels_can_be_given(tmp_path):
    path = written(tmp_path / "x.h5")
    assert snnsim_datasets.load("spikes", "train", path, pool=2).channels == 32
    assert snnsim_datasets.load("spikes", "train", path, channels=128).channels == 128
    for options, error in (({"pool": 3}, "pool is 3 but must divide"), ({"pool": -1}, "pool")):
        with pytest.raises(ConfigError, match=error):
            snnsim_datasets.load("spikes", "train", path, **options)
    with pytest.raises(DataError, match="unit .* 0 .. 4"):
        snnsim_datasets.load("spikes", "train", path, channels=5)


# --- arrays ---------------------------------------------------------------------------------------


def arrays(**changes):
    told = events()
    given = {name: getattr(told, name) for name in ("times", "units", "offsets", "labels")}
    given |= {"classes": np.array(["a", "b"]), "speakers": told.speakers}
    return {k: v for k, v in (given | changes).items() if v is not None}


def test_arrays_are_what_a_file_of_the_same_is(tmp_path):
    np.savez(tmp_path / "x.npz", **arrays(channels=np.array(64)))
    path = written(tmp_path / "y.h5")
    for part in PARTS:
        one, other = (snnsim_datasets.load("spikes", part, p) for p in (tmp_path / "x.npz", path))
        assert (one.cells == other.cells).all() and (one.labels == other.labels).all()


BAD = {
    "times in ms": ({"times": events().times * 1e6}, "divide them by"),
    "negative times": ({"times": events().times - 1}, "must not be negative"),
    "too few units": ({"units": np.zeros(3, int)}, "3 units but 78"),
    "a label without a class": ({"labels": np.arange(12)}, "label 2"),
    "offsets that fall": ({"offsets": np.arange(13)[::-1]}, "offsets must rise"),
    "no offsets": ({"offsets": None}, "offsets"),
    "splits of no name": ({"splits": np.array(["x"] * 12)}, "splits are .*'x'"),
    "fractional units": ({"units": events().units + 0.5}, "whole numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arrays_are_refused(tmp_path, case):
    changes, error = BAD[case]
    np.savez(tmp_path / "x.npz", **arrays(**changes))
    with pytest.raises(DataError, match=error) as caught:
        snnsim_datasets.load("spikes", "train", tmp_path / "x.npz")
    assert "x.npz" in str(caught.value)


# --- files ----------------------------------------------------------------------------------------


def test_files_that_do_not_fit_together_are_refused(tmp_path):
    written(tmp_path / "w_train.h5")
    written(tmp_path / "w_test.h5", events(classes=("a", "c")))
    with pytest.raises(DataError, match="have other classes or were encoded differently"):
        snnsim_datasets.load("spikes", "train", tmp_path)
    (tmp_path / "w_train.h5").unlink()
    with pytest.raises(DataError, match="there is no file for training"):
        snnsim_datasets.load("spikes", "test", tmp_path)


def test_two_files_for_one_part_are_refused(tmp_path):
    written(tmp_path / "w_valid.h5")
    written(tmp_path / "w_validation.h5")
    with pytest.raises(DataError, match="are both for validation; remove one"):
        snnsim_datasets.load("spikes", "train", tmp_path / "w_valid.h5")


def test_one_of_several_files_must_be_named(tmp_path):
    for name in "ab":
        written(tmp_path / f"{name}.h5")
    with pytest.raises(DataError, match="has 2 spike files; name one"):
        snnsim_datasets.load("spikes", "train", tmp_path)
    assert len(snnsim_datasets.load("spikes", "train", tmp_path / "b.h5")) > 0


def test_a_file_that_was_changed_after_it_was_written_is_refused(tmp_path):
    path = written(tmp_path / "x.h5")
    with h5py.File(path, "r+") as file:
        file["labels"][0] = 1
    with pytest.raises(DataError, match="does not have the checksum that it states"):
        snnsim_datasets.load("spikes", "train", path)


def test_damaged_files_are_refused_by_name(tmp_path):
    path = written(tmp_path / "x.h5")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"x\.h5"):
        snnsim_datasets.load("spikes", "train", path)
    with pytest.raises(DataError, match="does not exist"):
        snnsim_datasets.load("spikes", "train", tmp_path / "none.h5")


def test_negative_labels_are_refused_by_the_name_of_their_file(tmp_path):
    path = tmp_path / "x.h5"
    write_heidelberg(path, [0, 1, 0, 1])
    with h5py.File(path, "a") as file:
        del file["labels"]
        file["labels"] = np.array([0, 1, -1, 1])
    with pytest.raises(DataError, match=r"x\.h5 has label -1"):
        snnsim_datasets.load("spikes", "train", path)


def test_channels_without_number_are_not_pooled_in_silence(tmp_path):
    path = tmp_path / "x.h5"
    write_heidelberg(path, [0, 1] * 4)
    with h5py.File(path, "a") as file:
        del file["spikes/units"]
        units = file.create_dataset("spikes/units", 8, h5py.vlen_dtype(np.int64))
        for i in range(8):
            units[i] = np.full(i + 1, 2_000_000_000)
    with pytest.raises(DataError, match="unit 2000000000"):
        snnsim_datasets.load("spikes", "train", path)


def test_what_is_told_about_spikes_has_their_channels(tmp_path):
    from snnsim_datasets.spikes import facts

    path = written(tmp_path / "x.h5", events(channels=700))
    assert facts(path) == {"channels": "700, summed by 5 neighbours to 140"}
    assert facts(path, pool=7) == {"channels": "700, summed by 7 neighbours to 100"}
    assert facts(written(tmp_path / "y.h5")) == {"channels": "64"}
