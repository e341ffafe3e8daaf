"""Experience replay: samples of the past are trained along (Chaudhry et al. 2019)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from snnsim.continual.buffer import Buffer, Drawn
from snnsim.continual.learner import Learner
from snnsim.continual.method import Method
from snnsim.data import Batch
from snnsim.errors import check_number


class Replay(Method):
    """Experience replay adds the cross-entropy of a batch from a reservoir of past samples.

    Args:
        size: number of samples held.
        batch_size: number of samples replayed per step.
    """

    needs_scores = True
    rehearses = True
    keeps_scores = False

    def __init__(self, size: int = 500, batch_size: int = 64):
        check_number("size", size, 1)
        check_number("batch_size", batch_size, 1)
        self.size, self.batch_size = size, batch_size

    def on_attach(self, learner: Learner, optimizer: str) -> None:
        self.buffer = Buffer(self.size, learner, self.keeps_scores)

    def loss(
        self, ce: Tensor, batch: Batch, scores: Tensor | None, task: int, chosen: np.ndarray
    ) -> Tensor:
        ce = ce + self.replayed(task)
        self.buffer.add(task, chosen, batch.x, scores)
        return ce

    def replayed(self, task: int) -> Tensor | float:
        """Return the mean cross-entropy of samples drawn from the buffer; 0 while it is empty."""
        drawn = self.drawn(task)
        if not drawn:
            return 0.0
        total = [
            functional.cross_entropy(found, past.batch.target.to(found.device), reduction="sum")
            for past, found in drawn
        ]
        return torch.stack(total).sum() / sum(len(past.places) for past, _ in drawn)

    def drawn(self, present: int) -> list[tuple[Drawn, Tensor]]:
        """Draw past samples; return them with their scores among the present task's classes."""
        drawn = self.buffer.draw(self.batch_size)
        batches, tasks = [past.batch for past in drawn], [past.task for past in drawn]
        scores = self.learner.scores_of(batches, tasks, present)
        return list(zip(drawn, scores, strict=True))

    def tensors(self) -> dict[str, Tensor]:
        return self.buffer.tensors()

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.buffer.load(tensors)

    def memory_bytes(self) -> int:
        return self.buffer.memory_bytes()
