"""Rate-coded sequence models, one file each; the folder is the registry."""

from __future__ import annotations

import importlib
import pkgutil

from snnsim.baselines.baseline import Baseline
from snnsim.errors import check_choice

__all__ = ["get", "names"]


def names() -> list[str]:
    """Names of all models.

    >>> {"elman", "gru", "linear-attention"} <= set(names())
    True
    """
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(__path__))


def get(name: str) -> type[Baseline]:
    """A model by name: the one public class of its file that is derived from ``Baseline``.

    >>> get("gru").__name__
    'GRU'
    """
    check_choice("model", name, names())
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    own = [v for v in vars(module).values() if isinstance(v, type) and issubclass(v, Baseline)]
    (found,) = (
        v for v in own if v.__module__ == module.__name__ and not v.__name__.startswith("_")
    )
    return found
