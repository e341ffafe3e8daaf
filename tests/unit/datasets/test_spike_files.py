"""Spike files that say how they were made: what is written is read again, and lies are found."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
from snnsim_datasets.tools import heidelberg, spike_files
from snnsim_datasets.tools.spike_files import SpikeFile

from snnsim.data.events import Events
from snnsim.errors import DataError

CLASSES, NAMES = ("zero", "eins", "zwei \N{SNOWMAN}"), ("ann", "bo")
SPLITS, FILES = ("train", "", "test", "validation"), tuple(f"zero/{i}.wav" for i in range(4))
SIZES, ENCODER = (5, 0, 12, 3), {"kind": "delta", "threshold": 0.1}


def events(channels: int = 20, **changed) -> Events:
    random = np.random.default_rng(0)
    given = {
        "times": random.random(20).astype(np.float32),
        "units": random.integers(0, channels, 20),
        "offsets": np.cumsum([0, *SIZES]),
        "labels": np.array([0, 2, 1, 1]),
        "speakers": np.array([0, 1, -1, 0]),
    }
    return Events(**(given | changed), channels=channels, classes=CLASSES)


def full() -> SpikeFile:
    return SpikeFile(events(), ENCODER, NAMES, SPLITS, FILES)


def assert_same(a: Events, b: Events) -> None:
    for name in ("times", "units", "offsets", "labels", "speakers"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert (a.channels, a.classes) == (b.channels, b.classes)


@pytest.mark.parametrize("ending", ["h5", "h5.gz"])
def test_what_is_written_is_read_again(tmp_path, ending):
    path, content = tmp_path / "spikes.h5", full()
    found = spike_files.write(path, content)
    if ending == "h5.gz":
        packed = tmp_path / "spikes.h5.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path = packed
    again = spike_files.read(path)
    assert_same(again.events, content.events)
    assert (again.encoder, again.speaker_names) == (ENCODER, NAMES)
    assert (again.splits, again.files) == (SPLITS, FILES)
    told = spike_files.about(path)
    assert (told.samples, told.channels, told.keys) == (4, 20, CLASSES)
    assert (told.splits, told.files, told.encoder) == (SPLITS, FILES, ENCODER)
    assert told.checksum == found == spike_files.checksum(content.events, SPLITS)
    plain, _ = heidelberg.read(path, CLASSES, 20)  # as any file of this layout
    assert_same(plain, content.events)


def test_the_layout_is_that_of_the_heidelberg_data_sets(tmp_path):
    spike_files.write(tmp_path / "a.h5", full())
    with h5py.File(tmp_path / "a.h5") as file:
        assert h5py.check_vlen_dtype(file["spikes/times"].dtype) == np.float32
        assert h5py.check_vlen_dtype(file["spikes/units"].dtype) == np.uint16
        assert file["labels"][:].tolist() == [0, 2, 1, 1]
        assert file["extra/speaker"][:].tolist() == [0, 1, -1, 0]
        assert file["extra/keys"].asstr()[:].tolist() == list(CLASSES)
        assert file["extra/meta_info/speaker_names"].asstr()[:].tolist() == list(NAMES)


def test_the_checksum_is_that_of_its_definition():
    content = full()
    given = content.events
    state = hashlib.sha256()
    state.update(struct.pack("<4q", *given.labels) + struct.pack("<4q", *given.speakers))
    state.update(b"train\n\ntest\nvalidation\n")
    state.update(struct.pack("<5q", *given.offsets) + struct.pack("<20f", *given.times))
    state.update(struct.pack("<20I", *given.units))
    assert spike_files.checksum(given, SPLITS) == state.hexdigest()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("labels", np.array([0, 2, 1, 0])),
        ("speakers", np.array([0, 1, 1, 0])),
        ("offsets", np.array([0, 5, 6, 17, 20])),
        ("times", np.linspace(0, 1, 20, dtype=np.float32)),
        ("units", np.zeros(20, int)),
    ],
)
def test_the_checksum_sees_every_part(name, value):
    assert spike_files.checksum(events(**{name: value})) != spike_files.checksum(events())
    assert spike_files.checksum(events(), SPLITS) != spike_files.checksum(events())
    assert spike_files.checksum(events(), [""] * 4) == spike_files.checksum(events())


def test_equal_content_gives_equal_bytes(tmp_path):
    for name in ("a.h5", "b.h5"):
        spike_files.write(tmp_path / name, full())
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_what_is_optional_may_be_absent(tmp_path):
    bare = Events(**{**vars(events()), "classes": ()})
    spike_files.write(tmp_path / "a.h5", SpikeFile(bare))
    with h5py.File(tmp_path / "a.h5") as file:
        assert sorted(file["extra"]) == ["speaker"]
        assert sorted(file.attrs) == ["channels", "checksum"]
    again = spike_files.read(tmp_path / "a.h5")
    assert again.events.classes == () and (again.encoder, again.splits) == ({}, ())
    heidelberg.write(tmp_path / "b.h5", events(700))
    told = spike_files.about(tmp_path / "b.h5")
    assert (told.channels, told.keys, told.splits, told.encoder) == (None, (), (), {})
    assert (told.samples, told.checksum, told.speaker_names, told.files) == (4, "", (), ())
    assert spike_files.read(tmp_path / "b.h5").events.channels == 700


def test_few_channels_in_use_are_no_sign_of_another_data_set_if_the_file_says_its_number(tmp_path):
    many = Events(
        np.zeros(2000, np.float32), np.zeros(2000, int), np.arange(0, 2001, 40),
        np.zeros(50, int), np.full(50, -1), 20, ("a", "b"),
    )  # fmt: skip
    spike_files.write(tmp_path / "a.h5", SpikeFile(many))
    assert_same(spike_files.read(tmp_path / "a.h5").events, many)


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    path.write_bytes(b"before")

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fail)
        with pytest.raises(OSError, match=r"No space left on device: .*a\.h5"):
            spike_files.write(path, full())
    assert path.read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1
    spike_files.write(path, full())
    assert_same(spike_files.read(path).events, full().events)


def entry(name: str, values, dtype=None):
    def change(file: h5py.File) -> None:
        del file[name]
        dtype_of = h5py.string_dtype() if dtype is None else dtype
        file.create_dataset(name, data=values, dtype=dtype_of)

    return change


def attribute(name: str, value):
    return lambda file: file.attrs.create(name, value)


def linked(file: h5py.File) -> None:
    del file["extra/keys"]
    file["extra/keys"] = h5py.ExternalLink("/etc/passwd", "/")


def without_labels(file: h5py.File) -> None:
    del file["labels"]


LIES = {
    "another label": (lambda f: f["labels"].write_direct(np.array([0, 2, 1, 0])), "checksum that"),
    "another unit": (lambda f: f["spikes/units"].__setitem__(0, np.arange(5)), "checksum that"),
    "another split": (entry("extra/split", ["train"] * 4), "does not have the checksum"),
    "fewer channels": (attribute("channels", 3), "units must lie in 0 .. 2"),
    "fewer classes": (entry("extra/keys", ["a", "b"]), "labels must lie in 0 .. 1"),
    "fewer speakers": (entry("extra/meta_info/speaker_names", ["a"]), "names only 1"),
    "no channels": (attribute("channels", 0), "channels is 0 but must be a whole number"),
    "negative channels": (attribute("channels", -4), "channels is -4 but must be a whole"),
    "huge channels": (attribute("channels", 2**40), "channels is 1099511627776 but must be"),
    "fractional channels": (attribute("channels", 1.5), "channels is 1.5 but must be a whole"),
    "textual channels": (attribute("channels", "20"), "channels is '20' but must be a whole"),
    "several channels": (attribute("channels", [3, 4]), r"channels is \[3, 4\] but must be"),
    "fewer splits": (entry("extra/split", ["train"]), "extra/split has 1 entries but there are 4"),
    "odd split": (entry("extra/split", ["trian"] * 4), "extra/split has 'trian' but must have"),
    "more files": (entry("extra/files", ["a"] * 5), "extra/files has 5 entries but there are 4"),
    "equal classes": (entry("extra/keys", ["a", "a", "b"]), "must have different names"),
    "nameless class": (entry("extra/keys", ["a", "", "b"]), "must have different names"),
    "numbers as classes": (entry("extra/keys", [1, 2, 3], int), "extra/keys is int64 but must be"),
    "no UTF-8": (entry("extra/keys", [b"\xff", b"a", b"b"], "S1"), "a text that is not UTF-8"),
    "a table of classes": (entry("extra/keys", [["a"], ["b"], ["c"]]), "must have one entry for"),
    "a link": (linked, "extra/keys is a link to something outside"),
    "no JSON": (attribute("encoder", "{"), "encoder is no JSON"),
    "deep JSON": (attribute("encoder", "[" * 60_000), "encoder is no JSON"),
    "a list": (attribute("encoder", "[]"), "encoder is '\\[\\]' but must be"),
    "no kind": (attribute("encoder", '{"threshold": 1}'), "but must be {"),
    "a number as kind": (attribute("encoder", '{"kind": 1}'), "but must be {"),
    "no text": (attribute("encoder", 3), "its attribute encoder has .*3.* but must have texts"),
    "short checksum": (attribute("checksum", "abc"), "checksum is 'abc' but must be a SHA-256"),
    "no labels": (without_labels, "it has no labels, so it is no spike file"),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_cannot_be_true_is_an_error_that_names_the_file(lie, tmp_path):
    change, message = LIES[lie]
    path = tmp_path / "lie.h5"
    spike_files.write(path, full())
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(DataError, match=message) as caught:
        spike_files.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", None])
def test_what_is_no_spike_file_is_an_error(content, tmp_path):
    path = tmp_path / "a.h5"
    if content is not None:
        path.write_bytes(content)
    for read in (spike_files.about, spike_files.read):
        with pytest.raises(DataError, match=r"a\.h5"):
            read(path)


def test_a_file_that_is_cut_short_anywhere_is_an_error(tmp_path):
    path, cut = tmp_path / "a.h5", tmp_path / "cut.h5"
    spike_files.write(path, full())
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, len(whole) // 25):
        cut.write_bytes(whole[:size])
        with pytest.raises(DataError):
            spike_files.read(cut)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_file_is_an_error_or_has_the_same_spikes(seed, tmp_path):
    path, content = tmp_path / "a.h5", full()
    spike_files.write(path, content)
    spoilt = bytearray(path.read_bytes())
    random = np.random.default_rng(seed)
    for place in random.integers(0, len(spoilt), 8):
        spoilt[place] ^= 1 << random.integers(8)
    path.write_bytes(spoilt)
    try:
        again = spike_files.read(path)
    except DataError as error:
        assert str(path) in str(error)
        return
    if spike_files.about(path).checksum:
        assert_same(
            Events(**{**vars(again.events), "classes": ()}),
            Events(**{**vars(content.events), "classes": ()}),
        )


def test_the_encoder_is_plain_json(tmp_path: Path):
    spike_files.write(tmp_path / "a.h5", full())
    with h5py.File(tmp_path / "a.h5") as file:
        assert json.loads(file.attrs["encoder"]) == ENCODER
