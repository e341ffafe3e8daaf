"""Whether several processes work together; how they do is :mod:`snnsim.training.distributed`'s."""

from __future__ import annotations

from torch import distributed


def together() -> bool:
    """Return whether this process belongs to a group of processes.

    >>> together()
    False
    """
    return distributed.is_available() and distributed.is_initialized()
