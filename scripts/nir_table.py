"""Which programs read NIR files, and how many spikes they get wrong.

The first table has a graph for each feature of ``snnsim.interop.nir.fidelity``, the second one the
networks of ``tests/unit/nir/nir_networks.py`` as we write them. Each program that is installed
reads the file and runs it step by step in float32; its output is compared with forward Euler in
float64. Every reading happens in a process of its own, because some do not end.
"""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/unit/nir"))

SECONDS = 60.0
DT = 1e-4


def stepwise(net: Any, x: Any) -> Iterator[Any]:
    """Outputs of a network that is called with its state, step by step."""
    state = None
    for now in x:
        y, state = net(now, state)
        yield y[0] if isinstance(y, tuple) else y


def spikingjelly(file: Path, x: Any) -> Iterator[Any]:
    from spikingjelly.activation_based import nir_exchange

    return stepwise(nir_exchange.import_from_nir(file, dt=DT), x)


def snntorch(file: Path, x: Any) -> Iterator[Any]:
    import nir
    from snntorch.import_nir import import_from_nir

    return stepwise(import_from_nir(nir.read(file)), x)


def norse(file: Path, x: Any) -> Iterator[Any]:
    import nir
    import norse.torch

    return stepwise(norse.torch.from_nir(nir.read(file), dt=DT), x)


def sinabs(file: Path, x: Any) -> Iterator[Any]:
    import nir
    import sinabs.nir

    return stepwise(sinabs.nir.from_nir(nir.read(file), batch_size=x.shape[1]), x)


PROGRAMS: dict[str, Callable[[Path, Any], Iterator[Any]]] = {
    "spikingjelly": spikingjelly,
    "snntorch": snntorch,
    "norse": norse,
    "sinabs": sinabs,
}


def work(program: str, asked: Any) -> None:
    """Send the outputs of a program for each file, or what it says instead."""
    import torch

    warnings.simplefilter("ignore")
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (talkative ones)
    while True:
        file, x = asked.recv()
        try:
            with torch.no_grad():
                steps = list(PROGRAMS[program](file, torch.from_numpy(x).float()))
                asked.send(torch.stack(steps).detach().double().numpy())
        except Exception as error:
            asked.send(f"{type(error).__name__}: {error}")


class Program:
    """A program in a process of its own, which begins anew when it does not answer."""

    def __init__(self, name: str):
        self.name, self.process = name, None

    def run(self, file: Path, x: np.ndarray) -> Any:
        """Return its outputs, or what it says instead."""
        if self.process is None:
            self.pipe, theirs = multiprocessing.Pipe()
            self.process = multiprocessing.get_context("spawn").Process(
                target=work, args=(self.name, theirs), daemon=True
            )
            self.process.start()
        self.pipe.send((file, x))
        if self.pipe.poll(SECONDS):
            return self.pipe.recv()
        self.process.kill()
        self.process = None
        return f"no answer in {SECONDS:g} s"


def verdict(found: Any, wanted: np.ndarray) -> str:
    """What a program made of a file: ``=``, a percentage of wrong spikes, or an error."""
    if isinstance(found, str):
        return found.splitlines()[0][:60] or "an error without a word"
    if found.shape != wanted.shape:
        return f"outputs of shape {found.shape}, not {wanted.shape}"
    spikes = set(np.unique(wanted)) <= {0.0, 1.0}
    wrong = found != wanted if spikes else ~np.isclose(found, wanted, rtol=1e-3, atol=1e-4)
    return "=" if not wrong.any() else f"{wrong.mean():.2%}"


def versions() -> dict[str, str]:
    """The programs that are installed."""
    found = {}
    for name in PROGRAMS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def table(title: str, rows: Iterator[tuple[str, Any]]) -> None:
    """Print what programs make of graphs.

    Args:
        title: the heading of the first column.
        rows: the names of graphs, and for the name of each program a graph and its input.
    """
    import nir

    from snnsim.interop.nir import simulate

    known = versions()
    programs = [Program(name) for name in known]
    print(f"| {title} |", " | ".join(f"{n} {v}" for n, v in known.items()), "|")
    print("|---|" + "---|" * len(known))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "net.nir")
        for name, graph_for in rows:
            cells = []
            for program in programs:
                graph, x = graph_for(program.name)
                nir.write(file, graph)
                wanted = simulate(graph, x)
                assert wanted.any(), f"{name} shows nothing"
                cells.append(verdict(program.run(file, x), wanted))
            print(f"| {name} |", " | ".join(cells), "|", flush=True)
    print()


def features() -> Iterator[tuple[str, Any]]:
    """A graph for each feature."""
    from nir_features import FEATURES, best_neuron

    for name, make in FEATURES.items():

        def graph_for(program: str, make: Any = make) -> tuple[Any, np.ndarray]:
            graph = make(best_neuron(program))
            shape = tuple(graph.nodes["input"].input_type["input"])
            return graph, (np.random.default_rng(1).random((200, 4, *shape)) < 0.3).astype(float)

        yield name, graph_for


def networks() -> Iterator[tuple[str, Any]]:
    """The networks of the tests."""
    from nir_networks import KINDS, make

    from snnsim.interop.nir import to_nir

    for name in KINDS:
        case = make(name)
        pair = to_nir(case.net, shape=case.shape), case.x.numpy()
        yield name, lambda program, pair=pair: pair


if __name__ == "__main__":
    table("node", features())
    table("network", networks())
