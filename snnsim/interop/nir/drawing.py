"""A NIR graph while it is drawn: nodes, and the edges between them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import nir
import numpy as np

NOMINAL_DT = 1e-4  # s, the step for which everybody writes and reads NIR


@dataclass(frozen=True)
class Signal:
    """A ``Signal`` is a value of every time step: the sum of what some nodes put out.

    Attributes:
        sources: the names of the nodes.
        shape: the shape of one step of one sample.
    """

    sources: tuple[str, ...]
    shape: tuple[int, ...]


@dataclass
class Drawing:
    """A ``Drawing`` collects the nodes and edges of a graph.

    Attributes:
        dt: the length in seconds for which time constants are written.
        nodes: the nodes by name.
        edges: the pairs of names ``(from, to)``, each once.
        advice: what NIR has no place for, by the name of a layer.
    """

    dt: float = NOMINAL_DT
    nodes: dict[str, Any] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    advice: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, name: str, node: Any, signal: Signal, shape: tuple[int, ...]) -> Signal:
        """Add a node that receives a signal, and return what it puts out.

        Args:
            name: the name of the node; what is no letter or digit becomes ``_``.
            node: the node.
            signal: what it receives.
            shape: the shape of one step of its output.
        """
        name = re.sub(r"\W", "_", name)
        assert name not in self.nodes
        self.nodes[name] = node
        self.join(signal, name)
        return Signal((name,), shape)

    def single(self, name: str, signal: Signal) -> Signal:
        """Return a signal as the output of one node, which adds what several put out.

        Paths that part later part from this node, so that readers see where they belong together.
        """
        if len(signal.sources) == 1:
            return signal
        one = nir.Scale(scale=np.ones(signal.shape, np.float32))
        return self.add(f"{name}_sum", one, signal, signal.shape)

    def join(self, signal: Signal, target: str) -> None:
        """Let a node receive one signal more."""
        for source in signal.sources:
            assert (source, target) not in self.edges
            self.edges.append((source, target))


def together(*signals: Signal) -> Signal:
    """Return the sum of signals of one shape."""
    sources = tuple(source for signal in signals for source in signal.sources)
    return Signal(sources, signals[0].shape)
