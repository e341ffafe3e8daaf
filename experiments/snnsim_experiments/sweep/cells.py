"""How far the cells of a sweep are, as files say it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snnsim_experiments.run_folder import read_json
from snnsim_experiments.sweep.plan import Cell, Plan

CLAIMS, FAILED, PRUNED, TRIALS = "claims", "failed", "pruned", "trials"  # folders
SUMMARY, METRICS = "summary.json", "metrics.jsonl"


@dataclass(frozen=True)
class State:
    """A ``State`` is how far a cell is.

    Attributes:
        what: ``"waiting"``, ``"running"``, ``"done"``, ``"pruned"`` or ``"failed"``.
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
    if is_done(folder, cell):
        return State("done", epochs, read_json(folder / cell.name / SUMMARY))
    for what in (FAILED, PRUNED):
        noted = folder / what / f"{cell.file}.json"
        if noted.exists():
            return State(what, epochs, read_json(noted))
    claimed = (folder / CLAIMS / cell.file).exists()
    return State("running" if claimed else "waiting", epochs, {})


def is_done(folder: Path, cell: Cell) -> bool:
    """Return whether a cell is finished, with all of its seeds if it has several."""
    if not (folder / cell.name / SUMMARY).exists():
        return False
    return seeds_done(folder, cell) == len(cell.seeds or ())


def seeds_done(folder: Path, cell: Cell) -> int:
    """Return how many seeds of a cell on a stream are finished."""
    places = (folder / cell.name / f"seed{seed}" / SUMMARY for seed in cell.seeds or ())
    return sum(place.exists() for place in places)


def values_of(folder: Path, cell: Cell) -> dict[str, Any] | None:
    """Return the values that the trial of a cell has drawn; ``None`` if it has drawn none yet."""
    drawn = folder / TRIALS / f"{cell.file}.json"
    return read_json(drawn) if drawn.exists() else None


def _lines(file: Path) -> int:
    try:
        return file.read_bytes().count(b"\n")
    except OSError:
        return 0
