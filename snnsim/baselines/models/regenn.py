"""ReGENN's graph soft evolution as a mixer of channels in front of an LSTM.

    phi = A W_a + b_a,  S = cosine(phi, phi) * W_c + b_c,  x' = relu(x + S x),  y = LSTM(x')

``A`` counts which channels are active together in the training data; ``S`` is the learnt graph.
Source: Spadon et al. 2021 (arXiv:2008.12833), section 3. As published it attends over the whole
window, which is not causal; here every step is mixed by itself. The forecaster from a window to
what comes next is :class:`snnsim.baselines.forecast.Forecaster`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import Baseline, State, linear
from snnsim.baselines.models.lstm import LSTM
from snnsim.errors import ShapeError


class GraphMixer(nn.Module):
    """Mix the channels of every step by a learnt graph: ``x' = relu(x + S x)``.

    Args:
        channels: number of channels.
        code: number of channels of the code ``phi`` of a channel.
    """

    tables = ("scale", "shift")
    together: Tensor

    def __init__(self, channels: int, code: int = 8):
        super().__init__()
        self.register_buffer("together", torch.eye(channels))
        self.code = linear(channels, code)
        self.scale = nn.Parameter(0.1 * torch.randn(channels, channels) / channels**0.5)
        self.shift = nn.Parameter(torch.zeros(channels, channels))

    @torch.no_grad()
    def count_together(self, x: Tensor) -> None:
        """Take the graph ``A``, which channels are active together, from data ``x [T, B, N]``."""
        if x.shape[-1] != len(self.together):
            raise ShapeError(f"x has {x.shape[-1]} channels but the graph has {len(self.together)}")
        active = (x > 0).flatten(0, -2).to(self.together)
        counts = active.t() @ active
        norms = counts.diagonal().clamp(min=1).sqrt()
        self.together.copy_(counts / norms.outer(norms))

    def graph(self) -> Tensor:
        """Return ``S [N, N]``: how much each channel (row) takes from each other one."""
        codes = nn.functional.normalize(self.code(self.together)[0], dim=-1)
        return codes @ codes.t() * self.scale + self.shift

    def forward(self, x: Tensor) -> Tensor:
        """Mix the channels of ``x [..., N]``."""
        return torch.relu(x + x @ self.graph().t())


class ReGENN(Baseline):
    """ReGENN is a learnt graph of channels with an LSTM behind it.

    Args:
        n_in, n_out: numbers of input and output channels; ``n_out`` LSTM units.
        code: number of channels of the code ``phi`` of a channel.

    State: the state of the LSTM.

    >>> tuple(ReGENN(3, 5)(torch.rand(7, 2, 3))[0].shape)
    (7, 2, 5)
    """

    source = "Spadon et al. 2021, arXiv:2008.12833"
    left_out = (
        "attention over the window and the gate over variables, which are not causal; channels "
        "keep their own value (x + S x)"
    )

    def __init__(self, n_in: int, n_out: int, *, code: int = 8):
        super().__init__(n_in, n_out)
        self.mixer = GraphMixer(n_in, code)
        self.lstm = LSTM(n_in, n_out)

    def initial_state(self, batch: int) -> State:
        return self.lstm.initial_state(batch)

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        return self.lstm(self.mixer(x), state)
