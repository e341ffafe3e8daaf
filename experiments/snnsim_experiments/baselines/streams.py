"""Baselines and spiking networks on a stream of tasks: same stream, method, budget and recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor, nn

from snnsim.baselines import Cost, cost_of, get, multiple_of, width_for
from snnsim.baselines.size import parameters_of
from snnsim.continual import Learner, Stream
from snnsim.errors import ConfigError
from snnsim.layer import Layer
from snnsim.networks import Repeat, Sequential
from snnsim.training import set_seed
from snnsim_experiments.baselines.config import resolve as resolve_baseline
from snnsim_experiments.baselines.rows import runs_at, side_by_side
from snnsim_experiments.continual import networks, streams
from snnsim_experiments.continual.config import ContinualConfig
from snnsim_experiments.continual.config import resolve as resolve_stream
from snnsim_experiments.continual.run import Refused, run
from snnsim_experiments.progress import DownloadBar
from snnsim_experiments.run_folder import runs_below

# spiking networks by name: what differs from the stream's own configuration
SPIKING: dict[str, list[str]] = {
    "snn-none": ["network.connections=dense"],
    "snn-recurrent": ["network.connections=recurrent"],
    "snn-axonal": ["network.connections=axonal"],
    "snn-learned": ["network.connections=synaptic"],
}
OF_ALL = ("stream.", "training.", "method.")  # sections that spiking networks get too


def configure(
    name: str,
    stream: str,
    method: str,
    *,
    config: str | None = None,
    changes: list[str] | None = None,
    epochs: int | None = None,
) -> ContinualConfig:
    """The configuration of a baseline or spiking network, of any width.

    Stream, method and training are the same for all; a baseline has as many layers as on a data
    set.

    Args:
        name: of a model, or a key of ``SPIKING``.
    """
    changes = list(changes or [])
    if epochs is not None:
        changes.append(f"training.epochs={epochs}")
    if name in SPIKING:
        kept = [change for change in changes if change.startswith(OF_ALL)]
        return resolve_stream(stream, method, config=config, changes=[*SPIKING[name], *kept])
    depth = resolve_baseline(name, "spoken-digits").network["depth"]
    own = [f"network.baseline={name}", f"network.depth={depth}"]
    return resolve_stream(stream, method, config=config, changes=[*own, *changes])


def load(config: ContinualConfig, root: str | None, console: Console, quiet: bool) -> Stream:
    """The stream of a configuration, to see what its samples are."""
    with DownloadBar(console, quiet) as bar:
        return streams.build(config.stream_name, root, bar, **config.stream)


def with_width(config: ContinualConfig, width: int) -> ContinualConfig:
    """The configuration with all layers this wide."""
    if config.network["baseline"]:
        return replace(config, network=config.network | {"width": width})
    layers = len(config.network["hidden"] or [])
    if not layers or config.network["convolutions"] or config.network["residual"]:
        raise ConfigError(
            f"a budget sizes fully connected layers, but the configuration of {config.stream_name} "
            "has others; compare baselines alone"
        )
    return replace(config, network=config.network | {"hidden": [width] * layers})


def width_of(config: ContinualConfig) -> int:
    """Of the layers."""
    network = config.network
    width: int = network["width"] if network["baseline"] else network["hidden"][0]
    return width


def fit_budget(
    config: ContinualConfig, stream: Stream, budget: float, by: str
) -> tuple[ContinualConfig, Cost]:
    """The configuration with the largest width within a budget, and what the network costs.

    Parameters are those of all heads; state and operations those of the first task, per step.
    """
    channels = int(stream.tasks[0].test.batch([0]).x[0, 0].numel())
    baseline = config.network["baseline"]

    def learner(width: int) -> Learner:
        return networks.build(stream, **with_width(config, width).network)

    def make(width: int) -> nn.Module:
        return learner(width) if by == "parameters" else _OfOneTask(learner(width))

    multiple = multiple_of(baseline, config.network["options"]) if baseline else 1
    width = width_for(make, channels, budget, by, multiple)
    chosen = learner(width)
    cost = cost_of(_OfOneTask(chosen), channels)._replace(parameters=parameters_of(chosen))
    return with_width(config, width), cost


class _OfOneTask(Layer):
    """A learner as it answers its first task, a step at a time also where images are repeated."""

    def __init__(self, learner: Learner):
        super().__init__()
        self.body = Sequential(*(m for m in learner.body if not isinstance(m, Repeat)))
        self.head = learner.head(0)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        y, state = self.body(x, state)
        return self.head(y)[0], state


def compare(
    names: list[str],
    stream: str,
    method: str,
    budget: float,
    by: str,
    seeds: list[int],
    root: str | None,
    out: Path,
    *,
    epochs: int | None = None,
    config: str | None = None,
    changes: list[str] | None = None,
    rates: list[float] | None = None,
    device: str = "cpu",
    resume: bool = False,
    quiet: bool = False,
    console: Console | None = None,
) -> list[dict[str, Any]]:
    """Run every network with every seed into ``out/<name>``; a row for each network.

    As :func:`snnsim_experiments.baselines.compare.compare`: ``test`` is the average accuracy
    over tasks at the end of the stream.

    Args:
        rates: factors of the learning rate; where there are several, each network takes the one
            that is best on the held-out part of the training data, with the first seed.
    """
    console, rates = console or Console(stderr=True), rates or [1.0]
    shared: dict[str, Any] = {"config": config, "changes": changes, "epochs": epochs}
    of_all = [c for c in changes or [] if c.startswith((*OF_ALL, "encoder."))]
    base = configure("gru", stream, method, **(shared | {"changes": of_all}))
    tasks = load(base, root, console, quiet)
    options: dict[str, Any] = {"device": device, "quiet": quiet, "console": console}

    def make(name: str) -> tuple[ContinualConfig, Cost]:
        chosen = configure(name, stream, method, **shared)
        set_seed(seeds[0])
        return fit_budget(chosen, tasks, budget, by)

    def measure(name: str, chosen: tuple[ContinualConfig, Cost]) -> dict[str, Any]:
        def results(factor: float, held_out: bool) -> dict[str, Any]:
            folder = out / name / (f"rate{factor:g}" + ("-validation" if held_out else ""))
            each = _at_rate(chosen[0], factor, held_out)
            these = seeds[:1] if held_out else seeds
            others = runs_below(out)
            return run(each, these, root, folder, resume=folder.exists(), beside=others, **options)

        lr = chosen[0].training["lr"]
        try:
            first = runs_at(rates, lambda factor: results(factor, True)) if rates[1:] else {}
            best = max(first, key=lambda factor: first[factor]["acc"]) if first else rates[0]
            row = row_of(name, chosen, results(best, False))
        except Refused as error:
            return {"refused": str(error)}
        tried = {f"{factor * lr:g}": summary["acc"] for factor, summary in first.items()}
        return row | {"lr": best * lr, "tried": tried}

    settings = {
        "stream": stream, "method": method, "options": [base.stream, base.method],
        "training": base.training, "budget": budget, "by": by, "seeds": seeds, "rates": rates,
        "encoder": base.network["encoder"],
        "network": [c for c in changes or [] if c.startswith("network.")],
    }  # fmt: skip
    return side_by_side(names, settings, make, measure, out, resume, quiet, console)


def _at_rate(config: ContinualConfig, factor: float, held_out: bool) -> ContinualConfig:
    training = config.training | {"lr": factor * config.training["lr"]}
    part = {"evaluate": "validation"} if held_out else {}
    return replace(config, training=training, stream=config.stream | part)


def row_of(
    name: str, chosen: tuple[ContinualConfig, Cost], summary: dict[str, Any]
) -> dict[str, Any]:
    """What a table says of a network: means over seeds, cost, and what it is not."""
    (config, cost), spread = chosen, len(summary["seeds"]) > 1
    spiking = name in SPIKING
    return {
        "test": summary["acc"],
        "test_std": summary["std"]["acc"] if spread else None,
        "bwt": summary["bwt"],
        "bwt_std": summary["std"]["bwt"] if spread else None,
        **cost._asdict(),
        "width": width_of(config),
        "memory_bytes": summary["memory_bytes"],
        "seconds": sum(summary["seconds_per_task"]),
        "causal": True,  # streams refuse others
        "spiking": spiking,
        "left_out": "" if spiking else get(name).left_out,
        "seeds": summary["seeds"],
    }
