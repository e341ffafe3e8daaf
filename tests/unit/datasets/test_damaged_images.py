"""Images and camera recordings whose arrays, headers or labels are wrong are refused by name."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from snnsim_datasets import images, nmnist

from snnsim.errors import DataError

# N-MNIST as arrays

SIZES = (3, 0, 2, 4)
TOTAL = sum(SIZES)


def arrays() -> dict[str, np.ndarray]:
    """Four recordings; the event at place i of all is at x = i."""
    return {
        "x": np.arange(TOTAL, dtype=np.uint8),
        "y": np.full(TOTAL, 7, np.uint8),
        "p": np.ones(TOTAL, np.uint8),
        "dt_us": np.full(TOTAL, 1000, np.int32),
        "offsets": np.asarray([0, 3, 3, 5, 9]),
        "labels": np.asarray([3, 1, 4, 1], np.uint8),
    }


def camera(folder: Path, **changes) -> Path:
    path = folder / "nmnist_train.npz"
    np.savez(path, **(arrays() | changes))
    return path


def load_camera(path: Path):
    return nmnist.load("train_all", path.parent, dt=1.0, download=False)


def assert_refused(path: Path, load, match: str = ".") -> None:
    with pytest.raises(DataError, match=match) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_the_recordings_of_these_tests_are_good(tmp_path):
    found = load_camera(camera(tmp_path))
    assert found.labels.tolist() == [3, 1, 4, 1]
    seen = found.batch(range(4)).x.sum(0)[:, 1156 + 7 * 34 :][:, :TOTAL]
    owner = np.repeat(range(4), SIZES)
    assert np.argwhere(seen.numpy()).tolist() == [[owner[i], i] for i in range(TOTAL)]


@pytest.mark.parametrize(
    "offsets",
    [[0, 5, 3, 5, 9], [0, 3, 2, 5, 9], [0, 9, 0, 9, 9], [1, 3, 3, 5, 9], [-1, 3, 3, 5, 9],
     [0, 3, 3, 5, 8], [0, 3, 3, 5, 10], [0, 3, 3, 5, 2**40], [0, 3, 3, 4.5, 9],
     [0, 3, 3, np.nan, 9], [[0], [3], [3], [5], [9]], [0, 3, 5, 9], [0, 3, 3, 5, 7, 9], [], 9],
    ids=str,
)  # fmt: skip
def test_offsets_that_do_not_cut_the_events_into_recordings_are_refused(tmp_path, offsets):
    assert_refused(camera(tmp_path, offsets=np.asarray(offsets)), load_camera)


@pytest.mark.parametrize(
    "labels",
    [[3, 1, 4], [3, 1, 4, 1, 5], [3, 1, -4, 1], [3, 1, 10, 1], [3, 1, 4.5, 1], [3, 1, np.nan, 1],
     [[3], [1], [4], [1]], np.eye(4, 10), [b"3", b"1", b"4", b"1"], [], 3],
    ids=lambda v: str(np.shape(v)) if np.ndim(v) > 1 else str(v),
)  # fmt: skip
def test_labels_that_name_no_digit_of_each_recording_are_refused(tmp_path, labels):
    assert_refused(camera(tmp_path, labels=np.asarray(labels)), load_camera, "label")


@pytest.mark.parametrize("name", ["x", "y", "p", "dt_us"])
@pytest.mark.parametrize("value", [-1, 0.5, np.nan, np.inf, 1e18])
def test_values_of_events_that_cannot_be_are_refused(tmp_path, name, value):
    changed = arrays()[name].astype(np.float64)
    changed[4] = value
    assert_refused(camera(tmp_path, **{name: changed}), load_camera)


@pytest.mark.parametrize("name", ["x", "y", "p", "dt_us"])
@pytest.mark.parametrize("way", ["short", "long", "column", "text", "one"])
def test_arrays_of_events_of_another_form_are_refused(tmp_path, name, way):
    old = arrays()[name]
    changed = {"short": old[:-1], "long": np.append(old, old[:1]), "column": old[:, None],
               "text": old.astype("S4"), "one": old[0]}[way]  # fmt: skip
    assert_refused(camera(tmp_path, **{name: changed}), load_camera)


@pytest.mark.parametrize("rest", [1, 2, 3, 4, 6, 9])
def test_a_recording_that_ends_within_an_event_is_named(tmp_path, rest):
    path = tmp_path / "Train.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Train/3/00001.bin", bytes(10))
        archive.writestr("Train/4/00002.bin", bytes(10 + rest))
    assert_refused(path, load_camera, "00002.bin")


@pytest.mark.parametrize(("x", "y"), [(34, 0), (0, 34), (255, 255), (34, 239)])
def test_a_pixel_outside_the_camera_is_named_in_the_archive(tmp_path, x, y):
    path = tmp_path / "Train.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Train/3/00001.bin", bytes([x, y, 0, 0, 1]))
    assert_refused(path, load_camera, "00001.bin")


# MNIST's files

IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
PIXELS = np.random.default_rng(5).integers(0, 256, (4, 28, 28)).astype(np.uint8)


def idx(values: np.ndarray, *, magic: bytes = b"\0\0\x08", shape=None) -> bytes:
    shape = values.shape if shape is None else shape
    return magic + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + values.tobytes()


def digits(folder: Path, **changes: bytes) -> Path:
    good = {"images": idx(PIXELS), "labels": idx(np.asarray([3, 1, 4, 1], np.uint8))} | changes
    for part in ("train", "t10k"):
        for name, file in (("images", IMAGES), ("labels", LABELS)):
            path = folder / file.replace("train", part)
            path.write_bytes(gzip.compress(good[name]))
    return folder


def load_digits(folder: Path):
    return images.load("mnist", "train_all", folder, download=False)


def test_the_digits_of_these_tests_are_good(tmp_path):
    found = load_digits(digits(tmp_path))
    assert np.array_equal(found.pixels[:, 0], PIXELS) and found.labels.tolist() == [3, 1, 4, 1]


BAD_IMAGES = {
    "no bytes": b"",
    "a few bytes": b"\0\0\x08\x03\0",
    "signed bytes": idx(PIXELS, magic=b"\0\0\x09"),
    "floats": idx(PIXELS, magic=b"\0\0\x0d"),
    "another magic number": idx(PIXELS, magic=b"H\1\x08"),
    "fewer than announced": idx(PIXELS, shape=(5, 28, 28)),
    "more than announced": idx(PIXELS, shape=(3, 28, 28)),
    "none announced": idx(PIXELS, shape=(0, 28, 28)),
    "product wraps to the size": idx(PIXELS, shape=(2**31, 2**31, 4)),
    "rows of pixels": idx(PIXELS.reshape(4, 784)),
    "one axis": idx(np.zeros(4, np.uint8)),
    "no axis": idx(np.zeros(1, np.uint8), shape=()),
    "four axes": idx(PIXELS.reshape(4, 1, 28, 28)),
    "none": idx(PIXELS[:0]),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_image_files_of_another_form_are_refused(tmp_path, name):
    folder = digits(tmp_path, images=BAD_IMAGES[name])
    assert_refused(folder, load_digits, "images|IDX")


BAD_LABELS = {
    "too few": idx(np.asarray([3, 1, 4], np.uint8)),
    "too many": idx(np.asarray([3, 1, 4, 1, 5], np.uint8)),
    "a column": idx(np.zeros((4, 1), np.uint8)),
    "one of ten": idx(np.eye(4, 10).astype(np.uint8)),
    "no axis": idx(np.zeros(1, np.uint8), shape=()),
    "too large": idx(np.asarray([3, 1, 10, 1], np.uint8)),
}


@pytest.mark.parametrize("name", BAD_LABELS)
def test_label_files_of_another_form_are_refused(tmp_path, name):
    assert_refused(digits(tmp_path, labels=BAD_LABELS[name]), load_digits, "label")


# Packed arrays

COLOUR = np.random.default_rng(6).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
GOOD = {"mnist": ("mnist_full.npz", PIXELS), "cifar10": ("cifar10_small.npz", COLOUR)}


def packed(folder: Path, name: str, **changes) -> Path:
    file, pixels = GOOD[name]
    given = {"x_train": pixels, "y_train": np.asarray([3, 1, 4, 1])} | changes
    np.savez(folder / file, **given)
    return folder


every_set = pytest.mark.parametrize("name", GOOD)


def assert_packed_refused(folder: Path, name: str, match: str = ".") -> None:
    assert_refused(folder, lambda f: images.load(name, "train_all", f, download=False), match)


@every_set
def test_packed_images_are_read(tmp_path, name):
    found = images.load(name, "train_all", packed(tmp_path, name), download=False)
    pixels = GOOD[name][1]
    expected = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    assert np.array_equal(found.pixels, expected) and found.labels.tolist() == [3, 1, 4, 1]


@pytest.mark.parametrize(
    ("name", "shape"),
    [("mnist", (4, 784)), ("mnist", (4,)), ("mnist", (4, 28, 28, 3)), ("mnist", (4, 1, 28, 28)),
     ("mnist", (0, 28, 28)), ("cifar10", (4, 3, 32, 32)), ("cifar10", (4, 32, 32)),
     ("cifar10", (4, 32, 32, 4)), ("cifar10", (4, 3072)), ("cifar10", (4, 32, 3, 32))],
    ids=str,
)  # fmt: skip
def test_packed_images_of_another_form_are_refused(tmp_path, name, shape):
    labels = np.zeros(shape[0], int)
    folder = packed(tmp_path, name, x_train=np.zeros(shape, np.uint8), y_train=labels)
    assert_packed_refused(folder, name)


@every_set
@pytest.mark.parametrize("kind", [np.int8, np.int64, np.float32, bool, "S1"])
def test_packed_pixels_that_are_not_bytes_are_refused(tmp_path, name, kind):
    pixels = np.zeros(GOOD[name][1].shape, kind)
    assert_packed_refused(packed(tmp_path, name, x_train=pixels), name)


@every_set
@pytest.mark.parametrize(
    "labels",
    [[3, 1, 4], [3, 1, 4, 10], [3, 1, 4, -1], [3, 1, 4.5, 1], [3, 1, np.nan, 1],
     [[3], [1], [4], [1]], np.eye(4, 10), [b"3", b"1", b"4", b"1"], ["cat"] * 4, 3],
    ids=lambda v: str(np.shape(v)) if np.ndim(v) > 1 else str(v),
)  # fmt: skip
def test_packed_labels_that_name_no_class_are_refused(tmp_path, name, labels):
    assert_packed_refused(packed(tmp_path, name, y_train=np.asarray(labels)), name, "label|y_train")


# Checksums are of the files that were read


def test_a_file_already_there_is_hashed_before_its_checksum_is_reported(tmp_path):
    """These are not the official files, and nobody downloaded them."""
    folder = digits(tmp_path)
    found = load_digits(folder).checksums
    for name, checksum in found.items():
        content = (folder / name).read_bytes()
        assert checksum in {hashlib.new(a, content).hexdigest() for a in ("md5", "sha256")}
    assert set(found) >= {IMAGES, LABELS}
