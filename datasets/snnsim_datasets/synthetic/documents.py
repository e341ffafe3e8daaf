"""Documents that use a few sentences again and again, as one event (token) per step.

A sentence is a walk of a Markov chain; a document is a row of sentences drawn from its own few, of
which none comes twice in a row:

    P(token j | token i) = 1 / successors   if j is one of the successors of i, else 0

So that a token can be told either from the one before it or, better, from how the sentence went
on before. Xu et al. 2022 (arXiv:2206.02369) take English text; this source is our choice.
"""

from __future__ import annotations

import numpy as np

from snnsim.data import Arrays
from snnsim.errors import check_seed, check_size

LANGUAGE = 19  # the seed of the chain: all splits speak the same


def documents(
    samples: int,
    *,
    sentences: int = 3,
    length: int = 8,
    count: int = 8,
    tokens: int = 32,
    successors: int = 8,
    seed: int = 0,
) -> Arrays:
    """Draw documents of one-hot tokens.

    Args:
        samples: the number of documents.
        sentences: the number of sentences that a document has of its own; with one, it is said
            over and over.
        length: the number of tokens of a sentence.
        count: the number of sentences in a document, one after the other.
        tokens: the number of tokens of the language, more than ``successors``.
        successors: the number of tokens that may follow a token.
        seed: the seed of the documents; the language is always the same.

    Returns:
        Tokens ``[samples, count * length, tokens]``. The class of every document is 0.

    >>> data = documents(2)
    >>> data.channels, data.lengths.tolist()
    (32, [64, 64])
    """
    check_size("samples", samples)
    for name, value in (("sentences", sentences), ("length", length), ("count", count)):
        check_size(name, value)
    check_size("tokens", tokens, check_size("successors", successors) + 1)
    random = np.random.default_rng([check_seed(seed), 1])
    known = np.zeros((samples, sentences, length), np.int64)
    known[..., 0] = random.integers(0, tokens, (samples, sentences))
    following = _following(tokens, successors)
    for place in range(1, length):
        chosen = random.integers(0, successors, (samples, sentences))
        known[..., place] = following[known[..., place - 1], chosen]
    steps = random.integers(min(1, sentences - 1), sentences, (samples, count))
    order = steps.cumsum(1) % sentences
    items = known[np.arange(samples)[:, None], order].reshape(samples, count * length)
    x = np.eye(tokens, dtype=np.float32)[items]
    return Arrays(x, np.zeros(samples, np.int64), classes=("document",), dt=1.0)


def _following(tokens: int, successors: int) -> np.ndarray:
    """The successors of every token, ``[tokens, successors]``."""
    random = np.random.default_rng(LANGUAGE)
    return np.stack([random.permutation(tokens)[:successors] for _ in range(tokens)])
