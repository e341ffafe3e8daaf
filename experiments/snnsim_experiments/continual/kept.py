"""Runs on streams that kept their weights, as what analyses look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snnsim.continual import LearnedTasks, Stream, Task, WeightsOfTasks, methods
from snnsim.data import Sequences, View
from snnsim.errors import ConfigError, check_choice
from snnsim.training import set_seed
from snnsim_experiments import run_folder
from snnsim_experiments.continual import networks, streams
from snnsim_experiments.experiment import Experiment

SPLITS = ("train", "validation", "test")


def folder_of(run: Path) -> Path:
    """Return the folder with the ``run.json`` of a run, of which one of a seed may be given."""
    of_seed = run.name.startswith("seed") and not (run / "run.json").exists()
    return run.parent if of_seed and (run.parent / "run.json").exists() else run


def learned(
    run: Path,
    split: str = "test",
    samples: int = 200,
    root: str | None = None,
    after: int | None = None,
    chosen: Mapping[str, Any] | None = None,
) -> LearnedTasks:
    """Return what a run on a stream has learned, with its weights after every task.

    Args:
        run: the folder of the run, or of one of its seeds; in the former the first seed is taken.
        split: the split of each task's data: ``"train"``, ``"validation"`` or ``"test"``.
        samples: the largest number of samples of each task; they lie evenly in the split.
        root: the folder of the data; ``None`` for that of the run.
        after: the number of the task, from 0, after which all networks are looked at; ``None`` for
            each after its own task.
        chosen: attributes of the subjects, see :class:`snnsim.analysis.Subject`.

    Raises:
        ConfigError: if the run kept no weights, or the split does not exist.
    """
    check_choice("split", split, SPLITS)
    folder = folder_of(run)
    facts = run_folder.read_object(folder / "run.json")
    own = _seed_folder(folder, run)
    experiment = replace(run_folder.stored_experiment(folder), seed=int(own.name[4:]))
    if not (own / "weights").is_dir():
        raise ConfigError(
            f"{own} has no weights, which are deleted once a run on a stream is done; train with "
            "--keep-weights to keep those after every task"
        )
    options = experiment.data | {"seed": experiment.data["seed"] + experiment.seed}
    stream = streams.build(
        experiment.source, facts.get("root") if root is None else root, **options
    )
    run_folder.check_same_data(folder, stream.checksums)
    shown = _shown(stream, split, samples)
    told = {"readout": experiment.network["readout"], **(chosen or {})}

    def make() -> WeightsOfTasks:
        return _made(experiment, stream, shown, own / "weights")

    return LearnedTasks(make, after, told)


def _seed_folder(folder: Path, run: Path) -> Path:
    """The folder of the seed that is named, or of the first."""
    if run != folder:
        return run
    found = [p for p in folder.glob("seed*") if p.is_dir() and p.name[4:].isdecimal()]
    if not found:
        raise ConfigError(f"{folder} has no seed that was run; continue it with --resume")
    return min(found, key=lambda path: int(path.name[4:]))


def _shown(stream: Stream, split: str, samples: int) -> Stream:
    """The stream with a part of a split in the place of each task's test data."""
    return replace(stream, tasks=tuple(_part(task, split, samples) for task in stream.tasks))


def _part(task: Task, split: str, samples: int) -> Task:
    data: Sequences | None = getattr(task, split)
    if data is None or not len(data):
        raise ConfigError(f"{task.name} has no {split} data; choose another --split")
    spread = np.linspace(0, len(data) - 1, min(samples, len(data)))
    return replace(task, test=View(data, np.unique(spread.round().astype(int))))


def _made(experiment: Experiment, stream: Stream, shown: Stream, weights: Path) -> WeightsOfTasks:
    """The learner and its method as they were before training."""
    with torch.random.fork_rng(devices=[]):
        set_seed(experiment.seed)
        learner = networks.build(stream, model=experiment.model, **experiment.network)
        method = methods.get(experiment.method)(**experiment.method_options)
        method.attach(learner, experiment.recipe.plain)
    learner.stream = shown
    return WeightsOfTasks(learner, method, weights)
