"""Rate-coded sequence models, one file each; the folder is the registry."""

from __future__ import annotations

from snnsim.baselines.baseline import Baseline
from snnsim.registry import class_in, names_in

__all__ = ["get", "names"]


def names() -> list[str]:
    """Return the names of all models.

    >>> {"elman", "gru", "linear-attention"} <= set(names())
    True
    """
    return names_in(__path__)


def get(name: str) -> type[Baseline]:
    """Return a model by name: the one public class of its file derived from ``Baseline``.

    >>> get("gru").__name__
    'GRU'
    """
    found: type[Baseline] = class_in(__name__, __path__, name, Baseline, "model")
    return found
