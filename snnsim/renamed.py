"""Names of before, which are understood for one more release."""

from __future__ import annotations

import functools
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from snnsim.errors import ConfigError

Kind = TypeVar("Kind", bound=type[Any])


def up_to_date(given: Mapping[str, Any], former: Mapping[str, str], what: str) -> dict[str, Any]:
    """The values under today's names; a :class:`FutureWarning` names those of before.

    Args:
        given: values by name.
        former: the name of today for each of before.
        what: where they were given, for the message: ``"training."``.

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
    """Arguments that a function once took: said to be passed over; others are none of its own.

    Raises:
        TypeError: for an argument that it never took.
    """
    for name in given:
        if name not in names:
            raise TypeError(f"got an unexpected keyword argument {name!r}")
        warnings.warn(f"{name} is not needed any more: {why}", FutureWarning, stacklevel=3)


def renamed(former: Mapping[str, str]) -> Callable[[Kind], Kind]:
    """Have a class take arguments, and give attributes, by their names of before as well."""

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
