"""The table of a comparison: a row for each network, kept in a file from one to the next."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from snnsim.errors import ConfigError, NonFiniteError
from snnsim_experiments.run_folder import claim, read_json, write_json


def side_by_side(
    names: list[str],
    settings: dict[str, Any],
    make: Callable[[str], Any],
    measure: Callable[[str, Any], dict[str, Any]],
    out: Path,
    resume: bool,
    quiet: bool,
    console: Console,
) -> list[dict[str, Any]]:
    """Measure networks one by one; ``out/comparison.json`` is rewritten after each.

    Args:
        names: of the networks.
        settings: what all rows have in common, ``budget`` and ``by`` among it; rows that are
            there already must have the same.
        make: the configuration of a network; raises ``ConfigError`` where it has no place in the
            budget, or cannot be trained so, and the row says why.
        measure: trains and tests it; a network that diverges has a row that says so.
        out: folder of the comparison; rows of other networks in it are kept.
        resume: whether it may hold a comparison already.
    """
    with claim(out):
        return _measure_all(names, settings, make, measure, out, resume, quiet, console)


def _measure_all(
    names, settings, make, measure, out, resume, quiet, console
) -> list[dict[str, Any]]:
    rows = _rows_before(out, resume, settings, names)
    if resume and not rows:
        console.print(f"there is no comparison in {out}; starting one", markup=False)
    for name in names:
        if not quiet:
            console.print(name, style="bold")
        row: dict[str, Any] = {"name": name}
        try:
            chosen = make(name)
        except ConfigError as error:
            if any(r["name"] == name and "test" in r for r in rows):
                raise  # rather than lose what is there
            row["refused"] = str(error)
        else:
            try:
                row |= measure(name, chosen)
            except NonFiniteError as error:
                row["failed"] = str(error)
        row |= {"budget": settings["budget"], "by": settings["by"], "settings": settings}
        rows = [*(r for r in rows if r["name"] != name), row]
        write_json(out / "comparison.json", rows)
    _plot([row for row in rows if "test" in row], out)
    return rows


def runs_at(
    rates: Sequence[float], run: Callable[[float], dict[str, Any]]
) -> dict[float, dict[str, Any]]:
    """What a run at each learning rate gave; those that diverge are left out.

    Raises:
        NonFiniteError: all of them do.
    """
    found, failure = {}, NonFiniteError("no learning rate to try")
    for factor in rates:
        try:
            found[factor] = run(factor)
        except NonFiniteError as error:
            failure = error
    if not found:
        raise failure
    return found


def _rows_before(
    out: Path, resume: bool, settings: dict[str, Any], names: list[str]
) -> list[dict[str, Any]]:
    """The rows that a comparison in this folder has already; they are kept."""
    stored = out / "comparison.json"
    if not stored.exists():
        return []
    if not resume:
        raise ConfigError(
            f"{out} already holds a comparison; go on with --resume or choose another --out"
        )
    rows: list[dict[str, Any]] = read_json(stored)
    for row in rows:
        before = row.get("settings", {})
        other = [key for key, value in settings.items() if before.get(key) != value]
        if other and (row["name"] not in names or other != ["seeds"]):
            raise ConfigError(
                f"{row['name']} in {out} was run with another {other[0]}, "
                f"{before.get(other[0])} and not {settings[other[0]]}; choose another --out"
            )
    return rows


def _plot(rows: list[dict[str, Any]], out: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        return
    from snnsim import plotting

    plotting.save(plotting.accuracy_by_cost(rows), out / "comparison.png")
