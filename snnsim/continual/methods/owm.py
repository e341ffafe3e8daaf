"""Orthogonal weight modification: a projector per connection, by recursive least squares.

    P <- P - (P x)(P x)^T / (alpha + x^T P x)        for the mean activity x of each batch

and weights change by ``dW P`` with the projector of the finished tasks. Source: Zeng, Chen, Cui
& Yu 2019 (arXiv:1810.01256), equation 2.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from snnsim import checkpoint
from snnsim.continual.learner import Learner
from snnsim.continual.method import bytes_of
from snnsim.continual.methods.hlop import HLOP
from snnsim.continual.presynaptic import Part, as_matrix, from_matrix
from snnsim.errors import check_number
from snnsim.training import distributed


class OWM(HLOP):
    """Orthogonal weight modification projects weight updates by recursive least squares.

    Args:
        alpha: regularisation of the inverse, > 0; smaller protects more.
    """

    former: ClassVar[dict[str, str]] = {}

    def __init__(self, alpha: float = 1e-3):
        super().__init__(sizes=None, projection="auto")
        check_number("alpha", alpha, above=0)
        self.alpha = alpha

    def _mode(self, module: nn.Module | Part, optimizer: str) -> str:
        return "gradient" if optimizer == "sgd" else "update"

    def on_attach(self, learner: Learner, optimizer: str) -> None:
        super().on_attach(learner, optimizer)
        self.projectors, self.pending = {}, {}
        for name, subspace in self.subspaces.items():
            eye = torch.eye(subspace.size).to(subspace.rows)
            self.projectors[name], self.pending[name] = eye, eye.clone()

    def on_task_start(self, task: int) -> None:
        self.projectors = {name: p.clone() for name, p in self.pending.items()}

    def learn(self, name: str, rows: Tensor, rest: Tensor | None) -> None:
        p = self.pending[name]
        count = distributed.sum_over_processes(torch.tensor(float(len(rows))), p.device)
        mean = distributed.sum_over_processes(rows.sum(0), p.device) / float(count)
        x = p @ mean
        p -= torch.outer(x, x) / (self.alpha + mean @ x)

    def _outside(self, name: str, module: nn.Module | Part, change: Tensor) -> Tensor:
        matrix = as_matrix(module, change) @ self.projectors[name]
        return from_matrix(module, matrix, change)

    def on_task_end(self, task: int) -> None: ...

    def tensors(self) -> dict[str, Tensor]:
        kept = checkpoint.prefixed("projector", self.projectors)
        return kept | checkpoint.prefixed("pending", self.pending)

    def load(self, tensors: dict[str, Tensor]) -> None:
        for name in self.projectors:
            self.projectors[name] = tensors[f"projector.{name}"].clone().to(self.device)
            self.pending[name] = tensors[f"pending.{name}"].clone().to(self.device)

    def memory_bytes(self) -> int:
        return bytes_of(self.projectors.values())
