"""How the delays of a run lie now, and what training has done to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snnsim.synapses.delayed import DelayedConnection
from snnsim.units import steps_to_ms

BINS = 60  # of a histogram, at most


@dataclass(frozen=True)
class Delays:
    """``Delays`` are those of one layer, in ms.

    Attributes:
        name: the name of the layer.
        edges: the borders of the bins of both histograms.
        now, before: the number of delays in each bin after and before training.
        mean: the mean of the delays.
        moved: the mean distance by which training moved them.
        at_border: the fraction of delays at 0 or at the longest delay.
    """

    name: str
    edges: list[float]
    now: list[int]
    before: list[int]
    mean: float
    moved: float
    at_border: float

    @property
    def number(self) -> int:
        """Return the number of delays."""
        return sum(self.now)


def delays_of(net: nn.Module, before: Mapping[str, Tensor]) -> list[Delays]:
    """Return the delays of every delayed layer of a network.

    Args:
        net: the network.
        before: its ``state_dict`` before training.
    """
    found = []
    for name, layer in net.named_modules():
        if isinstance(layer, DelayedConnection):
            start = before[f"{name}.delay".removeprefix(".")]
            found.append(_of_layer(name, layer, start))
    return found


def _of_layer(name: str, layer: DelayedConnection, start: Tensor) -> Delays:
    now, then = (each.detach().double().cpu().flatten() for each in (layer.delay, start))
    longest = layer.length - 1
    steps = torch.linspace(-0.5, longest + 0.5, min(layer.length, BINS) + 1).double()
    border = (now <= 1e-6) | (now >= longest - 1e-6)
    return Delays(
        name,
        steps_to_ms(steps, layer.dt).tolist(),
        _counts(now, steps),
        _counts(then, steps),
        float(steps_to_ms(now.mean(), layer.dt)),
        float(steps_to_ms((now - then).abs().mean(), layer.dt)),
        float(border.double().mean()),
    )


def _counts(values: Tensor, edges: Tensor) -> list[int]:
    return [int(count) for count in torch.histogram(values, edges).hist]
