"""Heidelberg files, sets of two files and N-MNIST."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import snnsim_datasets
from dataset_files import PARTS, identities, load_all, write_heidelberg
from snnsim_datasets import nmnist, shd, ssc
from snnsim_datasets.tools import cochlear_sets, files, heidelberg
from snnsim_datasets.tools.splits import held_out_speakers

from snnsim.errors import ConfigError, DataError

# --- Heidelberg files ----------------------------------------------------------------------------


def write_rows(path: Path, number: int, kind, unit_kind=np.uint16, speakers=True) -> Path:
    """Sample i has i % 3 spikes of units i and i + 1, and is of class i % 4 and speaker i % 5."""
    with h5py.File(path, "w") as file:
        times = file.create_dataset("spikes/times", number, h5py.vlen_dtype(kind))
        units = file.create_dataset("spikes/units", number, h5py.vlen_dtype(unit_kind))
        for i in range(number):
            times[i] = (np.arange(i % 3) + 1).astype(kind)
            units[i] = (np.arange(i % 3) + i).astype(unit_kind)
        file["labels"] = np.arange(number) % 4
        if speakers:
            file["extra/speaker"] = np.arange(number) % 5
    return path


@pytest.mark.parametrize("block", [1, 3, 7, 1000])
def test_a_file_is_read_in_blocks_of_samples_without_loss(tmp_path, monkeypatch, block):
    monkeypatch.setattr(heidelberg, "BLOCK", block)
    path = write_rows(tmp_path / "set.h5", 7, np.float32)
    events, checksum = heidelberg.read(path, tuple("abcd"))
    assert checksum == hashlib.sha256(path.read_bytes()).hexdigest()
    for i in range(7):
        assert events.sample(i)[0].tolist() == [1, 2][: i % 3]
        assert events.sample(i)[1].tolist() == [i, i + 1][: i % 3]
    assert events.labels.tolist() == [i % 4 for i in range(7)]
    assert events.speakers.tolist() == [i % 5 for i in range(7)]
    (kept,) = files.cache_root().iterdir()
    assert kept.name == f"set-{checksum[:24]}-v2.npz"


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        *((np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)),
        *((np.int16, np.float32), (np.int32, np.float32), (np.int64, np.float64)),
    ],
)
def test_times_of_up_to_32_bits_become_32_and_others_64(tmp_path, kind, kept):
    path = write_rows(tmp_path / "set.h5", 7, kind)
    assert heidelberg.read(path, tuple("abcd"))[0].times.dtype == kept


def test_a_thousand_samples_are_read_at_a_time():
    assert heidelberg.BLOCK == 1000 and heidelberg.CHANNELS == 700


def test_speakers_that_are_not_given_are_unknown(tmp_path):
    path = write_rows(tmp_path / "set.h5", 3, np.float32, speakers=False)
    assert heidelberg.read(path, tuple("abcd"))[0].speakers.tolist() == [-1, -1, -1]


@pytest.mark.parametrize(
    ("samples", "spikes", "largest", "good"),
    [
        *((50, 1000, 174, False), (49, 1000, 174, True), (50, 999, 174, True)),
        *((50, 1000, 175, True), (80, 2000, 20, False)),
    ],
)
def test_many_spikes_of_the_lowest_quarter_of_the_channels_only_are_of_another_set(
    samples, spikes, largest, good
):
    sizes = np.zeros(samples, int)
    sizes[0] = spikes
    units = np.zeros(spikes, int)
    units[5] = largest
    arrays = {
        "times": np.zeros(spikes, np.float32),
        "units": units,
        "sizes": sizes,
        "labels": np.zeros(samples, int),
        "speakers": np.full(samples, -1),
    }
    if good:
        events = heidelberg._events(arrays, ["a", "b"], 700)
        assert events.offsets.tolist() == [0] + [spikes] * samples
        assert events.classes == ("a", "b")
    else:
        match = f"no spike of its {samples} samples is above unit {largest} of 700"
        with pytest.raises(DataError, match=match):
            heidelberg._events(arrays, ["a", "b"], 700)


def test_the_first_sample_of_unequal_times_and_units_is_named(tmp_path):
    path = write_rows(tmp_path / "set.h5", 7, np.float32)
    with h5py.File(path, "a") as file:
        for i, size in ((2, 3), (5, 1)):
            file["spikes/units"][i] = np.zeros(size, np.uint16)
    with pytest.raises(DataError, match="sample 2 has 2 times but 3 units"):
        heidelberg.read(path, tuple("abcd"))


def test_what_a_file_declares_is_bounded_before_it_is_read(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "set.h5", "w") as file:
        for name in ("times", "units"):
            file.create_dataset(f"spikes/{name}", 3, h5py.vlen_dtype(np.float32))
        file.create_dataset("labels", 2**26, np.uint64, chunks=(2**20,))  # 512 MB of nothing
    with pytest.raises(DataError, match=r"labels holds 5.37e\+08 bytes.*SNNSIM_MAX_RATIO"):
        heidelberg.read(tmp_path / "set.h5", tuple("abcd"))


def test_what_the_rows_of_a_file_hold_is_bounded(tmp_path, monkeypatch):
    path = tmp_path / "set.h5"
    with h5py.File(path, "w") as file:
        for name, kind in (("times", np.float32), ("units", np.uint16)):
            rows = file.create_dataset(f"spikes/{name}", 30, h5py.vlen_dtype(kind))
            for i in range(30):
                rows[i] = np.zeros(1000, kind)
        file["labels"] = np.zeros(30, np.uint8)
    monkeypatch.setenv("SNNSIM_MAX_RATIO", "0.001")
    for megabytes, good in ((120_000 / 2**20, True), (119_999 / 2**20, False)):
        monkeypatch.setenv("SNNSIM_MAX_SMALL_MB", repr(megabytes + 1e-9))
        if good:
            assert len(heidelberg._read_hdf5(path, path.stat().st_size)["times"]) == 30_000
        else:
            with pytest.raises(DataError, match="spikes/times holds 1.2e"):
                heidelberg._read_hdf5(path, path.stat().st_size)


# --- sets of two files ---------------------------------------------------------------------------


def test_a_plain_file_is_taken_before_a_packed_one_and_gz_before_zip(tmp_path):
    for ending in (".h5.zip", ".h5.gz", ".h5"):
        (tmp_path / f"shd_train{ending}").touch()
        found = cochlear_sets.locate(shd.INFO, "shd_train", tmp_path, False)
        assert found == tmp_path / f"shd_train{ending}"


def test_an_absent_file_is_fetched_to_the_folder_or_named(tmp_path, monkeypatch):
    asked = []

    def fetch(*arguments):
        asked.append(arguments)
        return Path("fetched")

    monkeypatch.setattr(files, "fetch", fetch)
    for root, folder in ((tmp_path, tmp_path), (None, files.default_root("shd"))):
        found = cochlear_sets.locate(shd.INFO, "shd_test", root, True, "told")
        assert found == Path("fetched")
        assert asked.pop() == (shd.INFO.remotes[1], folder, "told")
    absent = r"no shd_test\.h5, .*allow the download, put it there or give the fol"
    with pytest.raises(DataError, match=absent):
        cochlear_sets.locate(shd.INFO, "shd_test", tmp_path, False)
    fsdd = snnsim_datasets.get("fsdd").INFO
    with pytest.raises(
        DataError, match=r"fsdd_test\.h5\.zip in .*; put it there or give the fol"
    ) as caught:
        cochlear_sets.locate(fsdd, "fsdd_test", tmp_path, True)
    assert str(tmp_path) in str(caught.value) and not asked


def held_by_a_loop(speakers, fraction, seed):
    names = sorted(set(speakers.tolist()))
    taken: list[int] = []
    for i in np.random.default_rng(seed).permutation(len(names)):
        owned = sum(s in taken for s in speakers.tolist())
        if taken and (owned >= fraction * len(speakers) or len(taken) == len(names) - 1):
            break
        taken.append(names[i])
    return sorted(taken)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.2, 0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_held_out_speakers_are_those_of_a_loop(fraction, seed):
    random = np.random.default_rng(4)
    for speakers in (random.integers(3, 15, 90), np.arange(40) % 8, np.asarray([5, 5, 5, 9])):
        found = held_out_speakers(speakers, fraction, seed)
        assert found.tolist() == held_by_a_loop(speakers, fraction, seed)


def test_a_fifth_is_held_out_with_seed_0_unless_told_otherwise():
    speakers = np.random.default_rng(4).integers(0, 30, 400)
    expected = held_by_a_loop(speakers, 0.2, 0)
    assert held_out_speakers(speakers).tolist() == expected
    assert expected not in (held_by_a_loop(speakers, 0.25, 0), held_by_a_loop(speakers, 0.2, 1))
    with pytest.raises(ConfigError, match="seed"):
        held_out_speakers(speakers, 0.2, -1)


def test_speakers_of_the_training_file_are_held_out_for_validation(tmp_path):
    paths = [tmp_path / "set_train.h5", tmp_path / "set_test.h5"]
    speakers = np.arange(40) % 8
    write_heidelberg(paths[0], np.arange(40) % 20, speakers)
    write_heidelberg(paths[1], np.arange(6), np.arange(6) % 2)
    held = held_by_a_loop(speakers, 0.2, 0)
    made = cochlear_sets.CochlearSet(replace(shd.INFO, name="set"))
    parts = {
        split: made.load(split, tmp_path, dt=5.0, pool=10, binning="grid")
        for split in (*PARTS, "train_all")
    }
    assert identities(parts["validation"]) == [i for i in range(40) if speakers[i] in held]
    assert identities(parts["train"]) == [i for i in range(40) if speakers[i] not in held]
    assert identities(parts["train_all"]) == list(range(40))
    assert identities(parts["test"]) == list(range(6))
    for split, part in parts.items():
        path = paths[split == "test"]
        assert (part.dt, part.channels) == (5.0, 70)
        sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
        assert part.checksums == sums
    with pytest.raises(ConfigError, match="split of set"):
        made.load("all", tmp_path, dt=5.0, pool=1, binning="grid")


@pytest.mark.parametrize("name", ["shd", "ssc"])
def test_sets_of_spikes_are_binned_at_10_ms_and_5_channels_unless_told_otherwise(tmp_path, name):
    for part in ("train", "test", "valid"):
        write_heidelberg(tmp_path / f"{name}_{part}.h5", np.arange(12), np.arange(12) % 4)
    plain = load_all(name, tmp_path)
    stated = load_all(name, tmp_path, dt=10.0, pool=5, binning="grid")
    other = load_all(name, tmp_path, dt=4.0, pool=7, binning="event_anchored")
    for split in PARTS:
        assert (plain[split].dt, plain[split].channels) == (10.0, 140)
        assert plain[split].cells.tolist() == stated[split].cells.tolist()
        assert set(plain[split].lengths.tolist()) == {3}
        assert (other[split].dt, other[split].channels) == (4.0, 100)
        assert set(other[split].lengths.tolist()) == {1}


@pytest.mark.parametrize("module", [shd, ssc], ids=["shd", "ssc"])
def test_absent_files_of_a_set_are_fetched_with_what_was_given(tmp_path, monkeypatch, module):
    asked = []

    def fetch(remote, folder, progress):
        asked.append((remote.name, folder, progress))
        write_heidelberg(folder / "made.h5", np.arange(12), np.arange(12) % 4)
        return folder / "made.h5"

    monkeypatch.setattr(files, "fetch", fetch)
    assert len(module.load("test", tmp_path, progress="told")) == 12
    name = module.INFO.name
    assert (f"{name}_test.h5.zip", tmp_path, "told") in asked
    assert {folder for _, folder, _ in asked} == {tmp_path}
    if module is ssc:
        module.load("validation", tmp_path)
        assert asked[-1] == ("ssc_valid.h5.zip", tmp_path, None)
    else:
        assert asked[0] == ("shd_train.h5.zip", tmp_path, "told")


# --- N-MNIST -------------------------------------------------------------------------------------


def write_camera(folder: Path, part: str, number: int) -> Path:
    """Recording i has an event of polarity i % 2 at (x, y) = (i % 34, 33 - i % 34) every 7 ms."""
    sizes = np.arange(number) % 3 + 1
    owner = np.repeat(np.arange(number), sizes)
    np.savez(
        folder / f"nmnist_{part}.npz",
        x=(owner % 34).astype(np.uint8), y=(33 - owner % 34).astype(np.uint8),
        p=(owner % 2).astype(np.uint8), dt_us=np.full(sizes.sum(), 7000, np.int32),
        offsets=np.concatenate([[0], np.cumsum(sizes)]), labels=np.arange(number) % 10,
    )  # fmt: skip
    return folder / f"nmnist_{part}.npz"


def test_times_of_a_camera_are_summed_within_each_recording(tmp_path):
    path = write_camera(tmp_path, "test", 40)
    events = nmnist._read(path, "unused")
    for i in range(40):
        times, units = events.sample(i)
        np.testing.assert_allclose(times, [0.007, 0.014, 0.021][: i % 3 + 1], rtol=1e-6)
        assert set(units.tolist()) == {i % 2 * 1156 + (33 - i % 34) * 34 + i % 34}
    assert events.labels.tolist() == [i % 10 for i in range(40)]
    assert events.speakers.tolist() == [-1] * 40
    assert (events.channels, events.classes) == (2312, tuple("0123456789"))
    binned = nmnist.load("test", tmp_path, dt=7.0)
    assert binned.lengths.tolist() == [i % 3 + 2 for i in range(40)]
    assert (binned.channels, binned.dt) == (2312, 7.0)
    assert nmnist.load("test", tmp_path).dt == 10.0
    anchored = nmnist.load("test", tmp_path, binning="event_anchored")
    assert anchored.lengths.tolist() == [i % 3 // 2 + 1 for i in range(40)]
    assert binned.checksums == {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}


def test_validation_of_the_camera_is_a_tenth_by_a_hash_of_the_number(tmp_path):
    write_camera(tmp_path, "train", 80)

    def share(i):
        name = f"snnsim-nmnist:{i}".encode()
        return int(hashlib.sha1(name).hexdigest()[:12], 16) / 16**12

    held = [i for i in range(80) if share(i) < 0.1]
    assert 3 < len(held) < 15
    whole = nmnist.load("train_all", tmp_path)
    assert len(whole) == 80
    for split, mine in (
        ("validation", held),
        ("train", [i for i in range(80) if i not in held]),
    ):
        part = nmnist.load(split, tmp_path)
        assert part.labels.tolist() == [i % 10 for i in mine]
        expected = np.concatenate([np.split(whole.cells, whole.offsets[1:-1])[i] for i in mine])
        np.testing.assert_array_equal(part.cells, expected)


def test_arrays_of_the_camera_are_taken_before_an_archive_in_capitals_before_one_without(tmp_path):
    for name in ("train.zip", "Train.zip", "nmnist_train.npz"):
        (tmp_path / name).touch()
        assert nmnist._locate(tmp_path, "train", False, None) == tmp_path / name


def test_an_absent_archive_of_the_camera_is_fetched(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(files, "fetch", lambda *arguments: asked.append(arguments))
    for part, remote in (("train", 0), ("test", 1)):
        nmnist._locate(tmp_path, part, True, "told")
        assert asked.pop() == (nmnist.INFO.remotes[remote], tmp_path, "told")
    nmnist._locate(None, "train", True, None)
    assert asked.pop()[1] == files.default_root("nmnist")


def test_recordings_of_an_archive_come_in_the_order_of_their_names_and_are_cached(
    tmp_path, monkeypatch
):
    with zipfile.ZipFile(tmp_path / "Train.zip", "w") as archive:
        for name, x in (("Train/7/00002.bin", 4), ("Train/3/00009.bin", 1), ("Train/7/00001.bin", 2)):  # fmt: skip # noqa: E501
            archive.writestr(name, bytes([x, 0, 0, 0, 9]))
    binned = nmnist.load("train_all", tmp_path)
    assert (binned.labels.tolist(), binned.cells.tolist()) == ([3, 7, 7], [1, 2, 4])
    checksum = hashlib.sha256((tmp_path / "Train.zip").read_bytes()).hexdigest()
    (kept,) = files.cache_root().iterdir()
    assert kept.name == f"nmnist-{checksum[:24]}-v2.npz"
    monkeypatch.setattr(nmnist, "read_bin", lambda *_: pytest.fail("was read again"))
    assert nmnist.load("train_all", tmp_path).cells.tolist() == [1, 2, 4]


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        *(("a/README.TXT", True), ("a/.hidden.bin", True), ("__MACOSX/a/1.bin", True)),
        *(("a/Thumbs.db", True), ("a.md", True), ("a.pdf", True), ("a.html", True)),
        *(("Train/1/00001.bin", False), ("a/thumbs.db", False), ("a.json", False)),
    ],
)
def test_notes_and_what_a_system_puts_beside_are_no_recordings(name, beside):
    from pathlib import PurePosixPath

    assert nmnist._is_beside(PurePosixPath(name)) is beside


def test_an_event_has_40_bits():
    """x, y, then polarity and 23 bits of microseconds, the highest first."""
    times, units = nmnist.read_bin(bytes([33, 0, 0b1000_0001, 2, 3]) + bytes([0, 33, 1, 0, 0]))
    assert units.tolist() == [33 * 34, 1156 + 33]
    np.testing.assert_allclose(times, [0.065536, 0.066051], rtol=1e-6)
    shifted = bytes([0, 240, 0, 0, 0]) * 3 + bytes([1, 1, 0, 0, 5])
    np.testing.assert_allclose(nmnist.read_bin(shifted)[0], [3 * 0.008192 + 5e-6], rtol=1e-6)
    with pytest.raises(DataError, match="^recording has 6 bytes"):
        nmnist.read_bin(bytes(6))
