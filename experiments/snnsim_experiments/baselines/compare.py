"""Baselines and spiking networks side by side: same data, budget, recipe and read-out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from snnsim.baselines import get, width_for
from snnsim.baselines.size import cost_of
from snnsim.errors import ConfigError
from snnsim.networks import delay_network
from snnsim_experiments.baselines.config import allowed, fit_budget
from snnsim_experiments.baselines.config import resolve as resolve_baseline
from snnsim_experiments.baselines.rows import runs_at, side_by_side
from snnsim_experiments.build import build_network, load_split
from snnsim_experiments.config import Config, read_toml
from snnsim_experiments.config import resolve as resolve_spiking
from snnsim_experiments.run_folder import runs_below
from snnsim_experiments.train import train

ADAPTIVE = [
    "network.delays=none",
    "network.neuron=adlif",
    "network.tau_mem=100.0",
    "network.tau_adapt=500.0",
]
# spiking networks by name: what differs from the data set's own configuration
SPIKING: dict[str, list[str]] = {
    "snn-none": ["network.delays=none"],
    "snn-none-slow": ["network.delays=none", "network.tau_mem=55.0"],
    "snn-fixed": ["network.delays=fixed"],
    "snn-learned": ["network.delays=learned"],
    "snn-adlif": ADAPTIVE,
    "snn-radlif": [*ADAPTIVE, "network.recurrent=true"],
}
SHARED = (
    "epochs", "batch_size", "readout", "mask_padding", "schedule", "weight_decay", "patience",
    "accumulate", "precision", "checkpoint_steps",
)  # fmt: skip
OF_DELAYS = ("training.lr_delay=", "training.sigma_")  # which baselines have none of


def configure(
    name: str,
    dataset: str,
    budget: float,
    by: str,
    facts: tuple[int, int, float],
    *,
    seed: int = 0,
    epochs: int | None = None,
    config: str | None = None,
    changes: list[str] | None = None,
) -> Config:
    """The configuration of a baseline or spiking network within a budget.

    Spiking networks keep their own learning rates, layers and time constants; epochs, batches,
    read-out and dropout are those of the baselines.

    Args:
        name: of a model, or a key of ``SPIKING``.
        facts: channels, classes and step of the data (``data_facts``).
    """
    channels, classes, dt = facts
    if name not in SPIKING:
        changes = changes or []
        chosen = resolve_baseline(
            name, dataset, config=config, changes=changes, seed=seed, epochs=epochs
        )
        return fit_budget(chosen, channels, classes, budget, by)
    like = resolve_baseline("gru", dataset, config=config, changes=_shared(changes), epochs=epochs)
    same = [f"training.{key}={_toml(like.training[key])}" for key in SHARED]
    same.append(f"network.dropout={like.network['dropout']}")
    of_delays = [change for change in changes or [] if change.startswith(OF_DELAYS)]
    own = resolve_spiking(dataset, changes=[*SPIKING[name], *same, *of_delays], seed=seed)
    own = replace(own, data=like.data)
    hidden = len(own.network["hidden"])
    options = {k: v for k, v in own.network.items() if k != "hidden"}

    def make(width: int) -> Any:
        return delay_network((channels, *[width] * hidden, classes), dt=dt, **options)

    width = width_for(make, channels, budget, by)
    return replace(own, network={**own.network, "hidden": [width] * hidden})


def _shared(changes: list[str] | None) -> list[str]:
    kept = ("data.", "encoder.", "network.", *(f"training.{key}" for key in SHARED))
    return [c for c in changes or [] if c.startswith(kept)]


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def data_facts(config: Config, root: str | None) -> tuple[int, int, float]:
    """Channels, classes and step in ms of a configuration's data as it is loaded."""
    found = load_split(config, "validation", root)
    return found.channels, len(found.classes), found.dt


