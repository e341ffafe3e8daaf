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
import warnings
from typing import Any

import griffe
from documentation.names import path_of

from snnsim.errors import SnnsimError

log = logging.getLogger("mkdocs.plugins.documentation")
ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`~?([A-Za-z_][\w.]*)`")
EXAMPLE = re.compile(r"^(>>> .*?)(?=\n\n|\Z)", re.DOTALL | re.MULTILINE)


def _object(path: str) -> Any:
    """The object at a path; ``None`` if there is none."""
    parts = path.split(".")
    for count in range(len(parts), 0, -1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # of modules that were renamed
                value: Any = importlib.import_module(".".join(parts[:count]))
        except (ImportError, SnnsimError):  # it is no module, or one of an extra that is not here
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


def first_sentence(text: str, scope: str) -> str:
    """Return the first sentence of a docstring as Markdown, for a cell of a table."""
    paragraph = " ".join(text.split("\n\n")[0].split())
    sentence = re.match(r".*?[.:](?= |$)(?<!e\.g\.)(?<!i\.e\.)", paragraph)
    shown = sentence[0] if sentence else paragraph
    return as_markdown(shown.rstrip(":"), scope).replace("|", "\\|")


class Roles(griffe.Extension):
    """Gives every object the docstring that Python finds, and links instead of roles."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Rewrite the docstring of a package, which is no member of anything."""
        self.on_object(obj=pkg)

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Take what an object says at run time, and rewrite its docstring."""
        scope = obj.path if obj.is_class or obj.is_module else obj.parent.path
        if obj.is_class or obj.is_attribute:
            obj = _as_at_run_time(obj)
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value, scope)


def _as_at_run_time(obj: griffe.Object) -> griffe.Object:
    """The object, or another in its place, as it describes itself once its module is imported.

    Neurons and networks write their docstrings and signatures when their classes are made; some
    functions are made by others, and look like constants in the source.
    """
    value = _object(obj.path)
    if obj.is_attribute and inspect.isfunction(value) and value.__name__ == obj.name:
        made = _function(obj.name, value, obj.parent)
        made.docstring = griffe.Docstring(inspect.getdoc(value) or "", parent=made)
        obj.parent.set_member(obj.name, made)
        return made
    if inspect.isclass(value):
        written = value.__dict__.get("__doc__")
        if written and obj.docstring:
            obj.docstring.value = inspect.cleandoc(written)
        if "__signature__" in value.__dict__:
            obj.set_member("__init__", _function("__init__", value, obj))
    return obj


def _function(name: str, value: Any, parent: griffe.Object) -> griffe.Function:
    """A function with the signature that it has at run time."""
    given = [
        griffe.Parameter(
            each.name,
            annotation=None if each.annotation is each.empty else str(each.annotation),
            kind=griffe.ParameterKind[each.kind.name.lower()],
            default=None if each.default is each.empty else repr(each.default),
        )
        for each in inspect.signature(value).parameters.values()
    ]
    return griffe.Function(name, parameters=griffe.Parameters(*given), parent=parent)
