"""Two-fact recall: a question that needs two of the facts that were shown long before.

Each chunk shows a key and then a value. The last one shows two of the first keys together, and the
answer is the sum of their values modulo the number of values: who knows only one of them is at
chance. Which two will be asked is not known before, so a summary would have to hold all of them.
"""

from __future__ import annotations

import numpy as np

from snnsim.data import Arrays
from snnsim.errors import ConfigError, check_number, check_seed, check_size

SHOWN = 2  # steps that a key lasts, and then a value
KEYS, CHANNELS = 16, 24  # how many keys there are, and the channels that carry them


def facts(
    over: int,
    samples: int,
    *,
    first: int = 4,
    steps: int = 6,
    values: int = 3,
    noise: float = 0.02,
    seed: int = 0,
) -> Arrays:
    """Make sequences of chunks with a fact each, and one more chunk that asks for two of the first.

    A chunk shows its key for two steps, its value for two steps, and noise in the steps left.

    Args:
        over: number of chunks, with facts that are not asked for, between the first ones and the
            question; 0 or more.
        samples: number of sequences.
        first: number of chunks of whose facts two are asked for, 2 or more. All keys of a sequence
            are different, so ``first + over`` is at most 16.
        steps: number of steps of a chunk, 4 or more.
        values: number of values, 2 or more, and of classes.
        noise: probability between 0 and 1 of a random spike per channel and step.
        seed: seed of facts, questions and noise. The patterns of keys are the same for every seed.

    >>> data = facts(3, 8)
    >>> data.x.shape, data.classes
    ((8, 48, 27), ('0', '1', '2'))
    """
    check_size("over", over, 0)
    check_size("samples", samples)
    check_size("first", first, 2)
    check_size("steps", steps, 2 * SHOWN)
    check_size("values", values, 2)
    check_number("noise", noise, 0, 1)
    chunks = first + over
    if chunks > KEYS:
        raise ConfigError(f"first + over is {chunks} but there are {KEYS} keys; take fewer chunks")
    patterns = np.random.default_rng(99).random((KEYS, CHANNELS)) < 0.3
    random = np.random.default_rng([check_seed(seed), over])
    keys = _orders(random, samples, KEYS)[:, :chunks]
    told = random.integers(0, values, (samples, chunks))
    asked = _orders(random, samples, first)[:, :2]
    x = random.random((samples, chunks + 1, steps, CHANNELS + values)) < noise
    x[:, :-1, :SHOWN, :CHANNELS] |= patterns[keys][:, :, None]
    x[:, :-1, SHOWN : 2 * SHOWN, CHANNELS:] |= np.eye(values, dtype=bool)[told][:, :, None]
    both = patterns[np.take_along_axis(keys, asked, 1)].any(1)
    x[:, -1, :SHOWN, :CHANNELS] |= both[:, None]
    labels = np.take_along_axis(told, asked, 1).sum(1) % values
    flat = x.reshape(samples, (chunks + 1) * steps, -1).astype(np.float32)
    return Arrays(flat, labels, classes=tuple(map(str, range(values))))


def _orders(random: np.random.Generator, samples: int, count: int) -> np.ndarray:
    """For each sample the numbers below ``count`` in an order of its own."""
    return random.permuted(np.tile(np.arange(count), (samples, 1)), axis=1)