def compare(
    names: list[str],
    dataset: str,
    budget: float,
    by: str,
    seeds: list[int],
    root: str | None,
    out: Path,
    *,
    epochs: int | None = None,
    config: str | None = None,
    changes: list[str] | None = None,
    rates: Sequence[float] = (1.0,),
    device: str = "cpu",
    resume: bool = False,
    quiet: bool = False,
    console: Console | None = None,
) -> list[dict[str, Any]]:
    """Train every network with every seed into ``out/<name>``; a row for each network.

    A finished run is not repeated with ``resume``, and rows of other networks are kept.
    ``out/comparison.json`` is rewritten after every network. What has no place in the budget, or
    diverges, has a row that says so.

    Args:
        rates: factors of each network's own learning rate; with the first seed, the one with the
            best validation accuracy is chosen for all seeds.
    """
    base = resolve_baseline("gru", dataset, config=config, changes=_shared(changes), epochs=epochs)
    _check_same_for_all(config)
    facts = data_facts(base, root)
    console = console or Console(stderr=True)

    def make(name: str) -> Config:
        return configure(
            name, dataset, budget, by, facts, epochs=epochs, config=config, changes=changes
        )

    def measure(name: str, chosen: Config) -> dict[str, Any]:
        def run(config: Config, seed: int, factor: float) -> Any:
            folder = out / name / (f"seed{seed}" if factor == 1 else f"rate{factor:g}-seed{seed}")
            training = config.training | {"max_lr": factor * config.training["max_lr"]}
            each = replace(config, seed=seed, training=training)
            again = resume and (folder / "run.json").exists()
            options: dict[str, Any] = {"device": device, "quiet": quiet, "console": console}
            others = runs_below(out)
            return train(each, root, folder, resume=again, beside=others, **options)

        return _row(name, chosen, run, seeds, rates, facts)

    settings = _settings(base, budget, by, seeds, rates)
    return side_by_side(names, settings, make, measure, out, resume, quiet, console)


def _row(
    name: str,
    config: Config,
    run: Callable[[Config, int, float], dict[str, Any]],
    seeds: list[int],
    rates: Sequence[float],
    facts: tuple[int, int, float],
) -> dict[str, Any]:
    """The best learning rate on validation data, then all seeds with it."""
    first = runs_at(rates, lambda factor: run(config, seeds[0], factor))
    tried = {factor: 100 * summary["validation_accuracy"] for factor, summary in first.items()}
    best = max(tried, key=lambda factor: tried[factor])
    summaries = [first[best], *(run(config, seed, best) for seed in seeds[1:])]
    row = row_of(name, config, summaries, facts)
    peak = config.training["max_lr"]
    return row | {"max_lr": best * peak, "tried": {f"{f * peak:g}": v for f, v in tried.items()}}


def _settings(
    base: Config, budget: float, by: str, seeds: list[int], rates: Sequence[float]
) -> dict[str, Any]:
    """What all rows of a comparison have in common."""
    training = {key: base.training[key] for key in SHARED}
    own = ("model", "width", "encoder", "options")
    network = {key: value for key, value in base.network.items() if key not in own}
    return {
        "dataset": base.dataset, "data": base.data, "encoder": base.network["encoder"],
        "training": training, "network": network, "budget": budget, "by": by,
        "seeds": list(seeds), "rates": list(rates),
    }  # fmt: skip


def _check_same_for_all(config: str | None) -> None:
    """Refuse a file that gives some networks other data, encoder or training than the rest."""
    sections = {} if config is None else read_toml(Path(config), allowed())
    for name, section in sections.items():
        kind, _, model = name.partition("-")
        wrong = [k for k in section if kind in ("data", "encoder") or k in (*SHARED, "dropout")]
        if model and kind in ("data", "encoder", "network", "training") and wrong:
            raise ConfigError(
                f"[{name}] of {config} gives {model} a {wrong[0]} of its own, which is the same "
                f"for all in a comparison; move it to [{kind}]"
            )


def row_of(
    name: str, config: Config, summaries: list[dict[str, Any]], facts: tuple[int, int, float]
) -> dict[str, Any]:
    """What a table says of a network: means over seeds, cost, and what it is not."""
    channels, classes, dt = facts
    net = build_network(config, channels, classes, dt)
    cost = cost_of(net, channels)
    accuracy = [100 * s["test_accuracy"] for s in summaries]
    validation = [100 * s["validation_accuracy"] for s in summaries]
    spiking = name in SPIKING
    return {
        "test": float(np.mean(accuracy)),
        "test_std": float(np.std(accuracy, ddof=1)) if len(accuracy) > 1 else None,
        "tests": accuracy,
        "last_tests": [100 * s["last_test_accuracy"] for s in summaries],
        "validation": float(np.mean(validation)),
        "parameters": cost.parameters,
        "operations": cost.operations,
        "state": cost.state,
        "width": config.network["hidden"][0] if spiking else config.network["width"],
        "seconds": float(np.mean([s["seconds"] for s in summaries])),
        "causal": True if spiking else net.causal,
        "rate": float(np.mean([s["mean_firing_rate"] for s in summaries])) if spiking else None,
        "left_out": "" if spiking else get(name).left_out,
        "seeds": [s["seed"] for s in summaries],
    }
