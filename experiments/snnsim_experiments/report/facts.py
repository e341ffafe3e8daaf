"""What the folder of a run says about it."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from snnsim.errors import CheckpointError, ConfigError
from snnsim.training.objectives import FRACTIONS
from snnsim_experiments import run_folder
from snnsim_experiments.experiment import SPIKING, Experiment
from snnsim_experiments.similar import flat

MEASURES = ("acc", "bwt", "fwt", "forgetting")  # of a stream, in percent
ERRORS = ("nrmse", "mse")
UNSCORED = ("loss", "samples", "calibration_error", "calibration_error_uncalibrated")


@dataclass(frozen=True)
class Run:
    """A ``Run`` holds what is in a run folder.

    Attributes:
        folder: the folder.
        name: a short name, unlike those of other runs beside it.
        experiment: what was trained on what.
        about: the content of ``run.json``.
        summary: the content of ``summary.json``; empty while the run is not finished.
        rows: the lines of ``metrics.jsonl``, one for each epoch; empty on a stream.
    """

    folder: Path
    name: str
    experiment: Experiment
    about: dict[str, Any]
    summary: dict[str, Any]
    rows: list[dict[str, Any]]

    @property
    def seed(self) -> int:
        """Return the seed of the run."""
        return self.experiment.seed

    @property
    def on_stream(self) -> bool:
        """Return whether the run is on a stream of tasks."""
        return bool(self.experiment.method)

    @cached_property
    def metric(self) -> str:
        """Return the name of the score in the summary, such as ``"accuracy"`` or ``"nrmse"``."""
        if self.on_stream:
            return "acc"
        return _scored(self.summary) or self.measure

    @cached_property
    def measure(self) -> str:
        """Return the name of the score of the epochs, such as ``"accuracy"`` or ``"mse"``."""
        return _scored(self.rows[-1] if self.rows else self.summary) or "accuracy"

    @property
    def in_percent(self) -> bool:
        """Return whether the score is a fraction, which people read in percent."""
        return self.metric in FRACTIONS

    @property
    def smaller_is_better(self) -> bool:
        """Return whether the score is an error."""
        return self.metric in ERRORS

    def score(self, part: str = "test") -> float | None:
        """Return the score on a part of the data, in percent if it is a fraction."""
        found = self.summary.get("acc" if self.on_stream else f"{part}_{self.metric}")
        if not isinstance(found, int | float) or isinstance(found, bool):
            return None
        return 100 * found if self.in_percent else float(found)

    @property
    def settings(self) -> dict[str, Any]:
        """Return the configuration by dotted names, without the seed."""
        found = flat(self.experiment.as_json())
        return {name: value for name, value in found.items() if name != "seed"}

    @property
    def title(self) -> str:
        """Return what was trained on what, in a few words."""
        experiment = self.experiment
        model = experiment.model
        if model == SPIKING:
            delays = experiment.network.get("delays", "none")
            model = "spiking network" + ("" if delays == "none" else f", delays {delays}")
        way = f", {experiment.method}" if experiment.method else ""
        return f"{model}{way} on {experiment.source}"


def _scored(found: dict[str, Any]) -> str:
    """The name of the score in a summary or in the row of an epoch."""
    names = (key.removeprefix("validation_") for key in found if key.startswith("validation_"))
    return next((name for name in names if name not in UNSCORED), "")


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read run folders, and all that are in folders of several such as sweeps and comparisons.

    Damaged runs are left out with a warning if there are others.

    Raises:
        CheckpointError: if there is no run that can be read.
    """
    found: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise CheckpointError(f"{folder} is no folder; name the folder of a run")
        below = [folder] if (folder / "run.json").exists() else run_folder.runs_below(folder)
        if not below:
            raise CheckpointError(f"there is no run in {folder} (no run.json); name a run folder")
        found += [each for each in below if each not in found]
    runs, errors = [], []
    for folder, name in zip(found, _names(found), strict=True):
        try:
            runs.append(read_run(folder, name))
        except (CheckpointError, ConfigError) as error:
            errors.append(error)
    if not runs:
        raise errors[0]
    for left_out in errors:
        warnings.warn(f"left out: {left_out}", stacklevel=2)
    return runs


def _names(folders: Sequence[Path]) -> list[str]:
    """What is different in the paths of folders; of one, its own name."""
    paths = [folder.absolute() for folder in folders]
    common = Path(os.path.commonpath([path.parent for path in paths]))
    return [path.relative_to(common).as_posix() or path.name for path in paths]


def read_run(folder: Path, name: str = "") -> Run:
    """Read the folder of one run, finished or not.

    Args:
        folder: the folder.
        name: its name in the report; empty for that of the folder.
    """
    about = run_folder.read_object(folder / "run.json")
    summary = folder / "summary.json"
    return Run(
        folder,
        name or folder.absolute().name,
        run_folder.stored_experiment(folder),
        about,
        run_folder.read_object(summary) if summary.exists() else {},
        _rows(folder / "metrics.jsonl"),
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of metrics; one that was cut off as it was written is not there yet."""
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict) and isinstance(row.get("epoch"), int):
            rows.append(row)
        elif number < len(lines):
            raise CheckpointError(f"{path} is damaged: line {number} is not the row of an epoch")
    return rows
