"""Synaptic intelligence: importance is the loss that a weight's path has saved.

    omega_i <- omega_i - g_i dtheta_i                             at every step
    Omega_i <- Omega_i + omega_i / (Dtheta_i^2 + damping)         at the end of a task
    CE + strength sum_i Omega_i (theta_i - theta_i*)^2

``g`` is the gradient that training takes, the penalty's included. Source: Zenke, Poole &
Ganguli 2017 (arXiv:1703.04200), equations 3 to 5.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from snnsim.continual.method import Remembering
from snnsim.data import Batch
from snnsim.errors import check_number


class SI(Remembering):
    """Synaptic intelligence holds weights by the loss that their changes have saved.

    Args:
        strength: weight of the penalty, >= 0.
        damping: bound, > 0, that keeps importance finite where a weight has hardly moved.
    """

    def __init__(self, strength: float = 1.0, damping: float = 0.1):
        check_number("strength", strength, 0)
        check_number("damping", damping, above=0)
        self.strength, self.damping = strength, damping
        self.kept = {}  # "path.", "start." and "importance.<name>"

    def on_task_start(self, task: int) -> None:
        for name, parameter in self.parameters(task).items():
            self.kept[f"path.{name}"] = torch.zeros_like(parameter)
            self.kept[f"start.{name}"] = parameter.detach().clone()
            self.kept.setdefault(f"importance.{name}", torch.zeros_like(parameter))

    def loss(
        self, ce: Tensor, batch: Batch, scores: Tensor | None, task: int, chosen: np.ndarray
    ) -> Tensor:
        if task == 0:
            return ce
        for name, parameter in self.parameters(task).items():
            moved = parameter - self.kept[f"start.{name}"]
            ce = ce + self.strength * (self.kept[f"importance.{name}"] * moved.square()).sum()
        return ce

    def on_gradients(self, task: int) -> None:
        self.before = {
            name: (p.detach().clone(), p.grad.clone())
            for name, p in self.parameters(task).items()
            if p.grad is not None
        }

    def on_step_end(self, task: int) -> None:
        named = dict(self.learner.named_parameters())
        for name, (value, gradient) in self.before.items():
            self.kept[f"path.{name}"] -= gradient * (named[name].detach() - value)

    def on_task_end(self, task: int) -> None:
        for name, parameter in self.parameters(task).items():
            moved = parameter.detach() - self.kept[f"start.{name}"]
            gained = self.kept[f"path.{name}"] / (moved.square() + self.damping)
            self.kept[f"importance.{name}"] += gained.clamp(min=0)
