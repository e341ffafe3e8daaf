"""``snnsim diagnose``: why the network of a run, or one that is to be trained, learns nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from snnsim import checkpoint
from snnsim.baselines import RateNetwork
from snnsim.data import Sequences
from snnsim.diagnosis import Diagnosis, diagnose
from snnsim.errors import ConfigError
from snnsim_experiments import run_folder
from snnsim_experiments.build import Facts, build_network, load_split, some_of
from snnsim_experiments.experiment import Experiment
from snnsim_experiments.forecasts import check_causal, objective_on


def is_run(given: str) -> bool:
    """Return whether an argument is the folder of a run, and not data."""
    return (Path(given) / "run.json").is_file()


def of_run(
    folder: Path,
    root: str | None = None,
    name: str = "best",
    batches: int = 4,
    device: str = "cpu",
) -> Diagnosis:
    """Diagnose the network of a run on its training data, and what its training has changed.

    Args:
        folder: the folder of a run on a data set.
        root: the folder of the data; ``None`` for that of the run.
        name: the checkpoint, ``"best"``, ``"last"`` or ``"initial"``.
        batches: the largest number of batches to look at.
        device: where the network runs.

    Raises:
        ConfigError: if the run is one on a stream of tasks.
    """
    if run_folder.stored_experiment(folder).method:
        raise ConfigError(
            f"{folder} is a run on a stream of tasks; diagnose a run on a data set, or a network "
            "of your own with snnsim.diagnose(net, data)"
        )
    net, experiment, facts = run_folder.load_network(folder, name)
    data = load_split(experiment, "train", facts.get("root") if root is None else root)
    data = run_folder.in_order_of(facts, data)
    run_folder.check_fits(folder, facts, data)
    before = None
    if name != "initial":
        stored, _ = checkpoint.load(folder / "initial.safetensors")
        before = checkpoint.without_prefix("net", stored)
    return _diagnosed(net, experiment, data, device, before=before, batches=batches)


def of_experiment(
    experiment: Experiment, root: str | None = None, batches: int = 4, device: str = "cpu"
) -> Diagnosis:
    """Diagnose the network that an experiment would train, before its training.

    Args:
        experiment: one without a method, as :func:`snnsim_experiments.resolve` makes it.
        root: the folder of the data.
        batches: the largest number of batches to look at.
        device: where the network runs.
    """
    data = load_split(experiment, "train", root)
    net = build_network(experiment, *Facts.of(data))
    check_causal(net, experiment.model, data)
    if isinstance(net, RateNetwork):
        net.prepare(some_of(data))
    return _diagnosed(net, experiment, data, device, batches=batches)


def _diagnosed(
    net: torch.nn.Module, experiment: Experiment, data: Sequences, device: str, **more: Any
) -> Diagnosis:
    recipe = experiment.recipe
    objective = objective_on(data, recipe.target, recipe.readout, recipe.mask_padding)
    where = run_folder.device(device)
    return diagnose(net.to(where), data, recipe=recipe, objective=objective, **more)
