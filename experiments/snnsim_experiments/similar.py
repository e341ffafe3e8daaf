"""Which runs are most like a given one, by what differs in their configurations."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

from snnsim.errors import CheckpointError, ConfigError
from snnsim.training import checkpoint
from snnsim_experiments.experiment import Experiment
from snnsim_experiments.run_folder import read_json

RESULTS = ("test_accuracy", "acc")


def similar(run: Path, among: Path, count: int = 5) -> list[dict[str, Any]]:
    """Find the runs below ``among`` whose configurations are nearest to that of ``run``.

    The likeness is the mean over all settings of either: 1 where they are the same, 0 where they
    are not; that of two numbers is the smaller divided by the larger.

    Args:
        run: a run folder.
        among: a folder with other runs below it.
        count: the largest number of runs to return.

    Returns:
        For each its ``run``, ``likeness`` (1: the same), ``result`` in percent (``None`` while
        unfinished) and ``differs``, what it has in place of the given run's values.
    """
    own = _settings(run)
    folders = {path.parent for path in among.rglob("run.json")}
    folders |= {path.parent for path in among.rglob("best.safetensors")}
    others: dict[Path, dict[str, Any]] = {}
    for folder in sorted(folders):
        if folder.resolve() == run.resolve():
            continue
        try:
            others[folder] = _settings(folder)
        except CheckpointError as error:  # one damaged run does not hide the others
            warnings.warn(f"left out: {error}", stacklevel=2)
    if not others:
        raise ConfigError(f"there is no other run below {among}")
    ranked = sorted(others, key=lambda folder: -likeness(own, others[folder]))
    return [
        {
            "run": str(folder),
            "likeness": likeness(own, others[folder]),
            "result": _result(folder),
            "differs": _differences(own, others[folder]),
        }
        for folder in ranked[:count]
    ]


def likeness(a: dict[str, Any], b: dict[str, Any]) -> float:
    """Return how like two configurations are, from 0 to 1: the mean over the settings of either.

    >>> likeness({"lr": 0.1, "delays": "none"}, {"lr": 0.05, "delays": "none"})
    0.75
    """
    keys = a.keys() | b.keys()
    return math.fsum(_alike(a.get(key), b.get(key)) for key in keys) / max(len(keys), 1)


def _alike(a: Any, b: Any) -> float:
    if a == b:
        return 1.0
    numbers = (type(a) in (int, float)) and (type(b) in (int, float))
    if not numbers or a * b <= 0:
        return 0.0
    return float(min(abs(a), abs(b)) / max(abs(a), abs(b)))


def _settings(folder: Path) -> dict[str, Any]:
    """The configuration of a run by dotted names; of a Trainer's folder recipe and network."""
    best = folder / "best.safetensors"
    if not (folder / "run.json").exists() and best.exists():
        _, values = checkpoint.load(best)
        return flat({key: values.get(key) for key in ("recipe", "network", "seed")})
    facts = read_json(folder / "run.json")
    found = facts.get("config") if isinstance(facts, dict) else None
    if not isinstance(found, dict):
        raise CheckpointError(f"{folder / 'run.json'} has no configuration")
    try:  # so that runs of earlier versions can be compared with those of now
        return flat(Experiment.from_json(found).as_json())
    except (KeyError, TypeError, ValueError):
        return flat(found)


def _result(folder: Path) -> float | None:
    if not (folder / "summary.json").exists():
        return None
    try:
        summary = read_json(folder / "summary.json")
    except CheckpointError as error:
        warnings.warn(f"no result: {error}", stacklevel=2)
        return None
    for key in RESULTS:
        value = summary.get(key) if isinstance(summary, dict) else None
        if isinstance(value, (int, float)):
            return float(value) * (100 if key == "test_accuracy" else 1)
    return None


def flat(record: Any, prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping with dotted names.

    >>> flat({"network": {"hidden": [3], "delays": "none"}, "seed": 1})
    {'network.hidden': [3], 'network.delays': 'none', 'seed': 1}
    """
    if not isinstance(record, dict):
        return {prefix.removesuffix("."): record}
    found: dict[str, Any] = {}
    for key, value in record.items():
        found |= flat(value, f"{prefix}{key}.")
    return found


def _differences(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    return {
        k: now.get(k) for k in sorted(before.keys() | now.keys()) if before.get(k) != now.get(k)
    }
