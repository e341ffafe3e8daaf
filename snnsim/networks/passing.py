"""Keyword arguments that a function passes on, shown and checked as if they were its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from snnsim.errors import nearest

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def passing_on(
    target: Callable[..., Any], names: Sequence[str] = (), **defaults: Any
) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Return a decorator for a function that passes its ``**further`` arguments on to a target.

    The signature of the function, which ``help`` and configurations read, names these arguments
    with their types; the function is called with all of them, those not given at their defaults.

    Args:
        target: function or class that takes the arguments.
        names: which of its arguments are passed on; empty for all.
        defaults: default values by name, where the target's own are not meant.

    Calls of the function raise ``TypeError`` for a keyword that neither it nor the target takes.

    >>> def paint(shape, colour: str = "red", width: int = 1):
    ...     return f"{shape}, {colour}, {width}"
    >>> @passing_on(paint, ["colour"], colour="blue")
    ... def circle(radius: float, **further):
    ...     return paint(f"circle of {radius}", **further)
    >>> circle(2), list(inspect.signature(circle).parameters)
    ('circle of 2, blue, 1', ['radius', 'colour'])
    >>> circle(2, color="green")
    Traceback (most recent call last):
    TypeError: circle() has no argument 'color'; did you mean 'colour'?; it takes radius, colour
    """
    taken = inspect.signature(target).parameters
    kind = inspect.Parameter.KEYWORD_ONLY
    passed = [taken[name].replace(kind=kind) for name in names or taken]
    passed = [each.replace(default=defaults.get(each.name, each.default)) for each in passed]
    values = {each.name: each.default for each in passed}

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        known = [p.name for p in (*own, *passed) if p.name != "self"]
        title = function.__qualname__.removesuffix(".__init__")

        @wraps(function)
        def passing(*args: Arguments.args, **given: Arguments.kwargs) -> Result:
            for name in given:
                if name not in known:
                    raise TypeError(
                        f"{title}() has no argument {name!r}{nearest(name, known)}; "
                        f"it takes {', '.join(known)}"
                    )
            further: Any = values | given
            return function(*args, **further)

        shown: Any = passing
        shown.__signature__ = signature.replace(parameters=[*own, *passed])
        shown.__annotations__ = function.__annotations__ | {p.name: p.annotation for p in passed}
        return passing

    return decorate
