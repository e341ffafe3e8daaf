"""Speech and event data sets for spiking networks, one file each.

The modules of this folder are the registry: each has ``INFO`` and ``load``.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Any

from snnsim.errors import check_choice
from snnsim_datasets.tools.catalogue import INFOS
from snnsim_datasets.tools.info import Info

__all__ = ["get", "info", "load", "names"]


def names() -> list[str]:
    """Return the names of all data sets.

    >>> "spoken-digits" in names()
    True
    """
    modules = pkgutil.iter_modules(__path__)
    return sorted(m.name.replace("_", "-") for m in modules if not m.ispkg)


def get(name: str) -> ModuleType:
    """Return the module of a data set, with ``INFO`` and ``load``."""
    check_choice("data set", name, names())
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


def info(name: str) -> Info:
    """Return the facts about a data set; if the catalogue has it, its module is not imported.

    >>> info("shd").channels
    700
    """
    check_choice("data set", name, names())
    found: Info = INFOS[name] if name in INFOS else get(name).INFO
    return found


def load(name: str, split: str, root: Any = None, **options: Any) -> Any:
    """Load one split of a data set; the options are those of its own ``load``.

    >>> load("spoken-digits", "test").batch([0, 1]).x.shape[1:]
    torch.Size([2, 140])
    """
    return get(name).load(split, root, **options)
