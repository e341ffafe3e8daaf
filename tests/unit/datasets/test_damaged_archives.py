"""Archives of arrays that are damaged in any layer: one error that names the file, or read anew."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from snnsim_datasets import nmnist
from snnsim_datasets.tools import files
from snnsim_datasets.tools.images import read_npz
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
