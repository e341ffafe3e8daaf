"""Settings as text: TOML files and single changes, checked against real signatures."""

from __future__ import annotations

import inspect
import math
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date, time
from pathlib import Path
from typing import Any, get_type_hints

import pydantic

from snnsim.errors import ConfigError, nearest, short

MOST_TEXT, MOST_LINE = 1 << 20, 10_000  # of a TOML file
LARGEST = 2**63 - 1
MOST = 1e9  # of a number that describes a network; whole ones at most a million
_NOT_CONFIGURED = {"download", "progress", "dt", "backend"}

Sections = dict[str, dict[str, Any]]
# ``section.key=value``, or a name and its value; a mapping has the latter
Change = str | tuple[str, Any]
Changes = Iterable[Change] | Mapping[str, Any]


def listed(changes: Changes) -> list[Change]:
    """Return changes one by one."""
    return list(changes.items() if isinstance(changes, Mapping) else changes)


def name_of(change: Change) -> str:
    """Return the ``section.key`` of a change.

    >>> name_of("network.delays=none"), name_of(("training.lr", 0.1))
    ('network.delays', 'training.lr')
    """
    return (change.partition("=")[0] if isinstance(change, str) else change[0]).strip()


def fields(function: Callable[..., Any], keyword_only: bool = True) -> dict[str, tuple[Any, Any]]:
    """Return the arguments of a function that a file may set: name to (type, default)."""
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
    """Return the values of a section, complete and of the right types.

    Args:
        section: its name.
        known: what it may have, as :func:`fields` returns it.
        given: the values that are set.
        keep: the names in ``known`` that may be set although configurations leave them alone.

    Raises:
        ConfigError: a key is not known, or a value has the wrong type or cannot be a setting.
    """
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
    """Raise :class:`ConfigError` for a date, an infinite number, or one that is far too large."""
    if isinstance(value, (date, time)):
        raise ConfigError(
            f"{place} is the date or time {value}, which no setting can be; put text in quotes"
        )
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
            raise ConfigError(
                f"{place} is {short(value, 30)} but must be from -{most:g} to {most:g}"
            )


def _readable(section: str, error: pydantic.ValidationError) -> str:
    lines = []
    for problem in error.errors():
        place = ".".join([section, *map(str, problem["loc"])])
        lines.append(f"{place} is {short(problem['input'])}: {problem['msg']}")
    return "; ".join(lines)


@contextmanager
def given_by(config: str | None, changes: Changes) -> Iterator[None]:
    """Let errors of settings within this context say where they were given."""
    try:
        yield
    except ConfigError as error:
        given = [] if config is None else [f"the configuration {short(config)}"]
        told = [c if isinstance(c, str) else "=".join(map(str, c)) for c in listed(changes)]
        given += ["--set " + ", ".join(short(c, 60) for c in told)] if told else []
        if not given or (config is not None and config in str(error)):
            raise
        raise ConfigError(f"{error} (given: {' and '.join(given)})") from error


def given_file(config: str, folder: Path | None = None) -> Path:
    """Find a configuration by its path, or by the name of one in ``folder``.

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


def read_toml(path: Path, sections: Sequence[str]) -> Sections:
    """Read a configuration file, in which only the given sections may be."""
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
    """Parse a TOML document.

    Raises:
        ValueError: it is not valid, or made to be slow to parse or deeply nested.
    """
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


def parse_changes(changes: Changes, sections: Sequence[str]) -> Sections:
    """Return the values of ``section.key=value`` strings, or of a mapping with such names."""
    parsed: Sections = {}
    for change in listed(changes):
        section, dot, key = name_of(change).partition(".")
        understood = not isinstance(change, str) or "=" in change
        if not understood or not dot or section not in sections:
            raise ConfigError(
                f"cannot understand --set {short(change)}; write section.key=value with a section "
                f"of {', '.join(sections)}{nearest(section, sections)}"
            )
        value = _value(change.partition("=")[2].strip()) if isinstance(change, str) else change[1]
        parsed.setdefault(section, {})[key] = value
    return parsed


def _value(text: str) -> Any:
    """A TOML value, or the text itself where it is none."""
    try:
        found = parse_toml(f"value = {text}")
    except ValueError:
        return text
    return found["value"] if len(found) == 1 else text  # or it has lines of its own
