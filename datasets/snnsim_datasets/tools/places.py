"""What data a place holds: a name, a folder, a file, or a function of yours."""

from __future__ import annotations

import csv
import itertools
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from snnsim.errors import ConfigError, DataError, nearest, short
from snnsim_datasets.tools.audio import AUDIO
from snnsim_datasets.tools.cameras import READERS
from snnsim_datasets.tools.info import Place
from snnsim_datasets.tools.listing import COLUMNS, TABLES

FUNCTION = re.compile(r"(?P<place>.+\.py|[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)")
SPIKES = (".h5", ".hdf5", ".h5.gz", ".hdf5.gz", ".h5.zip", ".hdf5.zip")
TEXTS = (".ts", ".ts.gz")
SERIES = (".csv", ".npy")
VALUES = (".csv", ".tsv", ".npy")  # a recording each, of a camera or of anything else
HEIDELBERG = ("fsdd", "shd", "ssc")  # data sets that come in files of their name
KNOWN_FILES = ("_train", "_valid", "_test")
LOOKED_AT = 10_000  # files of a folder, at most
ROWS = 200  # of a table

# what holds one recording of each kind; the first that fits wins
FILES_OF = {"recordings": AUDIO, "cameras": tuple(READERS), "sequences": VALUES}


def recognise(data: str, root: str | None = None, names: Iterable[str] = ()) -> Place:
    """Tell what data a text names.

    Args:
        data: a folder of recordings, or a table that lists them; a spike
            file; a file of sequences or of a series; or ``module:function``.
        root: the folder in which modules are.
        names: the names of all data sets.

    Raises:
        ConfigError: if it is no name and there is no such place.
        DataError: if the place holds nothing that can be read.
    """
    known = list(names)
    path = Path(data)
    if not path.exists():
        if FUNCTION.fullmatch(data):
            return Place("python", root or ".", {"function": data})
        raise ConfigError(
            f"there are no data {short(data)}: it is neither a file or folder nor a data set"
            f"{nearest(data, known)}; give a folder of recordings, a spike file (.h5), a table "
            "(.csv), sequences (.ts), module:function, or a name from: snnsim --help"
        )
    if root is not None:
        raise ConfigError(f"{data} is a place itself; leave out the root {root}")
    return _of_folder(path) if path.is_dir() else _of_file(path)


def _of_file(path: Path) -> Place:
    name = path.name.lower()
    if name.endswith(SPIKES):
        return Place("spikes", str(path))
    if name.endswith(TEXTS):
        return Place("sequences", str(path))
    if name.endswith(".npz"):
        return _of_arrays(path)
    if path.suffix.lower() in TABLES and (listed := _listed(path)) is not None:
        return Place(_kind(listed, path), str(path))
    if path.suffix.lower() in SERIES:
        return Place("series", str(path.parent), {"file": path.name})
    raise DataError(
        f"{path} is of no kind that can be read; expected a table (.csv, .tsv) of recordings, "
        f"spikes ({', '.join(SPIKES[:2])}, .npz), sequences (.ts, .npz) or a series (.csv, .npy)"
    )


def _of_arrays(path: Path) -> Place:
    try:
        with zipfile.ZipFile(path) as archive:
            held = {Path(name).stem for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path} is not a readable .npz file ({error})") from error
    for name, needed in (("spikes", {"times", "units"}), ("sequences", {"values", "offsets"})):
        if needed <= held:
            return Place(name, str(path))
    raise DataError(
        f"{path} holds {', '.join(sorted(held)) or 'nothing'}; expected times, units, offsets and "
        "labels of spikes, or values, offsets and labels of sequences"
    )


def _listed(table: Path) -> list[str] | None:
    """The files that a table lists, or ``None`` if its columns are those of something else."""
    separator = "\t" if table.suffix.lower() == ".tsv" else ","
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            some = itertools.islice(file, ROWS)
            rows = list(csv.reader(some, delimiter=separator))
    except (ValueError, OSError, csv.Error):
        return None
    if not rows:
        raise DataError(f"{table} is empty; its first line must name its columns, file,label")
    header, *lines = rows
    _check_separator(table, header, separator)
    titles = [title.strip().lower() for title in header]
    at = next((titles.index(name) for name in COLUMNS["file"] if name in titles), None)
    if at is None:
        return None
    if not lines:
        raise DataError(f"{table} names its columns and lists no files")
    return [line[at] for line in lines if len(line) > at]


def _check_separator(table: Path, header: list[str], separator: str) -> None:
    """Raise :class:`DataError` if the columns of a table seem to be separated by something else."""
    for other in (";", "\t", "|", ","):
        titles = {title.strip().lower() for title in separator.join(header).split(other)}
        if other != separator and {*COLUMNS["file"]} & titles and {*COLUMNS["label"]} & titles:
            raise DataError(
                f"the columns of {table} are separated by {other!r} but must be by {separator!r}"
            )


def _of_folder(folder: Path) -> Place:
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    for data_set in HEIDELBERG:
        if any(n.startswith(tuple(data_set + part for part in KNOWN_FILES)) for n in names):
            return Place(data_set, str(folder))
    tables = [n for n in names if n.lower() in [f"recordings{ending}" for ending in TABLES]]
    if tables:
        return Place(_kind(_listed(folder / tables[0]) or [], folder / tables[0]), str(folder))
    lower = [n.lower() for n in names]
    if any(n.endswith(TEXTS) for n in lower):
        return Place("sequences", str(folder))
    if any(n.endswith(SPIKES) for n in lower):
        return Place("spikes", str(folder))
    inside = itertools.islice(sorted(folder.rglob("*")), LOOKED_AT)
    return Place(_kind([str(path) for path in inside], folder), str(folder))


def _kind(files: Sequence[str], place: Path) -> str:
    """Which data set reads most of some files."""
    found = Counter(
        kind for name in files for kind, endings in FILES_OF.items()
        if name.lower().endswith(endings)
    )  # fmt: skip
    if not found:
        kinds = ", ".join(sorted({e for endings in FILES_OF.values() for e in endings}))
        raise DataError(
            f"{place} holds no recordings that can be read ({kinds}); a folder of data has a "
            "folder for each class, or a table recordings.csv with the columns file,label"
        )
    kind = found.most_common(1)[0][0]
    if kind != "cameras" or not all(name.lower().endswith(VALUES) for name in _of(files, kind)):
        return kind
    base = place if place.is_dir() else place.parent
    return "cameras" if _has_events(base / _of(files, kind)[0]) else "sequences"


def _of(files: Sequence[str], kind: str) -> list[str]:
    return [name for name in files if name.lower().endswith(FILES_OF[kind])]


def _has_events(path: Path) -> bool:
    """Whether a table or array has the fields of events."""
    try:
        if path.suffix.lower() == ".npy":
            stored = np.load(path, mmap_mode="r")
            whole_numbers = stored.dtype.kind in "iu" and stored.shape[1:] == (4,)
            return stored.dtype.names is not None or whole_numbers
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline().strip().lower()
    except (OSError, ValueError, EOFError):
        return False
    titles = {title.strip().partition("@")[0] for title in first.replace("\t", ",").split(",")}
    return {"x", "y"} <= titles and bool(titles & {"t", "ts", "time", "timestamp", "timestamps"})
