"""Reading of the Heidelberg HDF5 layout: good files give their spikes, bad ones a named fault."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from snnsim_datasets.tools import heidelberg

from snnsim.errors import DataError

CLASSES = tuple(f"class {i}" for i in range(20))
TIMES = ([0.1, 0.25, 0.5], [], [0.0078125, 1.375])  # exact in float16
UNITS = ([3, 699, 0], [], [5, 5])
LABELS = (19, 0, 7)
SPEAKERS = (4, 1, 4)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SNNSIM_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(path: Path, times=TIMES, units=UNITS, labels=LABELS, speakers=SPEAKERS, **kinds) -> Path:
    """A file as SHD's: vlen float16 seconds, vlen uint16 units; None leaves a part out."""
    with h5py.File(path, "w") as file:
        for name, values, kind in (
            ("spikes/times", times, np.float16),
            ("spikes/units", units, kinds.get("units_kind", np.uint16)),
        ):
            if values is not None:
                part = file.create_dataset(name, len(values), h5py.vlen_dtype(kind))
                for i, value in enumerate(values):
                    part[i] = np.asarray(value, kind)
        if labels is not None:
            file["labels"] = np.asarray(labels, kinds.get("labels_kind", np.uint64))
        if speakers is not None:
            file["extra/speaker"] = np.asarray(speakers, np.uint64)
            file["extra/keys"] = np.asarray([b"zero", b"one"])
    return path


def pack(path: Path, ending: str) -> Path:
    """The file under ``<name><ending>``, compressed as the ending says."""
    target = path.with_name(path.name + ending)
    if ending == ".gz":
        target.write_bytes(gzip.compress(path.read_bytes()))
    elif ending == ".zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path, path.name)
    return target


def read(path: Path):
    return heidelberg.read(path, CLASSES)[0]


def assert_is_the_sample_file(events):
    for i in range(3):
        times, units = events.sample(i)
        np.testing.assert_array_equal(times, np.asarray(TIMES[i], np.float16).astype(np.float32))
        assert units.tolist() == UNITS[i]
    assert events.labels.tolist() == list(LABELS)
    assert events.speakers.tolist() == list(SPEAKERS)
    assert (events.channels, events.classes, len(events)) == (700, CLASSES, 3)


@pytest.mark.parametrize("ending", ["", ".gz", ".zip"])
def test_a_good_file_gives_its_spikes_plain_or_packed(tmp_path, ending):
    path = pack(write(tmp_path / "set.h5"), ending)
    events, checksum = heidelberg.read(path, CLASSES)
    assert_is_the_sample_file(events)
    assert checksum == hashlib.sha256(path.read_bytes()).hexdigest()


def test_speakers_may_be_unknown(tmp_path):
    assert read(write(tmp_path / "set.h5", speakers=None)).speakers.tolist() == [-1, -1, -1]


def test_a_file_of_silent_samples_is_no_fault(tmp_path):
    events = read(write(tmp_path / "set.h5", times=[[], [], []], units=[[], [], []]))
    assert events.offsets.tolist() == [0, 0, 0, 0]


def test_the_number_of_channels_is_a_parameter(tmp_path):
    path = write(tmp_path / "set.h5", units=([3, 19, 0], [], [5, 5]))
    assert heidelberg.read(path, CLASSES, 20)[0].channels == 20
    with pytest.raises(DataError, match=r"unit 19 .* 0 \.\. 18"):
        heidelberg.read(path, CLASSES, 19)


def test_unsorted_events_are_sorted_within_their_sample(tmp_path):
    path = write(
        tmp_path / "set.h5",
        times=([0.5, 0.125, 0.25, 0.125], [], [0.25, 0.0]),
        units=([1, 2, 3, 4], [], [5, 6]),
    )
    events = read(path)
    assert events.times.tolist() == [0.125, 0.125, 0.25, 0.5, 0.0, 0.25]
    assert events.units.tolist() == [2, 4, 3, 1, 6, 5]
    assert events.offsets.tolist() == [0, 4, 4, 6]


# Faults


def garbage(path):
    path.write_bytes(np.random.default_rng(1).bytes(3000))


