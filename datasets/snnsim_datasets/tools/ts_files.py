"""Time series as text, in the ``.ts`` format of the aeon and sktime archives.

Lines that begin with ``#`` are comments, those with ``@`` say what the file holds. After ``@data``
each line is a recording: its channels are separated by ``:``, the values of a channel by ``,``, and
the last field is the class (``@classLabel true ...``) or a number (``@targetLabel true``).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnsim.data.limits import most_bytes
from snnsim.errors import DataError, short
from snnsim_datasets.tools.files import DAMAGE


class Series(NamedTuple):
    """Recordings with classes or values.

    Attributes:
        values: ``[T, C]`` float32 for each recording.
        labels: the name of the class of each, or a number as text.
        classes: names of the classes in the order of the file; none where targets are numbers.
    """

    values: list[np.ndarray]
    labels: list[str]
    classes: tuple[str, ...]


def read(path: Path) -> Series:
    """Read a ``.ts`` file, packed by gzip or not.

    Raises:
        DataError: naming the line that is wrong: a value that is missing or no number, channels of
            different lengths or number, an unknown class.
    """
    lines = _lines(path)
    told = _header(path, lines)
    classes = _classes(path, told)
    values: list[np.ndarray] = []
    labels: list[str] = []
    for number, line in lines:
        try:
            recording, label = _recording(line)
        except ValueError as error:
            raise DataError(f"line {number} of {path}: {error}") from error
        if values and recording.shape[1] != values[0].shape[1]:
            raise DataError(
                f"line {number} of {path} has {recording.shape[1]} channels but the first "
                f"recording has {values[0].shape[1]}"
            )
        if classes and label not in classes:
            raise DataError(
                f"line {number} of {path} is of class {short(label)}, but @classLabel lists "
                f"{', '.join(classes)}"
            )
        values.append(recording)
        labels.append(label)
    if not values:
        raise DataError(f"{path} holds no recordings")
    return Series(values, labels, classes)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with something in them, with their numbers."""
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    most = most_bytes(path.stat().st_size)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(most + 1)
        text = content.decode("utf-8-sig")
    except DAMAGE as error:
        raise DataError(f"{path} is not readable text ({error})") from error
    if len(content) > most:
        raise DataError(f"{path} unpacks to more than {most} bytes; raise SNNSIM_MAX_RATIO")
    numbered = ((n, line.strip()) for n, line in enumerate(text.splitlines(), 1))
    return ((n, line) for n, line in numbered if line and line[0] != "#")


def _header(path: Path, lines: Iterator[tuple[int, str]]) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {}
    for number, line in lines:
        if line[0] != "@":
            raise DataError(f"line {number} of {path} comes before @data")
        name, *words = line[1:].split()
        if name.lower() == "data":
            break
        told[name.lower()] = words
    else:
        raise DataError(f"{path} has no line @data; it is no .ts file, or it is cut short")
    if told.get("timestamps", ["false"])[0].lower() == "true":
        raise DataError(f"{path} has time stamps; resample it to equal steps and leave them out")
    return told


def _classes(path: Path, told: dict[str, list[str]]) -> tuple[str, ...]:
    label, target = told.get("classlabel", ["false"]), told.get("targetlabel", ["false"])
    if label[0].lower() == "true" and len(label) > 2:
        return tuple(label[1:])
    if target[0].lower() == "true":
        return ()
    raise DataError(
        f"{path} names no classes; its header needs @classLabel true CLASS CLASS ..., or "
        "@targetLabel true for numbers"
    )


def _recording(line: str) -> tuple[np.ndarray, str]:
    """Values ``[T, C]`` and label of a line; ``ValueError`` says what is wrong."""
    *channels, label = line.split(":")
    if not channels or not label.strip():
        raise ValueError("it needs the values of one or more channels and a class, separated by :")
    rows = [np.asarray([_number(each) for each in c.split(",")], np.float32) for c in channels]
    sizes = {len(row) for row in rows}
    if len(sizes) > 1:
        raise ValueError(f"its channels have {min(sizes)} to {max(sizes)} values; make them equal")
    return np.stack(rows, 1), label.strip()


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        what = "a missing value (?)" if text.strip() == "?" else f"{short(text)}, no number"
        raise ValueError(f"it has {what}; fill in or remove what is missing") from None
    if not np.isfinite(value):
        raise ValueError(f"it has the value {text.strip()}; fill in or remove what is missing")
    return value
