"""Two-fact recall: a question that needs two of the facts that were shown long before.

Each chunk shows a key and then a value. The last one shows two of the first keys together and asks
which two values belonged to them. The first facts all have different values, so it does not help
to know which values there were; and which keys will be asked for is not known before, so a
summary that is passed on from chunk to chunk would have to hold all of them with their values.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from snnsim.data import Arrays
from snnsim.errors import ConfigError, check_number, check_seed, check_size

KEYS, CHANNELS = 16, 64  # how many keys there are, and the channels that carry them


def facts(
    over: int,
    samples: int,
    *,
    first: int = 4,
    steps: int = 4,
    noise: float = 0.01,
    seed: int = 0,
) -> Arrays:
    """Make sequences of chunks with a fact each, and one more chunk that asks for two of the first.

    The first step of a chunk shows a key, the second step its value, and the others noise.

    Args:
        over: number of chunks, with facts that are not asked for, between the first ones and the
            question; 0 or more.
        samples: number of sequences.
        first: number of chunks of whose facts two are asked for, 2 or more, and number of values.
            All keys of a sequence are different, so ``first + over`` is at most 16.
        steps: number of steps of a chunk, 2 or more.
        noise: probability between 0 and 1 of a random spike per channel and step.
        seed: seed of facts, questions and noise. The patterns of keys are the same for every seed.

    Returns:
        Sequences ``[samples, (first + over + 1) steps, 64 + first]``. The classes are the pairs of
        values, all equally frequent: chance is 1 of 6 with ``first=4``.

    >>> data = facts(3, 8)
    >>> data.x.shape, data.classes[0], len(data.classes)
    ((8, 32, 68), '0 and 1', 6)
    """
    check_size("over", over, 0)
    check_size("samples", samples)
    check_size("first", first, 2)
    check_size("steps", steps, 2)
    check_number("noise", noise, 0, 1)
    chunks = first + over
    if chunks > KEYS:
        raise ConfigError(f"first + over is {chunks} but there are {KEYS} keys; take fewer chunks")
    patterns = np.random.default_rng(99).random((KEYS, CHANNELS)) < 0.15
    random = np.random.default_rng([check_seed(seed), over])
    keys = patterns[_orders(random, samples, KEYS)[:, :chunks]]
    later = random.integers(0, first, (samples, over))
    values = np.concatenate([_orders(random, samples, first), later], axis=1)
    asked = _orders(random, samples, first)[:, :2]
    x = random.random((samples, chunks + 1, steps, CHANNELS + first)) < noise
    x[:, :-1, 0, :CHANNELS] |= keys
    x[:, :-1, 1, CHANNELS:] |= np.eye(first, dtype=bool)[values]
    x[:, -1, 0, :CHANNELS] |= np.take_along_axis(keys, asked[:, :, None], 1).any(1)
    pairs = list(combinations(range(first), 2))
    answers = np.sort(np.take_along_axis(values, asked, 1), axis=1)
    labels = np.asarray([pairs.index(tuple(pair)) for pair in answers.tolist()])
    flat = x.reshape(samples, (chunks + 1) * steps, -1).astype(np.float32)
    return Arrays(flat, labels, classes=tuple(f"{a} and {b}" for a, b in pairs))


def _orders(random: np.random.Generator, samples: int, count: int) -> np.ndarray:
    """For each sample the numbers below ``count`` in an order of its own."""
    return random.permuted(np.tile(np.arange(count), (samples, 1)), axis=1)
