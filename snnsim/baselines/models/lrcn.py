"""LRCN: a convolutional network at every step, and an LSTM over the steps.

    f[t] = pool(relu(conv(x[t - frames + 1 .. t]))),  y = LSTM(f)

An image is a few steps of all channels. The convolution runs over neighbouring channels, so a
spectrum that is shifted, as by another voice's pitch, looks alike. The published read-out, the
mean over time of each step's softmax, is ``sum_softmax``. Source: Donahue et al. 2015
(arXiv:1411.4389).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import Baseline, State
from snnsim.baselines.models.lstm import LSTM
from snnsim.errors import ConfigError
from snnsim.synapses import Conv1d


class LRCN(Baseline):
    """An LRCN convolves over channels and recurs over time.

    Args:
        n_in, n_out: numbers of input and output channels; ``n_out`` LSTM units.
        filters: number of filters of each convolution.
        kernel: width of the convolutions in channels, odd.
        pool: number of neighbouring places of which the largest value is kept; 0 for all.
        layers: number of convolutions, each with pooling.
        frames: number of steps of an image, the current one and those before it.

    State: ``(past [frames - 1, B, n_in], state of the LSTM)``.

    >>> tuple(LRCN(12, 5)(torch.rand(7, 2, 12))[0].shape)
    (7, 2, 5)
    """

    may_be_none = ("pool",)
    source = "Donahue et al. 2015, arXiv:1411.4389"
    left_out = "two-dimensional images and optical flow: an image is a few steps of all channels"

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        filters: int = 16,
        kernel: int = 5,
        pool: int = 2,
        layers: int = 1,
        frames: int = 1,
    ):
        super().__init__(n_in, n_out)
        if kernel % 2 == 0 or n_in < max(pool, 1) ** layers:
            raise ConfigError(
                f"kernel is {kernel} but must be odd; {layers} layers that pool by {pool} need "
                f"{max(pool, 1) ** layers} channels, but there are {n_in}"
            )
        self.pool, self.frames, channels, places = pool, frames, frames, n_in
        self.convolutions = nn.ModuleList()
        for _ in range(layers):
            options = {"padding": kernel // 2, "bias": True}
            self.convolutions.append(Conv1d(channels, filters, kernel, **options))
            channels, places = filters, places // pool if pool else 1
        self.lstm = LSTM(filters * places, n_out)

    def initial_state(self, batch: int) -> State:
        return self.zeros(self.frames - 1, batch, self.n_in), self.lstm.initial_state(batch)

    def features(self, whole: Tensor) -> Tensor:
        """Return features of images, ``[frames - 1 + T, B, n_in] -> [T, B, filters * places]``."""
        steps = len(whole) - self.frames + 1
        x = torch.stack([whole[i : i + steps] for i in range(self.frames)], 2)
        for convolution in self.convolutions:
            x = torch.relu(convolution(x)[0])
            flat = x.flatten(0, 1)
            size = self.pool or flat.shape[2]
            x = nn.functional.max_pool1d(flat, size).unflatten(0, x.shape[:2])
        return x.flatten(2)

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        past, inner = state
        whole = torch.cat([past, x])
        y, inner = self.lstm(self.features(whole), inner)
        return y, (whole[len(x) :], inner)
