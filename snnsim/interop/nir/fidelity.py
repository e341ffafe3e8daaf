"""Which programs read a NIR graph as it is meant, node by node.

The table is measured (``scripts/nir_table``): a graph with one such node is read by the program and
its spikes are compared with forward Euler. It holds for the versions that it names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np

from snnsim.interop.nir.drawing import NOMINAL_DT
from snnsim.interop.nir.timing import is_unit_gain
from snnsim.interop.nir.wiring import Wiring

PROGRAMS = {"spikingjelly": "2.0.0", "snntorch": "1.0.0", "norse": "1.1.0", "sinabs": "2.0.3"}
VERDICTS = {
    "=": "reads it as it is meant",
    "~": "reads it, but other spikes come out",
    "-": "drops it without a word",
    "x": "does not read it",
}
# in the order of PROGRAMS
TABLE = {
    "Linear": "===~",
    "Affine": "===~",
    "Conv1d": "==xx",
    "Conv2d": "===x",
    "SumPool2d": "===x",
    "AvgPool2d": "==-x",
    "Flatten": "=xx~",
    "Scale": "xx~x",
    "Threshold": "xx~x",
    "Delay": "xx-x",
    "LI": "xx~x",
    "LIF, r = tau / dt": "==~~",
    "LIF, r = 1": "===~",
    "LIF, another r": "x=~~",
    "LIF, a tau for each neuron": "x=~~",
    "LIF, v_reset": "x~~~",
    "LIF, v_leak": "xx~x",
    "IF, r = 1 / dt": "=x=~",
    "IF, another r": "xx~~",
    "CubaLIF, unit gains": "===x",
    "CubaLIF, r = w_in = 1": "xx=x",
    "CubaLIF, other gains": "xx=x",
    "a loop through Linear": "=~~x",
    "a loop through Scale": "xxxx",
    "paths that meet": "==~x",
}


@dataclass(frozen=True)
class Finding:
    """A ``Finding`` is what programs make of some nodes.

    Attributes:
        feature: what the nodes are.
        nodes: their names.
        verdicts: for each program ``"="``, ``"~"``, ``"-"`` or ``"x"`` (:data:`VERDICTS`); ``"?"``
            if it was not measured.
    """

    feature: str
    nodes: tuple[str, ...]
    verdicts: dict[str, str]


def check(graph: nir.NIRGraph, dt: float = NOMINAL_DT) -> list[Finding]:
    """Return what is known of how programs read a graph, feature by feature.

    Args:
        graph: the graph.
        dt: the length in s of the step for which its time constants were written.

    >>> import snnsim as sn
    >>> from snnsim.interop.nir import to_nir
    >>> net = sn.Sequential(sn.Dense(3, 4), sn.LIF(4, dt=1.0, reset="zero"))
    >>> [finding.feature for finding in check(to_nir(net))]
    ['Linear', 'LIF, r = tau / dt']
    """
    wiring = Wiring(graph)
    found: dict[str, list[str]] = {}
    for name, node in wiring.nodes.items():
        for feature in _features(wiring, name, node, dt):
            found.setdefault(feature, []).append(name)
    return [
        Finding(feature, tuple(names), dict(zip(PROGRAMS, TABLE.get(feature, "????"), strict=True)))
        for feature, names in found.items()
    ]


def _features(wiring: Wiring, name: str, node: Any, dt: float) -> Iterator[str]:
    if isinstance(node, nir.Input | nir.Output):
        return
    loops = _looping(wiring, name)
    if loops and isinstance(node, nir.Linear | nir.Affine):
        yield "a loop through Linear"
    elif loops and isinstance(node, nir.Scale):
        yield "a loop through Scale"
    if not loops and len(wiring.before(name)) > 1:
        yield "paths that meet"
    if isinstance(node, nir.LIF):
        yield from _leaky(node, dt)
    elif isinstance(node, nir.IF):
        unit = bool(np.allclose(np.asarray(node.r, np.float64) * dt, 1, atol=1e-6))
        yield "IF, r = 1 / dt" if unit else "IF, another r"
        yield from _resting("IF", node)
    elif isinstance(node, nir.CubaLIF):
        yield f"CubaLIF, {_gains(node, dt)}"
        yield from _resting("CubaLIF", node)
    else:
        yield type(node).__name__


def _gains(node: nir.CubaLIF, dt: float) -> str:
    if is_unit_gain(node.r, node.tau_mem, dt) and is_unit_gain(node.w_in, node.tau_syn, dt):
        return "unit gains"
    one = bool((np.asarray(node.r) == 1).all() and (np.asarray(node.w_in) == 1).all())
    return "r = w_in = 1" if one else "other gains"


def _leaky(node: Any, dt: float) -> Iterator[str]:
    if is_unit_gain(node.r, node.tau, dt):
        yield "LIF, r = tau / dt"
    else:
        yield "LIF, r = 1" if bool((np.asarray(node.r) == 1).all()) else "LIF, another r"
    if len(np.unique(node.tau)) > 1:
        yield "LIF, a tau for each neuron"
    yield from _resting("LIF", node)


def _resting(kind: str, node: Any) -> Iterator[str]:
    if bool(np.any(getattr(node, "v_leak", 0))):
        yield f"{kind}, v_leak"
    if bool(np.any(node.v_reset)):
        yield f"{kind}, v_reset"


def _looping(wiring: Wiring, name: str) -> bool:
    """Whether a path leads from a node back to it."""
    seen: set[str] = set()
    todo = list(wiring.after(name))
    while todo:
        at = todo.pop()
        if at == name:
            return True
        if at not in seen:
            seen.add(at)
            todo += wiring.after(at)
    return False
