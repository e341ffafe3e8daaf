"""Options and output that the commands of ``snnsim`` share."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from snnsim.errors import ConfigError

output, messages = Console(), Console(stderr=True)

Root = Annotated[str | None, typer.Option(help="Folder of the data set's files.")]
Run = Annotated[Path | None, typer.Option(help="Run folder to write.")]
Runs = Annotated[Path | None, typer.Option(help="Folder to write; a run folder each.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one value: section.key=value. Repeatable."),
]
Seed = Annotated[
    int, typer.Option(min=0, max=2**63 - 1, help="Seed of weights, order and dropout.")
]
Seeds = Annotated[str, typer.Option(help="Seeds, such as 0,1,2.")]
Epochs = Annotated[int | None, typer.Option(max=10**9, help="Passes over the data.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue what --out holds.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def check_resume(out: Path | None, resume: bool) -> None:
    """Refuse to go on with nothing."""
    if resume and out is None:
        raise ConfigError("--resume goes on with what --out holds; name the folder with --out")


def print_values(values: dict[str, Any], floats: str = ".4f") -> None:
    """A line for each value, with its name before it."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in values.items():
        text = format(value, floats) if isinstance(value, float) else str(value)
        table.add_row(escape(name), escape(text))
    output.print(table)


def print_summary(title: str, summary: dict[str, Any]) -> None:
    """The results of a run under a title."""
    output.print(title, style="bold", markup=False, highlight=False, soft_wrap=True)
    print_values(summary)


def first_line(cls: type) -> str:
    """What the module of a class says first of itself."""
    return (sys.modules[cls.__module__].__doc__ or "").strip().splitlines()[0]


def run_folder_of(out: Path | None, resume: bool, *parts: str, name: str) -> Path:
    """The folder that was named, or one of now: ``runs/<parts>/<time>-<name>``."""
    check_resume(out, resume)
    if out is not None:
        return out
    from snnsim_experiments.run_folder import unique

    return Path("runs", *parts) / unique(name)
