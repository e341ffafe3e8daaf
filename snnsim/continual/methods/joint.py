"""Joint training on all tasks so far; the upper bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from snnsim.continual.method import Method


class Joint(Method):
    """Each step is the mean of the cross-entropies of this task and of each earlier one."""

    needs_scores = True
    rehearses = True

    def loss(
        self, ce: Tensor, batch: Any, scores: Tensor | None, task: int, chosen: np.ndarray
    ) -> Tensor:
        past = [self._any(earlier, len(chosen)) for earlier in range(task)]
        scored = self.learner.scores_of(past, range(task), task)
        for each, found in zip(past, scored, strict=True):
            ce = ce + functional.cross_entropy(found, each.labels.to(ce.device))
        return ce / (task + 1)

    def _any(self, task: int, count: int) -> Any:
        data = self.learner.stream.tasks[task].train
        return data.batch(torch.randint(len(data), (count,)).numpy())

    def memory_bytes(self) -> int:
        """All samples of earlier tasks, a byte per value."""
        total = 0
        for task in self.learner.stream.tasks[:-1]:
            values = task.train.batch([0]).x[0].numel()
            total += int(task.train.lengths.sum()) * values
        return total
