"""Sequences of your own: values over time, with a class or a number for each recording."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numpy as np

from snnsim.data import Arrays
from snnsim.data.events import in_range, whole_numbers
from snnsim.errors import DataError
from snnsim.units import check_dt
from snnsim_datasets.tools import files, ts_files
from snnsim_datasets.tools.catalogue import INFOS
from snnsim_datasets.tools.files import Fetching, check_fetching
from snnsim_datasets.tools.splits import check_split, divide

INFO = INFOS["sequences"]
TEXT = (".ts", ".ts.gz")
ENDINGS = (*TEXT, ".npz")
ARRAYS = ("values", "offsets", "labels", "classes", "speakers", "splits", "dt")
_PART = re.compile(r"(?i)(.*?)_?(train|test)(\.ts(?:\.gz)?)")


def load(
    split: str,
    root: Path | str | None = None,
    *,
    dt: float | None = None,
    scaled: bool = True,
    held_out: float = 0.2,
    split_seed: int = 0,
    split_by: str = "auto",
    **fetching: Unpack[Fetching],
) -> Arrays:
    """Load a split.

    Args:
        split: ``"train"``, ``"validation"`` or ``"test"``.
        root: a ``.ts`` file (packed by gzip or not), of which ``NAME_TRAIN.ts`` and
            ``NAME_TEST.ts`` are read together; a folder with such a pair; or an ``.npz`` file as
            :func:`read_values` describes it.
        dt: length of a step in ms; ``None`` for that of an ``.npz`` file, or 1 ms.
        scaled: whether each channel is brought to mean 0 and standard deviation 1, both of the
            training part.
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
    found = _read(files.folder_of(INFO.name, root))
    steps = found.dt if dt is None else check_dt(dt)
    labels = found.target if found.classes else np.zeros(len(found.values), np.int64)
    parts = divide(labels, found.speakers, found.parts, held_out, split_seed, split_by)
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


class _Found(NamedTuple):
    """All recordings of a place; ``parts`` are empty where they are not given."""

    values: list[np.ndarray]
    target: np.ndarray
    classes: tuple[str, ...]
    speakers: np.ndarray
    parts: list[str]
    dt: float
    checksums: dict[str, str]


def _scales(values: list[np.ndarray], parts: np.ndarray) -> tuple[Any, Any]:
    trained = np.concatenate([values[i] for i in np.flatnonzero(parts == "train")])
    spread = trained.std(0, dtype=np.float64)
    return trained.mean(0, dtype=np.float64), np.where(spread > 0, spread, 1.0)


def _read(place: Path) -> _Found:
    if place.is_dir():
        found = sorted(p for p in place.iterdir() if _PART.fullmatch(p.name))
        if not found:
            raise DataError(f"{place} has no files NAME_TRAIN.ts and NAME_TEST.ts; name a file")
        place = found[0]
    if not place.is_file():
        raise DataError(f"{place} does not exist; give the file of your sequences with --root")
    if place.name.lower().endswith(".npz"):
        return read_values(place)
    if place.name.lower().endswith(TEXT):
        return _texts(_pair(place))
    raise DataError(f"{place.name} holds no sequences: its name must end in {', '.join(ENDINGS)}")


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
