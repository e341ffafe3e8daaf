"""Running and printing checks: whether a mechanism does what its paper says."""

import time
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import typer

from snnsim_experiments import options


def run_checks(
    checks: ModuleType, name: str, seed: int, short: bool, out: Path | None, as_json: bool
) -> None:
    """Run checks and print their figures, those of a control, and a verdict.

    Args:
        checks: a package of checks, with ``names()`` and ``get(name).run(seed, short)``.
        name: names of checks, separated by commas, or ``"all"``.
        seed: the seed of data and weights.
        short: whether only to show that they run.
        out: a JSON file to write.
        as_json: whether to print JSON.

    Raises:
        typer.Exit: with code 1 if a claim was not met.
    """
    from snnsim_experiments.lists import split_names
    from snnsim_experiments.run_folder import write_json

    rows: list[dict[str, Any]] = []
    for each in split_names(name, checks.names(), "check"):
        began = time.monotonic()
        outcome = checks.get(each).run(seed, short)
        row = {"name": each, "seconds": time.monotonic() - began, **asdict(outcome)}
        rows.append(row)
        if out is not None:
            write_json(out, rows)
        if not as_json:
            print_check(row, short)
    options.answer(rows, as_json, lambda rows: None)  # else they are printed one by one
    if not short and not all(row["passed"] for row in rows):
        raise typer.Exit(1)


def print_check(row: dict[str, Any], short: bool) -> None:
    """Print the verdict of a check, its budget, its figures and those of its control."""
    verdict = "[green]met[/]" if row["passed"] else "[red]not met[/]"
    verdict = "runs" if short else verdict
    options.output.print(
        f"[bold]{row['name']}[/]  {verdict}, {row['seconds']:.0f} s: {row['claim']}"
    )
    if row.get("budget"):
        options.output.print(f"  budget: {row['budget']}")
    named = [(f"  {key}", value) for key, value in row["figures"].items()]
    named += [(f"  control: {key}", value) for key, value in row["control"].items()]
    options.print_table(
        (name, format(value, ".1f" if value >= 10 else ".3g")) for name, value in named
    )
