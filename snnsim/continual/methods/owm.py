"""Orthogonal weight modification: a projector per connection, by recursive least squares.

    P <- P - (P x)(P x)^T / (alpha + x^T P x)        for the mean activity x of each batch

and weights change by ``dW P`` with the projector of the finished tasks. Source: Zeng, Chen, Cui
& Yu 2019 (arXiv:1810.01256), equation 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.continual.learner import Learner
from snnsim.continual.methods.hlop import HLOP
from snnsim.continual.presynaptic import Part, as_matrix, from_matrix


class OWM(HLOP):
    """Orthogonal weight modification.

    Args:
        alpha: regularises the inverse: smaller protects more.
    """

    def __init__(self, alpha: float = 1e-3):
        super().__init__(sizes=None, projection="auto")
        self.alpha = alpha

    def _mode(self, module: nn.Module | Part, optimizer: str) -> str:
        return "gradient" if optimizer == "sgd" else "update"

    def attach(self, learner: Learner, optimizer: str = "sgd") -> None:
        super().attach(learner, optimizer)
        self.projectors, self.pending = {}, {}
        for name, subspace in self.subspaces.items():
            eye = torch.eye(subspace.size, device=subspace.rows.device)
            self.projectors[name], self.pending[name] = eye, eye.clone()

    def begin_task(self, task: int) -> None:
        self.projectors = {name: p.clone() for name, p in self.pending.items()}

    def learn(self, name: str, rows: Tensor, rest: Tensor | None) -> None:
        p = self.pending[name]
        x = p @ rows.mean(0)
        p -= torch.outer(x, x) / (self.alpha + rows.mean(0) @ x)

    def _outside(self, name: str, module: nn.Module | Part, change: Tensor) -> Tensor:
        matrix = as_matrix(module, change) @ self.projectors[name]
        return from_matrix(module, matrix, change)

    def end_task(self, task: int) -> None: ...

    def tensors(self) -> dict[str, Tensor]:
        kept = {f"projector.{n}": p for n, p in self.projectors.items()}
        return kept | {f"pending.{n}": p for n, p in self.pending.items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        for name in self.projectors:
            self.projectors[name] = tensors[f"projector.{name}"].clone()
            self.pending[name] = tensors[f"pending.{name}"].clone()

    def memory_bytes(self) -> int:
        return sum(4 * p.numel() for p in self.projectors.values())
