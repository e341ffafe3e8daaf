"""What a search looks for: distributions of values, and the validation figure that it improves."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snnsim.errors import ConfigError, check_seed, check_size, nearest, short

# figures of an epoch that a search can improve, and the direction in which each is better
OBJECTIVES = {
    "validation_accuracy": "maximize",
    "validation_f1": "maximize",
    "validation_loss": "minimize",
    "validation_mse": "minimize",
    "validation_nats": "minimize",
}
CHOICES = {
    "direction": ("maximize", "minimize"),
    "sampler": ("tpe", "random"),
    "prune": ("none", "median", "halving"),
}
SETTINGS = ("trials", "objective", "seed", "startup", "warmup", "storage", *CHOICES)
VALUES = ("data", "config", "epochs")  # besides section.key
OF_RANGE = ("low", "high", "log", "step")
LARGEST_SEED = 2**32 - 1  # of the generators of optuna


@dataclass(frozen=True)
class Search:
    """A ``Search`` says which values are tried, and by which figure they are judged.

    Attributes:
        space: for each name what its values are drawn from: a list of values, or a range
            ``{"low", "high", "log", "step"}``; whole numbers if both ends are whole.
        trials: the number of trials of each search.
        objective: the figure of the validation data that is improved, a key of ``OBJECTIVES``.
        direction: ``"maximize"`` or ``"minimize"``.
        sampler: ``"tpe"`` (tree-structured Parzen estimator) or ``"random"``.
        seed: the seed of the sampler.
        prune: the rule that stops a bad trial early: ``"none"``, ``"median"`` (its best figure is
            worse than the median of the other trials at the same epoch) or ``"halving"``
            (asynchronous successive halving: a quarter of the trials goes on at epochs
            ``warmup``, ``4 warmup``, ``16 warmup``, ...).
        startup: the number of trials that the sampler draws at random, and that have to be done
            before ``"median"`` stops one.
        warmup: the number of epochs before which no trial is stopped, 1 or more.
        storage: the URL of a database in place of a journal in the folder of the sweep.
    """

    space: dict[str, Any]
    trials: int
    objective: str
    direction: str
    sampler: str = "tpe"
    seed: int = 0
    prune: str = "none"
    startup: int = 10
    warmup: int = 1
    storage: str = ""

    @property
    def best(self) -> Callable[..., Any]:
        """Return ``max`` or ``min``, of which the best value of the objective is found."""
        return max if self.direction == "maximize" else min

    def corners(self) -> Iterator[dict[str, Any]]:
        """Yield values of all names in which each end and each choice occurs at least once."""
        ends = {name: _ends(values) for name, values in self.space.items()}
        first = {name: values[0] for name, values in ends.items()}
        yield first
        for name, values in ends.items():
            for value in values[1:]:
                yield first | {name: value}


def _ends(values: Any) -> list[Any]:
    return values if isinstance(values, list) else [values["low"], values["high"]]


def read_search(table: dict[str, Any], file: Path) -> Search:
    """Return the search that a table ``[search]`` describes.

    Args:
        table: the table, in which names of values are whole (``"training.lr"``).
        file: the file that has it, for messages.

    Raises:
        ConfigError: if the table describes no search, or optuna is not installed.
    """
    told = {key: value for key, value in table.items() if key in SETTINGS}
    space = {key: value for key, value in table.items() if key not in SETTINGS}
    for name in space:
        if "." not in name and name not in VALUES:
            raise ConfigError(
                f"[search] of {file} has {name!r}{nearest(name, (*SETTINGS, *VALUES))}; it may "
                f"have {', '.join(SETTINGS)}, and values to search: {', '.join(VALUES)} and "
                "section.key"
            )
    if not space:
        raise ConfigError(
            f"[search] of {file} has no values to search; give some, such as "
            '"training.lr" = {low = 1e-4, high = 1e-1, log = true}'
        )
    if "trials" not in told:
        raise ConfigError(f"[search] of {file} has no number of trials; add trials = 40")
    objective = _objective(told.pop("objective", "validation_accuracy"), file)
    space = {name: _drawn_from(name, values, file) for name, values in space.items()}
    settings = {"direction": OBJECTIVES[objective]} | told
    _check(settings, file)
    check_installed()
    return Search(space=space, objective=objective, **settings)


def _objective(name: Any, file: Path) -> str:
    if isinstance(name, str) and name.removeprefix("last_").startswith("test"):
        raise ConfigError(
            f"the objective of {file} is {name!r}, a figure of the test data; whoever chooses by "
            "it reports a result that is too good. Choose by validation_accuracy: the test figure "
            "of the best trial is reported anyway"
        )
    if name not in OBJECTIVES:
        raise ConfigError(
            f"the objective of {file} is {short(name)}{nearest(str(name), OBJECTIVES)}; it must be "
            f"one of {', '.join(OBJECTIVES)}"
        )
    return str(name)


def _check(settings: dict[str, Any], file: Path) -> None:
    for name in ("trials", "startup", "warmup"):
        if name in settings:
            check_size(f"{name} of the search", settings[name])
    if check_seed(settings.get("seed", 0)) > LARGEST_SEED:
        raise ConfigError(f"seed of the search is {settings['seed']}, at most {LARGEST_SEED}")
    for name, allowed in CHOICES.items():
        if name in settings and settings[name] not in allowed:
            raise ConfigError(
                f"{name} in [search] of {file} is {short(settings[name])} but must be one of "
                f"{', '.join(allowed)}"
            )
    if not isinstance(settings.get("storage", ""), str):
        raise ConfigError(
            f"storage in [search] of {file} is {short(settings['storage'])} but must be the URL of "
            "a database, such as postgresql://host/name"
        )


def _drawn_from(name: str, values: Any, file: Path) -> Any:
    """What the values of a name are drawn from: a list, or a whole range."""
    if isinstance(values, list) and len(values) > 1:
        if len({repr(value) for value in values}) < len(values):
            raise ConfigError(f"{name} in [search] of {file} has a value twice")
        return values
    if not isinstance(values, dict) or not {"low", "high"} <= values.keys() <= set(OF_RANGE):
        raise ConfigError(
            f"{name} in [search] of {file} is {short(values)} but must be a list of two values or "
            "more, or a range {low = 1e-4, high = 1e-1}, optionally with log = true or a step"
        )
    found = {"log": False, "step": None} | values
    if wrong := _wrong_with(found):
        raise ConfigError(f"{name} in [search] of {file} is {short(values)}, but {wrong}")
    return found


def _wrong_with(found: dict[str, Any]) -> str:
    """What is wrong with a range; nothing if it is one."""
    numbers = [found["low"], found["high"], *([] if found["step"] is None else [found["step"]])]
    if any(type(each) not in (int, float) or not math.isfinite(each) for each in numbers):
        return "low, high and step must be numbers"
    if type(found["log"]) is not bool:
        return "log must be true or false"
    if found["low"] >= found["high"]:
        return "low must be smaller than high"
    if found["log"] and (found["low"] <= 0 or found["step"] is not None):
        return "a logarithmic range begins above 0 and has no step"
    if found["step"] is not None and found["step"] <= 0:
        return "its step must be larger than 0"
    if is_whole(found) and type(found["step"]) is float:
        return "a range from one whole number to another has a whole step"
    return ""


def is_whole(found: dict[str, Any]) -> bool:
    """Return whether the values of a range are whole numbers."""
    return type(found["low"]) is int and type(found["high"]) is int


def check_installed() -> None:
    """Raise :class:`ConfigError` if optuna is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError("[search] needs optuna: pip install 'snnsim[search]'")
