"""Messages between the nodes of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snnsim.baselines.baseline import linear
from snnsim.baselines.torch_recurrent import lstm_step
from snnsim.errors import ConfigError

Edges = Sequence[tuple[int, int]]


class RelationalStep(nn.Module):
    """Take one step of a recurrent relational network.

        m[i, j] = f(h[i], h[j]),  m[j] = sum_i m[i, j],  h[j] = LSTM(g(x[j], m[j]), h[j])

    Source: Palm, Paquet & Winther 2018 (arXiv:1711.08028), section 2.

    Args:
        nodes: number of nodes of the graph.
        edges: pairs of nodes ``(from, to)``.
        n: number of channels of a node.
        hidden: number of channels within ``f`` and ``g``.

    Call: ``step(x, h, c) -> (h, c)``, all ``[B, nodes, n]``.
    """

    source: Tensor
    target: Tensor

    def __init__(self, nodes: int, edges: Edges, n: int, hidden: int):
        super().__init__()
        if not edges or min(map(min, edges)) < 0 or max(map(max, edges)) >= nodes:
            raise ConfigError(
                f"edges must be pairs of nodes 0 .. {nodes - 1}, at least one; got {list(edges)}"
            )
        ends = torch.tensor(list(edges)).t()
        self.register_buffer("source", ends[0].contiguous(), persistent=False)
        self.register_buffer("target", ends[1].contiguous(), persistent=False)
        self.message = _mlp(2 * n, hidden, n)
        self.update = _mlp(2 * n, hidden, n)
        self.gates = linear(2 * n, 4 * n)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        pairs = torch.cat([h[:, self.source], h[:, self.target]], -1)
        sent = _apply(self.message, pairs).to(h.dtype)  # autocast may have made it shorter
        heard = torch.zeros_like(h).index_add(1, self.target, sent)
        drive = _apply(self.update, torch.cat([x, heard], -1))
        return lstm_step(self.gates(torch.cat([drive, h], -1))[0], c)


def neighbours(nodes: int, reach: int = 1) -> list[tuple[int, int]]:
    """Return the edges, in both directions, between nodes of a line at most ``reach`` apart.

    >>> neighbours(3)
    [(0, 1), (1, 0), (1, 2), (2, 1)]
    """
    return [(i, j) for i in range(nodes) for j in range(nodes) if i != j and abs(i - j) <= reach]


def _mlp(n_in: int, hidden: int, n_out: int) -> nn.ModuleList:
    return nn.ModuleList([linear(n_in, hidden), linear(hidden, hidden), linear(hidden, n_out)])


def _apply(layers: Any, x: Tensor) -> Tensor:
    for layer in layers[:-1]:
        x = torch.relu(layer(x)[0])
    return layers[-1](x)[0]
