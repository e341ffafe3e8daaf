"""Checks of the analyses on data whose answer is known, one file each.

A file has ``run(seed, short=False) -> Outcome``, as those of the baselines have.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from snnsim.errors import check_choice
from snnsim.registry import names_in

__all__ = ["get", "names"]


def names() -> list[str]:
    """Return the names of all checks.

    >>> "assemblies" in names()
    True
    """
    return names_in(__path__)


def get(name: str) -> ModuleType:
    """Return the module of a check."""
    check_choice("check", name, names())
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
