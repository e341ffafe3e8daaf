"""Former names, which are accepted for one more release."""

from __future__ import annotations

import functools
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from snnsim.errors import ConfigError

Kind = TypeVar("Kind", bound=type[Any])


def up_to_date(given: Mapping[str, Any], former: Mapping[str, str], what: str) -> dict[str, Any]:
    """Return the values under today's names; a :class:`FutureWarning` names the former ones.

    Args:
        given: the values by name.
        former: today's name for each former name.
        what: where the values were given, for the message: ``"training."``.

    Raises:
        ConfigError: if a value is given under both names.

    >>> import warnings
    >>> with warnings.catch_warnings(record=True):
    ...     up_to_date({"max_lr": 0.1}, {"max_lr": "lr"}, "training.")
    {'lr': 0.1}
    """
    for name in given.keys() & former.keys():
        if former[name] in given:
            raise ConfigError(f"{what}{name} and {what}{former[name]} are the same; give one")
        warnings.warn(
            f"{what}{name} is now called {what}{former[name]}; the old name works for one more "
            "release",
            FutureWarning,
            stacklevel=3,
        )
    return {former.get(name, name): value for name, value in given.items()}


def not_needed(given: Mapping[str, Any], names: tuple[str, ...], why: str) -> None:
    """Warn of arguments that a function once took and that are now ignored.

    Args:
        given: the arguments by name.
        names: the arguments that the function once took.
        why: the reason, for the message.

    Raises:
        TypeError: if an argument was never one of the function's.
    """
    for name in given:
        if name not in names:
            raise TypeError(f"got an unexpected keyword argument {name!r}")
        warnings.warn(f"{name} is not needed any more: {why}", FutureWarning, stacklevel=3)


def renamed(former: Mapping[str, str]) -> Callable[[Kind], Kind]:
    """Let a class accept arguments, and offer attributes, under their former names as well.

    Args:
        former: today's name for each former name.
    """

    def decorate(cls: Kind) -> Kind:
        made: Any = vars(cls)["__init__"]

        @functools.wraps(made)
        def __init__(self: Any, *args: Any, **given: Any) -> None:
            made(self, *args, **up_to_date(given, former, ""))

        changed: Any = cls
        changed.__init__ = __init__
        for before, now in former.items():
            setattr(cls, before, property(operator.attrgetter(now)))
        return cls

    return decorate
