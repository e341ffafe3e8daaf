"""Each system's smallest check, one file each: does the mechanism do what its paper says?

A file has ``run(seed, short=False) -> Outcome``; with ``short`` it takes at most a minute and only
shows that the check runs. What takes seconds is a test instead (``tests/unit/baselines``).
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from snnsim.errors import check_choice

__all__ = ["get", "names"]


def names() -> list[str]:
    """Return the names of all checks.

    >>> "recall" in names()
    True
    """
    modules = pkgutil.iter_modules(__path__)
    return sorted(m.name.replace("_", "-") for m in modules if m.name != "outcome")


def get(name: str) -> ModuleType:
    """Return the module of a check."""
    check_choice("check", name, names())
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
