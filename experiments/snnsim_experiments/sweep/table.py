"""The results of a sweep: a row for each combination of what was varied, over seeds."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from snnsim_experiments.sweep.plan import Plan
from snnsim_experiments.sweep.work import State, state_of

SEED = "seed"
SHOWN = ("test_accuracy", "validation_accuracy")


def rows(folder: Path, plan: Plan) -> list[dict[str, Any]]:
    """Return a row for each combination of values other than the seed.

    Each has these values, the numbers of cells that are ``done`` and ``failed``, and for each
    figure of their summaries ``{"mean", "std", "values"}`` in the order of seeds; ``std`` is the
    sample standard deviation, and absent for one seed.

    Args:
        folder: the folder of the sweep.
        plan: its plan.
    """
    groups: dict[str, list[tuple[dict[str, Any], State]]] = {}
    for cell in plan.cells:
        own = {name: cell.values[name] for name in plan.varied if name != SEED}
        groups.setdefault(repr(own), []).append((own, state_of(folder, cell)))
    return [_row(members) for members in groups.values()]


def _row(members: list[tuple[dict[str, Any], State]]) -> dict[str, Any]:
    states = [state for _, state in members]
    done = [state.summary for state in states if state.what == "done"]
    names = [
        name for name, value in (done[0] if done else {}).items()
        if isinstance(value, float | int) and not isinstance(value, bool) and name != SEED
    ]  # fmt: skip
    figures = {name: _figure([each[name] for each in done if name in each]) for name in names}
    failed = sum(state.what == "failed" for state in states)
    return {**members[0][0], "done": len(done), "failed": failed, **figures}


def _figure(values: list[float]) -> dict[str, Any]:
    found: dict[str, Any] = {"mean": statistics.fmean(values), "values": values}
    if len(values) > 1:
        found["std"] = statistics.stdev(values)
    return found


def shown(rows: list[dict[str, Any]], varied: tuple[str, ...]) -> tuple[list[str], list[list[str]]]:
    """Return titles and cells of a table that a person reads."""
    names = [name for name in varied if name != SEED]
    scores = [
        name for name in SHOWN if any(isinstance(row.get(name), dict) for row in rows)
    ] or _scores(rows)
    titles = [*names, "cells", *scores]
    return titles, [
        [*(str(row[name]) for name in names), _count(row), *(_told(row.get(s)) for s in scores)]
        for row in rows
    ]


def _scores(rows: list[dict[str, Any]]) -> list[str]:
    found = [n for row in rows for n in row if n.startswith("test_") and n != "test_samples"]
    return list(dict.fromkeys(found))[:2]


def _count(row: dict[str, Any]) -> str:
    return f"{row['done']}" + (f" ({row['failed']} failed)" if row["failed"] else "")


def _told(figure: Any) -> str:
    if not isinstance(figure, dict):
        return "-"
    spread = f" ± {figure['std']:.4f}" if "std" in figure else ""
    return f"{figure['mean']:.4f}{spread}"
