"""Sums of spoken digits: two recordings one after the other, and the last digit of their sum.

A chain of operations on what is heard, after the sums of arXiv:2503.01906 (2025).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from snnsim.data.protocol import Batch, DataSet, chosen, describe
from snnsim.errors import ConfigError, DataError, check_seed, check_size
from snnsim_datasets import spoken_digits

DIGITS = 10


@dataclass(frozen=True)
class SpokenSums(DataSet):
    """Sums are pairs of recordings of a data set whose first ten classes are the digits 0 to 9.

    Attributes:
        data: the data set.
        pairs: number of pairs.
        held_out: whether the pairs of digits are those that training does not see: 40 of the
            100, the same for every seed.
        gap: number of silent steps between the two.
        seed: seed of the choice of digits and recordings.

    >>> from snnsim_datasets import load
    >>> sums = SpokenSums(load("spoken-digits", "validation"), 8)
    >>> first, second = sums.digits[0]
    >>> int(sums.batch([0]).labels[0]) == (first + second) % 10
    True
    """

    data: Any
    pairs: int
    held_out: bool = False
    gap: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_size("pairs", self.pairs)
        check_size("gap", self.gap, 0)
        classes = describe(self.data).classes
        if len(classes) < DIGITS:
            raise ConfigError(
                f"the data have {len(classes)} classes but {DIGITS} digits are needed; give data "
                "whose first ten classes are the digits 0 to 9"
            )

    @cached_property
    def digits(self) -> list[tuple[int, int]]:
        """Return the two digits of every pair."""
        grid = np.random.default_rng(7).permutation(DIGITS**2)
        allowed = grid[60:] if self.held_out else grid[:60]
        chosen = np.random.default_rng([self.seed, self.pairs]).choice(allowed, self.pairs)
        return [(int(c) // DIGITS, int(c) % DIGITS) for c in chosen]

    @cached_property
    def places(self) -> np.ndarray:
        """Return the numbers of the two recordings of every pair, ``[pairs, 2]``."""
        random = np.random.default_rng([self.seed, self.pairs, 1])
        labels = np.asarray(describe(self.data).labels)
        of = [np.flatnonzero(labels == digit) for digit in range(DIGITS)]
        absent = {digit for pair in self.digits for digit in pair if not len(of[digit])}
        if absent:
            raise DataError(
                f"the data have no recording of {', '.join(map(str, sorted(absent)))}; give data "
                "with labels that have every digit"
            )
        return np.asarray([[random.choice(of[d]) for d in pair] for pair in self.digits])

    def __len__(self) -> int:
        return self.pairs

    @property
    def channels(self) -> int:
        """Return the number of channels of the data."""
        return describe(self.data).channels

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the last digits of sums."""
        return tuple(map(str, range(DIGITS)))

    @property
    def dt(self) -> float:
        """Return the length of a step in ms."""
        return float(self.data.dt)

    @property
    def checksums(self) -> dict[str, str]:
        """Return the checksums of the files of the recordings, by name."""
        return dict(describe(self.data).checksums)

    @cached_property
    def labels(self) -> np.ndarray:
        """Return the last digit of the sum of every pair, ``[pairs]``."""
        return np.asarray([sum(pair) % DIGITS for pair in self.digits], dtype=np.int64)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Return the number of steps of every pair."""
        each = np.asarray(self.data.lengths)[self.places]
        return np.asarray(each.sum(1) + self.gap, dtype=np.int64)

    def batch(self, indices: Sequence[int] | np.ndarray, steps: int | None = None) -> Batch:
        """Return some pairs, padded with zeros to the longest of them (or to ``steps``)."""
        indices = chosen(indices, len(self))
        lengths = self.lengths[indices]
        frames = int(lengths.max()) if steps is None else steps
        x = torch.zeros(frames, len(indices), self.channels)
        for b, (one, two) in enumerate(self.places[indices]):
            heard = [self.data.batch([place]).x[:, 0] for place in (one, two)]
            whole = torch.cat([heard[0], heard[0].new_zeros(self.gap, self.channels), heard[1]])
            x[: len(whole), b] = whole[: len(x)]
        ends = torch.from_numpy(np.minimum(lengths, len(x)))
        return Batch(x, torch.from_numpy(self.labels[indices]), ends)


def spoken_sums(
    samples: int, *, part: str = "train", held_out: bool = False, gap: int = 5, seed: int = 0
) -> SpokenSums:
    """Make sums of the spoken digits that come with the package.

    Args:
        samples: number of pairs.
        part: the part of the spoken digits, ``"train"``, ``"validation"`` or ``"test"``.
        held_out: whether validation and test have the pairs of digits that training never has.
        gap: number of silent steps between two recordings.
        seed: seed of the choice of digits and recordings.
    """
    data = spoken_digits.load(part)
    return SpokenSums(data, samples, held_out and part != "train", gap, seed)
