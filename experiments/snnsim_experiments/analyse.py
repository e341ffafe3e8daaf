"""``snnsim analyse``: look inside the network of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snnsim.analysis import ANALYSES, Report, Subject, analyse, options, title
from snnsim.continual import LearnedTasks
from snnsim.data import View
from snnsim.errors import ConfigError, check_number
from snnsim_experiments import run_folder
from snnsim_experiments.build import load_split
from snnsim_experiments.continual import kept
from snnsim_experiments.forecasts import objective_on
from snnsim_experiments.settings import Changes, parse_changes


def subject_of(
    run: Path,
    split: str = "test",
    samples: int = 200,
    root: str | None = None,
    checkpoint: str = "best",
    task: int | None = None,
    on: int | None = None,
    **chosen: Any,
) -> Subject:
    """Return the network of a run, with samples of its data, as what analyses look at.

    Args:
        run: the folder of a run on a data set; or of one on a stream of tasks that kept its
            weights, or of one of its seeds (else its first seed is taken).
        split: the split of the data.
        samples: the largest number of samples, on a stream of each task; they lie evenly in the
            split.
        root: the folder of the data; ``None`` for that of the run.
        checkpoint: ``"best"``, ``"last"`` or ``"initial"``; runs on streams have no such.
        task: on a stream, the number of the task, from 1, after which the weights are taken;
            ``None`` for the last, and where all tasks are compared for each task itself.
        on: on a stream, the number of the task, from 1, whose data the network is shown; ``None``
            for the task after which the weights are taken.
        chosen: further attributes of the subject, see :class:`snnsim.analysis.Subject`.

    Raises:
        ConfigError: if what is asked does not fit the run.
    """
    experiment = run_folder.stored_experiment(kept.folder_of(run))
    if experiment.method:
        if checkpoint != "best":
            raise ConfigError(
                f"checkpoint is {checkpoint!r}, but {run} is a run on a stream of tasks; choose "
                "weights by task"
            )
        after = None if task is None else task - 1
        tasks = kept.learned(run, split, samples, root, after, chosen)
        return _of_task(tasks, task, on)
    if task is not None or on is not None:
        raise ConfigError(f"{run} is a run on one data set and has no tasks to choose from")
    net, experiment, facts = run_folder.load_network(run, checkpoint)
    data = load_split(experiment, split, facts.get("root") if root is None else root)
    chosen_samples = np.linspace(0, len(data) - 1, min(samples, len(data)))
    shown = np.unique(chosen_samples.round().astype(int))
    recipe = experiment.recipe
    objective = objective_on(data, recipe.target, recipe.readout, recipe.mask_padding)
    known: dict[str, Any] = {"readout": recipe.readout, "mask_padding": recipe.mask_padding}
    known |= {"target": recipe.target, "objective": objective}
    return Subject(net, View(data, shown), **known | {"steps": facts["steps"]} | chosen)


def _of_task(tasks: LearnedTasks, task: int | None, on: int | None) -> Subject:
    """The network after a task on the data of one; all tasks stay as they are to be compared."""
    count = len(tasks.names)
    for name, number in (("task", task), ("on", on)):
        if number is not None:
            check_number(name, number, 1, count)
    last = count if task is None else task
    fixed = replace(tasks, after=last - 1)
    return replace(fixed.subject((on or last) - 1), tasks=tasks)


def check_tasks(what: str, by: str, task: int | None, on: int | None) -> None:
    """Raise :class:`ConfigError` for a choice of task that an analysis would ignore.

    Args:
        what, by: the name of the analysis, and its option ``by``.
        task, on: the arguments of :func:`subject_of`.
    """
    if what == "connectivity" and (task is not None or on is not None):
        raise ConfigError(
            "connectivity compares the weights after all tasks on the data of all; remove --task "
            "and --on"
        )
    if by == "task" and on is not None:
        raise ConfigError("by task, each task is shown its own data; remove --on")


def analyse_run(
    subject: Subject, what: str, out: Path, changes: Changes = (), device: str = "cpu"
) -> Report:
    """Analyse a subject, and write ``WHAT.json`` and ``WHAT.png`` into a folder.

    Args:
        subject: what is looked at, see :func:`subject_of`.
        what: the name of the analysis.
        out: the folder.
        changes: options of the analysis as ``"name=value"``.
        device: where the network runs.
    """
    where = run_folder.device(device)
    known = options(what)  # refuses an unknown analysis before anything else is done
    named = [f"{what}.{change}" for change in changes]
    chosen = parse_changes(named, [what]).get(what, {})
    for name, value in chosen.items():
        if name in known and type(known[name]) is float and type(value) is int:
            chosen[name] = float(value)
    report = analyse(_on(subject, where), what, **chosen)
    out.mkdir(parents=True, exist_ok=True)
    run_folder.write_json(out / f"{what}.json", report.as_json())
    plotting = run_folder.plotting()
    if plotting is not None:
        plotting.save(plotting.report(report), out / f"{what}.png")
    return report


def _on(subject: Subject, device: torch.device) -> Subject:
    tasks = subject.tasks
    if isinstance(tasks, LearnedTasks):
        tasks = replace(tasks, device=device)
    return replace(subject, net=subject.net.to(device), tasks=tasks)


def told() -> dict[str, str]:
    """Return what each analysis is, by name."""
    return {what: title(what) for what in ANALYSES}
