"""A memory of past samples."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnsim.continual.learner import Learner
from snnsim.data import Batch, Sequences, describe
from snnsim.errors import ConfigError
from snnsim.training import distributed


class Drawn(NamedTuple):
    """Holds samples of one task, and the places where they stand in the buffer."""

    task: int
    places: Tensor
    batch: Batch


class Buffer:
    """A reservoir holds every sample seen so far with equal probability.

    It keeps the samples' numbers and reads the samples again from their data set, but counts
    as its memory what storing them would take, one byte per value.

    Args:
        size: the number of samples it holds, at least 1.
        learner: the learner whose stream the samples come from.
        scores: whether the scores that a sample had when it was taken in are kept with it.

    Source: Vitter 1985, algorithm R.
    """

    def __init__(self, size: int, learner: Learner, scores: bool = False):
        if size < 1:
            raise ConfigError(f"a buffer of {size} samples cannot hold any; give 1 or more")
        if distributed.size() > 1:
            raise ConfigError(
                f"a buffer is not shared between the {distributed.size()} processes of this run; "
                "use one process, or a method without a buffer"
            )
        self.size, self.learner, self.seen = size, learner, 0
        self.tasks = torch.zeros(0, dtype=torch.int64)
        self.numbers = torch.zeros(0, dtype=torch.int64)
        width = max(task.classes for task in learner.stream.tasks)
        self.scores = torch.zeros(0, width) if scores else None
        self.bytes_per_sample = 0

    def __len__(self) -> int:
        return len(self.tasks)

    def add(self, task: int, chosen: np.ndarray, x: Tensor, scores: Tensor | None = None) -> None:
        """Offer a batch ``x [T, B, ...]`` of training samples ``chosen`` of a task."""
        self.bytes_per_sample = max(self.bytes_per_sample, x[:, 0].numel())
        for i, number in enumerate(chosen.tolist()):
            place = len(self)
            if place < self.size:
                self._append()
            else:
                place = int(torch.randint(self.seen + 1, ()))
            self.seen += 1
            if place >= self.size:
                continue
            self.tasks[place], self.numbers[place] = task, number
            if self.scores is not None and scores is not None:
                self.scores[place] = 0
                self.scores[place, : scores.shape[1]] = scores[i].detach().cpu()

    def _append(self) -> None:
        self.tasks = torch.cat([self.tasks, self.tasks.new_zeros(1)])
        self.numbers = torch.cat([self.numbers, self.numbers.new_zeros(1)])
        if self.scores is not None:
            row = self.scores.new_zeros(1, self.scores.shape[1])
            self.scores = torch.cat([self.scores, row])

    def draw(self, count: int) -> list[Drawn]:
        """Return up to ``count`` random samples, task by task; none while the buffer is empty."""
        if not len(self):
            return []
        places = torch.randperm(len(self))[:count]
        return [
            self._of(task, places[self.tasks[places] == task])
            for task in self.tasks[places].unique().tolist()
        ]

    def _of(self, task: int, places: Tensor) -> Drawn:
        data = self.learner.stream.tasks[task].train
        return Drawn(task, places, data.batch(self.numbers[places].numpy()))

    def tensors(self) -> dict[str, Tensor]:
        """Return what the buffer holds, to be stored."""
        found = {"tasks": self.tasks, "numbers": self.numbers, "seen": torch.tensor(self.seen)}
        found["bytes"] = torch.tensor(self.bytes_per_sample)
        return found if self.scores is None else found | {"scores": self.scores}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over what :meth:`tensors` has returned."""
        self.tasks, self.numbers = tensors["tasks"].clone(), tensors["numbers"].clone()
        self.seen, self.bytes_per_sample = int(tensors["seen"]), int(tensors["bytes"])
        self.scores = tensors["scores"].clone() if "scores" in tensors else None

    def memory_bytes(self) -> int:
        """Return the memory of the samples, one byte per value, and of the scores."""
        scores = 0 if self.scores is None else self.scores.numel() * 4
        return len(self) * self.bytes_per_sample + scores


def first_of_each_class(data: Sequences, count: int, order: np.ndarray) -> np.ndarray:
    """Return which samples, ascending, are the first ``count`` of their class in an order."""
    labels = np.asarray(describe(data).labels)[order]
    chosen = [order[labels == c][:count] for c in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


def stored_bytes(data: Sequences, chosen: Any = slice(None)) -> int:
    """Return the memory that samples of a data set would take if stored: one byte per value."""
    return int(data.lengths[chosen].sum()) * data.batch([0]).x[0].numel()
