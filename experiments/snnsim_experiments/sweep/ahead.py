"""Runs that a command needs, trained by several workers before it looks at them.

They are the cells of a queue in the folder of the command, as those of a sweep are. Whatever cannot
be trained is left to the command, which then meets the same error.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from snnsim_experiments.experiment import Experiment
from snnsim_experiments.place import Place
from snnsim_experiments.sweep.cells import CLAIMS, FAILED, state_of
from snnsim_experiments.sweep.jobs import run_jobs
from snnsim_experiments.sweep.plan import PLAN, Cell, Plan, absolute, stored, write


@dataclass(frozen=True)
class Run:
    """A ``Run`` is an experiment in a folder of its own.

    Attributes:
        folder: the run folder.
        experiment: what is run.
        seeds: on a stream, the seeds over which means are taken.
    """

    folder: Path
    experiment: Experiment
    seeds: tuple[int, ...] | None = None


def train_ahead(runs: Sequence[Run], folder: Path, place: Place, jobs: int) -> None:
    """Let workers train what is not finished of several runs.

    Each has as many threads as this process, so that it ends with the same bits as it would here.

    Args:
        runs: the runs, whose folders are below ``folder``.
        folder: the folder of the command, which gets the queue.
        place: where the runs are, and where progress is shown.
        jobs: the number of workers.

    Raises:
        ConfigError: if workers were killed again and again, and runs are left.
    """
    plan = Plan(tuple(_cell(run, folder, place.root) for run in runs), torch.get_num_threads())
    if all(state_of(folder, cell).what == "done" for cell in plan.cells):
        return
    shutil.rmtree(folder / FAILED, ignore_errors=True)  # they are tried again
    write(plan, folder)
    run_jobs(folder, jobs, place.device, place.console, place.quiet)


def _cell(run: Run, folder: Path, root: str | None) -> Cell:
    name = run.folder.relative_to(folder).as_posix()
    values = absolute({"run": name, "root": root})
    return Cell(name, values, ("run",), made=run.experiment.as_json(), seeds=run.seeds)


def queue_in(folder: Path) -> set[str]:
    """Return the names of what an unfinished queue of runs has in a folder; empty without one."""
    if not (folder / PLAN).exists():
        return set()
    plan = stored(folder)
    if not plan.is_made:  # the folder is that of a sweep
        return set()
    return {PLAN, CLAIMS, FAILED, *(cell.name.split("/")[0] for cell in plan.cells)}


def remove_queue(folder: Path) -> None:
    """Remove a queue of runs from a folder, and nothing of the runs."""
    (folder / PLAN).unlink(missing_ok=True)
    for name in (CLAIMS, FAILED):
        shutil.rmtree(folder / name, ignore_errors=True)
