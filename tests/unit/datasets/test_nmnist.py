"""N-MNIST: recordings, archives and arrays, whole and damaged."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_files import identities, load_all
from snnsim_datasets import nmnist

from snnsim.errors import DataError


def event(x: int, y: int, polarity: int, microseconds: int) -> bytes:
    return bytes([x, y]) + (polarity << 23 | microseconds).to_bytes(3, "big")


OVERFLOW = event(0, 240, 0, 0)


def test_a_recording_gives_times_and_channels():
    times, units = nmnist.read_bin(event(3, 33, 0, 5) + event(33, 2, 1, 70_000))
    assert times == pytest.approx([5e-6, 0.07], rel=1e-6)
    assert units.tolist() == [33 * 34 + 3, 1156 + 2 * 34 + 33]


def test_the_polarity_bit_is_no_part_of_the_time():
    largest = (1 << 23) - 1
    for polarity in (0, 1):
        times, units = nmnist.read_bin(event(0, 0, polarity, largest))
        assert times == pytest.approx([largest / 1e6], rel=1e-6)
        assert units.tolist() == [1156 * polarity]


def test_an_overflow_adds_8192_microseconds_to_all_that_follows():
    times, units = nmnist.read_bin(
        event(1, 0, 0, 100) + OVERFLOW + event(2, 0, 0, 100) + OVERFLOW + event(3, 0, 0, 7)
    )
    assert (times * 1e6).round().tolist() == [100, 8292, 16391]
    assert units.tolist() == [1, 2, 3]


def test_random_recordings_survive_a_round_trip():
    rng = np.random.default_rng(5)
    x, y, p = rng.integers(0, 34, 500), rng.integers(0, 34, 500), rng.integers(0, 2, 500)
    t = rng.integers(0, 300_000, 500)
    content = b"".join(map(event, x.tolist(), y.tolist(), p.tolist(), t.tolist()))
    times, units = nmnist.read_bin(content)
    order = np.argsort(t, kind="stable")
    assert (times * 1e6).round().tolist() == t[order].tolist()
    assert units.tolist() == (p * 1156 + y * 34 + x)[order].tolist()


@pytest.mark.parametrize("content", [b"", OVERFLOW])
def test_a_recording_may_be_silent(content):
    times, units = nmnist.read_bin(content)
    assert (len(times), len(units)) == (0, 0)


@pytest.mark.parametrize("rest", [1, 4])
def test_a_truncated_recording_is_named(rest):
    content = event(1, 1, 0, 1) + event(1, 1, 0, 1)[:rest]
    with pytest.raises(DataError, match=f"00007.bin has {5 + rest} bytes.* truncated"):
        nmnist.read_bin(content, "00007.bin")


@pytest.mark.parametrize(("x", "y"), [(34, 0), (0, 34), (0, 239), (255, 255)])
def test_pixels_outside_the_camera_are_refused(x, y):
    with pytest.raises(DataError, match="outside 34 x 34"):
        nmnist.read_bin(event(x, y, 0, 1))


NUMBER = 60


def recording(i: int) -> bytes:
    """Recording i has i + 1 events at pixel (i, 7), 12 ms."""
    return event(i % 34, 7, 1, 12_000) * (i + 1)


def write_archive(folder: Path, part: str = "Train", spoil: bytes = b"") -> Path:
    """``Train/3/00001.bin`` and so on; the digit is the last of the recording's number."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{part}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir(part)
        for i in np.random.default_rng(6).permutation(NUMBER):
            archive.writestr(f"{part}/{(i + 3) % 10}/{i + 1:05d}.bin", recording(i) + spoil)
    return folder / f"{part}.zip"


def write_npz(folder: Path, part: str = "train", **changes) -> Path:
    folder.mkdir(exist_ok=True)
    sizes = np.arange(NUMBER) + 1
    arrays = {
        "x": np.repeat(np.arange(NUMBER) % 34, sizes).astype(np.uint8),
        "y": np.full(sizes.sum(), 7, np.uint8),
        "p": np.ones(sizes.sum(), np.uint8),
        "dt_us": np.concatenate([[12_000] + [0] * (n - 1) for n in sizes]).astype(np.int32),
        "offsets": np.concatenate([[0], np.cumsum(sizes)]),
        "labels": ((np.arange(NUMBER) + 3) % 10).astype(np.uint8),
    } | changes
    arrays = {name: array for name, array in arrays.items() if array is not None}
    np.savez_compressed(folder / f"nmnist_{part}.npz", **arrays)
    return folder / f"nmnist_{part}.npz"


@pytest.mark.parametrize("write", [write_archive, write_npz])
def test_nmnist_labels_and_channels_belong_to_their_recordings(tmp_path, write):
    write(tmp_path)
    for _ in range(2):  # the second time from the cache
        binned = nmnist.load("train_all", tmp_path, download=False)
        assert sorted(identities(binned)) == list(range(NUMBER))
        assert binned.labels.tolist() == [(i + 3) % 10 for i in identities(binned)]
        x = binned.batch(np.arange(NUMBER)).x
        expected = [[1, row, 1156 + 7 * 34 + i % 34] for row, i in enumerate(identities(binned))]
        assert torch.nonzero(x).tolist() == expected
        assert len(binned.checksums) == 1


