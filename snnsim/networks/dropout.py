"""Dropout that silences a neuron for a whole sample."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed

from snnsim.errors import ConfigError, ShapeError, check_number
from snnsim.layer import Layer
from snnsim.processes import together


class Dropout(Layer):
    """Drop each neuron of each sample with probability ``p``, at all time steps alike.

    Neurons that stay are scaled by ``1 / (1 - p)``. The mask is drawn anew where a sequence starts
    and is the layer's state, so that a sequence fed in chunks keeps it. Where
    ``torch.distributed`` runs, all processes draw the mask of the joint batch and take their rows.

    Args:
        p: probability in 0 .. 1, 1 excluded.

    >>> y, _ = Dropout(0.5).train()(torch.ones(4, 100, 8))
    >>> bool((y == y[0]).all())
    True
    """

    def __init__(self, p: float):
        super().__init__()
        check_number("dropout probability", p, 0)
        if p >= 1:
            raise ConfigError(f"dropout probability is {p!r} but must lie in 0 .. 1 (1 excluded)")
        self.p = p

    @property
    def active(self) -> bool:
        """Whether anything is dropped."""
        return self.training and self.p > 0

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        state = self.mask_for(x, state)
        return (x * state["mask"] if self.active else x), state

    def mask_for(self, x: Tensor, state: Any) -> Any:
        """Return the state after ``x``, which has the mask for it if anything is dropped."""
        if not self.active:
            return state
        mask = self._mask(x) if state is None else state["mask"]
        if mask.shape != x.shape[1:]:
            raise ShapeError(
                f"the dropout mask in the state has shape {tuple(mask.shape)} but x needs "
                f"{tuple(x.shape[1:])}; pass state=None to start afresh"
            )
        return {"mask": mask}

    def _mask(self, x: Tensor) -> Tensor:
        first, rows = 0, x.shape[1]
        if together():
            own = torch.tensor([x.shape[1]], device=x.device)
            sizes = [torch.zeros_like(own) for _ in range(distributed.get_world_size())]
            distributed.all_gather(sizes, own)
            rows = int(sum(sizes))
            first = int(sum(sizes[: distributed.get_rank()]))
        keep = torch.full((rows, *x.shape[2:]), 1 - self.p, dtype=x.dtype, device=x.device)
        return torch.bernoulli(keep)[first : first + x.shape[1]] / (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p:g}"
