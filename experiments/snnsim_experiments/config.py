"""Configurations: TOML files of differences, checked against the real signatures.

A configuration has three sections. ``data`` holds options of the data set's ``load``,
``network`` those of :func:`snnsim.networks.delay_network` and ``training`` the fields of
:class:`snnsim.training.Recipe`. Unknown keys and wrong types are refused before anything runs.
"""

from __future__ import annotations

import inspect
import math
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import date, time
from pathlib import Path
from typing import Any, get_type_hints

import pydantic
import snnsim_datasets

from snnsim.errors import ConfigError, nearest, short
from snnsim.networks import delay_network
from snnsim.training import Recipe

SECTIONS = ("data", "network", "training")
MOST_TEXT, MOST_LINE = 1 << 20, 10_000  # of a TOML file
LARGEST = 2**63 - 1
MOST = 1e9  # of a number that describes a network; whole ones at most a million
_NOT_CONFIGURED = {"download", "progress", "dt", "backend"}


@dataclass(frozen=True)
class Config:
    """A complete, checked configuration; plain values only, so it can be stored as JSON."""

    dataset: str
    seed: int
    backend: str
    data: dict[str, Any]
    network: dict[str, Any]
    training: dict[str, Any]

    @property
    def recipe(self) -> Recipe:
        """The training section as a :class:`Recipe`."""
        return Recipe(**self.training)


def folder_of(dataset: str) -> Path:
    """Folder of a data set's configurations."""
    return Path(__file__).parent / dataset.replace("-", "_")


def config_names(dataset: str) -> list[str]:
    """Names of the configurations that come with a data set."""
    return sorted(path.stem for path in folder_of(dataset).glob("*.toml"))


def resolve(
    dataset: str,
    config: str | None = None,
    changes: Collection[str] = (),
    *,
    seed: int = 0,
    epochs: int | None = None,
    backend: str = "auto",
) -> Config:
    """Merge defaults, the data set's ``default.toml``, a configuration and single changes.

    Args:
        dataset: name of the data set.
        config: path of a TOML file, or the name of one that comes with the data set.
        changes: ``section.key=value`` strings; they win.
        seed, epochs, backend: as on the command line.

    >>> resolve("spoken-digits", changes=["network.delays=none"]).network["delays"]
    'none'
    """
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    layers = [read_toml(folder_of(dataset) / "default.toml")]
    if config is not None:
        layers.append(read_toml(given_file(config, folder_of(dataset))))
    layers.append(parse_changes(changes))
    for layer in layers:
        for section, entries in layer.items():
            values[section].update(entries)
    hidden = {"hidden": (list[int], [256, 256])}
    with given_by(config, changes):
        data, training = data_and_training(dataset, values["data"], values["training"], epochs)
        network = check_section("network", hidden | fields(delay_network), values["network"])
    return Config(dataset, seed, backend, data, network, training)


