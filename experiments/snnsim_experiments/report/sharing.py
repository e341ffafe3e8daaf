"""``snnsim share``: the network of a run in a folder for others, with a card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from snnsim.errors import CheckpointError, ConfigError
from snnsim.pretrained import save_pretrained
from snnsim.saving import load
from snnsim_experiments.report.card import card
from snnsim_experiments.report.facts import read_run
from snnsim_experiments.report.measured import Limits, measure


def share(
    folder: Path,
    out: Path,
    limits: Limits | None = None,
    *,
    license: str = "",
    push_to: str = "",
    private: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write the network of a run into a folder for others, with a card, and perhaps to a hub.

    Args:
        folder: the folder of a run on a data set.
        out: the folder to write.
        limits: how much the network is asked for its card.
        license: the name of the license of the weights, such as ``"cc-by-4.0"``.
        push_to, private: as for :func:`snnsim.pretrained.save_pretrained`.
        say: is told what is being done.

    Raises:
        ConfigError: if the run is one on a stream of tasks, or ``out`` is a run folder.
        CheckpointError: if the run has no network.
    """
    run = read_run(folder)
    if run.on_stream:
        raise ConfigError(
            f"{folder} is a run on a stream of tasks, which has no best network; save one of your "
            "own with snnsim.pretrained.save_pretrained(net, folder)"
        )
    if (out / "run.json").exists():
        raise ConfigError(f"{out} is the folder of a run; choose another for the network")
    best = folder / "best.safetensors"
    if not best.exists():
        raise CheckpointError(f"{folder} has no best.safetensors yet; its first epoch is not over")
    net = load(best)
    name = push_to.split("/")[-1] or out.absolute().name
    text = card(run, measure(run, limits or Limits(), say), name, place=push_to, license=license)
    return save_pretrained(net, out, card=text, push_to=push_to, private=private)
