"""Counting events, with several symbols in one step as a tokeniser would put them.

For spikes the tokeniser is the binning: ``chunk`` symbols that fall into one bin are one of
``2^chunk`` tokens, and what is to be counted is no longer what the model steps over. Source: Zhang,
Cao & You 2024 (arXiv:2410.19730).
"""

from __future__ import annotations

import numpy as np

from snnsim.data import Arrays
from snnsim.errors import check_seed, check_size


def counting(
    samples: int,
    *,
    shortest: int = 10,
    longest: int = 20,
    most: int = 9,
    chunk: int = 1,
    seed: int = 0,
) -> Arrays:
    """Make sequences that ask how many of their symbols are "a".

    Counts from 0 to ``most`` are equally likely, and the places are random.

    Args:
        samples: number of sequences.
        shortest, longest: smallest and largest number of symbols of a sequence.
        most: largest count, from 1 to ``shortest``.
        chunk: number of symbols per step, at most 8; a step is one-hot over all their
            combinations (a last one that is not full is filled with "b").
        seed: seed of lengths, counts and places.

    >>> data = counting(4, chunk=2)
    >>> data.channels, len(data.classes)
    (4, 10)
    """
    check_size("samples", samples)
    check_size("longest", longest)
    check_size("shortest", shortest, 1, longest)
    check_size("most", most, 1, shortest)
    check_size("chunk", chunk, 1, 8)
    random = np.random.default_rng([check_seed(seed), longest])
    sizes = random.integers(shortest, longest + 1, samples)
    width = -(-longest // chunk) * chunk
    labels = random.integers(0, most + 1, samples)
    places = random.random((samples, longest))
    places[np.arange(longest) >= sizes[:, None]] = 1.0  # beyond the end comes last
    symbols = np.zeros((samples, width), dtype=bool)
    symbols[:, :longest] = places.argsort(1).argsort(1) < labels[:, None]
    tokens = symbols.reshape(samples, -1, chunk) @ (2 ** np.arange(chunk))
    lengths = -(-sizes // chunk)
    x = np.eye(2**chunk, dtype=np.float32)[tokens]
    x[np.arange(x.shape[1]) >= lengths[:, None]] = 0
    names = tuple(map(str, range(most + 1)))
    return Arrays(x, labels, lengths, names)
