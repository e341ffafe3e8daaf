"""Elastic weight consolidation: weights that mattered are held near their place.

    CE + (strength / 2) sum_k sum_i F_k,i (theta_i - theta_k,i)^2

with the diagonal of the Fisher information at the end of each past task ``k``. ``online``
keeps one sum, ``F <- decay F + F_k``, around the last weights. Source: Kirkpatrick et al. 2017
(arXiv:1612.00796), equation 3; Schwarz et al. 2018 (arXiv:1805.06370) for the online form.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from snnsim.continual.method import Remembering
from snnsim.data import Batch
from snnsim.errors import check_number
from snnsim.layer import evaluating
from snnsim.synapses.delayed import delayed_layers


class EWC(Remembering):
    """Elastic weight consolidation holds weights near values that mattered to past tasks.

    Args:
        strength: weight of the penalty, >= 0.
        online: whether there is one penalty for all past tasks, or one per task.
        decay: factor of the past's information at the end of a task in the online form, >= 0.
        samples: number of a task's samples from which the Fisher information is estimated; their
            labels are drawn from the network's own answers.
    """

    needs_scores = True

    def __init__(
        self,
        strength: float = 1000.0,
        online: bool = True,
        decay: float = 1.0,
        samples: int = 200,
    ):
        for name, value in (("strength", strength), ("decay", decay)):
            check_number(name, value, 0)
        check_number("samples", samples, 1)
        self.strength, self.online, self.decay, self.samples = strength, online, decay, samples
        self.kept = {}  # "<k>.fisher.<name>" and "<k>.value.<name>"

    def loss(
        self, ce: Tensor, batch: Batch, scores: Tensor | None, task: int, chosen: np.ndarray
    ) -> Tensor:
        return ce + self.strength / 2 * self.divergence()

    def divergence(self) -> Tensor | float:
        """Compute ``sum_k sum_i F_k,i (theta_i - theta_k,i)^2``."""
        named = dict(self.learner.named_parameters())
        total: Tensor | float = 0.0
        for key, fisher in self.kept.items():
            k, kind, name = key.split(".", 2)
            if kind == "fisher":
                distance = named[name] - self.kept[f"{k}.value.{name}"]
                total = total + (fisher * distance.square()).sum()
        return total

    def on_task_end(self, task: int) -> None:
        fisher = self.fisher(task)
        values = dict(self.learner.named_parameters())
        slot = 0 if self.online else task
        for name, information in fisher.items():
            before = self.kept.get(f"{slot}.fisher.{name}")
            if before is not None:
                information = self.decay * before + information
            self.kept[f"{slot}.fisher.{name}"] = information
            self.kept[f"{slot}.value.{name}"] = values[name].detach().clone()

    def fisher(self, task: int) -> dict[str, Tensor]:
        """Estimate the diagonal Fisher information: mean squared gradients of single samples."""
        data = self.learner.stream.tasks[task].train
        chosen = torch.randperm(len(data))[: self.samples].tolist()
        named = self.parameters(task)
        found = {name: torch.zeros_like(p) for name, p in named.items()}
        with evaluating(self.learner):
            for layer in delayed_layers(self.learner):
                layer.train()  # rounded delays would have no slope, and so no protection
            for number in chosen:
                batch = data.batch([number])
                scores = self.learner.scores(batch.x.to(self.device), task, batch.lengths)
                label = torch.multinomial(scores.detach().softmax(1), 1)[:, 0]
                loss = functional.cross_entropy(scores, label)
                gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
                for information, g in zip(found.values(), gradients, strict=True):
                    if g is not None:
                        information.add_(g.square(), alpha=1 / len(chosen))
        return found
