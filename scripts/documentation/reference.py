"""The reference of the Python packages: a page of Markdown for each area, from docstrings."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from documentation.names import AREAS, Area, Name, docstring, homes, modules, names
from documentation.roles import first_sentence


def _row(name: Name, known: set[str]) -> str:
    """A row of a table: a name that leads to its description, and what it is."""
    shown = f"[`{name.name}`][{name.path}]" if name.path in known else f"`{name.name}`"
    return f"| {shown} | {first_sentence(docstring(name), name.module)} |"


def _described(path: str, level: int, **options: Any) -> str:
    """The mark that mkdocstrings replaces by the description of an object."""
    lines = [f"{option}: {value}" for option, value in {"heading_level": level, **options}.items()]
    return "\n".join([f"::: {path}", "    options:", *(f"      {line}" for line in lines)])


def _section(module: ModuleType, known: set[str]) -> str:
    """A module: its docstring, a table of its names, and those that are described here."""
    own = names(module)
    parts = [_described(module.__name__, 2, members="[]", show_root_full_path="true")]
    if own:
        rows = [_row(name, known) for name in own]
        parts.append("\n".join(["| name | what it is |", "|---|---|", *rows]))
    here = [name.path for name in own if homes().get(name.path) == name.module]
    parts += [_described(path, 3) for path in dict.fromkeys(here)]  # some have two names
    return "\n\n".join(parts)


def page(area: Area) -> str:
    """Return the text of an area's page."""
    known = {*homes(), *(module.__name__ for each in AREAS for module in modules(each))}
    return "\n\n".join([f"# {area.title}", *(_section(each, known) for each in modules(area))])


def pages() -> dict[str, str]:
    """Return the text of every page by its name, such as ``reference/neurons.md``."""
    return {f"reference/{area.file}.md": page(area) for area in AREAS}


def navigation() -> list[dict[str, str]]:
    """Return the entries of the navigation, title to page."""
    return [{area.title: f"reference/{area.file}.md"} for area in AREAS]
