"""What a sweep runs: a file with a grid of values, and a cell for each combination of them."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import snnsim_datasets

from snnsim.errors import ConfigError, check_size, nearest, short
from snnsim_experiments import resolve
from snnsim_experiments.experiment import Experiment
from snnsim_experiments.options import with_data
from snnsim_experiments.run_folder import read_object, write_json

PLAN = "sweep.json"
OWN = ("data", "root", "config", "seed", "epochs")  # that resolve and the place take
MOST = 10_000  # cells
LONGEST_NAME = 80


@dataclass(frozen=True)
class Cell:
    """A ``Cell`` is one training of a sweep.

    Attributes:
        name: its name, which is that of its run folder.
        values: all values that are not those of the configuration, by name: ``data``, ``root``,
            ``config``, ``seed``, ``epochs`` and ``section.key``.
        varied: the names of those that differ between cells.
    """

    name: str
    values: dict[str, Any]
    varied: tuple[str, ...]

    def experiment(self) -> tuple[Experiment, str | None]:
        """Return the experiment, and the folder of its data.

        Raises:
            ConfigError: if a value is not one that it can have; the message names the cell.
        """
        given = self.values
        try:
            found = snnsim_datasets.recognise(str(given["data"]), given.get("root"))
            changes = {key: value for key, value in given.items() if key not in OWN}
            return resolve(
                found.name,
                config=given.get("config"),
                changes=dict(with_data(found, None)) | changes,
                seed=given.get("seed", 0),
                epochs=given.get("epochs"),
            ), found.root
        except ConfigError as error:
            raise ConfigError(f"cell {self.name}: {error}") from error


@dataclass(frozen=True)
class Plan:
    """A ``Plan`` says what a sweep runs.

    Attributes:
        cells: the cells, in the order in which they are run.
        threads: the number of threads of each training. It is the same for all workers, because
            the last digits of sums depend on it.
    """

    cells: tuple[Cell, ...]
    threads: int = 1

    @property
    def varied(self) -> tuple[str, ...]:
        """Return the names of what differs between cells."""
        return self.cells[0].varied


def read_plan(file: Path) -> Plan:
    """Read a sweep from a TOML file, and check that every cell can be run.

    The file has the values of all cells at its top (``data``, and optionally ``root``, ``config``,
    ``seed`` and ``epochs``), others in a table ``[set]``, and lists of values in ``[grid]``. Each
    combination of these is a cell; the last name of the grid varies fastest. ``threads`` at the
    top is the number of threads of each training.

    Raises:
        ConfigError: if the file is no such file, or a cell cannot be run.
    """
    try:
        told = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file} does not exist; give the TOML file of a sweep") from None
    except (ValueError, OSError) as error:
        raise ConfigError(f"{file} cannot be read as TOML: {error}") from error
    threads = check_size("threads", told.pop("threads", 1))
    fixed, grid = _table(told, "set", file), _table(told, "grid", file)
    for name in told:
        if name not in OWN:
            raise ConfigError(
                f"{file} has {name!r}{nearest(name, (*OWN, 'set', 'grid'))}; at its top it may "
                f"have {', '.join(OWN)}, threads, and the tables [set] and [grid]"
            )
    return Plan(_cells({**told, **fixed}, grid, file), threads)


def _table(told: dict[str, Any], name: str, file: Path) -> dict[str, Any]:
    table = told.pop(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{name} of {file} is {short(table)} but must be a table [{name}]")
    return dict(_flat(table))


def _flat(table: Mapping[str, Any], prefix: str = "") -> Any:
    """``[set.training] lr = 1`` is the same as ``[set] "training.lr" = 1``."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _cells(fixed: dict[str, Any], grid: dict[str, Any], file: Path) -> tuple[Cell, ...]:
    if "data" not in fixed and "data" not in grid:
        raise ConfigError(f'{file} names no data; begin it with data = "spoken-digits", or a place')
    both = fixed.keys() & grid.keys()
    if both:
        raise ConfigError(f"{sorted(both)[0]} stands in the grid of {file} and outside of it")
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ConfigError(
                f"{name} in the grid of {file} is {short(values)} but must be a list of values"
            )
        if len({repr(value) for value in values}) < len(values):
            raise ConfigError(f"{name} in the grid of {file} has a value twice")
    varied = tuple(grid)
    combinations = list(itertools.islice(itertools.product(*grid.values()), MOST + 1))
    if len(combinations) > MOST:
        raise ConfigError(f"the grid of {file} has more than {MOST} cells")
    digits = len(str(len(combinations) - 1))
    cells = []
    for number, chosen in enumerate(combinations):
        own = dict(zip(varied, chosen, strict=True))
        cells.append(Cell(_name(number, digits, own), _absolute(fixed | own), varied))
    for cell in cells:
        cell.experiment()
    return tuple(cells)


def _name(number: int, digits: int, own: dict[str, Any]) -> str:
    told = "-".join(f"{key.split('.')[-1]}={value}" for key, value in own.items())
    return re.sub(r"[^\w=.,-]+", "_", f"{number:0{digits}}-{told}".rstrip("-"))[:LONGEST_NAME]


def _absolute(values: dict[str, Any]) -> dict[str, Any]:
    """Values in which places do not depend on the folder of a worker."""
    found = dict(values)
    for name in ("data", "root", "config"):
        place = found.get(name)
        if isinstance(place, str) and Path(place).exists() and not _is_name(name, place):
            found[name] = str(Path(place).absolute())
    return found


def _is_name(what: str, place: str) -> bool:
    """Whether a text is the name of a data set or a configuration, and not a place."""
    return (what == "data" and place in snnsim_datasets.names()) or (
        what == "config" and not place.endswith(".toml")
    )


def store(plan: Plan, folder: Path) -> None:
    """Write a plan into the folder of its sweep, or check that it is the one that is there.

    Raises:
        ConfigError: if the folder holds another sweep, or something else.
    """
    if (folder / PLAN).exists():
        if stored(folder) != plan:
            raise ConfigError(
                f"{folder} holds a sweep of other cells; choose another --out, or go on with it: "
                f"snnsim sweep work {folder}"
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty and no sweep; choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    cells = [{"name": c.name, "values": c.values, "varied": list(c.varied)} for c in plan.cells]
    write_json(folder / PLAN, {"threads": plan.threads, "cells": cells})


def stored(folder: Path) -> Plan:
    """Return the plan of a sweep's folder.

    Raises:
        ConfigError: if the folder holds none.
    """
    if not (folder / PLAN).exists():
        raise ConfigError(f"{folder} is no sweep; snnsim sweep FILE.toml --out {folder} makes one")
    told = read_object(folder / PLAN)
    try:
        cells = (Cell(c["name"], c["values"], tuple(c["varied"])) for c in told["cells"])
        return Plan(tuple(cells), check_size("threads", told["threads"]))
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{folder / PLAN} is damaged ({error!r})") from error
