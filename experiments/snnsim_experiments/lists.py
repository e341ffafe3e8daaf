"""Lists and numbers as they are written on the command line."""

from __future__ import annotations

from collections.abc import Iterable

from snnsim.errors import ConfigError, check_number, nearest


def seeds_of(text: str) -> list[int]:
    """Seeds from ``"0,1,2"``.

    >>> seeds_of("0,2")
    [0, 2]
    """
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--seeds is {text!r} but must be numbers such as 0,1,2") from None
    if len(set(seeds)) != len(seeds) or min(seeds) < 0 or max(seeds) >= 2**63:
        raise ConfigError(f"--seeds is {text!r} but must be different numbers from 0 to 2^63 - 1")
    return seeds


def methods_of(text: str) -> list[str]:
    """Names from ``"fine-tuning,hlop"``.

    >>> methods_of("ewc, si")
    ['ewc', 'si']
    """
    names = [name.strip() for name in text.split(",")]
    if len(set(names)) != len(names) or not all(names):
        raise ConfigError(
            f"--methods is {text!r} but must be different names such as fine-tuning,hlop"
        )
    return names


def parse_budget(text: str) -> float:
    """A number that may end in ``k`` or ``M``.

    >>> parse_budget("200k")
    200000.0
    """
    factor = {"k": 1e3, "m": 1e6}.get(text[-1:].lower(), 1.0)
    try:
        value = float(text[:-1] if factor > 1 else text) * factor
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e10:
        raise ConfigError(f"budget is {text!r} but must be a positive number, such as 50k or 1M")
    return value


def parse_rates(text: str) -> list[float]:
    """Factors from ``"0.3,1,3"``.

    >>> parse_rates("0.3,1")
    [0.3, 1.0]
    """
    try:
        factors = [float(part) for part in text.split(",")]
    except ValueError:
        factors = []
    if not factors or len(set(factors)) != len(factors):
        raise ConfigError(f"rates is {text!r} but must be different factors such as 0.3,1,3")
    for factor in factors:
        check_number("a factor of rates", factor, above=0, most=1e6)
    return factors


def split_names(text: str, known: Iterable[str], what: str) -> list[str]:
    """Names from a comma-separated list; ``all`` for all of them."""
    known = list(known)
    chosen = known if text == "all" else [name.strip() for name in text.split(",") if name.strip()]
    for name in chosen:
        if name not in known:
            raise ConfigError(f"unknown {what} {name!r}{nearest(name, known)}; all: {known}")
    if not chosen or len(set(chosen)) != len(chosen):
        raise ConfigError(f"{text!r} must be different names of a {what}, such as {known[0]}")
    return chosen
