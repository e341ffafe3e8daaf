"""The operations of ``vector.py`` in numpy: what they mean, and what NUMBA_DISABLE_JIT runs."""

from __future__ import annotations

import numpy as np

WIDTH, NARROW = 32, 8
LANES = 16  # samples of a word, and steps of a block of sums


def load(array, index, width=WIDTH):
    """``array[index : index + width]``."""
    assert 0 <= index <= len(array) - width
    return array[index : index + width].copy()


def load_narrow(array, index):
    """The same of the few taps of one synapse."""
    return load(array, index, NARROW)


def store(array, index, vector):
    """Write the vector at ``array[index:]``."""
    assert 0 <= index <= len(array) - len(vector)
    array[index : index + len(vector)] = vector


def fma(scalar, vector, addend):
    """``scalar * vector + addend``."""
    return scalar * vector + addend


def multiply_add(a, b, addend):
    """``a * b + addend`` of three vectors."""
    return a * b + addend


def zeros_like(array):
    """``WIDTH`` zeros of the array's number type."""
    return np.zeros(WIDTH, array.dtype)


def total(vector):
    """The sum, by halving the vector."""
    while len(vector) > 1:
        vector = vector[: len(vector) // 2] + vector[len(vector) // 2 :]
    return vector[0]


def spread(scalar):
    """``scalar`` in all sums of a block, ``LANES`` steps of ``LANES`` samples each."""
    return np.full(LANES * LANES, scalar)


def add_where(words, index, scalar, sums):
    """Add ``scalar`` to the sums of those samples and steps whose bits are set.

    Bit ``j`` of ``words[index + s]`` is that of sample ``j`` at step ``s``.
    """
    assert 0 <= index <= len(words) - LANES
    bits = words[index : index + LANES, None] >> np.arange(LANES, dtype=np.uint16) & 1
    return np.where(bits.ravel() != 0, sums + scalar, sums)


def store_steps(array, index, stride, sums):
    """Write the sums of step ``s`` of a block at ``array[index + s * stride:]``."""
    for step in range(LANES):
        store(array, index + step * stride, sums[step * LANES : (step + 1) * LANES])
