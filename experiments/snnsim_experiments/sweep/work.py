"""What a worker of a sweep does: it takes one cell after another, also those of dead workers."""

from __future__ import annotations

import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from snnsim.errors import NonFiniteError, SnnsimError
from snnsim_experiments.experiment import Experiment
from snnsim_experiments.lock import InUse
from snnsim_experiments.place import Place
from snnsim_experiments.run_folder import runs_below, write_json
from snnsim_experiments.runs import run
from snnsim_experiments.sweep.cells import CLAIMS, FAILED, left, state_of
from snnsim_experiments.sweep.claims import kept_young, try_claim
from snnsim_experiments.sweep.plan import Cell, stored
from snnsim_experiments.sweep.study import Pruned, Trials

WAIT = 2.0  # s between looks at cells that others have


def work(folder: Path, device: str = "cpu", wait: bool = True) -> int:
    """Run cells of a sweep until none is left; return how many this worker has finished.

    A cell that another worker left unfinished is gone on with from its last checkpoint, so that it
    ends with the same results. One that cannot be trained is noted as failed, and the others go on.

    Args:
        folder: the folder of the sweep.
        device: ``"cpu"`` or ``"cuda"``.
        wait: whether to wait for the cells that other workers have, in case one dies.
    """
    plan, finished = stored(folder), 0
    torch.set_num_threads(plan.threads)
    for name in (CLAIMS, FAILED):
        (folder / name).mkdir(exist_ok=True)
    trials = None if plan.search is None else Trials(folder, plan)
    while True:
        before = finished
        for cell in plan.cells:
            if state_of(folder, cell).left:
                finished += _try(folder, cell, device, trials)
        if not left(folder, plan) or (finished == before and not wait):
            return finished
        if finished == before:
            time.sleep(WAIT)


def _try(folder: Path, cell: Cell, device: str, trials: Trials | None) -> int:
    """Run a cell unless another worker has it; 1 if it is finished now."""
    claim = folder / CLAIMS / cell.file
    token = try_claim(claim)
    if token is None:
        return 0
    with kept_young(claim, token):
        if not state_of(folder, cell).left:
            return 0  # finished by another since it was looked at
        try:
            _run(folder, cell, device, trials)
        except InUse:
            return 0  # its worker was taken for dead, and is alive
        except (SnnsimError, OSError, MemoryError) as error:
            diverged = isinstance(error, NonFiniteError)
            _fail(folder, cell, f"{type(error).__name__}: {error}", diverged)
        except RuntimeError:  # what torch raises, such as for too little memory
            _fail(folder, cell, traceback.format_exc(limit=-3))
    if trials is not None:
        trials.tell()
    return 1


def _run(folder: Path, cell: Cell, device: str, trials: Trials | None) -> None:
    """Train a cell, from its last checkpoint if it has one."""
    out = folder / cell.name
    begun = (out / "run.json").exists()
    experiment, root = (cell if trials is None else trials.draw(cell)).experiment()
    beside = runs_below(folder) if cell.made is not None else ()
    place = Place(root, out, device, resume=begun, quiet=True, beside=beside)
    if trials is None:
        run(experiment, place, cell.seeds)
    else:
        _run_trial(cell, experiment, place, trials)


def _run_trial(cell: Cell, experiment: Experiment, place: Place, trials: Trials) -> None:
    """Train a trial of a search, and stop if it is worse than others."""

    def heed(_: dict[str, Any]) -> None:
        trials.heed(cell, experiment.recipe.epochs)

    try:
        if place.resume:  # its worker may have died before it reported the last epoch
            heed({})
        run(experiment, replace(place, after_epoch=heed))
    except Pruned:
        trials.prune(cell)


def _fail(folder: Path, cell: Cell, error: str, diverged: bool = False) -> None:
    told = {"error": error, "diverged": diverged}
    write_json(folder / FAILED / f"{cell.file}.json", told)
