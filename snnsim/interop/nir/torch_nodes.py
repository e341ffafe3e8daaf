"""A NIR graph node by node, as modules of torch that nirtorch puts together.

``nirtorch.nir_to_torch(graph, node_map())`` gives a network that is called for one time step,
``y, state = net(x, state)``, and computes the graph as it is: also what has no form as layers in a
row, such as paths that cross. Where :func:`~snnsim.interop.nir.from_nir` reads a graph, its network
computes the same, and runs whole sequences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor, nn

from snnsim.interop.nir.drawing import NOMINAL_DT
from snnsim.interop.nir.reading import from_nir

ALONE = (
    nir.Affine, nir.Linear, nir.Conv1d, nir.Conv2d, nir.AvgPool2d, nir.SumPool2d, nir.Flatten,
    nir.Delay, nir.LI, nir.IF, nir.LIF, nir.CubaLI, nir.CubaLIF,
)  # fmt: skip


class OneStep(nn.Module):
    """A network of snnsim as a module for one time step, ``y, state = module(x, state)``."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        y, state = self.net(x.unsqueeze(0), state)
        return y[0], state


class Above(nn.Module):
    """``nir.Threshold``: 1 where the input is above the threshold."""

    threshold: Tensor

    def __init__(self, threshold: Tensor):
        super().__init__()
        self.register_buffer("threshold", threshold)

    def forward(self, x: Tensor) -> Tensor:
        return (x > self.threshold).to(x)


class Times(nn.Module):
    """``nir.Scale``: the input times numbers."""

    scale: Tensor

    def __init__(self, scale: Tensor):
        super().__init__()
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Sum(nn.Module):
    """``nir.I``: the sum of the input so far, times a gain."""

    gain: Tensor

    def __init__(self, gain: Tensor):
        super().__init__()
        self.register_buffer("gain", gain)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        v = self.gain * x if state is None else state + self.gain * x
        return v, v


def node_map(dt: float = NOMINAL_DT) -> dict[type, Callable[[Any], nn.Module]]:
    """Return for every kind of NIR node how it becomes a module, for nirtorch's ``nir_to_torch``.

    Args:
        dt: the length in s of the step for which the graph's time constants were written.

    >>> import snnsim as sn
    >>> from snnsim.interop.nir import to_nir
    >>> graph = to_nir(sn.Sequential(sn.Dense(3, 4), sn.LIF(4, dt=1.0)))
    >>> {type(node) for node in graph.nodes.values()} <= {nir.Input, nir.Output, *node_map()}
    True
    """

    def alone(node: Any) -> nn.Module:
        return OneStep(from_nir(nir.NIRGraph.from_list(node), dt=dt))

    return {
        **dict.fromkeys(ALONE, alone),
        nir.Threshold: lambda node: Above(_tensor(node.threshold)),
        nir.Scale: lambda node: Times(_tensor(node.scale)),
        nir.I: lambda node: Sum(_tensor(node.r * dt)),
    }


def _tensor(values: Any) -> Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float32))
