"""A graph for each feature of ``snnsim.interop.nir.fidelity``, for ``scripts/nir_table``."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import nir
import numpy as np

N, DT = 8, 1e-4
TAU = 2e-3
RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.normal(0.25, 0.35, (N, N)).astype(np.float32)


def full(value: Any, shape: Any = N) -> np.ndarray:
    return np.broadcast_to(np.float32(value), shape).copy()


def linear(scale: float = 1.0) -> Any:
    return nir.Linear(weight=scale * WEIGHT)


def lif(
    shape: Any = N, tau: Any = TAU, r: Any = TAU / DT, leak: Any = 0.0, reset: Any = 0.0
) -> Any:
    return nir.LIF(
        tau=full(tau, shape), r=full(r, shape), v_leak=full(leak, shape),
        v_threshold=full(1.0, shape), v_reset=full(reset, shape),
    )  # fmt: skip


def cuba(r: float, w_in: float) -> Any:
    return nir.CubaLIF(
        tau_syn=full(1e-3), tau_mem=full(TAU), r=full(r), v_leak=full(0), v_threshold=full(1),
        v_reset=full(0), w_in=full(w_in),
    )  # fmt: skip


def fire(r: float) -> Any:
    return nir.IF(r=full(r), v_threshold=full(1), v_reset=full(0))


def chain(*nodes: Any, shape: Any = (N,), out: Any = (N,)) -> Any:
    names = [f"n{i}" for i in range(len(nodes))]
    named = dict(zip(names, nodes, strict=True))
    named = {"input": nir.Input({"input": np.array(shape)}), **named}
    named["output"] = nir.Output({"output": np.array(out)})
    path = list(named)
    return nir.NIRGraph(named, list(itertools.pairwise(path)), type_check=False)


def wired(nodes: dict[str, Any], edges: list[tuple[str, str]]) -> Any:
    ends = {
        "input": nir.Input({"input": np.array([N])}),
        "output": nir.Output({"output": np.array([N])}),
    }
    return nir.NIRGraph({**ends, **nodes}, edges, type_check=False)


def image(*nodes: Any, out: Any) -> Any:
    return chain(*nodes, shape=(2, 8, 8), out=out)


def conv() -> Any:
    weight = RANDOM.normal(0.1, 0.25, (3, 2, 3, 3)).astype(np.float32)
    return nir.Conv2d((8, 8), weight, (1, 1), (1, 1), (1, 1), 1, full(0.02, 3))


def pool(kind: Any) -> Any:
    pair = np.array((2, 2))
    return kind(kernel_size=pair, stride=pair, padding=np.array((0, 0)))


def recurrent(neuron: Any) -> Any:
    back = nir.Linear(weight=0.5 * WEIGHT[::-1].copy())
    edges = [("input", "w"), ("w", "z"), ("z", "output"), ("z", "back"), ("back", "z")]
    return wired({"w": linear(), "z": neuron, "back": back}, edges)


def subtracting(neuron: Any) -> Any:
    decay = 1 - DT / TAU
    nodes = {
        "w": linear(),
        "v": nir.LI(tau=full(TAU), r=full(TAU / DT), v_leak=full(0)),
        "z": nir.Threshold(threshold=full(1)),
        "s": nir.Scale(scale=full(-decay)),
    }
    edges = [("input", "w"), ("w", "v"), ("v", "z"), ("z", "output"), ("z", "s"), ("s", "v")]
    return wired(nodes, edges)


def parallel(neuron: Any) -> Any:
    nodes = {"a": linear(0.5), "b": nir.Linear(weight=0.5 * WEIGHT.T.copy()), "z": neuron}
    edges = [("input", "a"), ("input", "b"), ("a", "z"), ("b", "z"), ("z", "output")]
    return wired(nodes, edges)


Make = Callable[[Callable[..., Any]], Any]
# each is given the neuron that the program reads best, of a shape
FEATURES: dict[str, Make] = {
    "Linear": lambda best: chain(linear(), best()),
    "Affine": lambda best: chain(nir.Affine(WEIGHT, full(0.05)), best()),
    "Conv1d": lambda best: chain(
        nir.Conv1d(N, RANDOM.normal(0.2, 0.3, (3, 2, 3)).astype("f4"), 1, 1, 1, 1, full(0, 3)),
        best((3, 8)), shape=(2, 8), out=(3, 8),
    ),
    "Conv2d": lambda best: image(conv(), best((3, 8, 8)), out=(3, 8, 8)),
    "SumPool2d": lambda best: image(conv(), pool(nir.SumPool2d), best((3, 4, 4)), out=(3, 4, 4)),
    "AvgPool2d": lambda best: image(conv(), pool(nir.AvgPool2d), best((3, 4, 4)), out=(3, 4, 4)),
    "Flatten": lambda best: image(
        nir.Flatten({"input": np.array((2, 8, 8))}, 0, -1),
        nir.Linear(RANDOM.normal(0.02, 0.15, (N, 128)).astype(np.float32)), best(), out=(N,),
    ),
    "Scale": lambda best: chain(linear(), nir.Scale(full(np.linspace(0.5, 1.5, N))), best()),
    "Threshold": lambda best: chain(linear(), nir.Threshold(full(0.4))),
    "Delay": lambda best: chain(nir.Delay(full(np.arange(N) * DT)), linear(), best()),
    "LI": lambda best: chain(linear(), nir.LI(full(TAU), full(TAU / DT), full(0))),
    "LIF, r = tau / dt": lambda best: chain(linear(), lif()),
    "LIF, r = 1": lambda best: chain(linear(TAU / DT), lif(r=1.0)),
    "LIF, another r": lambda best: chain(linear(10), lif(r=2.0)),
    "LIF, a tau for each neuron": lambda best: chain(
        linear(), lif(tau=np.linspace(1e-3, 4e-3, N), r=np.linspace(10, 40, N))
    ),
    "LIF, v_reset": lambda best: chain(linear(), lif(reset=-0.3)),
    "LIF, v_leak": lambda best: chain(linear(), lif(leak=0.4)),
    "IF, r = 1 / dt": lambda best: chain(linear(), fire(1 / DT)),
    "IF, another r": lambda best: chain(linear(), fire(0.5 / DT)),
    "CubaLIF, unit gains": lambda best: chain(linear(0.3), cuba(TAU / DT, 1e-3 / DT)),
    "CubaLIF, r = w_in = 1": lambda best: chain(linear(100), cuba(1, 1)),
    "CubaLIF, other gains": lambda best: chain(linear(10), cuba(2, 5)),
    "a loop through Linear": lambda best: recurrent(best()),
    "a loop through Scale": lambda best: subtracting(best()),
    "paths that meet": lambda best: parallel(best()),
}  # fmt: skip


def best_neuron(program: str) -> Callable[..., Any]:
    """Return the LIF that a program reads best: Norse leaves ``r`` out."""
    if program == "norse":
        return lambda shape=N: nir.IF(
            r=full(1 / DT, shape), v_threshold=full(1, shape), v_reset=full(0, shape)
        )
    return lambda shape=N: lif(shape)
