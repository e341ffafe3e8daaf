"""Splits by speaker, so that no voice is on two sides."""

from __future__ import annotations

import hashlib

import numpy as np

from snnsim.errors import ConfigError, check_choice, check_seed


def held_out_speakers(speakers: np.ndarray, fraction: float = 0.2, seed: int = 0) -> np.ndarray:
    """Choose speakers that together own about ``fraction`` of the samples.

    Speakers are taken in an order shuffled by ``seed`` until the fraction is reached, at least
    one and never all.

    Returns:
        The chosen speaker numbers, ascending.

    >>> held_out_speakers(np.array([0, 0, 1, 1, 2, 2, 3, 3]), 0.25).tolist()
    [2]
    """
    names, sizes = np.unique(speakers, return_counts=True)
    if len(names) < 2:
        raise ConfigError(
            f"a split by speaker needs at least 2 speakers, but the data have {len(names)}"
        )
    order = np.random.default_rng(check_seed(seed)).permutation(len(names))
    reached = np.cumsum(sizes[order]) / sizes.sum()
    number = min(int(np.searchsorted(reached, fraction - 1e-9)) + 1, len(names) - 1)
    return np.sort(names[order[:number]])


def hash_fraction(name: str, salt: str) -> float:
    """A number in [0, 1) that depends only on ``name`` and ``salt``.

    >>> 0 <= hash_fraction("a60a09cf", "x") < 1
    True
    """
    return int(hashlib.sha1(f"{salt}:{name}".encode()).hexdigest()[:12], 16) / 16**12


def check_split(data_set: str, split: str, splits: tuple[str, ...]) -> None:
    """Raise :class:`ConfigError` for a split that does not exist."""
    check_choice(f"split of {data_set}", split, splits)
