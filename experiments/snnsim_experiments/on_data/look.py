"""``snnsim data info | check | split``: what data are there, and what would be used."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import snnsim_datasets
import typer
from snnsim_datasets import Place

from snnsim.errors import SnnsimError
from snnsim_experiments import options
from snnsim_experiments.on_data.cli import Data

if TYPE_CHECKING:  # it brings torch, for which no help should wait
    from snnsim_datasets.tools.rows import Finding, Row

app = typer.Typer(
    help="Look at data before training: what is there, what is wrong, what would be used.\n\n"
    "Start with: snnsim data info FOLDER",
    no_args_is_help=True,
)

Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Option of the data: data.key=value. Repeatable."),
]


@app.command()
def info(
    data: Data,
    set_: Set = None,
    root: options.Root = None,
    as_json: options.Json = False,
) -> None:
    """Show as what data are recognised, and the classes, speakers and splits that they have.

    Examples:

        snnsim data info my_sounds

        snnsim data info my_sounds --set "data.speaker=_(.+)_"
    """
    place = snnsim_datasets.recognise(data, root)
    rows = rows_of(place, set_)
    facts: dict[str, Any] = {"data set": place.name, "samples": len(rows)}
    facts |= {f"samples in {split}": n for split, n in _counts(rows, "split").items()}
    facts["classes"] = _counts(rows, "label")
    facts["speakers"] = _counts([row for row in rows if row.speaker], "speaker")
    given = _options(place, set_)
    tell = getattr(snnsim_datasets.get(place.name), "facts", None)
    facts |= {} if tell is None else tell(place.root, **given)
    facts["options"] = given

    def show(facts: dict[str, Any]) -> None:
        options.print_summary(data, {name: _told(value) for name, value in facts.items()})
        options.print_line(snnsim_datasets.info(place.name).note)

    options.answer(facts, as_json, show)


def _counts(rows: Iterable[Row], what: str) -> dict[str, int]:
    return dict(Counter(getattr(row, what) for row in rows))


def _told(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    shown = [f"{name or '-'} ({count})" for name, count in list(value.items())[:40]]
    return ", ".join(shown) + (" ..." if len(value) > 40 else "") or "not known"


def _options(place: Place, changes: list[str] | None) -> dict[str, Any]:
    from snnsim_experiments import resolve

    return resolve(place.name, changes=options.with_data(place, changes)).data


def rows_of(place: Place, changes: list[str] | None = None) -> list[Row]:
    """Return all samples of a place with the splits that they would be in.

    Args:
        place: what :func:`snnsim_datasets.recognise` returns.
        changes: ``data.key=value`` strings.
    """
    from snnsim_datasets.tools.rows import rows_of_split

    module, given = snnsim_datasets.get(place.name), _options(place, changes)
    listed = getattr(module, "rows", None)
    if listed is not None:
        return listed(place.root, **given)
    splits = [s for s in snnsim_datasets.info(place.name).splits if s != "train_all"]
    parts = ((split, module.load(split, place.root, **given)) for split in splits)
    return [row for split, part in parts for row in rows_of_split(part, split)]


@app.command()
def check(
    data: Data,
    set_: Set = None,
    root: options.Root = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Read all data and tell what is wrong with which file, all of it and not only the first.

    The exit code is 1 if something cannot be used.

    Examples:

        snnsim data check my_sounds
    """
    place = snnsim_datasets.recognise(data, root)
    found = findings_of(place, set_, quiet)
    options.answer([each._asdict() for each in found], as_json, lambda _: _print(found))
    if any(each.bad for each in found):
        raise typer.Exit(1)


def findings_of(
    place: Place, changes: list[str] | None = None, quiet: bool = True
) -> list[Finding]:
    """Return what is wrong with the data of a place, what keeps them from being used first.

    Args:
        place: what :func:`snnsim_datasets.recognise` returns.
        changes: ``data.key=value`` strings.
        quiet: whether to show no progress.
    """
    from snnsim_datasets.tools.rows import Finding

    from snnsim_experiments.progress import CountBar

    module, given = snnsim_datasets.get(place.name), _options(place, changes)
    looked = getattr(module, "findings", None)
    try:
        with CountBar(options.messages, "reading", quiet) as progress:
            if looked is not None:
                return sorted(looked(place.root, progress, **given), key=lambda f: not f.bad)
            for split in snnsim_datasets.info(place.name).splits:
                module.load(split, place.root, **given)
    except SnnsimError as error:
        return [Finding(place.root or place.name, str(error), bad=True)]
    return []


def _print(found: list[Finding]) -> None:
    bad = sum(each.bad for each in found)
    for each in found:
        mark = "error" if each.bad else "note"
        text = each.text if each.file in each.text else f"{each.file}: {each.text}"
        options.print_line(f"{mark}: {text}")
    options.print_line(f"{bad} errors, {len(found) - bad} notes" if found else "nothing is wrong")


@app.command()
def split(
    data: Data,
    set_: Set = None,
    root: options.Root = None,
    out: Annotated[Path | None, typer.Option(help="Table to write (.csv) instead.")] = None,
    as_json: options.Json = False,
) -> None:
    """Print which sample would be in which split, as a table.

    A table of recordings that lies in their folder can be given in place of the folder.

    Examples:

        snnsim data split my_sounds --set data.split_seed=1

        snnsim data split my_sounds --out my_sounds/recordings.csv
    """
    from snnsim_datasets.tools.rows import write, write_rows

    rows = rows_of(snnsim_datasets.recognise(data, root), set_)
    if out is not None:
        write_rows(out, rows)
        options.messages.print(f"{len(rows)} rows written to {out}", markup=False)
        return
    options.answer([row._asdict() for row in rows], as_json, lambda _: write(sys.stdout, rows))
