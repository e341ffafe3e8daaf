"""Folders as registries: one file, one public class."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from typing import Any

from snnsim.errors import check_choice


def names_in(path: Iterable[str]) -> list[str]:
    """Return the names of the files of a package, with dashes.

    >>> import snnsim.functional
    >>> "readouts" in names_in(snnsim.functional.__path__)
    True
    """
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(path))


def class_in(package: str, path: Iterable[str], name: str, base: type, what: str) -> Any:
    """Return the one public class of a file that is derived from ``base``.

    Args:
        package: the name of the package.
        path: the folders of the package.
        name: the name of the file, with dashes.
        base: the class from which the class is derived.
        what: what the class is, for errors.
    """
    check_choice(what, name, names_in(path))
    module = importlib.import_module(f"{package}.{name.replace('-', '_')}")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and not value.__name__.startswith("_")
    )
    return found
