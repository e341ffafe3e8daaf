"""Spike patterns in noise: which of them occur, when, and how often.

A pattern is a spike of some channels at a fixed time each within a window, so that it is told from
others by delays, not by how much a channel fires. It is the same in every sample and part. The idea
of patterns that are hidden in Poisson noise is that of Masquelier, Guyonneau & Thorpe 2008
(doi:10.1371/journal.pone.0001377).
"""

from __future__ import annotations

import numpy as np

from snnsim.data import Arrays
from snnsim.errors import check_choice, check_number, check_seed, check_size

ASKED = ("which", "when", "count")
REFERENCE = 2**40  # a seed that no part has: of the patterns themselves
DT = 5.0  # of a step, in ms
MOST = 2  # times that a pattern occurs in a sequence


def patterns(
    samples: int,
    *,
    ask: str = "which",
    kinds: int = 4,
    channels: int = 20,
    steps: int = 60,
    length: int = 10,
    noise: float = 0.02,
    seed: int = 0,
) -> Arrays:
    """Make noise with patterns in it that ask which occur, when, or how often.

    Args:
        samples: number of sequences.
        ask: ``"which"`` has several labels for each sample, 0 or 1 for each pattern;
            ``"when"`` a class for every step, the pattern that ended last within as many steps as
            a pattern has, or 0 for none; ``"count"`` values, how often each pattern occurs: 0, 1
            and 2 times are equally likely.
        kinds: number of patterns.
        channels: number of channels, 2 or more; half of them spike once in a pattern.
        steps: number of steps of each sequence.
        length: number of steps of a pattern, at most that of a sequence.
        noise: probability between 0 and 1 of another spike in a channel and step.
        seed: seed of places and noise.

    >>> data = patterns(4)
    >>> data.x.shape, data.target.shape
    ((4, 60, 20), (4, 4))
    """
    check_choice("ask", ask, ASKED)
    check_size("samples", samples)
    check_size("kinds", kinds)
    check_size("channels", channels, 2)
    check_size("length", length, 1, check_size("steps", steps))
    check_number("noise", noise, 0, 1)
    shapes = _shapes(kinds, channels, length)
    random = np.random.default_rng(check_seed(seed))
    x = random.random((samples, steps, channels)) < noise
    times = random.integers(0, MOST + 1, (samples, kinds))
    now = np.zeros((samples, steps), np.int64)
    for sample, row in enumerate(times):
        which = random.permutation(np.repeat(np.arange(kinds), row))
        onsets = np.sort(random.integers(0, steps - length + 1, len(which)))
        for kind, onset in zip(which, onsets, strict=True):
            x[sample, onset : onset + length] |= shapes[kind]
            end = onset + length - 1
            now[sample, end : end + length] = kind + 1
    names = tuple(f"pattern {kind + 1}" for kind in range(kinds))
    if ask == "when":
        return Arrays(x, now, classes=("none", *names), dt=DT, per_step=True)
    if ask == "which":
        return Arrays(x, (times > 0).astype(np.int64), classes=names, dt=DT)
    return Arrays(x, times.astype(np.float32), dt=DT)


def _shapes(kinds: int, channels: int, length: int) -> np.ndarray:
    """The patterns, truth values ``[kinds, length, channels]``."""
    random = np.random.default_rng(REFERENCE)
    shapes = np.zeros((kinds, length, channels), bool)
    for shape in shapes:
        firing = random.permutation(channels)[: channels // 2]
        shape[random.integers(0, length, len(firing)), firing] = True
    return shapes
