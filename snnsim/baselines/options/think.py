"""Adaptive computation time around any model that goes step by step.

    (y_n, s_n) = model(x with the flag [n = 1], s_{n-1}) from s_0 = s
    y = sum p_n y_n,  s = sum p_n s_n

with weights ``p_n`` from :class:`snnsim.baselines.looped.AdaptiveHalting`. The mean number of
applications plus the remainder is the auxiliary loss ``"ponder"``. Source: Graves 2016
(arXiv:1603.08983), equations 1 to 9.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnsim.baselines.baseline import Baseline, Make, State, mean_within, tensors_in
from snnsim.baselines.heads import NOTHING
from snnsim.baselines.looped import AdaptiveHalting
from snnsim.errors import ConfigError, check_size
from snnsim.layer import add_auxiliary_loss, map_state, weighted_losses


class Think(Baseline):
    """Let a model take several of its own steps per time step.

    Args:
        n_in, n_out: numbers of input and output channels.
        make: class or function that makes the model from its numbers of channels.
        steps: largest number of steps of the model per time step.
        ponder: weight of the ponder cost in the loss, 0 or more.

    State: the state of the model, whose parts must be numbers that can be averaged.

    >>> from snnsim.baselines.models.gru import GRU
    >>> tuple(Think(3, 8, GRU, steps=3)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 8)
    """

    def __init__(self, n_in: int, n_out: int, make: Make, *, steps: int, ponder: float = 0.01):
        super().__init__(n_in, n_out)
        self.steps, self.ponder = check_size("steps", steps), ponder
        self.inner = make(n_in + 1, n_out)
        name = type(self.inner).__name__
        if self.inner.streaming != "exact":
            raise ConfigError(
                f"{name} does not go step by step; choose a model that streams exactly"
            )
        two, three = (tensors_in(self.inner.initial_state(batch)) for batch in (2, 3))
        if not all(map(_averages, two, three)):
            raise ConfigError(
                f"the state of {name} cannot be averaged over applications: it has parts without "
                "samples on the first axis, or logarithms; choose another model"
            )
        self.source = self.inner.source
        self.halting = AdaptiveHalting(n_out)

    def initial_state(self, batch: int) -> State:
        return self.inner.initial_state(batch)

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        outputs, costs = [], []
        for frame in x:
            with weighted_losses(1 / len(x)):  # of the model itself
                y, state, cost = self._think(frame, state)
            outputs.append(y)
            costs.append(cost)
        add_auxiliary_loss("ponder", self.ponder * mean_within(torch.stack(costs), lengths))
        return torch.stack(outputs), state

    def _think(self, frame: Tensor, state: State) -> tuple[Tensor, State, Tensor]:
        depths = self.halting.begin(frame)
        total: Tensor | None = None
        mixed: State = None
        for n in range(self.steps):
            flag = torch.full_like(frame[:, :1], float(n == 0))
            y, state = self.inner(torch.cat([frame, flag], 1)[None], state)
            weight = depths.add(y[0], n + 1 == self.steps)
            part = weight.unsqueeze(1) * y[0]
            total = part if total is None else total + part
            mixed = _added(mixed, state, weight)
            if not bool(depths.running.any()):
                break
        assert total is not None
        return total, mixed, depths.ponder


def _added(total: State, state: State, weight: Tensor) -> State:
    """``total + weight * state``; the samples are on the first axis of every tensor."""
    totals = iter(tensors_in(total))

    def add(part: Tensor) -> Tensor:
        weighted = weight.view(-1, *[1] * (part.dim() - 1)) * part
        return weighted if total is None else next(totals) + weighted

    return map_state(add, state)


def _averages(two: Tensor, three: Tensor) -> bool:
    """Whether a part of the states of two and of three samples has these on its first axis, and
    starts from numbers, not from the logarithm of nothing."""
    return two.dim() > 0 and (len(two), len(three)) == (2, 3) and float(two.min()) > NOTHING / 2
