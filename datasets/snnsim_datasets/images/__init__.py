"""Still images, for task streams. One file each; the folder is the registry."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from snnsim.errors import check_choice
from snnsim.registry import names_in

__all__ = ["get", "load", "names"]


def names() -> list[str]:
    """Return the names of all image sets.

    >>> "mnist" in names()
    True
    """
    return names_in(__path__)


def get(name: str) -> ModuleType:
    """Return the module of an image set, with ``INFO`` and ``load``."""
    check_choice("image set", name, names())
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


def load(name: str, split: str, root: Any = None, **options: Any) -> Any:
    """Load one split of an image set; the options are those of its own ``load``."""
    return get(name).load(split, root, **options)
