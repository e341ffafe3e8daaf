"""Methods of continual learning, one file each; the folder is the registry."""

from __future__ import annotations

from snnsim.continual.method import Method
from snnsim.registry import class_in, names_in

__all__ = ["get", "names"]


def names() -> list[str]:
    """Return the names of all methods.

    >>> "hlop" in names()
    True
    """
    return names_in(__path__)


def get(name: str) -> type[Method]:
    """Return a method by name: the class of its file that is derived from :class:`Method`.

    >>> get("fine-tuning").__name__
    'FineTuning'
    """
    found: type[Method] = class_in(__name__, __path__, name, Method, "method")
    return found
