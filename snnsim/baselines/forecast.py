"""Forecasts of the next steps from a window of the past."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import Baseline, linear
from snnsim.baselines.models.regenn import GraphMixer
from snnsim.errors import ConfigError


class Forecaster(nn.Module):
    """Forecast the next steps by a linear function of the window plus what a model adds to it.

        y = relu(sum_lag a[lag] x[t - lag] + W core(x)[T - 1])

    With a mixer both parts see ``x' = mixer(x)``, and the core runs over each channel by itself,
    with the same weights: then only the graph of the mixer carries information between channels.
    Source: Spadon et al. 2021 (arXiv:2008.12833), of which it has the autoregressive part, the
    shared target and the graph in front of weights that all variables share.

    Args:
        core: any baseline on all channels; with a mixer, on one channel.
        window: number of steps that it gets.
        stride: number of steps that it forecasts.
        mixer: optional mixer of the channels of every step.

    Call: ``[window, B, channels] -> [stride, B, channels]``.

    >>> from snnsim.baselines.models.gru import GRU
    >>> tuple(Forecaster(GRU(3, 5), 20, 5)(torch.rand(20, 2, 3)).shape)
    (5, 2, 3)
    >>> tuple(Forecaster(GRU(1, 5), 20, 5, GraphMixer(3))(torch.rand(20, 2, 3)).shape)
    (5, 2, 3)
    """

    def __init__(self, core: Baseline, window: int, stride: int, mixer: GraphMixer | None = None):
        super().__init__()
        if mixer is not None and core.n_in != 1:
            raise ConfigError(
                f"with a mixer the core sees one channel at a time, but it was made for "
                f"{core.n_in}; make it with n_in=1"
            )
        self.core, self.stride, self.mixer = core, stride, mixer
        self.own = nn.Parameter(torch.full((stride, window), 1 / window))
        self.out = linear(core.n_out, stride * core.n_in)

    def forward(self, x: Tensor) -> Tensor:
        shape = x.shape[1:]
        if self.mixer is not None:
            x = self.mixer(x).reshape(len(x), -1, 1)
        y, _ = self.core(x)
        added = self.out(y[-1])[0].unflatten(-1, (self.stride, -1)).transpose(0, 1)
        both = torch.relu(torch.einsum("sw,wbn->sbn", self.own, x) + added)
        return both.reshape(self.stride, *shape)
