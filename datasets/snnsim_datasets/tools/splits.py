"""Splits by speaker, so that no voice is on two sides, and by a hash of a sample's number."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from snnsim.errors import ConfigError, check_choice, check_seed

Data = TypeVar("Data", bound=Any)


def held_out_speakers(speakers: np.ndarray, fraction: float = 0.2, seed: int = 0) -> np.ndarray:
    """Choose speakers that together own about ``fraction`` of the samples.

    Speakers are taken in an order shuffled by ``seed`` until the fraction is reached, at least
    one and never all.

    Args:
        speakers: ``[n]``, the number of the speaker of each sample.
        fraction: fraction of the samples to hold out, between 0 and 1.
        seed: seed of the order.

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


def by_speaker(speakers: np.ndarray) -> np.ndarray:
    """Return the mask ``[n]`` of the samples whose speakers are held out for validation."""
    return np.isin(speakers, held_out_speakers(speakers))


def hash_fraction(name: str, salt: str) -> float:
    """Return a number in [0, 1) that depends only on ``name`` and ``salt``.

    >>> 0 <= hash_fraction("a60a09cf", "x") < 1
    True
    """
    return int(hashlib.sha1(f"{salt}:{name}".encode()).hexdigest()[:12], 16) / 16**12


def held_out_numbers(count: int, salt: str, fraction: float = 0.1) -> np.ndarray:
    """Choose about ``fraction`` of ``count`` samples by a hash of their numbers.

    Returns:
        A mask ``[count]``, true for the chosen ones.

    >>> int(held_out_numbers(1000, "x").sum())
    106
    """
    return np.asarray([hash_fraction(str(i), salt) < fraction for i in range(count)], dtype=bool)


def part_of(data: Data, split: str, held_out: Callable[[], np.ndarray]) -> Data:
    """Return the part of a training set that ``split`` names; the whole of any other part.

    Args:
        data: what has ``subset``.
        split: ``"validation"``, ``"train"`` for the rest, or the name of a whole part.
        held_out: function that returns the mask of the validation samples, if they are asked for.
    """
    if split not in ("train", "validation"):
        return data
    held = held_out()
    return data.subset(held if split == "validation" else ~held)


def check_split(data_set: str, split: str, splits: tuple[str, ...]) -> None:
    """Raise :class:`ConfigError` for a split that does not exist."""
    check_choice(f"split of {data_set}", split, splits)
