"""What ``snnsim nir`` does: networks of runs and files as NIR graphs, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from snnsim_datasets.tools.files import atomic

from snnsim import load, save
from snnsim.errors import ConfigError, DataError
from snnsim.interop.nir import Finding, check, from_nir, to_nir
from snnsim_experiments.run_folder import load_network

ENDING = ".nir"


def network_of(place: Path, checkpoint: str) -> tuple[Any, tuple[int, ...] | None]:
    """Return a trained network and the shape of one step of its input, if that is known.

    Args:
        place: a run folder, or a file of :func:`snnsim.save`.
        checkpoint: ``"best"``, ``"last"`` or ``"initial"``, of a run folder.
    """
    if place.is_file():
        net = load(place)
        channels = net.about.get("channels")
        return net, (channels,) if isinstance(channels, int) else None
    net, _, facts = load_network(place, checkpoint)
    return net, tuple(facts.get("shape") or (facts["channels"],))


def export(place: Path, out: Path, checkpoint: str, round: bool, overwrite: bool) -> dict[str, Any]:
    """Write the network of a run to a NIR file.

    Args:
        place, checkpoint: as in :func:`network_of`.
        out: the file to write, which ends in ``.nir``.
        round: whether delays that are still wide are rounded.
        overwrite: whether a file that exists is replaced.

    Returns:
        The numbers of nodes by their kinds, and what the file does not say.
    """
    import nir

    if out.suffix != ENDING:
        raise ConfigError(f"the output is {out} but must end in {ENDING}")
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists; choose another name, or replace it with --overwrite")
    net, shape = network_of(place, checkpoint)
    graph = to_nir(net, shape=shape, round=round)
    with atomic(out) as temporary:
        nir.write(temporary, graph)
    return {"out": str(out), **_kinds(graph), **_beside(net)}


def _kinds(graph: Any) -> dict[str, Any]:
    kinds: dict[str, int] = {}
    for node in graph.nodes.values():
        kinds[type(node).__name__] = kinds.get(type(node).__name__, 0) + 1
    return {"nodes": len(graph.nodes), "kinds": kinds}


def _beside(net: Any) -> dict[str, Any]:
    """What a reader has to know besides the file."""
    from snnsim.synapses.delayed import delayed_layers

    tail = sum(layer.tail for layer in delayed_layers(net))
    return {"zeros to append to the input": tail} if tail else {}


def read(file: Path) -> Any:
    """Return the graph of a NIR file.

    Raises:
        DataError: if the file is absent or damaged.
    """
    import nir

    if not file.is_file():
        raise DataError(f"{file} does not exist; give a NIR file")
    try:
        return nir.read(file, type_check=False)  # which takes all kernels for square
    except (OSError, KeyError, ValueError, TypeError, AttributeError, AssertionError) as error:
        raise DataError(f"{file} is not a readable NIR file ({error!r})") from error


def bring_in(
    file: Path, out: Path, dt: float, dt_ms: float | None, overwrite: bool
) -> dict[str, Any]:
    """Write the network of a NIR file as :func:`snnsim.save` does.

    Args:
        file: the NIR file.
        out: the file to write, which ends in ``.safetensors``.
        dt, dt_ms: as in :func:`snnsim.interop.nir.from_nir`.
        overwrite: whether a file that exists is replaced.
    """
    if out.suffix != ".safetensors":
        raise ConfigError(f"the output is {out} but must end in .safetensors")
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists; choose another name, or replace it with --overwrite")
    net = from_nir(read(file), dt=dt, dt_ms=dt_ms)
    save(net, out)
    layers = ", ".join(type(layer).__name__ for layer in net)
    return {
        "out": str(out),
        "layers": layers,
        "parameters": sum(each.numel() for each in net.parameters()),
    }


def checked(file: Path, dt: float) -> list[Finding]:
    """Return what is known of how programs read a NIR file."""
    return check(read(file), dt)
