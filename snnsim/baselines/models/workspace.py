"""Global workspace: specialists that a controller lets write into one shared state.

In every bin, for a few internal steps: an LSTM controller sees the workspace and a summary of the
input, and gates which specialist writes and how much of the workspace stays:

    a = softmax(W c),  w = a_0 w + sum_m a_m f_m(w, x_m)

Specialists are small encoders, one per group of channels, and two that work on the workspace
alone. Source: 2025 (arXiv:2503.01906), whose routing this follows; the specialists are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import Cell, State, bias_of, linear
from snnsim.baselines.heads import group_size, grouped
from snnsim.baselines.torch_recurrent import lstm_step


class Workspace(Cell):
    """A workspace is a state that specialists share, and a controller routes what they write.

    Args:
        n_in, n_out: numbers of input and output channels; the workspace has ``n_out``.
        groups: number of specialists, each for a group of neighbouring channels; smaller groups are
            padded with zeros.
        inner: number of specialists that work on the workspace alone.
        steps: number of internal steps per bin.
        control: number of units of the controller; 0 for ``n_out / 2``.

    State: ``(w, h, c)``: the workspace ``[B, n_out]`` and the state of the controller.

    >>> tuple(Workspace(6, 8)(torch.rand(7, 2, 6))[0].shape)
    (7, 2, 8)
    """

    source = "arXiv:2503.01906, 2025"
    left_out = "modules made for digits; ours are encoders of channel groups and maps of the state"

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        groups: int = 4,
        inner: int = 2,
        steps: int = 2,
        control: int = 0,
    ):
        super().__init__(n_in, n_out)
        self.groups, self.steps = groups, steps
        self.control = control or max(n_out // 2, 1)
        size = group_size(n_in, groups)
        self.encoders = nn.ModuleList(linear(size, n_out) for _ in range(groups))
        self.inner = nn.ModuleList(linear(n_out, n_out) for _ in range(inner))
        self.w_in = linear(n_in, 4 * self.control)
        self.w_rec = linear(n_out + self.control, 4 * self.control, bias=False)
        self.route = linear(self.control, 1 + groups + inner)
        bias_of(self.route)[0] += 1.0  # keeps at first

    def initial_state(self, batch: int) -> State:
        control = self.zeros(batch, self.control)
        return self.zeros(batch, self.n_out), control, control.clone()

    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        parts = grouped(x, self.groups).unbind(-2)
        written = [torch.tanh(e(p)[0]) for e, p in zip(self.encoders, parts, strict=True)]
        return self.w_in(x)[0], torch.stack(written, 2)

    def cell(self, p: tuple[Tensor, Tensor], state: State) -> tuple[Tensor, State]:
        (drive, written), (w, h, c) = p, state
        for _ in range(self.steps):
            h, c = lstm_step(drive + self.w_rec(torch.cat([w, h], -1))[0], c)
            attention = self.route(h)[0].softmax(-1).unsqueeze(-1)
            own = torch.stack([w, *(torch.tanh(m(w)[0]) for m in self.inner)], 1)
            choices = torch.cat([own[:, :1], written, own[:, 1:]], 1)
            w = (attention * choices).sum(1)
        return w, (w, h, c)
