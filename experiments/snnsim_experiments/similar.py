"""Which runs are most like a given one, by their configurations."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from snnsim.errors import CheckpointError, ConfigError
from snnsim.functional.vectors import RecordEncoder, nearest
from snnsim_experiments.run_folder import read_json

RESULTS = ("test_accuracy", "acc")


def similar(run: Path, among: Path, count: int = 5) -> list[dict[str, Any]]:
    """The runs below ``among`` whose configurations are nearest to that of ``run``.

    Configurations are encoded as vectors and compared by their cosine (see
    :class:`snnsim.functional.vectors.RecordEncoder`), so no list of keys has to be kept.

    Returns:
        For each its ``run``, ``likeness`` (1: the same), ``result`` in percent (``None`` while
        unfinished) and ``differs``, what it has in place of the given run's values.
    """
    own = _configuration(run)
    folders = [path.parent for path in sorted(among.rglob("run.json"))]
    others: dict[Path, dict[str, Any]] = {}
    for folder in folders:
        if folder.resolve() == run.resolve():
            continue
        try:
            others[folder] = _configuration(folder)
        except CheckpointError as error:  # one damaged run does not hide the others
            warnings.warn(f"left out: {error}", stacklevel=2)
    if not others:
        raise ConfigError(f"there is no other run below {among}")
    encoder = RecordEncoder()
    vectors = torch.stack([encoder.encode(config) for config in others.values()])
    names = list(others)
    return [
        {
            "run": str(names[place]),
            "likeness": cosine,
            "result": _result(names[place]),
            "differs": _differences(flat(own), flat(others[names[place]])),
        }
        for place, cosine in nearest(encoder.encode(own), vectors, count)
    ]


def _configuration(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = read_json(folder / "run.json")["config"]
    except (KeyError, TypeError):
        raise CheckpointError(f"{folder / 'run.json'} has no configuration") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{folder / 'run.json'} has no configuration")
    return found


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
    """A nested mapping with dotted names.

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
