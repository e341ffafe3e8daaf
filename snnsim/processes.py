"""Whether several processes work together; :mod:`snnsim.training.distributed` has the rest."""

from __future__ import annotations

from torch import distributed


def together() -> bool:
    """Return whether this process belongs to a group of processes.

    >>> together()
    False
    """
    return distributed.is_available() and distributed.is_initialized()
