"""Joint training on all tasks so far; the upper bound."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from snnsim.continual.buffer import stored_bytes
from snnsim.continual.method import Method
from snnsim.data import Batch
from snnsim.data.protocol import shared
from snnsim.training import distributed


class Joint(Method):
    """Joint training takes the mean of the cross-entropies of this and each earlier task."""

    needs_scores = True
    rehearses = True

    def loss(
        self, ce: Tensor, batch: Batch, scores: Tensor | None, task: int, chosen: np.ndarray
    ) -> Tensor:
        joint = torch.tensor(float(len(chosen)))  # as many as there are in all processes
        count = int(distributed.sum_over_processes(joint, self.device)) if task else 0
        past = [self._any(earlier, count) for earlier in range(task)]
        scored = self.learner.scores_of(past, range(task), task)
        for each, found in zip(past, scored, strict=True):
            total = functional.cross_entropy(found, each.target.to(ce.device), reduction="sum")
            ce = ce + total / max(len(each.target), 1)
        return ce / (task + 1)

    def _any(self, task: int, count: int) -> Batch:
        """This process's share of samples that all processes draw alike."""
        data = self.learner.stream.tasks[task].train
        drawn = torch.randint(len(data), (count,)).numpy()
        return shared(data, distributed.share(drawn), drawn)

    def memory_bytes(self) -> int:
        """Count all samples of earlier tasks, one byte per value."""
        return sum(stored_bytes(task.train) for task in self.learner.stream.tasks[:-1])
