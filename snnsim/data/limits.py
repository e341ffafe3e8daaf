"""How much a file may ask for: what it unpacks to, declares or makes be allocated is bounded.

Each bound has a default that ordinary data stay far below, and an environment variable that changes
it; the errors name it.
"""

from __future__ import annotations

import os

from snnsim.errors import ConfigError, DataError

DEFAULTS = {
    "SNNSIM_MAX_SECONDS": 300.0,  # of one spike recording
    "SNNSIM_MAX_CELLS": 2.0**28,  # steps times channels of one recording: 1 GiB of float32
    "SNNSIM_MAX_RATIO": 100.0,  # of what a file holds to its own size
    "SNNSIM_MAX_SMALL_MB": 256.0,  # that any file may hold, however small
    "SNNSIM_READ_SECONDS": 20.0,  # for a file of up to 20 MB; longer for larger ones
}


def limit(name: str) -> float:
    """Return a bound: that of the environment, or the default.

    >>> limit("SNNSIM_MAX_SECONDS")
    300.0
    """
    text = os.environ.get(name)
    if text is None:
        return DEFAULTS[name]
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value > 0:
        raise ConfigError(f"{name} is {text!r} but must be a positive number")
    return value


def most_bytes(size: int) -> int:
    """Return how many bytes a file of ``size`` bytes may hold once it is unpacked.

    >>> most_bytes(10**9) == 100 * 10**9
    True
    """
    small = limit("SNNSIM_MAX_SMALL_MB") * 2**20
    return int(max(small, limit("SNNSIM_MAX_RATIO") * size))


def check_bytes(what: str, wanted: float, size: int) -> None:
    """Raise :class:`DataError` if something in a file of ``size`` bytes holds too many."""
    most = most_bytes(size)
    if wanted > most:
        raise DataError(
            f"{what} holds {wanted:.3g} bytes, more than the limit of {most} for a file of {size} "
            "bytes; if that is right, raise SNNSIM_MAX_RATIO (bytes per byte of the file)"
        )


def read_seconds(size: int) -> float:
    """Return how many seconds the reading of a file of ``size`` bytes may take."""
    return limit("SNNSIM_READ_SECONDS") * max(1.0, 0.05 * size / 2**20)
