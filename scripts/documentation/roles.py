"""Docstrings as the site shows them: what Python says at run time, with roles as links.

Docstrings here name objects with the roles of Sphinx, such as ``:func:`save```, and end the line
before a block of code with ``::``. mkdocstrings reads Markdown, in which neither means anything.
"""

from __future__ import annotations

import builtins
import importlib
import inspect
import itertools
import logging
import re
from typing import Any

import griffe
from documentation.names import path_of

log = logging.getLogger("mkdocs.plugins.documentation")
ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`~?([A-Za-z_][\w.]*)`")
EXAMPLE = re.compile(r"^(>>> .*?)(?=\n\n|\Z)", re.DOTALL | re.MULTILINE)


def _object(path: str) -> Any:
    """The object at a path; ``None`` if there is none."""
    parts = path.split(".")
    for count in range(len(parts), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:count]))
        except ImportError:
            continue
        for part in parts[count:]:
            known = getattr(value, "__annotations__", {})
            value = getattr(value, part, known.get(part) if isinstance(known, dict) else None)
        return value
    return None


def found_at(target: str, scope: str) -> str | None:
    """Return the path of the object that a role names, seen from a module or a class.

    Args:
        target: what the role names, such as ``Recipe`` or ``snnsim.save``.
        scope: the path of the class or module whose docstring holds the role.
    """
    scopes = itertools.accumulate(scope.split("."), "{}.{}".format)
    for path in (*(f"{each}.{target}" for each in reversed([*scopes])), target):
        value = _object(path)
        if value is not None:
            return path_of(*path.rpartition(".")[::2], value)
    return None


def as_markdown(text: str, scope: str) -> str:
    """Return a docstring as Markdown; a role whose object is not found is a warning."""

    def link(match: re.Match[str]) -> str:
        target = match[1]
        path = found_at(target, scope)
        if path is None and not hasattr(builtins, target):
            log.warning("a docstring in %s names %s, which does not exist", scope, match[0])
        if path is None:
            return f"`{target}`"
        return f'<autoref optional identifier="{path}"><code>{target}</code></autoref>'

    text = re.sub(r"::$", ":", ROLE.sub(link, text), flags=re.MULTILINE)
    return EXAMPLE.sub(r"```pycon\n\1\n```", text)


def first_sentence(value: Any, scope: str) -> str:
    """Return the first sentence of an object's docstring, in Markdown, for a cell of a table."""
    text = inspect.getdoc(value) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    sentence = re.match(r".*?[.:](?= |$)(?<!e\.g\.)(?<!i\.e\.)", paragraph)
    shown = sentence[0] if sentence else paragraph
    return as_markdown(shown.rstrip(":"), scope).replace("|", "\\|")


class Roles(griffe.Extension):
    """Gives every object the docstring that Python finds, and links instead of roles."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite a docstring; the signature too, where a class computes its own."""
        scope = obj.path if obj.is_class or obj.is_module else obj.parent.path
        if obj.is_class:
            self._as_at_run_time(obj)
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value, scope)

    def _as_at_run_time(self, obj: griffe.Class) -> None:
        """Neurons and networks describe themselves when their classes are made."""
        try:
            module = importlib.import_module(obj.module.path)
        except ImportError:  # of an extra that is not installed
            return
        value = getattr(module, obj.name, None)
        if not inspect.isclass(value):
            return
        text = inspect.getdoc(value) if value.__dict__.get("__doc__") else None
        if obj.docstring is not None and text and text != inspect.cleandoc(obj.docstring.value):
            obj.docstring.value = text
        if "__signature__" in value.__dict__:
            obj.set_member("__init__", _constructor(value, obj))


def _constructor(value: type, parent: griffe.Class) -> griffe.Function:
    """The constructor of a class by the signature that the class states."""
    given = [
        griffe.Parameter(
            each.name,
            annotation=None if each.annotation is each.empty else str(each.annotation),
            kind=griffe.ParameterKind[each.kind.name.lower()],
            default=None if each.default is each.empty else repr(each.default),
        )
        for each in inspect.signature(value).parameters.values()
    ]
    return griffe.Function("__init__", parameters=griffe.Parameters(*given), parent=parent)
