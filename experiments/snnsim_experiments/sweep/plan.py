"""What a sweep runs: a file with a grid of values, and a cell for each combination of them."""

from __future__ import annotations

import itertools
import re
import tomllib
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import snnsim_datasets

from snnsim.errors import ConfigError, check_size, nearest, short
from snnsim_experiments import resolve
from snnsim_experiments.experiment import Experiment
from snnsim_experiments.options import with_data
from snnsim_experiments.run_folder import read_object, write_json
from snnsim_experiments.sweep.search import OF_RANGE, Search, read_search

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
        study: the number of the search that the cell is a trial of, if the sweep has a search.
        trial: its number in that search.
        made: a whole experiment, as :meth:`Experiment.as_json` returns it, in place of values that
            make one.
        seeds: the seeds of such an experiment on a stream, all of which are one cell.
    """

    name: str
    values: dict[str, Any]
    varied: tuple[str, ...]
    study: int = 0
    trial: int = 0
    made: dict[str, Any] | None = None
    seeds: tuple[int, ...] | None = None

    @property
    def file(self) -> str:
        """Return the name of files about the cell, whose run folder may be in another folder."""
        return self.name.replace("/", "~")

    def with_values(self, drawn: dict[str, Any]) -> Cell:
        """Return the same cell with the values that its trial has drawn."""
        return replace(self, values=self.values | drawn)

    def experiment(self) -> tuple[Experiment, str | None]:
        """Return the experiment, and the folder of its data.

        Raises:
            ConfigError: if a value is not one that it can have; the message names the cell.
        """
        given = self.values
        if self.made is not None:
            return Experiment.from_json(self.made), given["root"]
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
        search: what is searched; each cell is then a trial, whose values are drawn when it begins.
        name: a name that no other sweep has, for databases that several of them share.
    """

    cells: tuple[Cell, ...]
    threads: int = 1
    search: Search | None = None
    name: str = field(default="", compare=False)

    @property
    def varied(self) -> tuple[str, ...]:
        """Return the names of what differs between cells."""
        return self.cells[0].varied

    @property
    def is_made(self) -> bool:
        """Return whether the cells are runs of another command, which makes its own results."""
        return self.cells[0].made is not None


def read_plan(file: Path) -> Plan:
    """Read a sweep from a TOML file, and check that every cell can be run.

    The file has the values of all cells at its top (``data``, and optionally ``root``, ``config``,
    ``seed`` and ``epochs``), others in a table ``[set]``, and lists of values in ``[grid]``. Each
    combination of these is a cell; the last name of the grid varies fastest. ``threads`` at the
    top is the number of threads of each training. With a table ``[search]`` each combination is a
    search instead, and each of its trials a cell (:class:`snnsim_experiments.sweep.search.Search`).

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
    search = _search(told, file) if "search" in told else None
    fixed, grid = _table(told, "set", file), _table(told, "grid", file)
    for name in told:
        if name not in OWN:
            raise ConfigError(
                f"{file} has {name!r}{nearest(name, (*OWN, 'set', 'grid', 'search'))}; at its top "
                f"it may have {', '.join(OWN)}, threads, and the tables [set], [grid] and [search]"
            )
    cells = _cells({**told, **fixed}, grid, search, file)
    if search is None:
        return Plan(cells, threads)
    return Plan(_trials(cells, search), threads, search, uuid.uuid4().hex)


def _table(told: dict[str, Any], name: str, file: Path) -> dict[str, Any]:
    table = told.pop(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{name} of {file} is {short(table)} but must be a table [{name}]")
    return dict(_flat(table))


def _search(told: dict[str, Any], file: Path) -> Search:
    """The search of a file, whose places do not depend on the folder of a worker."""
    found = read_search(_ranges(told, file), file)
    lists = {name: values for name, values in found.space.items() if isinstance(values, list)}
    whole = {
        name: [absolute({name: value})[name] for value in values] for name, values in lists.items()
    }
    return replace(found, space=found.space | whole)


def _ranges(told: dict[str, Any], file: Path) -> dict[str, Any]:
    """The table of a search, in which ``{low = 1, high = 2}`` is a value."""
    flat = _table(told, "search", file)
    found: dict[str, Any] = {}
    for key, value in flat.items():
        name, _, end = key.rpartition(".")
        if name and end in OF_RANGE:
            found.setdefault(name, {})[end] = value
        else:
            found[key] = value
    return found


def _flat(table: Mapping[str, Any], prefix: str = "") -> Any:
    """``[set.training] lr = 1`` is the same as ``[set] "training.lr" = 1``."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _check_names(
    fixed: dict[str, Any], grid: dict[str, Any], space: dict[str, Any], file: Path
) -> None:
    if not any("data" in each for each in (fixed, grid, space)):
        raise ConfigError(f'{file} names no data; begin it with data = "spoken-digits", or a place')
    if both := fixed.keys() & grid.keys():
        raise ConfigError(f"{sorted(both)[0]} stands in the grid of {file} and outside of it")
    if both := space.keys() & (fixed.keys() | grid.keys()):
        raise ConfigError(f"{sorted(both)[0]} stands in the search of {file} and outside of it")


