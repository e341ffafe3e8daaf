"""Learning without forgetting: the network before the task teaches its old answers.

    CE + strength * temperature^2 KL(softmax(h_old / temperature) | softmax(h / temperature))

on the data of the new task. Source: Li & Hoiem 2016 (arXiv:1606.09282), with the distillation
of Hinton et al. 2015 (arXiv:1503.02531).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from snnsim.continual.method import Remembering
from snnsim.data import Batch
from snnsim.errors import check_number
from snnsim.layer import evaluating


class LwF(Remembering):
    """Learning without forgetting keeps the answers that the network gave before the task.

    Args:
        strength: weight of the distillation (a mean over past heads), >= 0.
        temperature: temperature of both softmaxes, > 0.
    """

    needs_scores = True

    def __init__(self, strength: float = 1.0, temperature: float = 2.0):
        check_number("strength", strength, 0)
        check_number("temperature", temperature, above=0)
        self.strength, self.temperature = strength, temperature
        self.kept = {}  # the learner before the task

    def on_task_start(self, task: int) -> None:
        if task > 0:
            self.kept = {k: v.detach().clone() for k, v in self.learner.state_dict().items()}

    def loss(
        self, ce: Tensor, batch: Batch, scores: Tensor | None, task: int, chosen: np.ndarray
    ) -> Tensor:
        distances = self.distances(batch, task)
        for distance in distances:
            ce = ce + self.strength * self.temperature**2 * distance / len(distances)
        return ce

    def divergence(self, batch: Batch, task: int) -> Tensor | float:
        """Compute ``temperature^2 KL``, the mean over past heads; 0 in the first task."""
        distances = self.distances(batch, task)
        return self.temperature**2 * torch.stack(distances).mean() if distances else 0.0

    def distances(self, batch: Batch, task: int) -> list[Tensor]:
        """Return the mean divergence of each past head's answers from those before the task."""
        pasts = [task - 1] if self.learner.shares_head else list(range(task))
        return [self._distance(batch, past) for past in pasts] if task > 0 else []

    def _distance(self, batch: Batch, past: int) -> Tensor:
        with torch.no_grad(), evaluating(self.learner):
            then = functional_call(self.learner, self.kept, (batch.x, past, batch.lengths))
        now = self.learner.scores(batch.x, past, batch.lengths)
        distance = functional.kl_div(
            (now / self.temperature).log_softmax(1),
            (then / self.temperature).log_softmax(1),
            reduction="sum",
            log_target=True,
        )
        return distance / max(len(now), 1)  # a process may have no sample
