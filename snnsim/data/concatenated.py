"""Several data sets as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from snnsim.data.protocol import About, Batch, DataSet, Sequences, chosen, describe, fetch, resized
from snnsim.errors import ConfigError


@dataclass(frozen=True)
class Concatenated(DataSet):
    """Shows the samples of several data sets, one set after the other, as a data set.

    Attributes:
        parts: one or more data sets with the same inputs and classes, and one target per sample.

    >>> from snnsim.data import Arrays
    >>> one, two = Arrays(np.ones((2, 6, 3)), [0, 1]), Arrays(np.zeros((1, 4, 3)), [1])
    >>> both = Concatenated((one, two))
    >>> both.lengths, both.batch([2, 0]).target
    (array([6, 6, 4]), tensor([1, 0]))
    """

    parts: tuple[Sequences, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ConfigError("there is no data set to concatenate; give one or more")

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def lengths(self) -> np.ndarray:
        """Return the number of steps of each sample."""
        return np.concatenate([np.asarray(part.lengths) for part in self.parts])

    @property
    def labels(self) -> np.ndarray | None:
        """Return the class of each sample, or ``None`` where a part does not say it."""
        return self._joined("labels")

    @property
    def about(self) -> About:
        """Return what the first part says of itself, with labels and speakers of all parts."""
        told = [describe(part) for part in self.parts]
        checksums = {name: value for each in told for name, value in each.checksums.items()}
        return replace(
            told[0],
            labels=self._joined("labels"),
            speakers=self._joined("speakers"),
            checksums=checksums,
        )

    def _joined(self, what: str) -> np.ndarray | None:
        values: list[Any] = [getattr(describe(part), what) for part in self.parts]
        if any(value is None for value in values):
            return None
        return np.concatenate([np.asarray(value) for value in values])

    def batch(self, indices: Sequence[int] | np.ndarray, steps: int | None = None) -> Batch:
        """Return samples by their number, padded to the longest or to ``steps``."""
        rows = chosen(indices, len(self))
        ends = np.cumsum([0, *(len(part) for part in self.parts)])
        found, order = [], []
        for part, (start, end) in zip(self.parts, pairwise(ends), strict=True):
            places = np.flatnonzero((start <= rows) & (rows < end))
            if places.size:
                found.append(fetch(part, rows[places] - start, steps))
                order.append(places)
        longest = max(len(batch.x) for batch in found)
        back = torch.from_numpy(np.argsort(np.concatenate(order)))
        x = torch.cat([resized(batch.x, longest) for batch in found], 1)
        target = torch.cat([batch.target for batch in found])
        lengths = torch.cat([batch.lengths for batch in found])
        return Batch(x[:, back], target[back], lengths[back])
