"""Cases whose outcomes are known, for the test of the judge itself."""

from __future__ import annotations

import ctypes
import time

import numpy as np
from outcomes import Place, Silent

from snnsim.errors import ConfigError, DataError


def right(place: Place, rng: np.random.Generator) -> None:
    print("what is printed is no answer")


def error(place: Place, rng: np.random.Generator) -> None:
    (place.folder / "bad.h5").touch()
    raise DataError(f"{place.folder / 'bad.h5'} is bad")


def key(place: Place, rng: np.random.Generator) -> None:
    raise ConfigError("training.epochs is -1")


def silent(place: Place, rng: np.random.Generator) -> None:
    raise Silent("half of it")


def unnamed(place: Place, rng: np.random.Generator) -> None:
    (place.folder / "bad.h5").touch()
    raise DataError("something is bad")


def foreign(place: Place, rng: np.random.Generator) -> None:
    raise KeyError("labels")


def leaves(place: Place, rng: np.random.Generator) -> None:
    raise SystemExit(3)


def memory(place: Place, rng: np.random.Generator) -> None:
    np.ones(1 << 31, np.uint8)


def crash(place: Place, rng: np.random.Generator) -> None:
    ctypes.string_at(0)


def hang(place: Place, rng: np.random.Generator) -> None:
    time.sleep(60)


def draws(place: Place, rng: np.random.Generator, least: int) -> None:
    raise DataError(f"{place.folder}: {rng.integers(least, 1 << 40)} {place.folder.exists()}")
