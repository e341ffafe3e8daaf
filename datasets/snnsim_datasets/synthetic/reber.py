"""Reber grammars: is a string one that the grammar makes?

The grammar is a graph whose edges carry letters; a string of it is a walk from the first node to
the last. The embedded grammar puts such a string between two branches, ``B (T | P) string (T | P)
E``, whose letters must be the same, so that the answer needs a memory as long as the string.
Source: Darji 2024 (arXiv:2407.20601), section 4, whose networks accept or reject strings of the
embedded grammar; the grammar is Reber's of 1967, embedded as by Fahlman 1991.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from snnsim.data import Arrays
from snnsim.errors import ConfigError, check_seed, check_size

LETTERS = "BTPSXVE"
BRANCHES = "TP"
# from each node, the letters of its two edges and where they lead
EDGES: tuple[dict[str, int], ...] = (
    {"T": 1, "P": 2}, {"S": 1, "X": 3}, {"T": 2, "V": 4}, {"X": 2, "S": 5}, {"P": 3, "V": 5},
)  # fmt: skip
LAST = len(EDGES)


def reber(
    samples: int, *, embedded: bool = True, longest: int = 40, corrupt: float = 0.5, seed: int = 0
) -> Arrays:
    """Make strings that a Reber grammar accepts (class 1) or rejects (class 0), half of each.

    A string that is rejected is one of the grammar of which a letter was changed; with the embedded
    grammar, for a fraction of ``corrupt``, the last branch instead is not the first one, which only
    a network with a memory can tell.

    Args:
        samples: the number of strings.
        embedded: whether the grammar is the embedded one.
        longest: the largest number of letters of a string, at least 12; longer ones are drawn
            again.
        corrupt: the fraction of the rejected strings of the embedded grammar whose branches do
            not agree, from 0 to 1.
        seed: the seed of the strings.

    Returns:
        One-hot letters ``[samples, longest, 7]``, in the order of ``LETTERS``.

    >>> data = reber(4)
    >>> data.channels, data.classes
    (7, ('rejected', 'accepted'))
    """
    check_size("samples", samples)
    check_size("longest", longest, 12)
    if not 0 <= corrupt <= 1:
        raise ConfigError(f"corrupt is {corrupt} but must be a fraction from 0 to 1")
    random = np.random.default_rng([check_seed(seed), longest, embedded])
    labels = np.arange(samples) % 2
    random.shuffle(labels)
    x = np.zeros((samples, longest, len(LETTERS)), dtype=np.float32)
    lengths = np.zeros(samples, dtype=np.int64)
    strings = _strings(random, embedded, longest)
    for i, label in enumerate(labels):
        string = next(strings)
        if not label:
            string = _spoiled(string, embedded, random, corrupt)
        places = [LETTERS.index(letter) for letter in string]
        x[i, np.arange(len(places)), places], lengths[i] = 1, len(places)
    return Arrays(x, labels, lengths, ("rejected", "accepted"))


def accepts(string: str, embedded: bool = True) -> bool:
    """Return whether a string is one of the grammar.

    >>> accepts("BTXSE", embedded=False), accepts("BTBTXSETE"), accepts("BTBTXSEPE")
    (True, True, False)
    """
    if embedded:
        branch = string[1:2]
        enclosed = string[:1] == "B" and branch in tuple(BRANCHES) and string[-2:] == f"{branch}E"
        return len(string) > 4 and enclosed and accepts(string[2:-2], embedded=False)
    if len(string) < 2 or string[0] != "B" or string[-1] != "E":
        return False
    node = 0
    for letter in string[1:-1]:
        if node == LAST or letter not in EDGES[node]:
            return False
        node = EDGES[node][letter]
    return node == LAST


def _strings(random: np.random.Generator, embedded: bool, longest: int) -> Iterator[str]:
    """Strings of the grammar without end."""
    while True:
        node, walk = 0, ""
        while node != LAST:
            letter = str(random.choice(list(EDGES[node])))
            node, walk = EDGES[node][letter], walk + letter
        string = f"B{walk}E"
        if embedded:
            branch = str(random.choice(list(BRANCHES)))
            string = f"B{branch}{string}{branch}E"
        if len(string) <= longest:
            yield string


def _spoiled(string: str, embedded: bool, random: np.random.Generator, corrupt: float) -> str:
    """A string that the grammar rejects, one letter away from this one."""
    if embedded and random.random() < corrupt:
        return string[:-2] + BRANCHES[1 - BRANCHES.index(string[-2])] + "E"
    while True:
        place = int(random.integers(len(string)))
        changed = string[:place] + str(random.choice(list(LETTERS))) + string[place + 1 :]
        if not accepts(changed, embedded):
            return changed
