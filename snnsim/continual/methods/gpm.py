"""Gradient projection memory: subspaces from the activity of some samples at a task's end.

As :mod:`snnsim.continual.methods.hlop`, but the subspace is found once, by a singular value
decomposition of the activity that ``samples`` samples of the finished task cause. Source: Saha,
Garg & Roy 2021 (ICLR, arXiv:2103.09762), algorithm 1.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from snnsim.continual.method import freeze_statistics
from snnsim.continual.methods.hlop import HLOP
from snnsim.errors import check_number
from snnsim.layer import start_training


class GPM(HLOP):
    """Gradient projection memory changes weights only outside the activity of past tasks.

    Args:
        fraction: fraction of the energy of a task's activity that may stay outside the subspace.
        samples: number of samples of the finished task from which the subspace is found.
    """

    former: ClassVar[dict[str, str]] = {"share": "fraction"}

    def __init__(self, fraction: float = 0.03, samples: int = 250):
        check_number("samples", samples, 1)
        super().__init__(solver="covariance", fraction=fraction)
        self.samples, self.learning_now = samples, False

    def learn(self, name: str, rows: Tensor, rest: Tensor | None) -> None:
        if self.learning_now:
            super().learn(name, rows, rest)

    def on_task_end(self, task: int) -> None:
        data = self.learner.stream.tasks[task].train
        chosen = torch.randperm(len(data))[: self.samples].numpy()
        start_training(self.learner)
        self.on_epoch_start(task)
        freeze_statistics(self, task + 1)  # activity as it is from now on
        self.learning_now = True
        try:
            for part in range(0, len(chosen), 50):
                batch = data.batch(chosen[part : part + 50])
                self.on_batch(batch, task)
                self.learner.scores(batch.x.to(self.device), task, batch.lengths)
        finally:
            self.learning_now = False
        super().on_task_end(task)
