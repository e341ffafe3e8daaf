"""What a NIR graph computes: forward Euler in float64, one node after another.

An edge of a path from the input is passed in the same step; an edge that closes a loop is passed
one step later. Neurons start at 0. This is the meaning on which the programs that read NIR agree
where they agree, and the oracle for what is written here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nir
import numpy as np
import torch

from snnsim.errors import ConfigError, ShapeError
from snnsim.interop.nir.drawing import NOMINAL_DT
from snnsim.interop.nir.timing import Array
from snnsim.interop.nir.wiring import Wiring

Step = Callable[[Array], Array]


def simulate(graph: nir.NIRGraph, x: Array, dt: float = NOMINAL_DT) -> Array:
    """Return what a NIR graph makes of a sequence, by forward Euler in float64.

    Args:
        graph: a graph with one input and one output.
        x: the input of every step, ``[T, B, ...]``.
        dt: the length of a step in s.

    Returns:
        The output of every step, ``[T, B, ...]``.

    Raises:
        ConfigError: if the graph has nodes that are not known here.

    >>> import nir, numpy as np
    >>> one = np.ones(1, np.float32)
    >>> neuron = nir.IF(r=one * 1e4, v_threshold=one * 1.5, v_reset=one * 0)
    >>> graph = nir.NIRGraph.from_list(nir.Input({"input": np.array([1])}), neuron)
    >>> simulate(graph, np.ones((4, 1, 1))).ravel().tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    wiring = Wiring(graph)
    order, later = _order(wiring)
    entry = wiring.entry
    x = np.asarray(x, dtype=np.float64)
    shape = tuple(int(n) for n in np.atleast_1d(wiring.nodes[entry].input_type["input"]))
    if x.ndim != 2 + len(shape) or x.shape[2:] != shape:
        raise ShapeError(f"x has shape {x.shape} but the graph needs [T, B, {shape}]")
    nodes = {name: _node(name, wiring.nodes[name], dt) for name in order}
    before: dict[str, Array] = {}
    out = []
    for now in x:
        values: dict[str, Array] = {entry: now}
        for name in order:
            if name == entry:
                continue
            arriving = [
                (before if (source, name) in later else values).get(source)
                for source in wiring.before(name)
            ]
            known = [each for each in arriving if each is not None]
            values[name] = nodes[name](sum(known[1:], start=known[0]))
        out.append(values[wiring.leaving])
        before = values
    return np.stack(out) if out else np.empty((0, *x.shape[1:]))


def _order(wiring: Wiring) -> tuple[list[str], set[tuple[str, str]]]:
    """The nodes so that sources come first, and the edges that close loops."""
    order: list[str] = []
    later: set[tuple[str, str]] = set()
    seen, path = {wiring.entry}, [wiring.entry]
    rest = {wiring.entry: iter(wiring.after(wiring.entry))}
    while path:
        name = path[-1]
        target = next(rest[name], None)
        if target is None:
            order.append(path.pop())
        elif target in path:
            later.add((name, target))
        elif target not in seen:
            seen.add(target)
            path.append(target)
            rest[target] = iter(wiring.after(target))
    return order[::-1], later


def _wide(value: Any) -> Array:
    return np.asarray(value, dtype=np.float64)


def _node(name: str, node: Any, dt: float) -> Step:
    """A function of one step with the state of a node inside."""
    for kind, make in _MAKERS:
        if isinstance(node, kind):
            made: Step = make(node, dt)
            return made
    raise ConfigError(f"node {name} is a {type(node).__name__}, which the simulator does not know")


def _matrix(node: Any, dt: float) -> Step:
    weight, bias = _wide(node.weight), _wide(getattr(node, "bias", 0.0))
    return lambda x: x @ weight.T + bias


def _conv(node: Any, dt: float) -> Step:
    flat = isinstance(node, nir.Conv1d)
    convolve = torch.nn.functional.conv1d if flat else torch.nn.functional.conv2d
    weight, bias = torch.from_numpy(_wide(node.weight)), torch.from_numpy(_wide(node.bias))

    def plain(value: Any) -> Any:
        return value if isinstance(value, str) else tuple(np.atleast_1d(value).astype(int).tolist())

    stride, padding, dilation = plain(node.stride), plain(node.padding), plain(node.dilation)
    groups = int(node.groups)
    return lambda x: convolve(
        torch.from_numpy(x), weight, bias, stride, padding, dilation, groups
    ).numpy()


def _pool(node: Any, dt: float) -> Step:
    size, stride, padding = (
        tuple(np.broadcast_to(value, 2).astype(int).tolist())
        for value in (node.kernel_size, node.stride, node.padding)
    )
    divisor = 1 if isinstance(node, nir.SumPool2d) else None
    return lambda x: torch.nn.functional.avg_pool2d(
        torch.from_numpy(x), size, stride, padding, divisor_override=divisor
    ).numpy()


def _flatten(node: Any, dt: float) -> Step:
    start, end = int(node.start_dim), int(node.end_dim)
    start, end = (axis + 1 if axis >= 0 else axis for axis in (start, end))
    return lambda x: torch.from_numpy(x).flatten(start, end).numpy()


def _delay(node: Any, dt: float) -> Step:
    steps = np.rint(_wide(node.delay) / dt).astype(int)
    past: list[Array] = []

    def step(x: Array) -> Array:
        past.insert(0, x)
        del past[int(steps.max(initial=0)) + 1 :]
        late = np.zeros_like(x)
        for count in np.unique(steps):
            if count < len(past):
                late += np.where(steps == count, past[count], 0.0)
        return late

    return step


def _leak(node: Any, dt: float) -> Callable[[Array | float, Array], Array]:
    """The membrane after a step, of the one before it and the current."""
    r = _wide(node.r)
    if isinstance(node, nir.I | nir.IF):
        return lambda v, current: v + dt * r * current
    tau = _wide(node.tau if hasattr(node, "tau") else node.tau_mem)
    rest = _wide(node.v_leak)
    return lambda v, current: v + dt / tau * (rest - v + r * current)


def _neuron(node: Any, dt: float) -> Step:
    leak = _leak(node, dt)
    synapse = hasattr(node, "tau_syn")
    fires = hasattr(node, "v_threshold")
    state: dict[str, Any] = {"i": 0.0, "v": 0.0}

    def step(x: Array) -> Array:
        if synapse:
            state["i"] = state["i"] + dt / _wide(node.tau_syn) * (_wide(node.w_in) * x - state["i"])
            x = state["i"]
        u = leak(state["v"], x)
        if not fires:
            state["v"] = u
            return u
        z = (u > _wide(node.v_threshold)).astype(np.float64)
        state["v"] = np.where(z > 0, _wide(node.v_reset), u)
        return z

    return step


_MAKERS: tuple[tuple[Any, Callable[[Any, float], Step]], ...] = (
    (nir.Affine | nir.Linear, _matrix),
    (nir.Conv1d | nir.Conv2d, _conv),
    (nir.SumPool2d | nir.AvgPool2d, _pool),
    (nir.Flatten, _flatten),
    (nir.Delay, _delay),
    (nir.Scale, lambda node, dt: lambda x: x * _wide(node.scale)),
    (nir.Threshold, lambda node, dt: lambda x: (x > _wide(node.threshold)).astype(np.float64)),
    (nir.I | nir.IF | nir.LI | nir.LIF | nir.CubaLI | nir.CubaLIF, _neuron),
    (nir.Input | nir.Output, lambda node, dt: lambda x: x),
)