def truncated(path):
    write(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_labels(path):
    write(path, labels=None)


def no_spikes(path):
    write(path, times=None, units=None)


def fewer_labels(path):
    write(path, labels=LABELS[:2])


def fewer_units(path):
    write(path, units=UNITS[:2])


def fewer_speakers(path):
    write(path, speakers=SPEAKERS[:1])


def unequal_sample(path):
    write(path, units=(UNITS[0], UNITS[1], [5]))


def unit_too_large(path):
    write(path, units=([3, 700, 0], [], [5, 5]))


def unit_negative(path):
    write(path, units=([3, -2, 0], [], [5, 5]), units_kind=np.int16)


def label_too_large(path):
    write(path, labels=(19, 20, 7))


def label_negative(path):
    write(path, labels=(19, -3, 7), labels_kind=np.int64)


def no_samples(path):
    write(path, [], [], [], [])


def time_nan(path):
    write(path, times=([0.1, np.nan, 0.5], *TIMES[1:]))


def time_infinite(path):
    write(path, times=([0.1, 0.2, np.inf], *TIMES[1:]))


def time_negative(path):
    write(path, times=([-0.1, 0.2, 0.3], *TIMES[1:]))


def times_flat(path):
    write(path, times=None)
    with h5py.File(path, "a") as file:
        file["spikes/times"] = np.zeros(3, np.float16)


def times_one_number(path):
    write(path, times=None)
    with h5py.File(path, "a") as file:
        file["spikes/times"] = np.float16(0)


def times_a_group(path):
    write(path, times=None)
    with h5py.File(path, "a") as file:
        file.create_group("spikes/times")


def labels_text(path):
    write(path, labels=(b"zero", b"one", b"two"), labels_kind="S4")


FAULTS = [
    (garbage, "not a readable HDF5 file"),
    (truncated, "not a readable HDF5 file"),
    (no_labels, "has no labels; expected"),
    (no_spikes, "has no spikes/times, spikes/units; expected"),
    (fewer_labels, "3 times, 3 units, 2 labels and 3 speakers"),
    (fewer_units, "3 times, 2 units, 3 labels"),
    (fewer_speakers, "3 labels and 1 speakers"),
    (unequal_sample, "sample 2 has 2 times but 1 units"),
    (unit_too_large, r"unit 700 but units must lie in 0 \.\. 699"),
    (unit_negative, r"unit -2 but units must lie in 0 \.\. 699"),
    (label_too_large, r"label 20 but labels must lie in 0 \.\. 19"),
    (label_negative, r"label -3 but labels must lie in 0 \.\. 19"),
    (no_samples, "holds no samples"),
    (time_nan, "NaN"),
    (time_infinite, "infinite"),
    (time_negative, "negative"),
    (times_flat, "times"),
    (times_one_number, "times"),
    (times_a_group, "times"),
    (labels_text, "label"),
]


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize(("spoil", "fault"), FAULTS, ids=[f.__name__ for f, _ in FAULTS])
def test_a_fault_is_a_data_error_that_names_file_and_fault_every_time(
    tmp_path, spoil, fault, ending
):
    spoil(tmp_path / "set.h5")
    path = pack(tmp_path / "set.h5", ending)
    for _ in range(2):  # the second time there may be a cache
        with pytest.raises(DataError, match=fault) as caught:
            read(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("ending", [".gz", ".zip"])
@pytest.mark.parametrize("kept", [0.01, 0.5, 0.99])
def test_a_truncated_archive_is_named(tmp_path, ending, kept):
    path = pack(write(tmp_path / "set.h5"), ending)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DataError, match="truncated or corrupt") as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(DataError, match="does not exist") as caught:
        read(tmp_path / "set.h5")
    assert str(tmp_path / "set.h5") in str(caught.value)


@pytest.mark.parametrize("ending", ["", ".gz", ".zip"])
def test_a_file_of_no_bytes_is_called_empty(tmp_path, ending):
    path = tmp_path / f"set.h5{ending}"
    path.touch()
    with pytest.raises(DataError, match=r"is empty \(0 bytes\)") as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_no_truncation_of_a_plain_file_goes_unnoticed(tmp_path):
    path = write(tmp_path / "set.h5")
    whole = path.read_bytes()
    for size in (*range(1, len(whole), 97), len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="not a readable HDF5 file") as caught:
            read(path)
        assert str(path) in str(caught.value)


# Cache


def forbid_hdf5(monkeypatch):
    def opened(*_):
        raise AssertionError("the HDF5 file was opened")

    monkeypatch.setattr(h5py, "File", opened)


def test_the_second_reading_gives_the_same_without_the_source(tmp_path, monkeypatch):
    path = write(tmp_path / "set.h5")
    first, checksum = heidelberg.read(path, CLASSES)
    forbid_hdf5(monkeypatch)
    second, again = heidelberg.read(path, CLASSES)
    assert checksum == again
    assert_is_the_sample_file(second)
    for name in ("times", "units", "offsets", "labels", "speakers"):
        one, other = getattr(first, name), getattr(second, name)
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_unsorted_events_are_sorted_from_the_cache_as_well(tmp_path, monkeypatch):
    path = write(tmp_path / "set.h5", times=([0.5, 0.25, 0.125], *TIMES[1:]))
    read(path)
    forbid_hdf5(monkeypatch)
    assert read(path).sample(0)[1].tolist() == [0, 699, 3]


def test_a_changed_file_is_read_anew(tmp_path):
    path = write(tmp_path / "set.h5")
    read(path)
    write(path, labels=(1, 2, 3))
    assert read(path).labels.tolist() == [1, 2, 3]


def save_without_units(path):
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files if name != "units"}
    with path.open("wb") as file:
        np.savez(file, **arrays)


def save_one_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(1.375).tobytes())] ^= 0xFF
    path.write_bytes(content)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"no archive at all"),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "flipped byte": flip_a_byte,
    "array missing": save_without_units,
    "one array only": save_one_array,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_file_is_ignored(tmp_path, cache, damage):
    path = write(tmp_path / "set.h5")
    read(path)
    (cached,) = cache.rglob("*.npz")
    DAMAGES[damage](cached)
    assert_is_the_sample_file(read(path))


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SNNSIM_CACHE_DIR", str(tmp_path / "file"))
    assert_is_the_sample_file(read(write(tmp_path / "set.h5")))
