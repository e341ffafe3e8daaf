"""Spike files of the Heidelberg layout: what they say is what is read, or they are refused."""

from __future__ import annotations

import fcntl
import logging
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from snnsim_datasets.tools import heidelberg

from snnsim.data.events import bin_all
from snnsim.errors import DataError

CLASSES = tuple(f"class {i}" for i in range(20))
TIMES = ([0.1, 0.25, 0.5], [], [0.0078125, 1.375])
UNITS = ([3, 699, 0], [], [5, 5])
LABELS = (19, 0, 7)
PARTS = ("spikes/times", "spikes/units", "labels", "extra/speaker")


def ragged(file, name: str, rows, kind) -> None:
    part = file.create_dataset(name, len(rows), h5py.vlen_dtype(kind))
    for i, row in enumerate(rows):
        part[i] = np.asarray(row, kind)


def write(path: Path, times=TIMES, units=UNITS, kinds=(np.float16, np.uint16), **parts) -> Path:
    """Three good samples; ``parts`` replace labels or speakers, or leave them out as None."""
    given = {"labels": LABELS, "speaker": (4, 1, 4)} | parts
    with h5py.File(path, "w") as file:
        ragged(file, "spikes/times", times, kinds[0])
        ragged(file, "spikes/units", units, kinds[1])
        for name, place in (("labels", "labels"), ("speaker", "extra/speaker")):
            if given[name] is not None:
                file[place] = np.asarray(given[name])
    return path


def read(path: Path):
    return heidelberg.read(path, CLASSES)[0]


def assert_refused(path: Path, match: str = ".") -> None:
    for _ in range(2):  # the second time there may be a cache
        with pytest.raises(DataError, match=match) as caught:
            bin_all(read(path), 10.0, 5).batch([0])
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def assert_right_or_refused(path: Path, labels=LABELS, units=UNITS) -> None:
    try:
        events = read(path)
    except DataError as error:
        assert str(path) in str(error)
        return
    assert events.labels.tolist() == list(labels)
    assert [events.sample(i)[1].tolist() for i in range(3)] == [list(u) for u in units]
    assert events.labels.dtype.kind == "i" and events.labels.ndim == 1


def replaced(path: Path, name: str, make) -> Path:
    """A good file of which one part is what ``make(file, name)`` makes it."""
    write(path)
    with h5py.File(path, "r+") as file:
        del file[name]
        make(file, name)
    return path


def test_the_file_of_these_tests_is_good(tmp_path):
    path = write(tmp_path / "set.h5")
    assert len(read(path)) == 3
    assert_right_or_refused(path)


# Values


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("unit", [3.5, -0.5, np.nan, np.inf, 1e30, 700.0])
def test_units_that_are_no_channel_are_refused_whatever_their_type(tmp_path, kind, unit):
    units = ([3, unit, 0], [], [5, 5])
    assert_refused(write(tmp_path / "set.h5", units=units, kinds=(np.float16, kind)), "unit")


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.int64, np.uint64])
@pytest.mark.parametrize("unit", [-1, 700, 65_536 + 3, 2**32 + 3, 2**63])
def test_whole_units_out_of_range_are_refused_whatever_their_type(tmp_path, kind, unit):
    if not np.iinfo(kind).min <= unit <= np.iinfo(kind).max:
        kind = np.int64 if unit < 0 else np.uint64
    units = ([3, unit, 0], [], [5, 5])
    assert_refused(write(tmp_path / "set.h5", units=units, kinds=(np.float16, kind)), "unit")


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64, np.float32, np.float64])
def test_whole_units_and_labels_of_any_type_are_right_or_refused(tmp_path, kind):
    units = ([3, 99, 0], [], [5, 5])
    path = write(tmp_path / "set.h5", units=units, kinds=(np.float16, kind),
                 labels=np.asarray(LABELS, kind))  # fmt: skip
    assert_right_or_refused(path, units=units)


LABELS_OF_NO_CLASS = {
    "fractional": [19, 0.5, 7],
    "NaN": [19, np.nan, 7],
    "infinite": [19, np.inf, 7],
    "negative": [19, -1, 7],
    "too large": [19, 20, 7],
    "huge": np.asarray([19, 2**63, 7], np.uint64),
    "one column": [[19], [0], [7]],
    "one row": [[19, 0, 7]],
    "one of many": np.eye(3, 20)[[0, 1, 2]],
    "complex": np.asarray([19, 0, 7], complex) + 1j,
    "pairs": np.zeros(3, [("a", np.int32), ("b", np.int32)]),
    "digits as text": np.asarray([b"1", b"0", b"7"]),
    "one number": 3,
}


@pytest.mark.parametrize("name", LABELS_OF_NO_CLASS)
def test_labels_that_name_no_class_are_refused(tmp_path, name):
    assert_refused(write(tmp_path / "set.h5", labels=LABELS_OF_NO_CLASS[name]), "label")


@pytest.mark.parametrize("name", ["fractional", "NaN", "one column", "one of many", "huge"])
def test_speakers_that_are_no_numbers_are_refused(tmp_path, name):
    assert_refused(write(tmp_path / "set.h5", speaker=LABELS_OF_NO_CLASS[name]), "speaker")


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, 1e5, 1e9, 1e30])
def test_times_that_cannot_be_are_refused(tmp_path, kind, value):
    times = (TIMES[0], [], [0.1, value])
    assert_refused(
        write(tmp_path / "set.h5", times=times, kinds=(kind, np.uint16)), "time|sample 2"
    )