def _cells(
    fixed: dict[str, Any], grid: dict[str, Any], search: Search | None, file: Path
) -> tuple[Cell, ...]:
    _check_names(fixed, grid, {} if search is None else search.space, file)
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
        cells.append(Cell(_name(number, digits, own), absolute(fixed | own), varied))
    for cell in cells:
        for drawn in [{}] if search is None else search.corners():
            cell.with_values(drawn).experiment()
    return tuple(cells)


def _trials(cells: tuple[Cell, ...], search: Search) -> tuple[Cell, ...]:
    """The trials of a search for each combination of the grid; all searches go on side by side."""
    if len(cells) * search.trials > MOST:
        raise ConfigError(
            f"{search.trials} trials for each of {len(cells)} combinations of the grid are more "
            f"than {MOST} cells"
        )
    digits = len(str(search.trials - 1))
    return tuple(
        replace(cell, name=_of_trial(cell, f"trial{trial:0{digits}}"), study=study, trial=trial)
        for trial in range(search.trials)
        for study, cell in enumerate(cells)
    )


def _of_trial(cell: Cell, trial: str) -> str:
    return f"{cell.name}-{trial}" if cell.varied else trial


def _name(number: int, digits: int, own: dict[str, Any]) -> str:
    told = "-".join(f"{key.split('.')[-1]}={value}" for key, value in own.items())
    return re.sub(r"[^\w=.,-]+", "_", f"{number:0{digits}}-{told}".rstrip("-"))[:LONGEST_NAME]


def absolute(values: dict[str, Any]) -> dict[str, Any]:
    """Return values in which places do not depend on the folder of a worker."""
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
    write(plan, folder)


def write(plan: Plan, folder: Path) -> None:
    """Write a plan into a folder, in place of one that is there."""
    told: dict[str, Any] = {"threads": plan.threads, "cells": [_told(c, plan) for c in plan.cells]}
    if plan.search is not None:
        told |= {"search": asdict(plan.search), "name": plan.name}
    write_json(folder / PLAN, told)


def _told(cell: Cell, plan: Plan) -> dict[str, Any]:
    told: dict[str, Any] = {"name": cell.name, "values": cell.values, "varied": list(cell.varied)}
    if plan.search is not None:
        told |= {"study": cell.study, "trial": cell.trial}
    if cell.made is not None:
        told |= {"made": cell.made, "seeds": cell.seeds}
    return told


def _cell_of(told: dict[str, Any]) -> Cell:
    seeds = told.get("seeds")
    tuples = {"varied": tuple(told["varied"]), "seeds": None if seeds is None else tuple(seeds)}
    return Cell(**(told | tuples))


def stored(folder: Path) -> Plan:
    """Return the plan of a sweep's folder.

    Raises:
        ConfigError: if the folder holds none.
    """
    if not (folder / PLAN).exists():
        raise ConfigError(f"{folder} is no sweep; snnsim sweep FILE.toml --out {folder} makes one")
    told = read_object(folder / PLAN)
    try:
        cells = map(_cell_of, told["cells"])
        search = Search(**told["search"]) if "search" in told else None
        threads = check_size("threads", told["threads"])
        return Plan(tuple(cells), threads, search, told.get("name", ""))
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{folder / PLAN} is damaged ({error!r})") from error
