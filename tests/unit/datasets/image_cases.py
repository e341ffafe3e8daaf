"""Shared by the tests of files of images."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np


def fraction(name: object, salt: str) -> float:
    return int(hashlib.sha1(f"{salt}:{name}".encode()).hexdigest()[:12], 16) / 16**12


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def idx(values: np.ndarray) -> bytes:
    shape = values.shape
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + values.tobytes()


def write_digits(folder: Path, name: str, seed: int, count: int, ending: str = ".gz") -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 28, 28)).astype(np.uint8)
    pack = gzip.compress if ending else bytes
    labels = (np.arange(count) * 3 % 10).astype(np.uint8)
    (folder / f"{name}-images-idx3-ubyte{ending}").write_bytes(pack(idx(pixels)))
    (folder / f"{name}-labels-idx1-ubyte{ending}").write_bytes(pack(idx(labels)))
    return pixels
