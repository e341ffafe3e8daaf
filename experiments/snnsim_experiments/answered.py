"""What a network answers to the samples of its data: labels, values, or either for every step."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from snnsim import checkpoint
from snnsim.data.targets import CLASS_PER_STEP, LABELS
from snnsim.training import Answer, MultiLabel, Objective
from snnsim_experiments.predicted import check_ending
from snnsim_experiments.run_folder import write_json


@dataclass(frozen=True)
class Answered:
    """``Answered`` holds what a network answered to some samples, beside their targets.

    Attributes:
        run: the folder of the network.
        split: the part of the data that the samples are of.
        objective: what the network was trained for.
        classes: the names of classes or labels; empty for values.
        dt: the length of a step in ms.
        answers: the answers, in the order of the samples.
        scores: how good they are, by name.
    """

    run: str
    split: str
    objective: Objective
    classes: Sequence[str]
    dt: float
    answers: Sequence[Answer]
    scores: dict[str, float]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Return the answer to each sample and its target, as plain values.

        Labels are names, with the ``probabilities`` of all and whether exactly the true ones were
        found (``right``); of classes of every step, ``right`` is the fraction of right steps; of
        values, ``error`` is the root of their mean squared error.
        """
        rows = [self._row(each.found, each.target) for each in self.answers]
        return [{"index": number, **row} for number, row in enumerate(rows)]

    def _row(self, found: Tensor, target: Tensor) -> dict[str, Any]:
        if self.objective.kind == LABELS:
            assert isinstance(self.objective, MultiLabel)
            there = self.objective.found(found)
            return {
                "answer": self._names(there.nonzero()[:, 0]),
                "target": self._names(target.nonzero()[:, 0]),
                "right": bool((there == (target > 0)).all()),
                "probabilities": found.sigmoid().tolist(),
            }
        if self.objective.kind == CLASS_PER_STEP:
            best = found.argmax(-1)
            right = float((best == target).double().mean())
            return {"answer": self._names(best), "target": self._names(target), "right": right}
        wanted = target.reshape(found.shape)
        error = float((found - wanted).double().square().mean().sqrt())
        return {"answer": found.tolist(), "target": wanted.tolist(), "error": error}

    def _names(self, numbers: Tensor) -> list[str]:
        known = self.classes
        return [known[number] if known else str(number) for number in numbers.tolist()]

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        told = {"run": self.run, "split": self.split, "kind": self.objective.kind}
        return {**told, "classes": list(self.classes), **self.scores, "rows": self.rows}

    def write(self, path: Path) -> None:
        """Write a table with a line for each sample (``.csv``), or everything (``.json``)."""
        check_ending(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".json":
            write_json(path, self.as_json())
            return
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(self.rows[0])
        table.writerows([_cell(value) for value in row.values()] for row in self.rows)
        checkpoint.write_text(path, text.getvalue())


def _cell(value: Any) -> Any:
    """A list is one cell, its entries separated by spaces or, of steps, by semicolons."""
    if not isinstance(value, list):
        return value
    return "; ".join(
        " ".join(map(str, each)) if isinstance(each, list) else str(each) for each in value
    )
