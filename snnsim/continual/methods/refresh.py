"""Refresh learning, on top of any method: unlearn a little of each batch before learning it.

Before a step, the weights go up the loss of the batch, away from what they know best:

    d = 0.01 g,      d scaled, tensor by tensor, to the norm of theta
    theta <- theta + size (d + noise n) / (1 + damping F)

with Gaussian ``n`` and the diagonal Fisher information ``F`` of finished tasks. Where the method
within protects weights (HLOP, GPM, OWM), only what it allows of that step is taken. Source: Wang
et al. 2024 (arXiv:2403.13249), section 4; constants of its experiments.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from snnsim import checkpoint
from snnsim.continual import methods
from snnsim.continual.learner import Learner
from snnsim.continual.method import Method, keeping_buffers
from snnsim.continual.methods.ewc import EWC
from snnsim.continual.wrapper import Wrapper
from snnsim.data import Batch
from snnsim.errors import check_number
from snnsim.training import distributed


class Refresh(Wrapper):
    """Refresh learning unlearns a little of each batch before another method learns it.

    Args:
        on: name of the method it is put on, with that method's own defaults; DER++ as published.
        inner: the method itself, instead of its name.
        size: relative change of each tensor, >= 0.
        noise: standard deviation of the noise added to every entry of ``d``, >= 0.
        damping: weight of the Fisher information, >= 0.
        decay: factor of the past's Fisher information at the end of a task, >= 0.
        samples: number of samples from which the Fisher information is estimated.
    """

    needs_scores = True

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
        for name, value in (("size", size), ("noise", noise), ("damping", damping)):
            check_number(name, value, 0)
        self.size, self.noise, self.damping = size, noise, damping
        self.information = EWC(decay=decay, samples=samples)

    def on_attach(self, learner: Learner, optimizer: str) -> None:
        super().on_attach(learner, optimizer)
        self.information.attach(learner, optimizer)

    def detach(self) -> None:
        self.information.detach()
        super().detach()

    def on_batch(self, batch: Batch, task: int) -> None:
        self.inner.on_batch(batch, task)
        named = self.parameters(task)
        gradients = self._gradients(batch, task, list(named.values()))
        with torch.no_grad():
            for (name, parameter), g in zip(named.items(), gradients, strict=True):
                if g is not None and g.norm() > 0:
                    away = self._direction(name, parameter, g)
                    parameter.add_(self.allowed(parameter, away), alpha=self.size)

    def _gradients(
        self, batch: Batch, task: int, parameters: list[nn.Parameter]
    ) -> list[Tensor | None]:
        """Of the mean cross-entropy of the joint batch, which leaves no trace in the network."""
        count = distributed.sum_over_processes(torch.tensor(float(len(batch.target))), self.device)
        with self.unobserved(), keeping_buffers(self.learner):
            scores = self.learner.scores(batch.x, task, batch.lengths)
            loss = functional.cross_entropy(scores, batch.target, reduction="sum") / float(count)
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
        return [g if g is None else distributed.sum_over_processes(g, self.device) for g in found]

    def _direction(self, name: str, parameter: Tensor, g: Tensor) -> Tensor:
        noise = distributed.of_first(torch.randn_like(g), self.device)
        away = g * (parameter.norm() / g.norm()) + self.noise * noise
        fisher = self.information.kept.get(f"0.fisher.{name}")
        return away if fisher is None else away / (1 + self.damping * fisher)

    def on_task_end(self, task: int) -> None:
        super().on_task_end(task)
        self.information.on_task_end(task)

    def tensors(self) -> dict[str, Tensor]:
        return super().tensors() | checkpoint.prefixed("fisher", self.information.tensors())

    def load(self, tensors: dict[str, Tensor]) -> None:
        super().load(tensors)
        self.information.load(checkpoint.without_prefix("fisher", tensors))

    def memory_bytes(self) -> int:
        return super().memory_bytes() + self.information.memory_bytes() // 2
