"""Still images, for task streams. One file each; the folder is the registry."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Any

from snnsim.errors import check_choice

__all__ = ["get", "load", "names"]


def names() -> list[str]:
    """Names of all image sets.

    >>> "mnist" in names()
    True
    """
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(__path__))


def get(name: str) -> ModuleType:
    """The module of an image set, with ``INFO`` and ``load``."""
    check_choice("image set", name, names())
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


def load(name: str, split: str, root: Any = None, **options: Any) -> Any:
    """Load one split of an image set; the options are those of its own ``load``."""
    return get(name).load(split, root, **options)
