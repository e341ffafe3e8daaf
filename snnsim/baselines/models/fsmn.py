"""Gated dilated FSMN, the recurrent-free recurrence of MossFormer2.

    u = memory(silu(W_u norm(x))),  v = silu(W_v norm(x)),  y = x + v * u
    memory, per layer l: p = p + sum_{i < order} a_i * (mix of all layers before)[t - i 2^l]

A learnt tap per channel and lag: the dense counterpart of one learnt delay per synapse. This memory
is a linear filter, and ours. That of the paper is chosen with ``nonlinear``:

    memory(s) = s + z_L,  z_0 = W_2 relu(W_1 s + b)
    z_{l+1} = prelu(norm(sum_{j <= l} sum_{i < order} a_{l,j,i} * z_j[t - i 2^l]))

where every layer has taps of its own for each layer before it. Taps look back only unless
``look_ahead`` adds as many to the future, as published (``i`` from ``1 - order``). Norms are per
step. Source: Zhao et al. 2024 (arXiv:2312.11825), section 2.3; Zhang et al. 2015 (arXiv:1512.08301)
for the FSMN.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import Baseline, State, linear, within


class FSMN(Baseline):
    """An FSMN has tapped delay lines in dilated layers, behind a gate.

    Args:
        n_in, n_out: numbers of input and output channels.
        order: number of taps per channel and layer.
        layers: number of layers, with dilations 1, 2, 4, ...
        look_ahead: whether there are taps into the future too; then the model is not causal.
        nonlinear: whether the memory is the paper's, with a rectified projection before it and a
            PReLU after every layer; otherwise it is a linear filter.

    State: the last ``(order - 1) 2^l`` inputs of each layer ``l``, ``[steps, B, n_out]``, or
    ``[steps, B, (l + 1) n_out]`` with ``nonlinear``.
    ``reach``, the number of past steps that it sees, is ``(order - 1) (2^layers - 1)``.

    >>> net = FSMN(3, 8, order=5)
    >>> tuple(net(torch.rand(7, 2, 3))[0].shape), net.reach
    ((7, 2, 8), 12)
    """

    residual = True
    source = "Zhao et al. 2024, arXiv:2312.11825"
    left_out = (
        "norms over time, the attention module, depthwise convolutions and the bottleneck of the "
        "feed-forward parts; taps into the future only with look_ahead; nonlinearities of the "
        "memory and taps per pair of layers only with nonlinear"
    )

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        order: int = 9,
        layers: int = 2,
        look_ahead: bool = False,
        nonlinear: bool = False,
    ):
        super().__init__(n_in, n_out)
        if look_ahead:
            self.causal, self.streaming = False, "none"
        self.enter = linear(n_in, n_out)
        self.memory, self.gate = (linear(n_out, n_out) for _ in range(2))
        self.norm = nn.RMSNorm(n_out)
        kind = _DenseMemory if nonlinear else _Memory
        self.layers = nn.ModuleList(kind(n_out, order, i, look_ahead) for i in range(layers))
        self.reaches = [(order - 1) * 2**level for level in range(layers)]
        self.reach = sum(self.reaches)
        self.nonlinear = nonlinear
        if nonlinear:
            self.rectified = linear(n_out, n_out)
            self.project = linear(n_out, n_out, bias=False)

    def initial_state(self, batch: int) -> State:
        parents = [i + 1 if self.nonlinear else 1 for i in range(len(self.layers))]
        shapes = zip(self.reaches, parents, strict=True)
        return tuple(self.zeros(reach, batch, n * self.n_out) for reach, n in shapes)

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        x = self.enter(x)[0]
        normal = self.norm(x)
        u = nn.functional.silu(self.memory(normal)[0])
        inside = None if self.causal or lengths is None else within(len(x), lengths, x)
        parts = [self.project(torch.relu(self.rectified(u)[0]))[0] if self.nonlinear else u]
        later = []
        for layer, past in zip(self.layers, state, strict=True):
            part, past = layer(parts, past, inside)
            parts.append(part)
            later.append(past)
        u = u + parts[-1] if self.nonlinear else parts[-1]
        return x + nn.functional.silu(self.gate(normal)[0]) * u, tuple(later)


class _Taps(nn.Module):
    """Taps per channel and lag, whose lags are ``2^level`` steps apart."""

    tables = ("mix", "taps")
    taps: nn.Parameter

    def __init__(self, order: int, level: int, look_ahead: bool):
        super().__init__()
        self.order, self.step = order, 2**level
        self.reach = (order - 1) * self.step
        self.ahead = order - 1 if look_ahead else 0

    def drawn(self, n: int) -> nn.Parameter:
        """Taps of ``n`` channels before training."""
        return nn.Parameter(torch.randn(self.ahead + self.order, n) / self.order)

    def filtered(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """What the taps read of ``x [T, B, n]`` after a past, and the past of what comes next."""
        future = x.new_zeros(self.ahead * self.step, *x.shape[1:])
        whole, steps = torch.cat([past, x, future]), len(x)
        read = sum(
            tap * whole[self.reach - i * self.step :][:steps]
            for i, tap in enumerate(self.taps, start=-self.ahead)
        )
        return torch.as_tensor(read), whole[steps : steps + self.reach]


class _Memory(_Taps):
    """A dilated memory over a mix, per channel, of all outputs before it."""

    def __init__(self, n: int, order: int, level: int, look_ahead: bool):
        super().__init__(order, level, look_ahead)
        self.mix = nn.Parameter(torch.full((level + 1, n), 1 / (level + 1)))
        self.taps = self.drawn(n)

    def forward(
        self, parts: list[Tensor], past: Tensor, inside: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        x = sum(m * part for m, part in zip(self.mix, parts, strict=True))
        x = x if inside is None else x * inside
        read, later = self.filtered(x, past)
        return x + read, later


class _DenseMemory(_Taps):
    """A dilated memory with taps of its own for each of the outputs before it."""

    def __init__(self, n: int, order: int, level: int, look_ahead: bool):
        super().__init__(order, level, look_ahead)
        self.taps = self.drawn((level + 1) * n)
        self.norm = nn.RMSNorm(n)
        self.activation = nn.PReLU(n)

    def forward(
        self, parts: list[Tensor], past: Tensor, inside: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        x = torch.cat(parts, -1)
        x = x if inside is None else x * inside
        read, later = self.filtered(x, past)
        together = self.norm(read.unflatten(-1, (len(parts), -1)).sum(-2))
        steps, batch, n = together.shape
        return self.activation(together.view(-1, n)).view(steps, batch, n), later
