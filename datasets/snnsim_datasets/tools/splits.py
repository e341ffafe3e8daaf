"""Splits by speaker, so that no voice is on two sides, and by a hash of a sample's number."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from snnsim.errors import ConfigError, DataError, check_choice, check_number, check_seed

WAYS = ("auto", "speaker", "class")  # to divide samples
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


def divide(
    labels: np.ndarray,
    speakers: np.ndarray,
    given: Sequence[str],
    fraction: float = 0.2,
    seed: int = 0,
    by: str = "auto",
) -> np.ndarray:
    """Divide samples into training, validation and test, where that is not given.

    Unless ``by`` says otherwise, test and validation are whole speakers if all are known and enough
    of them are left for training (one); else they have equal fractions of every class.

    Args:
        labels: ``[n]``, the class of each sample.
        speakers: ``[n]``, the speaker of each sample; -1 where unknown.
        given: the part of each sample, ``"train"``, ``"validation"`` or ``"test"``; empty for all
            if it is not given, or for none. Where only a part of validation or test is missing, it
            is taken from training.
        fraction: about which fraction of the samples validation and test have each: of all for
            test, and of the rest for validation; above 0, at most 0.9.
        seed: of the choice.
        by: ``"speaker"`` for whole speakers, ``"class"`` for equal fractions of every class, or
            ``"auto"``.

    Returns:
        The part of each sample, ``[n]``.

    Raises:
        DataError: if only some samples have a part, none is for training, or a part has no sample.
        ConfigError: if there are too few speakers to divide by.

    >>> divide(np.array([0, 0, 0, 1, 1, 1]), np.full(6, -1), [""] * 6).tolist().count("test")
    2
    """
    parts = np.asarray(given, dtype="<U10")
    if (parts == "").any():
        if (parts != "").any():
            raise DataError(
                f"{int((parts == '').sum())} of {len(parts)} recordings belong to no split; give "
                "one to all, or to none"
            )
        parts[:] = "train"
    missing = [part for part in ("test", "validation") if part not in parts]
    check_choice("data.split_by", by, WAYS)
    whole = _by_speakers(by, speakers[parts == "train"], missing)
    for part in missing:
        check_number("data.held_out", fraction, above=0, most=0.9)
        mine = np.flatnonzero(parts == "train")
        if whole:
            chosen = np.isin(speakers[mine], held_out_speakers(speakers[mine], fraction, seed))
        else:
            chosen = held_out_of_classes(labels[mine], fraction, seed)
        parts[mine[chosen]] = part
    return parts


def check_trained(labels: np.ndarray, parts: np.ndarray, classes: Sequence[str]) -> None:
    """Raise :class:`DataError` unless every class has a sample in the part for training.

    >>> check_trained(np.array([0, 1]), np.array(["train", "train"]), ["no", "yes"])
    """
    trained = set(labels[parts == "train"].tolist())
    for number, name in enumerate(classes):
        if number not in trained:
            raise DataError(
                f"no recording of {name!r} is left for training; give another data.split_seed, or "
                "say which split each recording belongs to"
            )


def _by_speakers(by: str, speakers: np.ndarray, missing: Sequence[str]) -> bool:
    """Whether whole speakers are held out of those for training."""
    known = len(np.unique(speakers)) if (speakers >= 0).all() else 0
    if by == "speaker" and missing and known <= len(missing):
        raise ConfigError(
            f"data.split_by is 'speaker', but {known} speakers are known of those that are not "
            f"given a split, and {len(missing) + 1} or more are needed; say who speaks, or set it "
            "to 'class'"
        )
    return by != "class" and known > len(missing)


def held_out_of_classes(labels: np.ndarray, fraction: float, seed: int = 0) -> np.ndarray:
    """Choose about ``fraction`` of the samples of every class, at least one and never all.

    Args:
        labels: ``[n]``, the class of each sample.
        fraction: fraction of the samples to hold out, between 0 and 1.
        seed: seed of the choice.

    Returns:
        A mask ``[n]``, true for the chosen ones.

    >>> int(held_out_of_classes(np.array([0, 1, 0, 1, 1]), 0.5).sum())
    3
    """
    random = np.random.default_rng(check_seed(seed))
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        mine = random.permutation(np.flatnonzero(labels == label))
        if len(mine) < 2:
            raise DataError(
                f"class number {label} has {len(mine)} recording left, of which none can be held "
                "out; record more, or give the split of each"
            )
        count = min(max(round(fraction * len(mine)), 1), len(mine) - 1)
        chosen[mine[:count]] = True
    return chosen


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
