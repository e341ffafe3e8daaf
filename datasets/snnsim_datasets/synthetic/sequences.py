"""Dense sequences in memory, with the interface of the recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from snnsim.errors import ConfigError
from snnsim_datasets.tools.events import Batch


@dataclass(frozen=True)
class Sequences:
    """Sequences of various lengths.

    Attributes:
        x: ``[n, T, C]`` float32, 0 beyond the end of a sequence.
        labels: ``[n]`` int64.
        lengths: ``[n]`` int64.
        classes: names of the classes.
        dt: step in ms.
    """

    x: np.ndarray
    labels: np.ndarray
    lengths: np.ndarray
    classes: tuple[str, ...]
    dt: float = 1.0

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def channels(self) -> int:
        """Values per step."""
        return int(self.x.shape[2])

    @property
    def speakers(self) -> np.ndarray:
        """Unknown, -1."""
        return np.full(len(self), -1, dtype=np.int64)

    def batch(self, indices: Sequence[int] | np.ndarray, steps: int | None = None) -> Batch:
        """Some sequences, zero-padded to the longest of them (or to ``steps``)."""
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) == 0:
            raise ConfigError("a batch needs at least one sequence, but no indices were given")
        frames = int(self.lengths[indices].max()) if steps is None else steps
        rows = self.x[indices, :frames]
        if frames > rows.shape[1]:
            rows = np.pad(rows, ((0, 0), (0, frames - rows.shape[1]), (0, 0)))
        x = torch.from_numpy(np.ascontiguousarray(rows.transpose(1, 0, 2)))
        lengths = torch.from_numpy(np.minimum(self.lengths[indices], frames))
        return Batch(x, torch.from_numpy(self.labels[indices]), lengths)
