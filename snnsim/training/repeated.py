"""Repeated data: part of an epoch is a small subset, shown again and again.

Of ``n`` samples per epoch, ``(1 - p) n`` are fresh and ``p n`` come from ``m`` samples, each of
which is repeated ``p n / m`` times. A network is worse with subsets of a middle size than with
smaller or larger ones: those it can just learn by heart. A replay buffer is repeated data. Over
several epochs all other samples take turns, so that every subset is compared on the same data.
Source: Hernandez et al. 2022, arXiv:2205.10487.
"""

from __future__ import annotations

import numpy as np

from snnsim.data import Sequences, View
from snnsim.errors import ConfigError, check_number, check_seed, check_size


def repeated(
    data: Sequences, size: int, fraction: float = 0.5, seed: int = 0, epoch: int = 0
) -> View:
    """Return a data set of the same length, part of which is a subset that is repeated.

    Args:
        data: the data set.
        size: the number of samples of the subset, at most the repeated part.
        fraction: the fraction of an epoch that is from the subset, between 0 and 1.
        seed: of the choice of the subset and of the fresh samples.
        epoch: the number of the epoch, from 0. The subset is the same in all of them; the fresh
            samples of an epoch follow those of the epoch before, in a fixed order of all the
            others that begins again at its end.

    Returns:
        A view in which every sample of the subset appears ``fraction * len(data) / size`` times,
        rounded up or down, and every other sample once at most.

    Raises:
        ConfigError: if the subset is larger than the part it is to fill.

    >>> from snnsim.data import Arrays
    >>> data = Arrays(np.zeros((12, 3, 1)), np.arange(12))
    >>> view = repeated(data, 2, 0.5)
    >>> sorted(np.unique(view.indices, return_counts=True)[1].tolist())
    [1, 1, 1, 1, 1, 1, 3, 3]
    """
    check_size("size", size)
    check_number("fraction", fraction, 0, 1)
    check_number("epoch", epoch, 0)
    total = len(data)
    again = round(fraction * total)
    if size > again:
        raise ConfigError(
            f"size is {size} but only {again} of {total} samples are to be repeated ones; take a "
            "smaller subset or a larger fraction"
        )
    order = np.random.default_rng(check_seed(seed)).permutation(total)
    subset, others = order[:size], order[size:]
    return View(
        data, np.concatenate([_turn(others, total - again, epoch), _turn(subset, again, epoch)])
    )


def _turn(samples: np.ndarray, count: int, epoch: int) -> np.ndarray:
    """The next ``count`` of samples that are shown one after the other, again and again."""
    return samples[(epoch * count + np.arange(count)) % max(len(samples), 1)]
