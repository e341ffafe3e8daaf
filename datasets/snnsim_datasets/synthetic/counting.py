"""Counting events, with several symbols in one step as a tokeniser would put them.

For spikes the tokeniser is the binning: ``chunk`` symbols that fall into one bin are one of
``2^chunk`` tokens, and what is to be counted is no longer what the model steps over. A text may be
rendered such that this does not happen: a tokeniser does not merge letters that a separator keeps
apart. Nor are all letters equally frequent in what a model was trained on. Source: Zhang, Cao & You
2024 (arXiv:2410.19730), with its four renderings of one string in two pairs of letters.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from snnsim.data import Arrays
from snnsim.errors import check_choice, check_number, check_seed, check_size

TOKENS = {  # the vocabularies of the renderings with separators
    "spaces": ("b", "a", " b", " a"),
    "commas": ("b", "a", " b", " a", ","),
    "quotes": ("b", "a", '"', ' "', '",'),
}
RENDERINGS = ("plain", *TOKENS)


def counting(
    samples: int,
    *,
    shortest: int = 10,
    longest: int = 20,
    most: int = 9,
    chunk: int = 1,
    rendering: str = "plain",
    rare: float | None = None,
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
        rendering: how a string is written, ``"plain"`` (``abba``), ``"spaces"`` (``a b b a``),
            ``"commas"`` (``a, b, b, a``) or ``"quotes"`` (``"a", "b", "b", "a"``). A step is then
            one-hot over ``TOKENS``: each letter, with a space before it if there is one, and each
            separator. Separators keep letters apart, so only plain strings have tokens of
            ``chunk`` letters.
        rare: fraction of the strings, from 0 to 1, that are written with the letters "e" and "z"
            in place of "a" and "b". A step is then one-hot over the tokens of both pairs (each
            with separators of its own), so that training may have few strings of the one pair, and
            tests that pair alone (``rare=1``) or the other (``rare=0``). ``None`` for no second
            pair of letters.
        seed: seed of lengths, counts and places, which are the same for all renderings.

    >>> data = counting(4, chunk=2)
    >>> data.channels, len(data.classes)
    (4, 10)
    """
    check_size("samples", samples)
    check_size("longest", longest)
    check_size("shortest", shortest, 1, longest)
    check_size("most", most, 1, shortest)
    check_size("chunk", chunk, 1, 8)
    check_choice("rendering", rendering, RENDERINGS)
    random = np.random.default_rng([check_seed(seed), longest])
    sizes = random.integers(shortest, longest + 1, samples)
    width = -(-longest // chunk) * chunk
    labels = random.integers(0, most + 1, samples)
    places = random.random((samples, longest))
    places[np.arange(longest) >= sizes[:, None]] = 1.0  # beyond the end comes last
    symbols = np.zeros((samples, width), dtype=bool)
    symbols[:, :longest] = places.argsort(1).argsort(1) < labels[:, None]
    names = tuple(map(str, range(most + 1)))
    if rendering != "plain":
        pairs = zip(symbols, sizes, strict=True)
        made = [_rendered(row[:n], rendering) for row, n in pairs]
        return _written(Arrays(made, labels, classes=names), rare, seed)
    tokens = symbols.reshape(samples, -1, chunk) @ (2 ** np.arange(chunk))
    lengths = -(-sizes // chunk)
    x = np.eye(2**chunk, dtype=np.float32)[tokens]
    x[np.arange(x.shape[1]) >= lengths[:, None]] = 0
    return _written(Arrays(x, labels, lengths, names), rare, seed)


def _written(data: Arrays, rare: float | None, seed: int) -> Arrays:
    """The same strings, some of them in the tokens of the second pair of letters."""
    if rare is None:
        return data
    check_number("rare", rare, 0, 1)
    random = np.random.default_rng([seed, len(data), 1])  # apart from what is written
    second = (random.random(len(data)) < rare)[:, None, None]
    return replace(data, x=np.concatenate([data.x * ~second, data.x * second], axis=-1))


def _rendered(symbols: np.ndarray, rendering: str) -> np.ndarray:
    """One string, one-hot over the vocabulary of its rendering."""
    letters = "".join(np.where(symbols, "a", "b"))
    vocabulary = TOKENS[rendering]
    places = [vocabulary.index(token) for token in tokens_of(letters, rendering)]
    return np.eye(len(vocabulary), dtype=np.float32)[places]


def tokens_of(letters: str, rendering: str) -> list[str]:
    """Return the tokens of a string of letters that is rendered with separators.

    >>> tokens_of("abb", "spaces"), tokens_of("ab", "commas")
    (['a', ' b', ' b'], ['a', ',', ' b'])
    >>> tokens_of("ab", "quotes")
    ['"', 'a', '",', ' "', 'b', '"']
    """
    check_choice("rendering", rendering, TOKENS)
    tokens: list[str] = []
    for place, letter in enumerate(letters):
        first, last = place == 0, place == len(letters) - 1
        if rendering == "quotes":
            tokens += ['"' if first else ' "', letter, '"' if last else '",']
        else:
            comma = [","] if rendering == "commas" and not first else []
            tokens += [*comma, letter if first else f" {letter}"]
    return tokens
