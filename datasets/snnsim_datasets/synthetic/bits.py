"""Streams of bits whose last ``N`` decide: parity, and delayed match to sample.

Sequences are between ``N + 2`` and ``4 N + 2`` steps long. Source: Khajehabdollahi, Zeraati,
Giannakakis, Schäfer, Martius & Levina 2023 (arXiv:2309.12927), section 3.
"""

from __future__ import annotations

import numpy as np

from snnsim.data import Arrays
from snnsim.errors import check_seed, check_size


def parity(memory: int, samples: int, seed: int = 0) -> Arrays:
    """Make sequences that ask whether the number of ones among the last ``memory`` bits is odd.

    The fraction of ones is drawn again, uniformly, for every sequence.

    Args:
        memory: number of bits that decide, 1 or more.
        samples: number of sequences.
        seed: seed of bits and lengths.

    >>> data = parity(3, 4)
    >>> batch = data.batch([0])
    >>> int(batch.x[int(batch.lengths[0]) - 3 : , 0].sum()) % 2 == int(batch.labels[0])
    True
    """
    random, lengths, width = _lengths(memory, samples, seed)
    density = random.random((samples, 1))
    bits = random.random((samples, width)) < density
    last = _last(bits, lengths, memory)
    return _sequences(bits, lengths, last.sum(1) % 2, ("even", "odd"))


def match_to_sample(memory: int, samples: int, seed: int = 0) -> Arrays:
    """Make sequences that ask whether the last bit equals the one ``memory - 1`` steps before it.

    About half of the bits are 1.

    Args:
        memory: number of the last bits of which the first and the last are compared, 1 or more.
        samples: number of sequences.
        seed: seed of bits and lengths.

    >>> data = match_to_sample(2, 4)
    >>> batch = data.batch([0])
    >>> end = int(batch.lengths[0])
    >>> int(batch.x[end - 1, 0] == batch.x[end - 2, 0]) == int(batch.labels[0])
    True
    """
    random, lengths, width = _lengths(memory, samples, seed)
    bits = random.random((samples, width)) < 0.5
    last = _last(bits, lengths, memory)
    return _sequences(bits, lengths, last[:, 0] == last[:, -1], ("different", "same"))


def _lengths(memory: int, samples: int, seed: int):
    check_size("memory", memory)
    check_size("samples", samples)
    random = np.random.default_rng([check_seed(seed), memory])
    lengths = random.integers(memory + 2, 4 * memory + 3, samples)
    return random, lengths, int(lengths.max())


def _last(bits: np.ndarray, lengths: np.ndarray, memory: int) -> np.ndarray:
    steps = lengths[:, None] - memory + np.arange(memory)
    return np.take_along_axis(bits, steps, axis=1)


def _sequences(bits, lengths, labels, classes) -> Arrays:
    inside = np.arange(bits.shape[1]) < lengths[:, None]
    x = (bits & inside).astype(np.float32)[:, :, None]
    return Arrays(x, labels.astype(np.int64), lengths, classes)
