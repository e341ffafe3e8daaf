"""A graph of the Neuromorphic Intermediate Representation as a network."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from torch import nn

from snnsim.errors import ConfigError, check_number
from snnsim.interop.nir.cells import Cell, find_cells
from snnsim.interop.nir.drawing import NOMINAL_DT
from snnsim.interop.nir.made_layers import Maker
from snnsim.interop.nir.maps import Scaled, in_parallel, piece_of, simplified
from snnsim.interop.nir.wiring import Wiring
from snnsim.networks import Sequential, Skip


def from_nir(graph: Any, *, dt: float = NOMINAL_DT, dt_ms: float | None = None) -> Sequential:
    """Return the network, in evaluation mode, that computes what a NIR graph does by forward Euler.

    Delays and weights in parallel become one :class:`snnsim.synapses.Delayed`; loops of
    integrators, thresholds and scales become neurons that reset by subtraction or adapt; parallel
    paths become :class:`snnsim.Skip`. A graph that :func:`to_nir` wrote becomes the network that
    was written, with its normalisation folded.

    Args:
        graph: a ``nir.NIRGraph`` (``nir.read(path)`` reads one) with one input and one output.
        dt: the length in s of the step for which the graph's time constants were written; nearly
            everybody writes them for 0.1 ms.
        dt_ms: the length of the network's step in ms. By default it is what the graph's metadata
            say, or else ``dt``.

    Raises:
        ConfigError: if a part of the graph has no form here; the message names its node.

    >>> import torch
    >>> import snnsim as sn
    >>> from snnsim.interop.nir import to_nir
    >>> net = sn.Sequential(sn.Dense(3, 4), sn.LIF(4, dt=10.0, reset="zero"))
    >>> again = from_nir(to_nir(net))
    >>> x = torch.rand(20, 2, 3)
    >>> again[1].dt, torch.equal(again(x)[0], net(x)[0])
    (10.0, True)
    """
    check_number("dt", dt, 0, 1)
    wiring = Wiring(graph)
    find_cells(wiring, dt)
    advice = _advice(graph)
    maker = Maker(dt, dt * 1e3 if dt_ms is None else dt_ms, advice if dt_ms is None else {})
    return Sequential(*_Reader(wiring, maker, dt).layers()).eval()


def _advice(graph: Any) -> dict[str, dict[str, Any]]:
    """What :func:`to_nir` noted; what cannot be understood is as if it were not there."""
    text = graph.metadata.get("snnsim", "{}")
    with contextlib.suppress(ValueError, AttributeError):
        told = json.loads(text.decode() if isinstance(text, bytes) else text)
        layers = told.get("layers", {})
        return layers if isinstance(layers, dict) else {}
    return {}


class _Reader:
    """Reads a graph without loops as series and parallels of pieces."""

    def __init__(self, wiring: Wiring, maker: Maker, dt: float):
        self.wiring, self.maker, self.dt = wiring, maker, dt

    def layers(self) -> list[nn.Module]:
        return self._made(self._between(self.wiring.entry, self.wiring.leaving))

    def _made(self, pieces: list[Any]) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for name, piece in pieces:
            if isinstance(piece, nn.Module):
                layers.append(piece)
            else:
                layers += self.maker.layers(name, piece)
        return layers

    def _between(self, at: str, stop: str) -> list[tuple[str, Any]]:
        """The pieces of all that leads from the output of a node to the input of another."""
        pieces: list[tuple[str, Any]] = []
        while True:
            following = self.wiring.after(at)
            if len(following) == 1:
                at = following[0]
                if at != stop and len(self.wiring.before(at)) > 1:
                    raise self._tangled(at)
            else:
                join = self.wiring.join_after(at)
                branches = [self._branch(at, first, join) for first in following]
                if len(self.wiring.before(join)) != len(following):
                    raise self._tangled(join)
                pieces += self._parallel(join, branches)
                at = join
            if at == stop:
                return self._simplified(pieces)
            pieces += self._piece(at)

    def _tangled(self, name: str) -> ConfigError:
        return ConfigError(
            f"node {name} receives {', '.join(self.wiring.before(name))}, which are no parallel "
            "paths from one node to it; such graphs have no form here"
        )

    def _branch(self, at: str, first: str, join: str) -> list[tuple[str, Any]]:
        if first == join:
            return []
        if self.wiring.before(first) != [at]:
            raise self._tangled(first)
        rest = self._between(first, join)
        return self._simplified([*self._piece(first), *rest])

    def _piece(self, name: str) -> list[tuple[str, Any]]:
        """A node as pieces: neurons may need their input scaled."""
        piece = piece_of(name, self.wiring.nodes[name], self.dt)
        if not isinstance(piece, Cell):
            return [(name, piece)]
        scaling = Scaled(name, piece.gain, piece.drive)
        rest = Cell(**{**vars(piece), "gain": piece.gain * 0 + 1, "drive": piece.drive * 0})
        return [(name, scaling), (name, rest)]

    def _simplified(self, pieces: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """The same chain, where delays and scales belong to the connections beside them."""
        names = {id(piece): name for name, piece in pieces}
        found = simplified([piece for _, piece in pieces])
        return [(names.get(id(piece), getattr(piece, "name", "")), piece) for piece in found]

    def _parallel(self, join: str, branches: list[list[tuple[str, Any]]]) -> list[tuple[str, Any]]:
        one = in_parallel([[piece for _, piece in branch] for branch in branches])
        if one is not None:
            return [(one.name, one)]
        branches = sorted(branches, key=len, reverse=True)
        made: nn.Module = Sequential(*self._made(branches[0]))
        for branch in branches[1:]:
            project = Sequential(*self._made(branch)) if branch else None
            made = Skip(made, project)
        return [(join, made)]