def data_and_training(
    dataset: str, data: dict[str, Any], training: dict[str, Any], epochs: int | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two sections that every network shares, complete and checked."""
    recipe = _recipe(training)  # right also where other epochs win
    if epochs is not None:
        recipe = _recipe(training | {"epochs": epochs})
    return check_data(dataset, data), asdict(recipe)


def check_data(dataset: str, data: dict[str, Any]) -> dict[str, Any]:
    """The section of a data set, complete and checked."""
    load = snnsim_datasets.get(dataset).load
    keep = ("dt",) if _takes_dt(load) else ()
    return check_section("data", fields(load), data, keep)


def _takes_dt(load: Callable[..., Any]) -> bool:
    return "dt" in inspect.signature(load).parameters


def fields(function: Callable[..., Any], keyword_only: bool = True) -> dict[str, tuple[Any, Any]]:
    """Arguments of a function that a configuration may set: name to (type, default)."""
    hints = get_type_hints(function)
    kinds: set[Any] = {inspect.Parameter.KEYWORD_ONLY}
    if not keyword_only:
        kinds.add(inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {
        p.name: (hints.get(p.name, Any), ... if p.default is p.empty else p.default)
        for p in inspect.signature(function).parameters.values()
        if p.kind in kinds and p.name != "self"
    }


def check_section(
    section: str, known: dict[str, Any], given: dict[str, Any], keep: Iterable[str] = ()
) -> dict[str, Any]:
    """The values of a section, complete and of the right types; ``known`` as of :func:`fields`."""
    known = {k: v for k, v in known.items() if k not in _NOT_CONFIGURED or k in keep}
    for key in given:
        if key not in known:
            raise _unknown(f"{section}.{key}", key, known)
    model = pydantic.create_model(
        section, __config__=pydantic.ConfigDict(extra="forbid", strict=False), **known
    )
    check_numbers(section, given)
    try:
        found = model(**given).model_dump()
    except pydantic.ValidationError as error:
        raise ConfigError(_readable(section, error)) from error
    check_numbers(section, found)  # a text may have become one
    return found


def _unknown(name: str, key: str, known: Iterable[str]) -> ConfigError:
    shown = name if len(name) < 200 else short(name)
    return ConfigError(f"unknown key {shown}{nearest(key, known)}; known: {', '.join(known)}")


def check_numbers(place: str, value: Any) -> None:
    """Raise :class:`ConfigError` for what no setting can be: a date, a number without end."""
    if isinstance(value, (date, time)):
        raise ConfigError(f"{place} is the date or time {value} but must be something else")
    if isinstance(value, dict):
        for key, each in value.items():
            check_numbers(f"{place}.{key}", each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            check_numbers(place, each)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{place} is {value} but must be a finite number")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        most: float = LARGEST
        if place.startswith(("network.", "data.", "method.")):
            most = 1e6 if isinstance(value, int) else MOST
        if abs(value) > most:
            raise ConfigError(f"{place} is {short(value, 30)} but at most {most:g} makes sense")


def _recipe(given: dict[str, Any]) -> Recipe:
    known = list(Recipe.__dataclass_fields__)
    for key in given:
        if key not in known:
            raise _unknown(f"training.{key}", key, known)
    check_numbers("training", given)
    try:
        found = pydantic.TypeAdapter(Recipe).validate_python(given)
    except pydantic.ValidationError as error:
        raise ConfigError(_readable("training", error)) from error
    check_numbers("training", asdict(found))
    return found


def _readable(section: str, error: pydantic.ValidationError) -> str:
    lines = []
    for problem in error.errors():
        place = ".".join([section, *map(str, problem["loc"])])
        lines.append(f"{place} is {short(problem['input'])}: {problem['msg']}")
    return "; ".join(lines)


@contextmanager
def given_by(config: str | None, changes: Collection[str]) -> Iterator[None]:
    """Within this context an error of settings says where they were given."""
    try:
        yield
    except ConfigError as error:
        given = [] if config is None else [f"the configuration {short(config)}"]
        given += ["--set " + ", ".join(short(c, 60) for c in changes)] if changes else []
        if not given or (config is not None and config in str(error)):
            raise
        raise ConfigError(f"{error} (given: {' and '.join(given)})") from error


def given_file(config: str, folder: Path | None = None) -> Path:
    """A configuration by its path, or by the name of one in ``folder``.

    Raises:
        ConfigError: there is none.
    """
    places = [Path(config)] if folder is None else [folder / f"{config}.toml", Path(config)]
    for path in places:
        with suppress(OSError, ValueError):  # a name that no file can have
            if path.is_file():
                return path
    names = [] if folder is None else sorted(path.stem for path in folder.glob("*.toml"))
    if not names:
        raise ConfigError(f"there is no configuration file {short(config)}")
    raise ConfigError(
        f"there is no configuration {short(config)}: neither a file nor one of "
        f"{', '.join(names)}{nearest(config, names)}"
    )


def read_toml(path: Path, sections: Sequence[str] = SECTIONS) -> dict[str, dict[str, Any]]:
    """A configuration file; only the given sections may be in it."""
    try:
        content = parse_toml(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:  # not UTF-8 as well
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    for section, entries in content.items():
        if section not in sections or not isinstance(entries, dict):
            raise ConfigError(
                f"{path} has {section!r} at its top level{nearest(section, sections)}; "
                f"it may have the sections {_listed(sections)}"
            )
        try:
            check_numbers(section, entries)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error
    return content


def parse_toml(text: str) -> dict[str, Any]:
    """A TOML document; ``ValueError`` says what is wrong, also of one made to be slow or deep."""
    if len(text) > MOST_TEXT or any(len(line) > MOST_LINE for line in text.splitlines()):
        raise ValueError(f"a file has at most {MOST_TEXT} characters, {MOST_LINE} in a line")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _listed(sections: Sequence[str]) -> str:
    """Sections, those of one model or method (``training-gru``) only by their form."""
    plain = [section for section in sections if "-" not in section]
    return ", ".join(plain) + (" and SECTION-NAME" if len(plain) < len(sections) else "")


def parse_changes(
    changes: Iterable[str], sections: Sequence[str] = SECTIONS
) -> dict[str, dict[str, Any]]:
    """Values from ``section.key=value`` strings."""
    parsed: dict[str, dict[str, Any]] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        section, dot, key = name.strip().partition(".")
        if not equals or not dot or section not in sections:
            raise ConfigError(
                f"cannot understand --set {short(change)}; write section.key=value with a section "
                f"of {', '.join(sections)}{nearest(section, sections)}"
            )
        parsed.setdefault(section, {})[key] = _value(text.strip())
    return parsed


def _value(text: str) -> Any:
    """A TOML value, or the text itself where it is none."""
    try:
        found = parse_toml(f"value = {text}")
    except ValueError:
        return text
    return found["value"] if len(found) == 1 else text  # or it has lines of its own
