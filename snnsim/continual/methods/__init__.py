"""Methods of continual learning, one file each; the folder is the registry."""

from __future__ import annotations

import importlib
import pkgutil

from snnsim.continual.method import Method
from snnsim.errors import check_choice

__all__ = ["get", "names"]


def names() -> list[str]:
    """Names of all methods.

    >>> "hlop" in names()
    True
    """
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(__path__))


def get(name: str) -> type[Method]:
    """A method by name: the one class of its file that is derived from :class:`Method`.

    >>> get("fine-tuning").__name__
    'FineTuning'
    """
    check_choice("method", name, names())
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    own = [v for v in vars(module).values() if isinstance(v, type) and issubclass(v, Method)]
    (found,) = (v for v in own if v.__module__ == module.__name__)
    return found
