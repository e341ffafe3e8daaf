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

    def loss(
        self, ce: Tensor, batch: Any, scores: Tensor | None, task: int, chosen: np.ndarray
    ) -> Tensor:
        for earlier in range(task):
            data = self.learner.stream.tasks[earlier].train
            numbers = torch.randint(len(data), (len(chosen),)).numpy()
            past = data.batch(numbers)
            among = task if self.learner.shares_head else earlier
            found = self.learner.scores(past.x.to(ce.device), among, past.lengths)
            ce = ce + functional.cross_entropy(found, past.labels.to(ce.device))
        return ce / (task + 1)

    def memory_bytes(self) -> int:
        """All samples of earlier tasks, a byte per value."""
        total = 0
        for task in self.learner.stream.tasks[:-1]:
            values = task.train.batch([0]).x[0].numel()
            total += int(task.train.lengths.sum()) * values
        return total
