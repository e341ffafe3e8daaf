"""Errors that name what was given, what was expected and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SnnsimError(Exception):
    """Base class of every error this project raises on purpose."""


class ShapeError(SnnsimError, ValueError):
    """A tensor has the wrong number of axes or the wrong size along one."""


class ConfigError(SnnsimError, ValueError):
    """An argument or a configuration value is not one of the allowed ones."""


class DataError(SnnsimError):
    """A data file is missing, truncated, corrupt or of another schema."""


class BackendError(SnnsimError, RuntimeError):
    """A named backend cannot run here."""


class CheckpointError(SnnsimError):
    """A checkpoint does not belong to this run or cannot be read."""


class NonFiniteError(SnnsimError, ArithmeticError):
    """A loss, activation or gradient became NaN or infinite."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest allowed name, or an empty string.

    >>> nearest("lerning_rate", ["learning_rate", "epochs"])
    "; did you mean 'learning_rate'?"
    """
    match = difflib.get_close_matches(name, list(allowed), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


def check_choice(what: str, given: object, allowed: Iterable[str]) -> None:
    """Raise :class:`ConfigError` unless ``given`` is one of ``allowed``.

    >>> check_choice("reset", "zero", ["zero", "none"])
    """
    allowed = list(allowed)
    if given not in allowed:
        hint = nearest(str(given), allowed)
        raise ConfigError(f"{what} is {given!r} but must be one of {', '.join(allowed)}{hint}")