@pytest.mark.parametrize(("factor", "name"), [(1e3, r"ms\b|milli"), (1e6, r"us\b|µs|micro")])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_times_in_other_units_are_recognised_and_named(tmp_path, factor, name, kind):
    times = [[t * factor for t in row] for row in ([0.1, 0.25, 0.5], [], [0.008, 1.375])]
    assert_refused(write(tmp_path / "set.h5", times=times, kinds=(kind, np.uint16)), name)


# Structure


def times_of(kind):
    return lambda file, name: file.create_dataset(name, data=np.zeros(3, kind))


def missing_virtual(file, name):
    layout = h5py.VirtualLayout(shape=(3,), dtype=np.int64)
    layout[:] = h5py.VirtualSource("absent.h5", "labels", shape=(3,))
    file.create_virtual_dataset(name, layout, fillvalue=0)


def missing_external_data(file, name):
    file.create_dataset(name, 3, np.int64, external=[("absent.bin", 0, h5py.h5f.UNLIMITED)])


def missing_external_link(file, name):
    file[name] = h5py.ExternalLink("absent.h5", "/labels")


def dangling_link(file, name):
    file[name] = h5py.SoftLink("/nowhere")


def link_to_itself(file, name):
    file[name] = h5py.SoftLink("/" + name)


def a_group(file, name):
    file.create_group(name)


def never_written(file, name):
    file.create_dataset(name, 3, np.int64, chunks=(1,), fillvalue=0)


def empty(file, name):
    file[name] = h5py.Empty(np.int64)


def a_type(file, name):
    file[name] = np.dtype(np.int64)


def references(file, name):
    file.create_dataset(name, data=[file.ref] * 3, dtype=h5py.ref_dtype)


BROKEN = (missing_virtual, missing_external_data, missing_external_link, dangling_link,
          link_to_itself, a_group, empty, a_type, references)  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("make", BROKEN, ids=lambda f: f.__name__)
def test_a_part_that_is_not_in_the_file_is_named(tmp_path, monkeypatch, name, make):
    monkeypatch.chdir(tmp_path)  # where the library looks for other files, too
    path = replaced(tmp_path / "set.h5", name, make)
    assert_refused(path, f"(?i){name.split('/')[-1]}|{name.split('/')[0]}")


@pytest.mark.parametrize("kind", [np.float16, np.int64, "S3", bool, complex])
@pytest.mark.parametrize("name", ["spikes/times", "spikes/units"])
def test_flat_arrays_in_place_of_ragged_ones_are_refused(tmp_path, name, kind):
    assert_refused(replaced(tmp_path / "set.h5", name, times_of(kind)))


@pytest.mark.parametrize("name", ["spikes", *PARTS[:3]])
def test_a_missing_part_is_named(tmp_path, name):
    assert_refused(replaced(tmp_path / "set.h5", name, lambda *_: None), name)


ERRORS = (KeyError, RuntimeError, OSError, ValueError, TypeError, AttributeError, IndexError,
          OverflowError, ZeroDivisionError, EOFError, NotImplementedError, SystemError)  # fmt: skip


@pytest.mark.parametrize("error", [*ERRORS, UnicodeDecodeError])
@pytest.mark.parametrize("part", ["File.__init__", "Group.__contains__", "Group.__getitem__",
                                  "Dataset.__getitem__"])  # fmt: skip
def test_whatever_the_library_raises_of_a_damaged_file_is_one_error(
    tmp_path, monkeypatch, part, error
):
    path = write(tmp_path / "set.h5")
    arguments = ("utf-8", b"\xff", 0, 1, "no") if error is UnicodeDecodeError else ("no b-tree",)

    def fails(*_, **__):
        raise error(*arguments)

    name, method = part.split(".")
    monkeypatch.setattr(getattr(h5py, name), method, fails)
    assert_refused(path)


# A file in use


def test_a_file_that_another_program_writes_is_not_called_damaged(tmp_path):
    path = write(tmp_path / "set.h5")
    with path.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="lock|in use|open") as caught:
            read(path)
    assert str(path) in str(caught.value)
    assert not re.search("damaged|corrupt|delete|download|not a readable", str(caught.value))
    assert len(read(path)) == 3


# A file of something else


def small_set(path: Path, samples: int, channels: int, classes: int, seed: int = 3) -> Path:
    rng = np.random.default_rng(seed)
    times = [np.sort(rng.uniform(0, 1, 60)) for _ in range(samples)]
    units = [rng.integers(0, channels, 60) for _ in range(samples)]
    return write(path, times, units, labels=np.arange(samples) % classes,
                 speaker=np.arange(samples) % 4)  # fmt: skip


def said(caplog, recwarn) -> str:
    return " ".join([*caplog.messages, *(str(w.message) for w in recwarn.list)])


@pytest.mark.parametrize(("channels", "classes"), [(64, 5), (64, 20), (128, 10)])
def test_a_set_of_fewer_channels_or_classes_is_not_taken_for_another_in_silence(
    tmp_path, channels, classes, caplog, recwarn
):
    path = small_set(tmp_path / "set.h5", 100, channels, classes)
    with caplog.at_level(logging.WARNING):
        try:
            read(path)
        except DataError as error:
            assert str(path) in str(error)
        else:
            assert path.name in said(caplog, recwarn)


def test_a_few_samples_with_few_spikes_are_no_reason_for_a_word(tmp_path, caplog, recwarn):
    read(write(tmp_path / "one.h5", [[0.1]], [[3]], labels=[0], speaker=[0]))
    read(small_set(tmp_path / "set.h5", 100, 700, 20))
    assert said(caplog, recwarn) == ""
