"""What recordings there are: in a folder for each class, or listed in a table."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnsim.errors import ConfigError, DataError
from snnsim_datasets.tools import files
from snnsim_datasets.tools.audio import AUDIO, warn_passed_over

TABLES = (".csv", ".tsv")
COLUMNS = {
    "file": ("file", "path", "filename", "file_name", "filepath"),
    "label": ("label", "class", "word", "category", "target"),
    "speaker": ("speaker", "voice", "subject", "speaker_id"),
    "split": ("split", "part", "set", "fold"),
}
PARTS = {
    "train": ("train", "training", "tr"),
    "validation": ("validation", "valid", "val", "dev", "development"),
    "test": ("test", "testing", "te", "eval", "evaluation"),
}
PASSED_OVER = ("_background_noise_", "__MACOSX")  # folders that are no classes


class Listing(NamedTuple):
    """A listing names recordings before any is read.

    Attributes:
        folder: what the places of recordings are told in relation to.
        paths: the files, ``n`` of them.
        labels: ``[n]`` int64, the class of each.
        classes: the names of the classes.
        speakers: ``[n]`` int64, the speaker of each; -1 where unknown.
        parts: ``"train"``, ``"validation"`` or ``"test"`` for each; empty where that is not said.
        speaker_names: the names of the speakers, in the order of their numbers.
    """

    folder: Path
    paths: tuple[Path, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    speakers: np.ndarray
    parts: tuple[str, ...]
    speaker_names: tuple[str, ...] = ()

    def speaker_of(self, number: int) -> str:
        """Return the name of the speaker of a recording; empty where unknown."""
        speaker = int(self.speakers[number])
        return "" if speaker < 0 else self.speaker_names[speaker]

    def where(self, chosen: np.ndarray) -> list[Path]:
        """Return the files of a mask ``[n]``."""
        return [self.paths[i] for i in np.flatnonzero(chosen)]

    def checksums(self, place: Path) -> dict[str, str]:
        """Return those of all recordings, and of the table ``place`` if it lists them."""
        total = {f"{self.folder.name}/": files.digest_all(self.folder, self.paths)}
        return total | ({place.name: files.digest(place)} if place.is_file() else {})


def place_of(root: Path) -> Path:
    """Return what lists recordings: the table in a folder, or else the folder or table itself."""
    if not root.exists():
        raise DataError(f"{root} does not exist; give the folder of your recordings with --root")
    table = files.find(root, [f"recordings{ending}" for ending in TABLES])
    return root if table is None else table


class _Row(NamedTuple):
    path: Path
    label: str
    speaker: str = ""
    part: str = ""


def listed(
    root: Path, speaker: str = "", least: int = 2, endings: Sequence[str] = AUDIO
) -> Listing:
    """List the recordings of a folder or table.

    Args:
        root: a folder with a folder for each class (in folders ``train``, ``validation`` and
            ``test`` or not, and with a folder for each speaker below or not), or a table (``.csv``,
            ``.tsv``) with the columns ``file`` and ``label``, and ``speaker`` and ``split`` if
            these are known.
        speaker: a regular expression that is searched in the place of each file below the folder,
            and whose first group is the speaker's name; empty for what folders or table say.
        least: the smallest number of classes.
        endings: those of the names of files that are recordings, in lower case; a table lists any.

    Raises:
        DataError: if nothing is there, a class is empty, or the table cannot be used.
        ConfigError: if the expression is none, has no group, or does not fit a file.
    """
    if root.is_dir():
        folder, rows = root, _in_folders(root, endings)
    elif root.is_file() and root.suffix.lower() in TABLES:
        folder, rows = root.parent, _in_table(root)
    elif root.exists():
        raise DataError(f"{root} is neither a folder nor a table ({', '.join(TABLES)})")
    else:
        raise DataError(f"{root} does not exist")
    if speaker:
        rows = _with_speakers(folder, rows, speaker)
    return _listing(root, folder, rows, least)


def _listing(root: Path, folder: Path, rows: Sequence[_Row], least: int) -> Listing:
    classes = tuple(sorted({row.label for row in rows}, key=_by_number))
    if len(classes) < least:
        raise DataError(
            f"{root} has recordings of {len(classes)} class ({', '.join(classes)}); to tell "
            "anything apart, it needs two or more, each in a folder of its own or in the table"
        )
    names = sorted({row.speaker for row in rows} - {""})
    known = {name: number for number, name in enumerate(names)} | {"": -1}
    return Listing(
        folder,
        tuple(row.path for row in rows),
        np.asarray([classes.index(row.label) for row in rows], np.int64),
        classes,
        np.asarray([known[row.speaker] for row in rows], np.int64),
        tuple(row.part for row in rows),
        tuple(names),
    )


def _by_number(name: str) -> tuple[tuple[int, str], ...]:
    """So that 2 comes before 10."""
    return tuple(
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    )


# --- folders --------------------------------------------------------------------------------------


def _in_folders(root: Path, endings: Sequence[str]) -> list[_Row]:
    inner = _folders(root)
    parts = {folder: part for folder in inner if (part := _part(folder.name))}
    if parts and len(parts) < len(inner):
        odd = next(folder for folder in inner if folder not in parts)
        raise DataError(
            f"{root} has folders for parts ({', '.join(f.name for f in parts)}) and others, such "
            f"as {odd.name}; put every class into the folders of the parts"
        )
    rows = []
    for place, part in (parts or {root: ""}).items():
        classes = _folders(place)
        if not classes:
            raise DataError(
                f"{place} has no folders of classes; put the recordings of each class into a "
                "folder of its own, or list them in a table with the columns file,label"
            )
        rows += [row._replace(part=part) for each in classes for row in _of_class(each, endings)]
    return rows


def _folders(place: Path) -> list[Path]:
    found = (p for p in place.iterdir() if p.is_dir() and p.name not in PASSED_OVER)
    return sorted(p for p in found if not p.name.startswith("."))


def _of_class(folder: Path, endings: Sequence[str]) -> list[_Row]:
    found = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    read = [p for p in found if p.suffix.lower() in endings]
    warn_passed_over(folder, [p for p in found if p not in read], "recordings that can be read")
    if not read:
        raise DataError(
            f"{folder} holds no recordings that can be read ({', '.join(endings)}); remove it if "
            "it is no class"
        )
    inner = [p.relative_to(folder).parts for p in read]
    speakers = all(len(each) == 2 for each in inner)
    return [
        _Row(path, folder.name, each[0] if speakers else "")
        for path, each in zip(read, inner, strict=True)
    ]


def _part(name: str) -> str:
    """Which part of the data a name means; empty for none."""
    return next((part for part, names in PARTS.items() if name.lower() in names), "")


# --- tables ---------------------------------------------------------------------------------------


def _in_table(table: Path) -> list[_Row]:
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{table} is not a readable table ({error})") from error
    separator = "\t" if table.suffix.lower() == ".tsv" else ","
    header, *lines = csv.reader(text.splitlines(), delimiter=separator) or [[]]
    places = _columns(table, header)
    rows = []
    for number, line in enumerate(lines, 2):
        if not any(line):
            continue
        if len(line) != len(header):
            raise DataError(
                f"line {number} of {table} has {len(line)} fields but the header has {len(header)}"
            )
        given = {name: line[place].strip() for name, place in places.items()}
        rows.append(_row(table, number, given))
    if not rows:
        raise DataError(f"{table} lists no recordings")
    _check_files(table, rows)
    return rows


def _columns(table: Path, header: Sequence[str]) -> dict[str, int]:
    names = [name.strip().lower() for name in header]
    places = {
        column: names.index(name)
        for column, known in COLUMNS.items()
        for name in known[::-1]
        if name in names
    }
    for needed in ("file", "label"):
        if needed not in places:
            raise DataError(
                f"{table} has the columns {', '.join(header) or 'of an empty line'} but needs "
                "file and label; its first line must name them"
            )
    return places


def _row(table: Path, number: int, given: dict[str, str]) -> _Row:
    for needed in ("file", "label"):
        if not given[needed]:
            raise DataError(f"line {number} of {table} has no {needed}")
    part = given.get("split", "")
    if part and not _part(part):
        raise DataError(
            f"line {number} of {table} is of the split {part!r} but must be of train, validation "
            "or test"
        )
    path = table.parent / given["file"]
    if ".." in path.parts or not path.is_relative_to(table.parent):
        raise DataError(
            f"line {number} of {table} names {given['file']}, which is outside of the folder of "
            "the table; put the table into a folder that holds all recordings"
        )
    return _Row(path, given["label"], given.get("speaker", ""), _part(part))


def _check_files(table: Path, rows: Sequence[_Row]) -> None:
    missing = [row.path for row in rows if not row.path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(rows)} files of {table} do not exist, such as {missing[0]}; "
            "files are named in relation to the folder of the table"
        )
    paths = [row.path.resolve() for row in rows]
    first: dict[Path, int] = {}
    for number, path in enumerate(paths):
        if first.setdefault(path, number) != number:
            raise DataError(f"{table} lists {path} more than once")


# --- speakers -------------------------------------------------------------------------------------


def _with_speakers(folder: Path, rows: Sequence[_Row], pattern: str) -> list[_Row]:
    try:
        searched = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"the expression for speakers is {pattern!r}, which is no regular expression ({error})"
        ) from error
    if searched.groups < 1:
        raise ConfigError(
            f"the expression for speakers is {pattern!r} but needs a group, such as '_(.+)_', that "
            "is the speaker's name"
        )
    found = []
    for row in rows:
        place = row.path.relative_to(folder) if row.path.is_relative_to(folder) else row.path
        match = searched.search(place.as_posix())
        if match is None or not match.group(1):
            raise ConfigError(
                f"the expression for speakers is {pattern!r}, which finds no speaker in {place}"
            )
        found.append(row._replace(speaker=match.group(1)))
    return found
