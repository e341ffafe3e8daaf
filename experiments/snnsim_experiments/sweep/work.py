"""What a worker of a sweep does: it takes one cell after another, also those of dead workers."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from snnsim.errors import SnnsimError
from snnsim_experiments.lock import InUse
from snnsim_experiments.place import Place
from snnsim_experiments.run_folder import read_json, write_json
from snnsim_experiments.runs import run
from snnsim_experiments.sweep.claims import kept_young, try_claim
from snnsim_experiments.sweep.plan import Cell, Plan, stored

CLAIMS, FAILED, SUMMARY, METRICS = "claims", "failed", "summary.json", "metrics.jsonl"
WAIT = 2.0  # s between looks at cells that others have


@dataclass(frozen=True)
class State:
    """A ``State`` is how far a cell is.

    Attributes:
        what: ``"waiting"``, ``"running"``, ``"done"`` or ``"failed"``.
        epochs: how many epochs it has trained for.
        summary: its results if it is done, or ``{"error": ...}``.
    """

    what: str
    epochs: int
    summary: dict[str, Any]

    @property
    def left(self) -> bool:
        """Return whether the cell is still to be finished."""
        return self.what in ("waiting", "running")


def left(folder: Path, plan: Plan) -> int:
    """Return how many cells of a sweep are still to be finished."""
    return sum(state_of(folder, cell).left for cell in plan.cells)


def state_of(folder: Path, cell: Cell) -> State:
    """Return how far a cell of a sweep is."""
    epochs = _lines(folder / cell.name / METRICS)
    failed = folder / FAILED / f"{cell.name}.json"
    if (folder / cell.name / SUMMARY).exists():
        return State("done", epochs, read_json(folder / cell.name / SUMMARY))
    if failed.exists():
        return State("failed", epochs, read_json(failed))
    claimed = (folder / CLAIMS / cell.name).exists()
    return State("running" if claimed else "waiting", epochs, {})


def _lines(file: Path) -> int:
    try:
        return file.read_bytes().count(b"\n")
    except OSError:
        return 0


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
    while True:
        before = finished
        for cell in plan.cells:
            if state_of(folder, cell).left:
                finished += _try(folder, cell, device)
        if not left(folder, plan) or (finished == before and not wait):
            return finished
        if finished == before:
            time.sleep(WAIT)


def _try(folder: Path, cell: Cell, device: str) -> int:
    """Run a cell unless another worker has it; 1 if it is finished now."""
    claim = folder / CLAIMS / cell.name
    token = try_claim(claim)
    if token is None:
        return 0
    with kept_young(claim, token):
        if not state_of(folder, cell).left:
            return 0  # finished by another since it was looked at
        try:
            experiment, root = cell.experiment()
            out = folder / cell.name
            begun = (out / "run.json").exists()
            run(experiment, Place(root, out, device, resume=begun, quiet=True))
        except InUse:
            return 0  # its worker was taken for dead, and is alive
        except (SnnsimError, OSError, MemoryError) as error:
            _fail(folder, cell, f"{type(error).__name__}: {error}")
        except RuntimeError:  # what torch raises, such as for too little memory
            _fail(folder, cell, traceback.format_exc(limit=-3))
    return 1


def _fail(folder: Path, cell: Cell, error: str) -> None:
    write_json(folder / FAILED / f"{cell.name}.json", {"error": error})
