"""Refresh learning, on top of any method: unlearn a little of each batch before learning it.

Before a step, the weights go up the loss of the batch, away from what they know best:

    d = theta - (theta - 0.01 (-g)),      d scaled, tensor by tensor, to the norm of theta
    theta <- theta + size (d + noise n) / (1 + damping F)

with Gaussian ``n`` and the diagonal Fisher information ``F`` of finished tasks. Source: Wang
et al. 2024 (arXiv:2403.13249), section 4; constants of its experiments.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from snnsim.continual import methods
from snnsim.continual.learner import Learner
from snnsim.continual.method import Method
from snnsim.continual.methods.ewc import EWC
from snnsim.continual.wrapper import Wrapper, of_prefix


class Refresh(Wrapper):
    """Refresh learning.

    Args:
        on: name of the method it is put on, with that method's own defaults; DER++ as published.
        inner: the method itself instead.
        size: relative change of each tensor.
        noise: of the step, in units of the tensor's norm.
        damping: weight of the Fisher information.
        decay: of the past's Fisher information.
        samples: for the Fisher information.
    """

    def __init__(
        self,
        on: str = "der",
        inner: Method | None = None,
        size: float = 1e-5,
        noise: float = 1e-3,
        damping: float = 1e-3,
        decay: float = 1e-5,
        samples: int = 200,
    ):
        super().__init__(methods.get(on)() if inner is None else inner)
        self.size, self.noise, self.damping = size, noise, damping
        self.information = EWC(decay=decay, samples=samples)

    def attach(self, learner: Learner, optimizer: str = "sgd") -> None:
        super().attach(learner, optimizer)
        self.information.attach(learner, optimizer)

    def before_step(self, batch: Any, task: int) -> None:
        self.inner.before_step(batch, task)
        named = self.parameters(task)
        self.learner.observed = False
        scores = self.learner.scores(batch.x, task, batch.lengths)
        self.learner.observed = True
        loss = functional.cross_entropy(scores, batch.labels)
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        with torch.no_grad():
            for (name, parameter), g in zip(named.items(), gradients, strict=True):
                if g is not None and g.norm() > 0:
                    parameter.add_(self._direction(name, parameter, g), alpha=self.size)

    def _direction(self, name: str, parameter: Tensor, g: Tensor) -> Tensor:
        away = g * (parameter.norm() / g.norm()) + self.noise * torch.randn_like(g)
        fisher = self.information.kept.get(f"0.fisher.{name}")
        return away if fisher is None else away / (1 + self.damping * fisher)

    def end_task(self, task: int) -> None:
        super().end_task(task)
        self.information.end_task(task)

    def tensors(self) -> dict[str, Tensor]:
        fisher = {f"fisher.{k}": v for k, v in self.information.tensors().items()}
        return super().tensors() | fisher

    def load(self, tensors: dict[str, Tensor]) -> None:
        super().load(tensors)
        self.information.load(of_prefix(tensors, "fisher."))

    def memory_bytes(self) -> int:
        return super().memory_bytes() + self.information.memory_bytes() // 2
