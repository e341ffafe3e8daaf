"""The results of a sweep: a row for each combination of what was varied, over seeds.

Of a search there is a row for each search, with its best trial by the validation data.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from snnsim.errors import ConfigError
from snnsim_experiments.sweep.cells import State, state_of, values_of
from snnsim_experiments.sweep.plan import Cell, Plan
from snnsim_experiments.sweep.search import Search
from snnsim_experiments.sweep.study import best_figure

SEED = "seed"
COUNTED = ("done", "pruned", "failed")
SHOWN = ("test_accuracy", "validation_accuracy")


def rows(folder: Path, plan: Plan) -> list[dict[str, Any]]:
    """Return a row for each combination of values other than the seed.

    Each has these values, the numbers of cells that are ``done`` and ``failed``, and for each
    figure of their summaries ``{"mean", "std", "values"}`` in the order of seeds; ``std`` is the
    sample standard deviation, and absent for one seed.

    Of a search it is a row for each search: the values of the grid, the numbers of trials that
    are ``done``, ``pruned`` and ``failed``, all ``trials``, each with its ``cell``, how far it is
    (``what``, ``epochs``), its ``values`` and the best figure by which it is judged, and
    ``best``, the best of those that are done, with its summary.

    Args:
        folder: the folder of the sweep.
        plan: its plan.
    """
    if plan.search is not None:
        return _searches(folder, plan, plan.search)
    groups: dict[str, list[tuple[dict[str, Any], State]]] = {}
    for cell in plan.cells:
        own = {name: cell.values[name] for name in plan.varied if name != SEED}
        groups.setdefault(repr(own), []).append((own, state_of(folder, cell)))
    return [_row(members) for members in groups.values()]


def _searches(folder: Path, plan: Plan, search: Search) -> list[dict[str, Any]]:
    members: dict[int, list[Cell]] = {}
    for cell in plan.cells:
        members.setdefault(cell.study, []).append(cell)
    return [_of_search(folder, cells, search) for cells in members.values()]


def _of_search(folder: Path, cells: list[Cell], search: Search) -> dict[str, Any]:
    states = {cell.name: state_of(folder, cell) for cell in cells}
    trials = [_trial(folder, cell, states[cell.name], search) for cell in cells]
    counts = {what: sum(each["what"] == what for each in trials) for what in COUNTED}
    row = {name: cells[0].values[name] for name in cells[0].varied}
    return {**row, **counts, "best": _best(trials, states, search), "trials": trials}


def _trial(folder: Path, cell: Cell, state: State, search: Search) -> dict[str, Any]:
    try:
        figure = best_figure(folder, cell, search)
    except ConfigError:  # which the cell has failed by
        figure = None
    told = {"cell": cell.name, "what": state.what, "epochs": state.epochs}
    return told | {"values": values_of(folder, cell) or {}, search.objective: figure}


def _best(
    trials: list[dict[str, Any]], states: dict[str, State], search: Search
) -> dict[str, Any] | None:
    """The best of the trials that are done, of equal ones the first."""
    done = [each for each in trials if each["what"] == "done"]
    if not done:
        return None
    best = search.best(done, key=lambda each: each[search.objective])
    kept = {name: best[name] for name in ("cell", "epochs", "values", search.objective)}
    return states[best["cell"]].summary | kept


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


def shown(rows: list[dict[str, Any]], plan: Plan) -> tuple[list[str], list[list[str]]]:
    """Return titles and cells of a table that a person reads."""
    if plan.search is not None:
        return _shown_searches(rows, plan, plan.search)
    names = [name for name in plan.varied if name != SEED]
    scores = [
        name for name in SHOWN if any(isinstance(row.get(name), dict) for row in rows)
    ] or _scores(rows)
    titles = [*names, "cells", *scores]
    return titles, [
        [*(str(row[name]) for name in names), _count(row), *(_told(row.get(s)) for s in scores)]
        for row in rows
    ]


def _shown_searches(
    rows: list[dict[str, Any]], plan: Plan, search: Search
) -> tuple[list[str], list[list[str]]]:
    scores = [search.objective, *_scores([row["best"] or {} for row in rows])[:1]]
    names = [name.split(".")[-1] for name in search.space]
    titles = [*plan.varied, "trials", "pruned", "best", *names, *scores]
    return titles, [
        [
            *(str(row[name]) for name in plan.varied),
            _count(row),
            str(row["pruned"]),
            *_told_best(row["best"], search, scores),
        ]
        for row in rows
    ]


def _told_best(best: dict[str, Any] | None, search: Search, scores: list[str]) -> list[str]:
    if best is None:
        return ["-"] * (1 + len(search.space) + len(scores))
    values = [best["values"][name] for name in search.space]
    told = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in values]
    return [best["cell"].split("-")[-1], *told, *(f"{best[name]:.4f}" for name in scores)]


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