@pytest.mark.parametrize("write", [write_archive, write_npz])
def test_nmnist_validation_is_carved_from_train_alike_every_time(tmp_path, write, monkeypatch):
    write(tmp_path)
    parts = load_all("nmnist", tmp_path, ("train", "validation"), download=False)
    train, validation = (identities(parts[s]) for s in ("train", "validation"))
    assert sorted(train + validation) == list(range(NUMBER))
    assert 0 < len(validation) < NUMBER / 4
    monkeypatch.setenv("SNNSIM_CACHE_DIR", str(tmp_path / "other cache"))
    assert identities(nmnist.load("validation", tmp_path, download=False)) == validation


def test_nmnist_test_is_a_file_of_its_own(tmp_path):
    write_archive(tmp_path, "Test")
    assert len(nmnist.load("test", tmp_path, download=False)) == NUMBER
    with pytest.raises(DataError, match=r"no nmnist_train\.npz, Train\.zip or train\.zip in"):
        nmnist.load("train", tmp_path, download=False)


def test_a_truncated_recording_in_the_archive_is_named(tmp_path):
    path = write_archive(tmp_path, spoil=b"xx")
    with pytest.raises(DataError, match=r"Train/\d/000\d\d\.bin has \d+ bytes") as caught:
        nmnist.load("train", tmp_path, download=False)
    assert str(path) in str(caught.value)


def assert_refused(path: Path, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        nmnist.load("train_all", path.parent, download=False)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("write", [write_archive, write_npz])
def test_a_truncated_file_is_named(tmp_path, write, kept):
    path = write(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    assert_refused(path, "truncated or corrupt|not a readable")


@pytest.mark.parametrize("write", [write_archive, write_npz])
def test_a_damaged_compressed_stream_is_named(tmp_path, write):
    path = write(tmp_path)
    whole = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        first = next(i for i in archive.infolist() if not i.is_dir())
    start = whole.index(first.filename.encode()) + len(first.filename)
    start += int.from_bytes(whole[first.header_offset + 28 : first.header_offset + 30], "little")
    whole[start] = 0xFF  # a deflate block of the reserved type
    path.write_bytes(whole)
    assert_refused(path, "truncated or corrupt|not a readable")


def test_an_archive_without_recordings_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "Train.zip", "w") as archive:
        archive.writestr("README.txt", "nothing")
    assert_refused(tmp_path / "Train.zip", "holds no recordings")


BESIDE = ["README.txt", ".DS_Store", "__MACOSX/Train/1/._00001.bin", "Train/1/Thumbs.db", "a.PDF"]


@pytest.mark.parametrize("name", ["Train", "Train/1/00002.bil", "Train/1/00002", "x.csv"])
def test_a_file_that_is_no_recording_is_named(tmp_path, name):
    """A damaged list of contents may have recordings under other names."""
    path = write_archive(tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        for note in BESIDE:
            archive.writestr(note, "nothing")
    known = len(nmnist.load("train_all", tmp_path, download=False))
    assert known == len(nmnist.load("train_all", write_archive(tmp_path).parent, download=False))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, recording(1))
    assert_refused(path, f"Train.zip:{name} is not a recording")


def test_an_archive_may_have_a_comment_of_any_length(tmp_path):
    path = write_archive(tmp_path)
    known = len(nmnist.load("train_all", tmp_path, download=False))
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"x" * 65535
    assert len(nmnist.load("train_all", tmp_path, download=False)) == known


def test_a_file_without_a_name_is_refused(tmp_path):
    path = write_archive(tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("Q/00.bin", recording(1))
    path.write_bytes(path.read_bytes().replace(b"Q/00.bin", b"\0/00.bin"))
    assert_refused(path, "is not a recording")


def test_a_list_of_contents_that_lacks_some_is_noticed(tmp_path):
    path = write_archive(tmp_path)
    whole = bytearray(path.read_bytes())
    second = whole.find(b"PK\1\2", whole.find(b"PK\1\2") + 4)
    third = whole.find(b"PK\1\2", second + 4)
    comment = whole.find(b"PK\1\2", third + 4) - third  # which the third becomes of the second
    whole[second + 32 : second + 34] = comment.to_bytes(2, "little")
    path.write_bytes(whole)
    assert_refused(path, "it lists")


@pytest.mark.parametrize("name", ["00001.bin", "Train/12/00001.bin", "Train/x/00001.bin"])
def test_an_archive_with_a_recording_outside_the_ten_digit_folders_is_named(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "Train.zip", "w") as archive:
        archive.writestr(name, recording(1))
    assert_refused(tmp_path / "Train.zip", name)


def test_an_npz_without_all_its_arrays_is_named(tmp_path):
    assert_refused(write_npz(tmp_path, dt_us=None), "dt_us")


@pytest.mark.parametrize(
    "changes", [{"x": 34}, {"y": 40}, {"p": 2}, {"labels": 10}], ids=lambda c: next(iter(c))
)
def test_an_npz_with_values_out_of_range_is_named(tmp_path, changes):
    ((name, value),) = changes.items()
    with np.load(write_npz(tmp_path)) as stored:
        array = stored[name].copy()
    array[5] = value
    assert_refused(
        write_npz(tmp_path, **{name: array}),
        name if name == "labels" else f"{name} values must lie in",
    )
