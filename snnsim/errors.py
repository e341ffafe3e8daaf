"""Errors that name what was given, what was expected and what to do."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path


class SnnsimError(Exception):
    """This is the base class of every error that this project raises on purpose."""


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


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Within this context, an ``OSError`` that does not name its file is raised with its name.

    >>> with naming(Path("a.png")):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    OSError: [Errno 28] No space left on device: 'a.png'
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


LARGEST_SIZE = 10**9  # of anything that is counted: channels, steps, delays


def short(value: object, most: int = 200) -> str:
    """Return the text of a value for a message, with ``...`` in the middle of a long one.

    >>> short("a" * 999, 20)
    "'aaaaaaa...aaaaaaaa'"
    """
    try:
        text = repr(value)
    except ValueError:  # a whole number of too many digits
        return "a number of thousands of digits"
    head = (most - 3) // 2
    tail = most - 3 - head
    return text if len(text) <= most else f"{text[:head]}...{text[-tail:]}"


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest allowed name, or an empty string.

    >>> nearest("lerning_rate", ["learning_rate", "epochs"])
    "; did you mean 'learning_rate'?"
    """
    match = difflib.get_close_matches(name[:100], list(allowed), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


def check_choice(what: str, given: object, allowed: Iterable[str]) -> None:
    """Raise :class:`ConfigError` unless ``given`` is one of ``allowed``.

    >>> check_choice("reset", "zero", ["zero", "none"])
    """
    allowed = list(allowed)
    if given not in allowed:
        hint = nearest(str(given), allowed)
        raise ConfigError(f"{what} is {short(given)} but must be one of {', '.join(allowed)}{hint}")


def check_size(what: str, given: object, least: int = 1, most: int = LARGEST_SIZE) -> int:
    """Return a number of channels, time steps or the like; raise :class:`ConfigError` otherwise.

    >>> check_size("n_out", 20)
    20
    >>> check_size("n_out", -1)
    Traceback (most recent call last):
    snnsim.errors.ConfigError: n_out is -1 but must be a whole number of at least 1
    """
    whole = isinstance(given, Integral) and not isinstance(given, bool)
    size = int(given) if whole else least - 1  # type: ignore[call-overload]
    if not least <= size <= most:
        limit = f"from {least} to {most:g}" if size > most else f"of at least {least}"
        raise ConfigError(f"{what} is {short(given)} but must be a whole number {limit}")
    return size


def check_seed(given: object) -> int:
    """Return a seed as given; raise :class:`ConfigError` unless numpy and torch both accept it.

    >>> check_seed(0)
    0
    """
    return check_size("seed", given, 0, 2**63 - 1)


def is_number(given: object) -> bool:
    """Return whether a value is a real number that a float can hold, not NaN and not infinite.

    >>> is_number(3), is_number(True), is_number("3"), is_number(10**400)
    (True, False, False, False)
    """
    if not isinstance(given, Real) or isinstance(given, bool):
        return False
    try:
        return math.isfinite(given)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def check_number(
    what: str,
    given: float,
    least: float = -math.inf,
    most: float = math.inf,
    *,
    above: float | None = None,
) -> None:
    """Raise :class:`ConfigError` unless ``given`` is finite and lies in a range.

    Args:
        what: the name of the argument, for the message.
        given: the number.
        least, most: the range, including both ends.
        above: a lower bound that is itself not allowed.

    >>> check_number("share", 1.0, 0, 1)
    >>> check_number("lr", -1.0, above=0)
    Traceback (most recent call last):
    snnsim.errors.ConfigError: lr is -1.0 but must be a finite number above 0
    """
    low = least if above is None else above
    inside = is_number(given) and least <= given <= most
    if inside and (above is None or given > above):
        return
    bounds = [f"above {above:g}"] if above is not None else []
    bounds += [f"at least {low:g}"] if above is None and math.isfinite(low) else []
    bounds += [f"at most {most:g}"] if math.isfinite(most) else []
    wanted = " and ".join(bounds)
    raise ConfigError(f"{what} is {short(given)} but must be a finite number {wanted}".rstrip())
