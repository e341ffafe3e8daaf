"""Image sets from their official files: binary archives, IDX, pickles, MATLAB."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from image_cases import fraction, idx, sha256, write_digits
from snnsim_datasets import images
from snnsim_datasets.tools import images as tools
from snnsim_datasets.tools.images import read_cifar, read_idx, read_npz

from snnsim.errors import DataError

# --- IDX and packed arrays -----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7,), (2, 3), (4, 3, 5), (1, 2, 3, 4)])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_an_idx_file_of_any_shape_is_read(tmp_path, shape, ending):
    values = np.random.default_rng(2).integers(0, 256, shape).astype(np.uint8)
    path = tmp_path / f"some-ubyte{ending}"
    path.write_bytes(gzip.compress(idx(values)) if ending else idx(values))
    found = read_idx(path)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, values)


def test_an_idx_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SNNSIM_MAX_SMALL_MB", "0.01")
    monkeypatch.setenv("SNNSIM_MAX_RATIO", "2")
    path = tmp_path / "some-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.zeros(20_000, np.uint8))))
    with pytest.raises(DataError, match="SNNSIM_MAX_RATIO") as caught:
        read_idx(path)
    assert str(path) in str(caught.value)
    path.write_bytes(gzip.compress(idx(np.zeros(9_000, np.uint8))))
    assert read_idx(path).size == 9_000


def test_packed_arrays_that_unpack_to_too_much_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "packed.npz"
    np.savez_compressed(path, x_test=np.zeros((40, 28, 28), np.uint8), y_test=np.zeros(40, int))
    assert len(read_npz(path, "test")[0]) == 40
    monkeypatch.setenv("SNNSIM_MAX_SMALL_MB", "0.01")
    monkeypatch.setenv("SNNSIM_MAX_RATIO", "2")
    with pytest.raises(DataError, match="SNNSIM_MAX_RATIO") as caught:
        read_npz(path, "test")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("colours", [None, 1, 3])
def test_packed_arrays_are_those_of_the_part_with_colours_first(tmp_path, colours):
    random = np.random.default_rng(3)
    shape = (4, 5, 6) if colours is None else (4, 5, 6, colours)
    arrays = {f"x_{part}": random.integers(0, 256, shape).astype(np.uint8) for part in "ab"}
    arrays |= {"y_a": np.arange(4), "y_b": np.arange(4.0) + 5}
    path = tmp_path / "packed.npz"
    np.savez(path, **arrays)
    for part, labels in (("a", [0, 1, 2, 3]), ("b", [5, 6, 7, 8])):
        pixels, found = read_npz(path, part)
        assert found.tolist() == labels and found.dtype == np.int64
        assert pixels.shape == (4, colours or 1, 5, 6) and pixels.flags.c_contiguous
        for c in range(colours or 1):
            x = arrays[f"x_{part}"]
            np.testing.assert_array_equal(pixels[:, c], x if colours is None else x[..., c])
    with pytest.raises(DataError, match=r"packed\.npz.*x_c is not"):
        read_npz(path, "c")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "notmnist"])
def test_the_four_files_of_mnist_and_its_likes_are_its_parts(tmp_path, name):
    wanted = {part: write_digits(tmp_path, file, seed, count) for part, file, seed, count in
              (("train_all", "train", 4, 7), ("test", "t10k", 5, 3))}  # fmt: skip
    for part, pixels in wanted.items():
        found = images.load(name, part, tmp_path, download=False)
        np.testing.assert_array_equal(found.pixels, pixels[:, None])
        assert found.labels.tolist() == [i * 3 % 10 for i in range(len(pixels))]
        assert found.checksums == {file.name: sha256(file) for file in tmp_path.iterdir()}


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "notmnist"])
def test_the_four_files_may_be_unpacked(tmp_path, name):
    wanted = {"train_all": write_digits(tmp_path, "train", 4, 7, "")}
    wanted["test"] = write_digits(tmp_path, "t10k", 5, 3, "")
    for part, pixels in wanted.items():
        found = images.load(name, part, tmp_path, download=False)
        np.testing.assert_array_equal(found.pixels, pixels[:, None])
        assert found.checksums == {file.name: sha256(file) for file in tmp_path.iterdir()}


def test_a_packed_idx_file_is_taken_before_a_plain_one_and_an_absent_one_is_named(tmp_path):
    write_digits(tmp_path, "t10k", 6, 3, "")
    packed = write_digits(tmp_path, "t10k", 7, 3)
    np.testing.assert_array_equal(tools.read_idx_pair(tmp_path, "test")[0][:, 0], packed)
    with pytest.raises(
        DataError, match=r"no train-images-idx3-ubyte\.gz or .* in .*--root"
    ) as caught:
        tools.read_idx_pair(tmp_path, "train")
    assert str(tmp_path) in str(caught.value)


def test_a_fifth_of_the_only_files_of_notmnist_is_its_test_part(tmp_path):
    pixels = write_digits(tmp_path, "t10k", 8, 60, "")
    held = [i for i in range(60) if fraction(i, "snnsim-notmnist-test") < 0.2]
    rest = [i for i in range(60) if i not in held]
    assert 5 < len(held) < 20
    for part, mine in (("test", held), ("train_all", rest)):
        found = images.load("notmnist", part, tmp_path, download=False)
        np.testing.assert_array_equal(found.pixels[:, 0], pixels[mine])
        assert found.labels.tolist() == [i * 3 % 10 for i in mine]
        assert found.checksums == {file.name: sha256(file) for file in tmp_path.iterdir()}
    validation = images.load("notmnist", "validation", tmp_path, download=False)
    mine = [rest[i] for i in range(len(rest)) if fraction(i, "snnsim-notmnist") < 0.1]
    np.testing.assert_array_equal(validation.pixels[:, 0], pixels[mine])


# --- CIFAR ---------------------------------------------------------------------------------------


def cifar_rows(seed: int, count: int, label_bytes: int):
    """Rows of a binary file, and the images as colours, rows and columns by loops."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, (count, label_bytes)).astype(np.uint8)
    labels[:, -1] = 10 + labels[:, 0] if label_bytes == 2 else labels[:, 0]  # fine after coarse
    content, pixels = b"", np.zeros((count, 3, 32, 32), np.uint8)
    for i in range(count):
        stored = random.integers(0, 256, 3072).astype(np.uint8)
        content += labels[i].tobytes() + stored.tobytes()
        for place in (0, 1, 31, 32, 1023, 1024, 2047, 2048, 3071):
            colour, inside = divmod(place, 1024)
            pixels[i, colour, inside // 32, inside % 32] = stored[place]
    return content, labels[:, -1].tolist(), pixels


def pack_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


PLACES = [(0, 0, 0), (0, 0, 1), (0, 0, 31), (0, 1, 0), (0, 31, 31), (1, 0, 0), (1, 31, 31),
          (2, 0, 0), (2, 31, 31)]  # fmt: skip


def assert_cifar(pixels, labels, parts):
    assert labels.tolist() == [label for _, mine, _ in parts for label in mine]
    assert labels.dtype == np.int64 and pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    expected = np.concatenate([stored for _, _, stored in parts])
    assert pixels.shape == expected.shape
    for place in PLACES:
        np.testing.assert_array_equal(pixels[(..., *place)], expected[(..., *place)])


def test_cifar10_is_read_from_its_binary_archive_in_the_order_of_its_batches(tmp_path):
    parts = {f"data_batch_{i}.bin": cifar_rows(i, 3 + i, 1) for i in (3, 1, 5, 2, 4)}
    parts["test_batch.bin"] = cifar_rows(6, 4, 1)
    members = {f"cifar-10-batches-bin/{name}": part[0] for name, part in parts.items()}
    members["cifar-10-batches-bin/readme.html"] = b"hello"
    path = pack_tar(tmp_path / "cifar-10-binary.tar.gz", members)
    train = images.load("cifar10", "train_all", tmp_path, download=False)
    ordered = [parts[f"data_batch_{i}.bin"] for i in range(1, 6)]
    assert_cifar(train.pixels, train.labels, ordered)
    test = images.load("cifar10", "test", tmp_path, download=False)
    assert_cifar(test.pixels, test.labels, [parts["test_batch.bin"]])
    assert train.checksums == test.checksums == {path.name: sha256(path)}


def test_cifar100_has_the_fine_labels_of_its_binary_archive(tmp_path):
    """A row has two label bytes: the coarse class of 20 and, last, the fine one of 100."""
    parts = {"train.bin": cifar_rows(7, 5, 2), "test.bin": cifar_rows(8, 3, 2)}
    members = {f"cifar-100-binary/{name}": part[0] for name, part in parts.items()}
    pack_tar(tmp_path / "cifar-100-binary.tar.gz", members)
    for split, name in (("train_all", "train.bin"), ("test", "test.bin")):
        found = images.load("cifar100", split, tmp_path, download=False)
        assert min(found.labels) >= 10
        assert_cifar(found.pixels, found.labels, [parts[name]])


@pytest.mark.parametrize("fault", ["absent", "cut", "other label bytes", "no archive"])
def test_a_cifar_archive_that_lacks_something_is_named(tmp_path, fault):
    content = cifar_rows(9, 4, 1)[0]
    path = tmp_path / "cifar.tar.gz"
    pack_tar(path, {"a/one.bin": content, "a/two.bin": content[: -1 if fault == "cut" else None]})
    if fault == "no archive":
        path.write_bytes(b"hello" * 100)
    members = ["one.bin", "three.bin" if fault == "absent" else "two.bin"]
    with pytest.raises(DataError, match="not a readable binary CIFAR archive") as caught:
        read_cifar(path, members, 2 if fault == "other label bytes" else 1)
    assert str(path) in str(caught.value)


# --- miniImageNet and SVHN -----------------------------------------------------------------------


def mini(count: int = 3) -> np.ndarray:
    return np.random.default_rng(10).integers(0, 256, (count, 84, 84, 3)).astype(np.uint8)


@pytest.mark.parametrize("form", ["array", "rows", "list"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_mini_imagenet_is_read_from_its_pickles(tmp_path, form, protocol):
    pixels = mini()
    given = {"array": pixels, "rows": pixels.reshape(3, -1), "list": list(pixels)}[form]
    labels = [4, 99, 0]
    for part, mine in (("train", slice(0, 3)), ("test", slice(1, 2))):
        stored = {"images": given[mine], "labels": labels[mine]}
        (tmp_path / f"{part}.pkl").write_bytes(pickle.dumps(stored, protocol=protocol))
    for split, mine in (("train_all", slice(0, 3)), ("test", slice(1, 2))):
        found = images.load("mini-imagenet", split, tmp_path, download=False)
        np.testing.assert_array_equal(found.pixels, pixels[mine].transpose(0, 3, 1, 2))
        assert found.pixels.flags.c_contiguous
        assert found.labels.tolist() == labels[mine]
        assert found.checksums == {file.name: sha256(file) for file in tmp_path.iterdir()}


class Harmful:
    def __reduce__(self):
        return print, ("this must not be printed",)


@pytest.mark.parametrize(
    ("stored", "match"),
    [
        ({"images": Harmful(), "labels": [1]}, r"asks for (builtins|__builtin__)\.print"),
        ({"images": mini(), "labels": [1, 2]}, "3 images of uint8 and 2 labels"),
        ({"images": mini() / 255, "labels": [1, 2, 3]}, "3 images of float64 and 3 labels"),
        ({"images": mini()[:, 1:], "labels": [1, 2, 3]}, "not a readable pickle"),
        ({"images": mini()}, "not a readable pickle"),
        ([1, 2], "not a readable pickle"),
    ],
    ids=["harmful", "fewer labels", "floats", "another size", "no labels", "a list"],
)
def test_a_pickle_of_anything_but_images_is_refused(tmp_path, capsys, stored, match):
    path = tmp_path / "test.pkl"
    path.write_bytes(pickle.dumps(stored))
    with pytest.raises(DataError, match=match) as caught:
        images.load("mini-imagenet", "test", tmp_path, download=False)
    assert str(path) in str(caught.value)
    assert "must not" not in capsys.readouterr().out


def test_an_absent_pickle_is_named_with_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"no train\.pkl in .* no official download"):
        images.load("mini-imagenet", "train", tmp_path, download=False)


def test_svhn_is_read_from_its_matlab_files_and_its_ten_is_a_zero(tmp_path):
    io_ = pytest.importorskip("scipy.io")
    wanted = {}
    for part, count in (("train", 5), ("test", 3)):
        pixels = np.random.default_rng(count).integers(0, 256, (32, 32, 3, count)).astype(np.uint8)
        labels = np.asarray([10, 1, 9, 5, 10][:count], np.uint8)[:, None]
        io_.savemat(tmp_path / f"{part}_32x32.mat", {"X": pixels, "y": labels})
        wanted[part] = pixels
    for split, part in (("train_all", "train"), ("test", "test")):
        found = images.load("svhn", split, tmp_path, download=False)
        assert found.labels.tolist() == [0, 1, 9, 5, 0][: len(found)]
        assert found.labels.dtype == np.int64 and found.pixels.flags.c_contiguous
        for i in range(len(found)):
            for c in range(3):
                np.testing.assert_array_equal(found.pixels[i, c], wanted[part][:, :, c, i])
        assert set(found.checksums) == {"train_32x32.mat", "test_32x32.mat"}
    (tmp_path / "test_32x32.mat").write_bytes(b"hello" * 50)
    with pytest.raises(DataError, match=r"test_32x32\.mat is not a readable SVHN file"):
        images.load("svhn", "test", tmp_path, download=False)
