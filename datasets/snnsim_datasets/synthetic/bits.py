"""Streams of bits whose last ``N`` decide: parity, and delayed match to sample.

Sequences are between ``N + 2`` and ``4 N + 2`` steps long. Source: Khajehabdollahi, Zeraati,
Giannakakis, Schäfer, Martius & Levina 2023 (arXiv:2309.12927), section 3.
"""

from __future__ import annotations

import numpy as np

from snnsim.data import Arrays
from snnsim.errors import ConfigError, check_seed


def parity(memory: int, samples: int, seed: int = 0) -> Arrays:
    """Is the number of ones among the last ``memory`` bits odd?

    The share of ones is drawn anew, uniformly, for every sequence.

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
    """Is the last bit the same as the one ``memory - 1`` steps before it? Half of the bits are 1.

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
    if memory < 1 or samples < 1:
        raise ConfigError(f"memory is {memory} and samples {samples}, but both must be 1 or more")
    random = np.random.default_rng([check_seed(seed), memory])
    lengths = random.integers(memory + 2, 4 * memory + 3, samples)
    return random, lengths, int(lengths.max())


def _last(bits: np.ndarray, lengths: np.ndarray, memory: int) -> np.ndarray:
    steps = lengths[:, None] - memory + np.arange(memory)
    return np.take_along_axis(bits, steps, axis=1)


def _sequences(bits, lengths, labels, classes) -> Arrays:
    inside = np.arange(bits.shape[1]) < lengths[:, None]
    x = (bits & inside).astype(np.float32)[:, :, None]
    return Arrays(x, labels.astype(np.int64), lengths.astype(np.int64), classes)
