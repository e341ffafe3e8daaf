"""DER++: replay of samples and of what the network then said of them.

    CE + alpha |h - h_then|^2 + beta CE_replay

with independent draws for the two. Source: Buzzega et al. 2020 (arXiv:2004.07211), equation 6.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from snnsim.continual.methods.replay import Replay
from snnsim.data import Batch
from snnsim.errors import check_number


class DER(Replay):
    """Dark experience replay also trains the scores that past samples had, besides their labels.

    Args:
        size, batch_size: as in :class:`Replay`.
        alpha: weight of the squared distance of the scores (a mean over their entries), >= 0.
        beta: weight of the replayed cross-entropy, >= 0.
    """

    keeps_scores = True

    def __init__(
        self, size: int = 500, batch_size: int = 64, alpha: float = 0.5, beta: float = 0.5
    ):
        super().__init__(size, batch_size)
        check_number("alpha", alpha, 0)
        check_number("beta", beta, 0)
        self.alpha, self.beta = alpha, beta

    def loss(
        self, ce: Tensor, batch: Batch, scores: Tensor | None, task: int, chosen: np.ndarray
    ) -> Tensor:
        ce = ce + self.alpha * self.distance(task) + self.beta * self.replayed(task)
        self.buffer.add(task, chosen, batch.x, scores)
        return ce

    def distance(self, task: int) -> Tensor | float:
        """Return the mean squared distance of the scores to those kept."""
        parts, kept = [], self.buffer.scores
        assert kept is not None
        for past, found in self.drawn(task):
            classes = self.learner.classes(past.task)  # those there were at the time
            then = kept[past.places, :classes].to(found.device)
            parts.append((found[:, :classes] - then).square().flatten())
        return torch.cat(parts).mean() if parts else 0.0
