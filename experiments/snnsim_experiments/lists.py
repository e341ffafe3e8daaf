"""Lists and numbers as they are written on the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from snnsim.errors import ConfigError, check_choice, check_number, check_seed

Value = TypeVar("Value", int, float, str)


def seeds_of(text: str) -> list[int]:
    """Return the seeds of a list such as ``"0,1,2"``.

    >>> seeds_of("0,2")
    [0, 2]
    """
    return [check_seed(seed) for seed in _different("--seeds", text, int, "0,1,2")]


def sizes_of(text: str) -> list[int]:
    """Return the sizes of a list such as ``"0,16,64"``.

    >>> sizes_of("0, 16")
    [0, 16]
    """
    sizes = _different("--sizes", text, int, "0,16,64")
    for size in sizes:
        check_number("a size of --sizes", size, 0)
    return sizes


def methods_of(text: str) -> list[str]:
    """Return the names of a list such as ``"fine-tuning,hlop"``.

    >>> methods_of("ewc, si")
    ['ewc', 'si']
    """
    return _different("--methods", text, str, "fine-tuning,hlop")


def parse_budget(text: str) -> float:
    """Return a number that may end in ``k`` or ``M``.

    >>> parse_budget("200k")
    200000.0
    """
    factor = {"k": 1e3, "m": 1e6}.get(text[-1:].lower(), 1.0)
    try:
        value = float(text[:-1] if factor > 1 else text) * factor
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e10:
        raise ConfigError(
            f"--budget is {text!r} but must be a number above 0, at most 1e10, such as 50k or 1M"
        )
    return value


def parse_rates(text: str) -> list[float]:
    """Return the factors of a list such as ``"0.3,1,3"``.

    >>> parse_rates("0.3,1")
    [0.3, 1.0]
    """
    factors = _different("--rates", text, float, "0.3,1,3")
    for factor in factors:
        check_number("a factor of --rates", factor, above=0, most=1e6)
    return factors


def split_names(text: str, known: Iterable[str], what: str) -> list[str]:
    """Return the names in a comma-separated list; ``all`` stands for all that are known."""
    known = list(known)
    chosen = known if text == "all" else [name.strip() for name in text.split(",") if name.strip()]
    for name in chosen:
        check_choice(what, name, known)
    if not chosen or len(set(chosen)) != len(chosen):
        raise ConfigError(f"{text!r} must be different names of a {what}, such as {known[0]}")
    return chosen


def _different(option: str, text: str, read: Callable[[str], Value], example: str) -> list[Value]:
    """The values of a comma-separated list, no two of which are the same."""
    parts = [part.strip() for part in text.split(",")]
    try:
        values = [read(part) for part in parts] if all(parts) else []
    except ValueError:
        values = []
    if not values or len(set(values)) != len(values):
        raise ConfigError(f"{option} is {text!r} but must be different values, such as {example}")
    return values
