"""Sequences of your own: values over time, with a class or a number for each recording."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numpy as np

from snnsim.data import Arrays
from snnsim.data.events import in_range, whole_numbers
from snnsim.errors import DataError
from snnsim.units import check_dt
from snnsim_datasets.tools import files, ts_files
from snnsim_datasets.tools.catalogue import INFOS
from snnsim_datasets.tools.files import DAMAGE, Fetching, check_fetching
from snnsim_datasets.tools.listing import TABLES, listed, place_of
from snnsim_datasets.tools.own_files import DEFAULTS
from snnsim_datasets.tools.rows import Row, relative
from snnsim_datasets.tools.splits import check_split, check_trained, divide

INFO = INFOS["sequences"]
TEXT = (".ts", ".ts.gz")
ENDINGS = (*TEXT, ".npz")
SINGLE = (".csv", ".tsv", ".npy")  # of files that are one recording each
ARRAYS = ("values", "offsets", "labels", "classes", "speakers", "splits", "dt")
_PART = re.compile(r"(?i)(.*?)_?(train|test)(\.ts(?:\.gz)?)")


def load(
    split: str,
    root: Path | str | None = None,
    *,
    dt: float | None = None,
    scaled: bool = True,
    speaker: str = "",
    held_out: float = 0.2,
    split_seed: int = 0,
    split_by: str = "auto",
    **fetching: Unpack[Fetching],
) -> Arrays:
    """Load a split.

    Args:
        split: ``"train"``, ``"validation"`` or ``"test"``.
        root: a ``.ts`` file (packed by gzip or not), of which ``NAME_TRAIN.ts`` and
            ``NAME_TEST.ts`` are read together; a folder with such a pair; an ``.npz`` file as
            :func:`read_values` describes it; or a folder with a folder for each class of ``.csv``,
            ``.tsv`` or ``.npy`` files, or a table that lists them, see
            :func:`snnsim_datasets.tools.listing.listed`. Such a file is a recording, with a row for
            each step and a column for each channel, and in a text perhaps a first row of titles.
        dt: length of a step in ms; ``None`` for that of an ``.npz`` file, or 1 ms.
        scaled: whether each channel is brought to mean 0 and standard deviation 1, both of the
            training part.
        speaker: regular expression whose first group is the person or object in the place of a
            file, of which none is on two sides of a split; empty for what folders or table say.
        held_out: about which fraction of the recordings a part has that is not given.
        split_seed: of the choice of these.
        split_by: ``"speaker"``, ``"class"`` or ``"auto"``, see
            :func:`snnsim_datasets.tools.splits.divide`.
        fetching: see :class:`snnsim_datasets.tools.files.Fetching`.

    Raises:
        DataError: if there is no such file, or it is not as described.
    """
    check_fetching(fetching)
    check_split(INFO.name, split, INFO.splits)
    found = _read(files.folder_of(INFO.name, root), speaker)
    steps = found.dt if dt is None else check_dt(dt)
    parts = _parts(found, held_out, split_seed, split_by)
    shift, scale = _scales(found.values, parts) if scaled else (0.0, 1.0)
    chosen = np.flatnonzero(parts == split)
    return Arrays(
        [(found.values[i] - shift) / scale for i in chosen],
        found.target[chosen],
        classes=found.classes,
        dt=steps,
        speakers=found.speakers[chosen],
        checksums=found.checksums,
    )


def rows(root: Path | str | None = None, **options: Any) -> list[Row]:
    """Return what is in which split.

    Args:
        root: as in :func:`load`.
        options: those of :func:`load`.
    """
    given = {name: options.get(name, default) for name, default in DEFAULTS.items()}
    found = _read(files.folder_of(INFO.name, root), given["speaker"])
    parts = _parts(found, given["held_out"], given["split_seed"], given["split_by"])
    count = len(found.values)
    names = found.names or [str(i) for i in range(count)]
    labels = [found.classes[int(i)] for i in found.target] if found.classes else [""] * count
    people = ["" if number < 0 else str(number) for number in found.speakers]
    return [Row(*row) for row in zip(names, labels, people, map(str, parts), strict=True)]


def _parts(found: _Found, held_out: float, seed: int, by: str) -> np.ndarray:
    labels = found.target if found.classes else np.zeros(len(found.values), np.int64)
    parts = divide(labels, found.speakers, found.parts, held_out, seed, by)
    check_trained(labels, parts, found.classes)
    return parts


class _Found(NamedTuple):
    """All recordings of a place; ``parts`` are empty where they are not given."""

    values: list[np.ndarray]
    target: np.ndarray
    classes: tuple[str, ...]
    speakers: np.ndarray
    parts: list[str]
    dt: float
    checksums: dict[str, str]
    names: Sequence[str] = ()


def _scales(values: list[np.ndarray], parts: np.ndarray) -> tuple[Any, Any]:
    trained = np.concatenate([values[i] for i in np.flatnonzero(parts == "train")])
    spread = trained.std(0, dtype=np.float64)
    return trained.mean(0, dtype=np.float64), np.where(spread > 0, spread, 1.0)


def _read(place: Path, speaker: str = "") -> _Found:
    paired = sorted(p for p in place.iterdir() if _PART.fullmatch(p.name)) if place.is_dir() else []
    if paired:
        place = paired[0]
    if place.is_dir() or place.suffix.lower() in TABLES:
        return _listed(place, speaker)
    if not place.is_file():
        raise DataError(f"{place} does not exist; give the file of your sequences with --root")
    if place.name.lower().endswith(".npz"):
        return read_values(place)
    if place.name.lower().endswith(TEXT):
        return _texts(_pair(place))
    raise DataError(f"{place.name} holds no sequences: its name must end in {', '.join(ENDINGS)}")


def _listed(place: Path, speaker: str) -> _Found:
    """Recordings of a file each."""
    table = place_of(place)
    found = listed(table, speaker, endings=SINGLE)
    values = [read_one(path) for path in found.paths]
    for path, each in zip(found.paths, values, strict=True):
        if each.shape[1] != values[0].shape[1]:
            raise DataError(
                f"{path} has {each.shape[1]} channels but {found.paths[0]} has "
                f"{values[0].shape[1]}; all recordings must have the same"
            )
    names = [relative(path, found.folder) for path in found.paths]
    return _Found(
        values=values,
        target=found.labels,
        classes=found.classes,
        speakers=found.speakers,
        parts=list(found.parts),
        dt=1.0,
        checksums=found.checksums(table),
        names=names,
    )


def read_one(path: Path) -> np.ndarray:
    """Read a recording, with a row for each step and a column for each channel.

    Args:
        path: a ``.npy`` file with an array ``[T]`` or ``[T, C]``, or a text (``.csv``, ``.tsv``),
            perhaps with a first row of titles.

    Returns:
        Values ``[T, C]``, float32.

    Raises:
        DataError: naming the file and what is wrong with it: nothing in it, rows of different
            lengths, what is no number, missing or not finite.
    """
    try:
        values = np.load(path) if path.suffix.lower() == ".npy" else _text(path)
        values = np.asarray(values, np.float32)
    except (*DAMAGE, MemoryError) as error:
        raise DataError(f"{path} is not a table of numbers ({error})") from error
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or not values.size:
        raise DataError(
            f"{path} has values of shape {list(values.shape)} but must be [steps, channels]"
        )
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(1))[0])
        raise DataError(f"{path} has a value that is missing or infinite in step {row}; fill it in")
    return values


def _text(path: Path) -> np.ndarray:
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    text = path.read_text(encoding="utf-8-sig")
    first, *rest = text.splitlines() or [""]
    try:
        [float(each) for each in first.split(separator)]
    except ValueError:  # titles
        text = "\n".join(rest)
    return np.loadtxt(text.splitlines(), delimiter=separator, ndmin=2)


def _pair(path: Path) -> dict[str, Path]:
    """The files of training and test, or one of all."""
    match = _PART.fullmatch(path.name)
    if match is None:
        return {"": path}
    stem = match[1].lower()
    found: dict[str, Path] = {}
    for other in sorted(path.parent.iterdir()):
        each = _PART.fullmatch(other.name)
        if each and each[1].lower() == stem:
            part = each[2].lower()
            if part in found:
                raise DataError(f"{found[part]} and {other} are both for {part}; remove one")
            found[part] = other
    if "train" not in found:
        raise DataError(f"{path} is a test part, and beside it there is none for training")
    return found


def _texts(paths: dict[str, Path]) -> _Found:
    read = {part: ts_files.read(path) for part, path in paths.items()}
    first = next(iter(read.values()))
    for part, each in read.items():
        same = each.classes == first.classes
        if not same or each.values[0].shape[1] != first.values[0].shape[1]:
            raise DataError(
                f"{paths[part]} has {each.values[0].shape[1]} channels and the classes "
                f"{', '.join(each.classes)}, but the other part has {first.values[0].shape[1]} and "
                f"{', '.join(first.classes)}"
            )
    labels = [label for each in read.values() for label in each.labels]
    given = [part for part, each in read.items() for _ in each.values]
    return _Found(
        values=[value for each in read.values() for value in each.values],
        target=_target(labels, first.classes, next(iter(paths.values()))),
        classes=first.classes,
        speakers=np.full(len(labels), -1, np.int64),
        parts=given,
        dt=1.0,
        checksums={path.name: files.digest(path) for path in paths.values()},
    )


def _target(labels: list[str], classes: tuple[str, ...], path: Path) -> np.ndarray:
    if classes:
        return np.asarray([classes.index(label) for label in labels], np.int64)
    try:
        return np.asarray([[float(label)] for label in labels], np.float32)
    except ValueError as error:
        raise DataError(f"a target of {path} is no number ({error})") from error


def read_values(path: Path) -> _Found:
    """Read an ``.npz`` file of sequences.

    It has the arrays ``values`` (``[sum of T, C]``, all recordings one after another), ``offsets``
    (``[n + 1]``, where each begins, and where the last ends) and ``labels`` (``[n]`` whole numbers,
    or ``[n, D]`` values to be predicted), and perhaps ``classes`` (names), ``speakers`` (``[n]``
    whole numbers, -1 for unknown), ``splits`` (``[n]`` of ``train``, ``validation``, ``test``) and
    ``dt`` (ms).

    Raises:
        DataError: if one is missing or does not fit the others.
    """
    needed, further = ARRAYS[:3], ARRAYS[3:]
    read = files.read_arrays(path, needed, "file of sequences")
    given = dict(zip(needed, read, strict=True)) | files.read_known(path, further)
    try:
        return _values(given, {path.name: files.digest(path)})
    except (DataError, ValueError, TypeError) as error:
        raise DataError(f"{path}: {error}") from error


def _values(given: dict[str, np.ndarray], checksums: dict[str, str]) -> _Found:
    values, offsets = given["values"], whole_numbers("offsets", given["offsets"])
    if values.ndim != 2 or values.dtype.kind not in "biuf" or not values.shape[1]:
        raise DataError(f"values are {values.dtype} of shape {values.shape} but must be [T, C]")
    if not np.isfinite(values).all():
        raise DataError("values are NaN or infinite in places; fill in or remove what is missing")
    sizes = np.diff(offsets)
    if len(offsets) < 2 or offsets[0] or offsets[-1] != len(values) or (sizes < 1).any():
        raise DataError(f"offsets must rise from 0 to {len(values)}, a step or more at a time")
    count = len(sizes)
    classes = tuple(map(str, given.get("classes", np.zeros(0, str)).tolist()))
    target = given["labels"]
    if target.dtype.kind == "f" and (target.ndim > 1 or not classes):
        target = target.reshape(len(target), -1).astype(np.float32)
        classes = ()
    else:
        target = whole_numbers("labels", target, count)
        classes = classes or tuple(str(i) for i in range(int(target.max()) + 1))
        in_range("labels", target, len(classes))
    if len(target) != count:
        raise DataError(f"there are {len(target)} labels but {count} recordings")
    parts = [str(each) for each in given.get("splits", np.full(count, "")).tolist()]
    odd = [part for part in parts if part not in ("", *INFO.splits)]
    if odd or len(parts) != count:
        raise DataError(
            f"splits are {odd[:1] or len(parts)} but must be one of {', '.join(INFO.splits)} for "
            f"each of the {count} recordings, or empty"
        )
    return _Found(
        values=np.split(values.astype(np.float32), offsets[1:-1]),
        target=target,
        classes=classes,
        speakers=whole_numbers("speakers", given.get("speakers", np.full(count, -1)), count),
        parts=parts,
        dt=check_dt(float(given.get("dt", np.asarray(1.0)))),
        checksums=checksums,
    )
