"""Ways to spoil the bytes of a file, and values that a number of a file may turn into."""

from __future__ import annotations

import numpy as np

ODD = (0, 1, -1, 2**15, 2**16, 2**31, 2**32 - 1, 2**63 - 1, -(2**31))


def spoiled(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with a few bytes changed, cut, doubled, moved or overwritten."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, max(len(data), 1)))
        size = int(rng.choice([1, 1, 1, 2, 4, 8, 64]))
        way = rng.choice(["flip", "flip", "byte", "byte", "number", "cut", "double", "zero", "end"])
        if way == "flip" and data:
            data[at] ^= 1 << int(rng.integers(0, 8))
        elif way == "byte":
            data[at : at + size] = rng.bytes(len(data[at : at + size]))
        elif way == "number":
            value = int(rng.choice(np.asarray(ODD, np.int64))) & 0xFFFF_FFFF
            data[at : at + 4] = value.to_bytes(4, "little" if rng.random() < 0.5 else "big")
        elif way == "cut":
            del data[at : at + size]
        elif way == "double":
            data[at:at] = data[at : at + size]
        elif way == "zero":
            data[at : at + size] = bytes(len(data[at : at + size]))
        elif way == "end":
            del data[at:]
    return bytes(data)


def one_of(rng: np.random.Generator, *values):
    """One of some values of any kind."""
    return values[int(rng.integers(0, len(values)))]
