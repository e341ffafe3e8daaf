"""Gated dilated FSMN, the recurrent-free recurrence of MossFormer2.

    u = memory(silu(W_u norm(x))),  v = silu(W_v norm(x)),  y = x + v * u
    memory, per layer l: p = p + sum_{i < order} a_i * (mix of all layers before)[t - i 2^l]

A learnt tap per channel and lag: the dense counterpart of one learnt delay per synapse. Taps look
back only unless ``look_ahead`` adds as many to the future, as published (``i`` from
``1 - order``). Norms are per step. Source: Zhao et al. 2024 (arXiv:2312.11825), section 2.3;
Zhang et al. 2015 (arXiv:1512.08301) for the FSMN.
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

    State: the last ``(order - 1) 2^l`` inputs of each layer, ``[steps, B, n_out]``.
    ``reach``, the number of past steps that it sees, is ``(order - 1) (2^layers - 1)``.

    >>> net = FSMN(3, 8, order=5)
    >>> tuple(net(torch.rand(7, 2, 3))[0].shape), net.reach
    ((7, 2, 8), 12)
    """

    residual = True
    source = "Zhao et al. 2024, arXiv:2312.11825"
    left_out = (
        "norms over time, the attention module, depthwise convolutions and the bottleneck of the "
        "feed-forward parts; taps into the future only with look_ahead"
    )

    def __init__(
        self, n_in: int, n_out: int, *, order: int = 9, layers: int = 2, look_ahead: bool = False
    ):
        super().__init__(n_in, n_out)
        if look_ahead:
            self.causal, self.streaming = False, "none"
        self.enter = linear(n_in, n_out)
        self.memory, self.gate = (linear(n_out, n_out) for _ in range(2))
        self.norm = nn.RMSNorm(n_out)
        self.layers = nn.ModuleList(
            _Memory(n_out, order, level, look_ahead) for level in range(layers)
        )
        self.reaches = [(order - 1) * 2**level for level in range(layers)]
        self.reach = sum(self.reaches)

    def initial_state(self, batch: int) -> State:
        return tuple(self.zeros(reach, batch, self.n_out) for reach in self.reaches)

    def run(self, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        x = self.enter(x)[0]
        normal = self.norm(x)
        u = nn.functional.silu(self.memory(normal)[0])
        inside = None if self.causal or lengths is None else within(len(x), lengths, x)
        parts, later = [u], []
        for layer, past in zip(self.layers, state, strict=True):
            u, past = layer(parts, past, inside)
            parts.append(u)
            later.append(past)
        return x + nn.functional.silu(self.gate(normal)[0]) * u, tuple(later)


class _Memory(nn.Module):
    """A dilated memory over a mix, per channel, of all outputs before it."""

    tables = ("mix", "taps")

    def __init__(self, n: int, order: int, level: int, look_ahead: bool):
        super().__init__()
        self.step = 2**level
        self.reach = (order - 1) * self.step
        self.ahead = order - 1 if look_ahead else 0
        self.mix = nn.Parameter(torch.full((level + 1, n), 1 / (level + 1)))
        self.taps = nn.Parameter(torch.randn(self.ahead + order, n) / order)

    def forward(
        self, parts: list[Tensor], past: Tensor, inside: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        x = sum(m * part for m, part in zip(self.mix, parts, strict=True))
        x = x if inside is None else x * inside
        future = x.new_zeros(self.ahead * self.step, *x.shape[1:])
        whole, steps = torch.cat([past, x, future]), len(x)
        memory = sum(
            tap * whole[self.reach - i * self.step :][:steps]
            for i, tap in enumerate(self.taps, start=-self.ahead)
        )
        return x + memory, whole[steps : steps + self.reach]
