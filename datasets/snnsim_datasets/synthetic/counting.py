"""Counting events, with several symbols in one step as a tokeniser would put them.

For spikes the tokeniser is the binning: ``chunk`` symbols that fall into one bin are one of
``2^chunk`` tokens, and what is to be counted is no longer what the model steps over. Source: Zhang,
Cao & You 2024 (arXiv:2410.19730).
"""

from __future__ import annotations

import numpy as np

from snnsim.errors import ConfigError
from snnsim_datasets.synthetic.sequences import Sequences


def counting(
    samples: int,
    *,
    shortest: int = 10,
    longest: int = 20,
    modulus: int = 5,
    chunk: int = 1,
    seed: int = 0,
) -> Sequences:
    """How many of the symbols are "a", modulo ``modulus``? Half of them are.

    Args:
        samples: number of sequences.
        shortest, longest: numbers of symbols.
        modulus: of the count.
        chunk: symbols per step; a step is one-hot over all their combinations (a last one that
            is not full is filled with "b").
        seed: of everything.

    >>> data = counting(4, chunk=2)
    >>> data.channels, len(data.classes)
    (4, 5)
    """
    if not 1 <= shortest <= longest or min(samples, modulus, chunk) < 1 or chunk > 8:
        raise ConfigError(
            f"lengths are {shortest} .. {longest}, samples {samples}, modulus {modulus} and chunk "
            f"{chunk}; all must be 1 or more, lengths in order, and chunk at most 8"
        )
    random = np.random.default_rng([seed, longest])
    sizes = random.integers(shortest, longest + 1, samples)
    width = -(-longest // chunk) * chunk
    symbols = (random.random((samples, width)) < 0.5) & (np.arange(width) < sizes[:, None])
    tokens = symbols.reshape(samples, -1, chunk) @ (2 ** np.arange(chunk))
    lengths = -(-sizes // chunk)
    x = np.eye(2**chunk, dtype=np.float32)[tokens]
    x[np.arange(x.shape[1]) >= lengths[:, None]] = 0
    labels = symbols.sum(1) % modulus
    names = tuple(map(str, range(modulus)))
    return Sequences(x, labels.astype(np.int64), lengths.astype(np.int64), names)
