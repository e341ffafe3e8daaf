"""Archives of arrays that are damaged in any layer: one error that names the file, or read anew."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from snnsim_datasets import images, nmnist
from snnsim_datasets.images import mini_imagenet, svhn
from snnsim_datasets.tools import files
from snnsim_datasets.tools.images import read_cifar, read_npz
from snnsim_experiments import predict

from snnsim.errors import DataError

HEADERS = {  # of an array, which numpy parses as a Python expression
    "cut within a bracket": "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2",
    "cut within a text": "{'descr': '|u",
    "two values": "{'descr': '|u1' 'fortran_order' False}",
    "no expression": "{'descr': ",
    "indented": "   1\n  2\n",
    "not a dictionary": "[1, 2]",
    "keys missing": "{'descr': '|u1'}",
    "no such type": "{'descr': 'z7', 'fortran_order': False, 'shape': (1,)}",
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
    "negative": "{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}",
    "huge": "{'descr': '<f8', 'fortran_order': False, 'shape': (9000000000000000000, 9)}",
    "deep": "(" * 300,
    "a shape of texts": "{'descr': '|u1', 'fortran_order': False, 'shape': ('a',)}",
}
NAMES = (
    "x_train",
    "y_train",
    "arr_0",
    "times",
    "units",
    "offsets",
    "labels",
    "x",
    "y",
    "p",
    "dt_us",
)


def with_header(path: Path, header: str) -> None:
    """An archive whose arrays all have this header."""
    content = header.encode()
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(content)) + content + b"\0" * 6
    with zipfile.ZipFile(path, "w") as archive:
        for name in NAMES:
            archive.writestr(f"{name}.npy", array)


def with_bad_content(path: Path, method: int) -> None:
    """A sound archive with some bytes changed within what is compressed."""
    out = io.BytesIO()
    np.save(out, np.random.default_rng(0).integers(0, 9, (500, 3, 3)).astype(np.uint8))
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in NAMES:
            archive.writestr(f"{name}.npy", out.getvalue())
    with zipfile.ZipFile(path) as archive:
        starts = [info.header_offset + 30 + len(info.filename) for info in archive.infolist()]
    content = bytearray(path.read_bytes())
    for start in starts:
        content[start + 12 : start + 60] = bytes(range(48))
    path.write_bytes(bytes(content))


SPOILT = {name: lambda path, h=header: with_header(path, h) for name, header in HEADERS.items()} | {
    name: lambda path, m=method: with_bad_content(path, m)
    for name, method in (
        ("stored", zipfile.ZIP_STORED),
        ("deflated", zipfile.ZIP_DEFLATED),
        ("bzip2", zipfile.ZIP_BZIP2),
        ("lzma", zipfile.ZIP_LZMA),
    )
}


@pytest.mark.parametrize("how", SPOILT)
def test_images_and_recordings_in_a_damaged_archive_are_refused_by_name(tmp_path, how):
    path = tmp_path / "mine.npz"
    SPOILT[how](path)
    with pytest.raises(DataError, match=r"mine\.npz"):
        read_npz(path, "train")
    with pytest.raises(DataError, match=r"mine\.npz"):
        nmnist._read_npz(path)
    with pytest.raises(DataError, match=r"mine\.npz"):
        predict._npz(path, 3)


@pytest.mark.parametrize("how", SPOILT)
def test_a_damaged_cache_is_made_again(how):
    keys = ["offsets"]
    made = files.cached_arrays("some.npz", keys, lambda: {"offsets": np.arange(3)})
    path = files.cache_root() / "some.npz"
    SPOILT[how](path)
    again = files.cached_arrays("some.npz", keys, lambda: {"offsets": np.arange(4)})
    assert made["offsets"].tolist() == [0, 1, 2] and again["offsets"].tolist() == [0, 1, 2, 3]


# --- what unpacks to more than it should ---------------------------------------------------------


ZEROS = 5 * 2**20  # bytes, that compress to less than a hundredth


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setenv("SNNSIM_MAX_SMALL_MB", "1")


def tar_of_zeros(path: Path, name: str) -> None:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        member = tarfile.TarInfo(name)
        member.size = ZEROS
        archive.addfile(member, Zeros(ZEROS))


class Zeros(io.RawIOBase):
    """A file of so many zeros that takes no memory."""

    def __init__(self, size: int):
        self.left = size

    def read(self, size: int = -1) -> bytes:
        given = min(self.left, size if size >= 0 else self.left)
        self.left -= given
        return bytes(given)


@pytest.mark.parametrize("name", ["data_batch_1.bin", "readme.txt"])
def test_a_cifar_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(
    narrow, tmp_path, name
):
    path = tmp_path / "cifar.tar.gz"
    tar_of_zeros(path, name)
    with pytest.raises(DataError, match=r"cifar\.tar\.gz holds .* more than the limit"):
        read_cifar(path, ["data_batch_1.bin"], 1)


def test_a_matlab_file_of_too_many_pixels_is_refused_before_they_are_unpacked(narrow, tmp_path):
    matlab = pytest.importorskip("scipy.io")
    path = tmp_path / "test_32x32.mat"
    pixels = np.zeros((32, 32, 3, ZEROS // 3072), np.uint8)
    matlab.savemat(path, {"X": pixels, "y": np.zeros((1, 1), np.uint8)}, do_compression=True)
    with pytest.raises(DataError, match=r"test_32x32\.mat holds .* more than the limit"):
        svhn._read(tmp_path, "test")


def test_doubles_in_a_matlab_file_count_as_what_they_take(narrow, tmp_path):
    matlab = pytest.importorskip("scipy.io")
    pixels = np.zeros((32, 32, 3, 60))  # 184 thousand numbers, 1.5 MB
    matlab.savemat(tmp_path / "test_32x32.mat", {"X": pixels, "y": np.zeros((1, 60))},
                   do_compression=True)  # fmt: skip
    with pytest.raises(DataError, match=r"test_32x32\.mat holds .* more than the limit"):
        svhn._read(tmp_path, "test")


class Reconstructed:
    def __reduce__(self):
        from numpy._core.multiarray import _reconstruct

        return _reconstruct, (np.ndarray, (10**13,), b"b")


class Called:
    def __reduce__(self):
        return np.ndarray, ((10**13,),)


HUGE = {
    "reconstructed": pickle.dumps({"images": Reconstructed(), "labels": [0]}),
    "called": pickle.dumps({"images": Called(), "labels": [0]}),
    # ndarray.__new__(ndarray, (2^31 - 1, 2^31 - 1)), by hand: pickle does not write that
    "made": b"\x80\x02cnumpy\nndarray\n((J\xff\xff\xff\x7fJ\xff\xff\xff\x7ftt\x81.",
}


@pytest.mark.parametrize("how", HUGE)
def test_a_pickle_that_asks_for_a_large_array_is_refused_before_it_is_made(tmp_path, how):
    (tmp_path / "test.pkl").write_bytes(HUGE[how])
    with pytest.raises(DataError, match=r"test\.pkl is not a readable pickle"):
        mini_imagenet._read(tmp_path, "test")


def test_only_idx_files_are_looked_for_without_their_packing(tmp_path):
    (tmp_path / "cifar-10-binary.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"no cifar-10-binary\.tar\.gz in"):
        images.load("cifar10", "test", tmp_path, download=False)
