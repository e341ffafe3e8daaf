"""The reference of the command line: a page for every command, from what ``--help`` shows."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import typer
from snnsim_experiments.cli import app

COMMAND = re.compile(r"(snnsim|torchrun) ")


@cache
def root() -> Any:
    """Return the command ``snnsim``, with all commands below it."""
    return typer.main.get_command(app)


def commands() -> dict[str, Any]:
    """Return the commands below ``snnsim``, in the order of ``snnsim --help``."""
    return dict(root().commands)


def walk(command: Any, context: Any) -> Iterator[tuple[Any, Any]]:
    """Yield a command and all below it, each with its context, which knows its full name."""
    yield command, context
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, below.context_class(below, info_name=name, parent=context))


def _text(given: str) -> str:
    """Help as Markdown: paragraphs, and the lines that are commands as code."""
    lines = [line.strip() for line in given.splitlines()]
    return "\n".join(f"    {line}" if COMMAND.match(line) else _plain(line) for line in lines)


def _plain(text: str) -> str:
    """Text in which Markdown and HTML find nothing that means something to them."""
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", html.escape(text, quote=False))


def _section(command: Any, context: Any) -> str:
    """A command: how it is called, what it does, its arguments and options."""
    depth = context.command_path.count(" ")
    parts = [
        f"{'#' * min(depth, 4)} {context.command_path}",
        f"```text\n{command.get_usage(context)}\n```",
        _text(command.help or ""),
    ]
    rows = [record for each in command.get_params(context) if (record := _record(each, context))]
    if rows:
        parts.append("\n".join(["| option or argument | what it does |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def _record(parameter: Any, context: Any) -> str | None:
    """A row of the table of options."""
    record = parameter.get_help_record(context)
    return record and f"| `{record[0]}` | {_plain(' '.join(record[1].split()))} |"


def _is_of_data_set(command: Any) -> bool:
    """Whether ``--help`` shows a command below the heading of data sets."""
    return isinstance(command.rich_help_panel, str)


def page(name: str, command: Any) -> str:
    """Return the text of a command's page, with all commands below it."""
    above = root().context_class(root(), info_name="snnsim")
    context = command.context_class(command, info_name=name, parent=above)
    text = "\n\n".join(_section(*each) for each in walk(command, context))
    # those of all data sets have the same options: what is searched for stands elsewhere first
    return f"---\nsearch:\n  boost: 0.2\n---\n\n{text}" if _is_of_data_set(command) else text


def pages() -> dict[str, str]:
    """Return the text of every page by its name, such as ``reference/commands/train.md``."""
    return {f"reference/commands/{name}.md": page(name, each) for name, each in commands().items()}


def navigation() -> dict[str, list[dict[str, str]]]:
    """Return the entries of the navigation: those of commands, and those of data sets."""
    sets, others = [], []
    for name, command in commands().items():
        entry = {f"snnsim {name}": f"reference/commands/{name}.md"}
        (sets if _is_of_data_set(command) else others).append(entry)
    return {"reference/commands/": others, "reference/commands/data/": sets}
