"""I-LoRA: a fast and a slow low-rank adapter of every weight, and replay.

    W + (scale / rank) B A                          with the fast A, B in training
    slow <- keep slow + (1 - keep) fast             after every step; the slow ones in evaluation
    (CE + CE_replay) / 2 + strength |h - max(h, h_slow)|^2      on replayed samples

``h`` are the features before the head, pulled up where the slow adapter's are larger. The first
task trains the weights themselves, as the language model's pretraining does in the original.
Source: Ren et al. 2024 (arXiv:2402.18865), section 3; ``keep = min(1 - 1 / (step + 1), most)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snnsim.continual.learner import Learner
from snnsim.continual.methods.replay import Replay
from snnsim.errors import ConfigError
from snnsim.training.rules import connections


class LowRank(nn.Module):
    """``W + (scale / rank) B A``: the fast pair in training, the slow pair in evaluation."""

    slow_a: Tensor
    slow_b: Tensor

    def __init__(self, weight: Tensor, rank: int, scale: float):
        super().__init__()
        n_out, n_in = weight.flatten(1).shape
        rank = min(rank, n_out, n_in)
        self.factor = scale / rank
        self.a = nn.Parameter(weight.new_empty(rank, n_in).normal_(0, n_in**-0.5))
        self.b = nn.Parameter(weight.new_zeros(n_out, rank))
        self.register_buffer("slow_a", self.a.detach().clone())
        self.register_buffer("slow_b", self.b.detach().clone())

    def forward(self, weight: Tensor) -> Tensor:
        a, b = (self.a, self.b) if self.training else (self.slow_a, self.slow_b)
        return weight + self.factor * (b @ a).view_as(weight)

    @torch.no_grad()
    def follow(self, keep: float) -> None:
        """One step of the slow pair after the fast one."""
        self.slow_a.mul_(keep).add_(self.a, alpha=1 - keep)
        self.slow_b.mul_(keep).add_(self.b, alpha=1 - keep)


class ILoRA(Replay):
    """Interpolation-based low-rank adapters.

    Args:
        rank, scale: of the adapters.
        most: bound on what the slow pair keeps in a step.
        strength: of the pull towards the slow features.
        size, batch_size: of the replay buffer.
    """

    def __init__(
        self,
        rank: int = 8,
        scale: float = 8.0,
        most: float = 0.25,
        strength: float = 1.0,
        size: int = 500,
        batch_size: int = 64,
    ):
        super().__init__(size, batch_size)
        if rank < 1:
            raise ConfigError(f"rank is {rank} but must be 1 or more")
        self.rank, self.scale, self.most, self.strength = rank, scale, most, strength
        self.steps = 0

    def attach(self, learner: Learner, optimizer: str = "sgd") -> None:
        super().attach(learner, optimizer)
        self.adapters: list[LowRank] = []
        for name, connection in connections(learner).items():
            if name.startswith("heads.") and not learner.shares_head:
                continue
            adapter = LowRank(connection.weight.detach(), self.rank, self.scale)
            parametrize.register_parametrization(connection.inner, "weight", adapter)
            self.adapters.append(adapter)
        if not self.adapters:
            raise ConfigError("the network has no dense or convolutional connection to adapt")

    def trains(self, name: str, parameter: nn.Parameter, task: int) -> bool:
        adapter = ".parametrizations." in name and not name.endswith(".original")
        own_head = name.startswith("heads.") and not self.learner.shares_head
        return adapter if task > 0 and not own_head else own_head or not adapter

    def loss(
        self, ce: Tensor, batch: Any, scores: Tensor | None, task: int, chosen: np.ndarray
    ) -> Tensor:
        if task > 0:
            ce = (ce + self.replayed(task)) / 2 + self.strength * self._pull()
        self.buffer.add(task, chosen, batch.x, scores)
        return ce

    def _pull(self) -> Tensor | float:
        parts = []
        device = next(self.learner.parameters()).device
        for drawn in self.buffer.draw(self.batch_size):
            x = drawn.batch.x.to(device)
            lengths = self.learner.within(x, drawn.batch.lengths)
            fast = self.learner.readout(self.learner.body(x)[0], lengths)
            with torch.no_grad():
                self._use_slow(True)
                slow = self.learner.readout(self.learner.body(x)[0], lengths)
                self._use_slow(False)
            parts.append((fast - torch.maximum(fast.detach(), slow)).square().flatten())
        return torch.cat(parts).mean() if parts else 0.0

    def _use_slow(self, slow: bool) -> None:
        for adapter in self.adapters:
            adapter.train(not slow)

    def after_step(self, task: int) -> None:
        if task > 0:
            self.steps += 1
            for adapter in self.adapters:
                adapter.follow(min(1 - 1 / (self.steps + 1), self.most))

    def tensors(self) -> dict[str, Tensor]:
        return super().tensors() | {"steps": torch.tensor(self.steps)}

    def load(self, tensors: dict[str, Tensor]) -> None:
        super().load(tensors)
        self.steps = int(tensors["steps"])

    def memory_bytes(self) -> int:
        slow = sum(a.slow_a.numel() + a.slow_b.numel() for a in self.adapters)
        return super().memory_bytes() + 4 * slow
