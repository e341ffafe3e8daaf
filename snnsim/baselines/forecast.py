"""From a window of the past to the steps that come next."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import Baseline, linear


class Forecaster(nn.Module):
    """Next steps as a linear part of the window plus what a model adds to it.

        y = sum_lag a[lag] x[t - lag] + W core(x)[T - 1],  never negative

    Source: the autoregressive part and the shared target of Spadon et al. 2021 (arXiv:2008.12833).

    Args:
        core: any baseline on ``channels`` channels.
        window: steps it gets.
        stride: steps it forecasts.

    Call: ``[window, B, channels] -> [stride, B, channels]``.

    >>> from snnsim.baselines.models.gru import GRU
    >>> tuple(Forecaster(GRU(3, 5), 20, 5)(torch.rand(20, 2, 3)).shape)
    (5, 2, 3)
    """

    def __init__(self, core: Baseline, window: int, stride: int):
        super().__init__()
        self.core, self.stride = core, stride
        self.own = nn.Parameter(torch.full((stride, window), 1 / window))
        self.out = linear(core.n_out, stride * core.n_in)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.core(x)
        added = self.out(y[-1])[0].unflatten(-1, (self.stride, -1)).transpose(0, 1)
        return torch.relu(torch.einsum("sw,wbn->sbn", self.own, x) + added)
