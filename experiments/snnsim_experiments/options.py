"""Options and output that the commands of ``snnsim`` share."""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from snnsim.errors import ConfigError
from snnsim_experiments.place import Place

output, messages = Console(), Console(stderr=True)

Root = Annotated[str | None, typer.Option(help="Folder of the data set's files.")]
Run = Annotated[Path | None, typer.Option(help="Run folder to write.")]
Runs = Annotated[Path | None, typer.Option(help="Folder to write, with a run folder for each run.")]
RunFolder = Annotated[Path, typer.Argument(help="Run folder.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one value: section.key=value. Repeatable."),
]
Seed = Annotated[
    int, typer.Option(min=0, max=2**63 - 1, help="Seed of weights, order and dropout.")
]
Seeds = Annotated[str, typer.Option(help="Seeds, such as 0,1,2.")]
Epochs = Annotated[int | None, typer.Option(max=10**9, help="Passes over the data.")]
Jobs = Annotated[int, typer.Option(min=1, max=1024, help="Trainings at a time.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue what --out holds.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def check_resume(out: Path | None, resume: bool) -> None:
    """Refuse to resume where no folder is named."""
    if resume and out is None:
        raise ConfigError("--resume continues what --out holds; name the folder with --out")


def place_of(
    root: str | None, out: Path | None, device: str, resume: bool, quiet: bool, **more: Any
) -> Place:
    """Return the place that the options of a command name."""
    check_resume(out, resume)
    return Place(root, out, device, resume, quiet, messages, **more)


def with_data(found: Any, changes: list[str] | None) -> list[Any]:
    """Return changes, those first that a place (:class:`snnsim_datasets.Place`) determines."""
    return [*((f"data.{name}", value) for name, value in found.options.items()), *(changes or ())]


def run_folder_of(out: Path | None, resume: bool, *parts: str, name: str) -> Path:
    """Return the folder that was named, or a new one: ``runs/<parts>/<time>-<name>-<digits>``."""
    check_resume(out, resume)
    if out is not None:
        return out
    from snnsim_experiments.run_folder import unique

    return Path("runs", *parts) / unique(name)


def answer(result: Any, as_json: bool, show: Callable[[Any], None]) -> None:
    """Print the result of a command, as JSON or as ``show`` prints it."""
    if as_json:
        print(json.dumps(result))  # noqa: T201
    else:
        show(result)


def print_line(text: str, **style: Any) -> None:
    """Print a line as it is, whatever is in it and however long it is."""
    output.print(text, markup=False, highlight=False, soft_wrap=True, **style)


def print_table(rows: Iterable[Iterable[str]], *titles: str) -> None:
    """Print rows of cells, under titles if there are any."""
    table = Table(*titles, show_header=bool(titles), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(escape, row))
    output.print(table)


def print_values(values: dict[str, Any], floats: str = ".4f") -> None:
    """Print a line for each value, with its name before it."""
    print_table(
        (name, format(value, floats) if isinstance(value, float) else str(value))
        for name, value in values.items()
    )


def print_summary(title: str, summary: dict[str, Any]) -> None:
    """Print the results of a run under a title."""
    print_line(title, style="bold")
    print_values(summary)


def print_run(summary: dict[str, Any]) -> None:
    """Print the results of a run, under the folder where it is."""
    values = dict(summary)
    print_summary(f"Run in {values.pop('out')}", values)


def print_without_result(rows: list[dict[str, Any]]) -> None:
    """Print why some rows of a comparison have no result."""
    for row in rows:
        if why := row.get("refused") or row.get("failed"):
            print_line(f"{row['name']}: {why}")


def with_spread(mean: float, spread: float | None, digits: int) -> str:
    """Return a mean with its standard deviation, if there is one.

    >>> with_spread(80, None, 1), with_spread(80, 1.25, 2)
    ('80.0', '80.00 ± 1.25')
    """
    return f"{mean:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")


def first_line(cls: type) -> str:
    """Return the first line of the documentation of a class's module."""
    return (sys.modules[cls.__module__].__doc__ or "").strip().splitlines()[0]
