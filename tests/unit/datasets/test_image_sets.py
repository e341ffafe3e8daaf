"""Images in memory on canvases, and image sets: what they say, their splits and refusals."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_files import write_images
from image_cases import fraction, sha256, write_digits
from snnsim_datasets import images
from snnsim_datasets.tools import files
from snnsim_datasets.tools.images import Images, ImageSet

from snnsim.errors import ConfigError, DataError

# --- images in memory ----------------------------------------------------------------------------


SMALL = np.arange(2 * 3 * 2 * 4, dtype=np.uint8).reshape(2, 3, 2, 4) * 5  # two images of 2 x 4


MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)


def small(**changes) -> Images:
    return Images(SMALL, np.asarray([4, 6]), ("a", "b"), MEAN, STD, **changes)


def test_images_say_what_they_are():
    data = small()
    assert (len(data), data.shape, data.channels) == (2, (3, 2, 4), 24)
    assert (data.dt, data.flat, data.canvas, data.checksums) == (1.0, True, None, {})
    assert data.lengths.tolist() == [1, 1] and data.lengths.dtype == np.int64
    assert data.speakers.tolist() == [-1, -1] and data.speakers.dtype == np.int64


@pytest.mark.parametrize("flat", [True, False])
def test_a_batch_of_images_is_normalised_per_colour(flat):
    data = small(flat=flat)
    before = SMALL.copy()
    x, labels, lengths = data.batch([1, 0, 1], steps=9)
    expected = np.stack(
        [
            [(SMALL[i, c] / 255 - MEAN[c]) / STD[c] for c in range(3)]  #
            for i in (1, 0, 1)
        ]
    )
    expected = expected.reshape(1, 3, 24) if flat else expected[None]
    np.testing.assert_allclose(x.numpy(), expected, rtol=0, atol=1e-5)
    assert (labels.tolist(), lengths.tolist()) == ([6, 4, 6], [1, 1, 1])
    assert (x.dtype, labels.dtype, lengths.dtype) == (torch.float32, torch.int64, torch.int64)
    np.testing.assert_array_equal(SMALL, before)
    with pytest.raises(ConfigError, match="at least one sample"):
        data.batch([])


def test_a_subset_of_images_keeps_all_but_those_left_out():
    data = small(flat=False, canvas=(3, 5, 5), checksums={"a": "b"})
    for chosen in ([1], np.asarray([False, True])):
        part = data.subset(chosen)
        np.testing.assert_array_equal(part.pixels, SMALL[1:])
        assert part.labels.tolist() == [6]
        kept = ("classes", "mean", "std", "flat", "dt", "checksums", "canvas")
        assert all(getattr(part, name) == getattr(data, name) for name in kept)
    assert data.subset([1, 0, 1]).labels.tolist() == [6, 4, 6]


@pytest.mark.parametrize(
    ("size", "canvas", "row", "column"),
    [((2, 2), (5, 5), 1, 1), ((2, 4), (5, 4), 1, 0), ((3, 2), (4, 7), 0, 2), ((2, 3), (2, 3), 0, 0),
     ((1, 2), (4, 6), 1, 2)],
)  # fmt: skip
@pytest.mark.parametrize("colours", [1, 3])
def test_images_stand_in_the_middle_of_a_canvas_or_half_a_pixel_before(
    size, canvas, row, column, colours
):
    pixels = np.random.default_rng(1).integers(1, 256, (2, colours, *size)).astype(np.uint8)
    zero, one = (0.0,) * 3, (1 / 255,) * 3
    data = Images(pixels, np.zeros(2, int), ("a",), zero, one, flat=False, canvas=(3, *canvas))
    assert (data.shape, data.channels) == ((3, *canvas), 3 * canvas[0] * canvas[1])
    expected = np.zeros((2, 3, *canvas))
    for c in range(3):
        here = expected[:, c, row : row + size[0], column : column + size[1]]
        here[...] = pixels[:, c if colours == 3 else 0]
    x = data.batch([0, 1]).x[0].numpy()
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-3)


def test_grey_on_a_grey_canvas_stays_grey():
    data = Images(np.full((1, 1, 1, 1), 255, np.uint8), np.zeros(1, int), ("a",), (0.0,), (1.0,),
                  canvas=(1, 2, 3))  # fmt: skip
    assert data.batch([0]).x.tolist() == [[[0.0, 1.0, 0.0, 0.0, 0.0, 0.0]]]


@pytest.mark.parametrize("canvas", [(3, 1, 9), (3, 9, 3), (1, 9, 9), (2, 9, 9)])
def test_a_canvas_that_is_too_small_or_has_other_colours_is_refused(canvas):
    with pytest.raises(ConfigError, match=r"images \(3, 2, 4\) do not fit a canvas"):
        small(canvas=canvas).batch([0])


# --- sets ----------------------------------------------------------------------------------------


NAMES = images.names()


@pytest.mark.parametrize("name", NAMES)
def test_the_validation_part_of_images_is_a_tenth_by_a_hash_of_their_number(tmp_path, name):
    write_images(tmp_path, name, 30)
    whole = images.load(name, "train_all", tmp_path, download=False)
    assert len(whole) == 30
    held = [i for i in range(30) if fraction(i, f"snnsim-{name}") < 0.1]
    rest = [i for i in range(30) if i not in held]
    for split, mine in (("validation", held), ("train", rest)):
        part = images.load(name, split, tmp_path, download=False)
        np.testing.assert_array_equal(part.pixels, whole.pixels[mine])
        assert part.labels.tolist() == [i % 10 for i in mine]
    with np.load(tmp_path / images.get(name).SET.packed) as stored:
        test = images.load(name, "test", tmp_path, download=False)
        assert test.labels.tolist() == stored["y_test"].tolist()
        x = stored["x_test"]
        channel_first = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(test.pixels, channel_first)


CIFAR = (0.2471, 0.2435, 0.2616)


GREY = (1, 28, 28)


FACTS = {  # packed, shape, classes, mean, std
    "cifar10": ("cifar10_small.npz", (3, 32, 32), 10, (0.4914, 0.4822, 0.4461), CIFAR),
    "cifar100": ("cifar100.npz", (3, 32, 32), 100, (0.4914, 0.4824, 0.4467), CIFAR),
    "fashion-mnist": ("fashion_full.npz", GREY, 10, (0.286,), (0.353,)),
    "mini-imagenet": (
        *("mini_imagenet.npz", (3, 84, 84), 100),
        *((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ),
    "mnist": ("mnist_full.npz", GREY, 10, (0.1307,), (0.3081,)),
    "notmnist": ("notmnist.npz", GREY, 10, (0.4254,), (0.4501,)),
    "svhn": ("svhn.npz", (3, 32, 32), 10, (0.4377, 0.4438, 0.4728), (0.198, 0.201, 0.197)),
}


SUMS = {  # md5 of the official files
    "cifar10": ["c32a1d4ab5d03f1284b67883e8d87530"],
    "cifar100": ["03b5dce01913d631647c71ecec9e9cb8"],
    "fashion-mnist": [
        *("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe"),
        *("bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310"),
    ],
    "mini-imagenet": [],
    "mnist": [
        *("f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432"),
        *("9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c"),
    ],
    "notmnist": [],
    "svhn": ["e26dedcc434d2e4c54c9b2d4a06d8373", "eb5a983be6a315427106f1b164d9cef3"],
}


def test_the_facts_of_these_tests_are_of_all_image_sets():
    assert set(FACTS) == set(SUMS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_set_is_normalised_shaped_and_checked_as_stated(tmp_path, name):
    packed, shape, classes, mean, std = FACTS[name]
    module = images.get(name)
    info, made = module.INFO, module.SET
    assert (info.name, made.info, made.packed) == (name, info, packed)
    assert (made.mean, made.std, made.flat) == (mean, std, len(mean) == 1)
    assert (len(info.classes), len(set(info.classes))) == (classes, classes)
    assert info.channels == np.prod(shape)
    assert info.splits == ("train", "validation", "test", "train_all")
    assert [r.checksum for r in info.remotes] == SUMS[name]
    assert all(r.algorithm == "md5" and r.urls[0].startswith("http") for r in info.remotes)
    write_images(tmp_path, name, 3)
    data = images.load(name, "train_all", tmp_path, download=False)
    assert (data.shape, data.mean, data.std) == (shape, mean, std)
    assert data.classes == info.classes
    assert data.checksums == {packed: sha256(tmp_path / packed)}
    flat = (1, 1, info.channels)
    assert data.batch([0]).x.shape == (flat if len(mean) == 1 else (1, 1, *shape))
    for option, form in ((True, flat), (False, (1, 1, *shape))):
        asked = images.load(name, "train_all", tmp_path, flat=option, download=False)
        assert asked.batch([0]).x.shape == form


@pytest.mark.parametrize("name", NAMES)
def test_absent_image_files_and_unknown_splits_are_named(tmp_path, name):
    with pytest.raises(ConfigError, match="did you mean 'test'"):
        images.load(name, "tset", tmp_path, download=False)
    with pytest.raises(DataError) as caught:
        images.load(name, "test", tmp_path, download=False)
    assert str(tmp_path) in str(caught.value)
    for remote in images.get(name).INFO.remotes[:1]:
        unpacked = " or train-images-idx3-ubyte" if FACTS[name][1] == GREY else ""
        assert f"no {remote.name}{unpacked} in {tmp_path}; allow the download" in str(caught.value)
        assert FACTS[name][0] in str(caught.value)


def test_an_unknown_image_set_is_refused_with_a_hint():
    assert sorted(FACTS) == NAMES
    with pytest.raises(ConfigError, match="did you mean 'fashion-mnist'"):
        images.get("fashion_mnist")


def test_images_are_kept_in_the_default_folder_and_fetched_there(tmp_path, monkeypatch):
    fetched = []
    for part, count in {"train": 7, "t10k": 3}.items():
        write_digits(tmp_path, part, count, count)

    def fetch(remote, folder, progress):
        fetched.append((remote.name, folder, progress))
        return Path(shutil.copy(tmp_path / remote.name, folder))

    home = tmp_path / "default" / "mnist"  # SNNSIM_DATA / mnist
    home.mkdir(parents=True)
    monkeypatch.setattr(files, "fetch", fetch)
    assert len(images.load("mnist", "train_all", progress="told")) == 7
    names = [r.name for r in images.get("mnist").INFO.remotes]
    assert fetched == [(name, home, "told") for name in names]
    assert len(images.load("mnist", "test", download=False)) == 3


def made_set(pixels, labels) -> ImageSet:
    info = replace(images.get("cifar10").INFO, remotes=())
    return ImageSet(info, "none.npz", lambda *_: (pixels, labels), MEAN, STD, flat=False)


@pytest.mark.parametrize(("labels", "good"), [([0, 9], True), ([0, 10], False), ([-1, 3], False)])
def test_labels_of_images_must_be_of_a_class(tmp_path, labels, good):
    made = made_set(SMALL, np.asarray(labels))
    if good:
        assert made.load("test", tmp_path).labels.tolist() == labels
    else:
        with pytest.raises(DataError, match=rf"labels {labels[0]} \.\. {labels[1]} of CIFAR-10"):
            made.load("test", tmp_path)


def test_images_of_other_colours_than_their_set_are_refused(tmp_path):
    with pytest.raises(DataError, match="images of 1 colours, but CIFAR-10 has 3"):
        made_set(SMALL[:, :1], np.asarray([1, 2])).load("test", tmp_path)
