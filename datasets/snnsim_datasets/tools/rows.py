"""What a data set would use: which sample is in which split, and what is wrong with which."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from snnsim.data import describe
from snnsim.errors import DataError
from snnsim_datasets.tools.files import atomic


class Row(NamedTuple):
    """A row says of one sample what and where it is.

    Attributes:
        file: its place in the folder of the data, or its number.
        label: the name of its class; empty where targets are values.
        speaker: the name or number of its speaker; empty where unknown.
        split: the split that it is in.
    """

    file: str
    label: str
    speaker: str
    split: str


class Finding(NamedTuple):
    """A finding says what is wrong with a file.

    Attributes:
        file: the place of the file.
        text: what is wrong, and what to do.
        bad: whether it keeps the data from being used.
    """

    file: str
    text: str
    bad: bool = False


def rows_of_split(data: Any, split: str) -> Iterator[Row]:
    """Give a row for each sample of a split that has been loaded."""
    about = describe(data)
    count = len(data)
    labels = [""] * count if about.labels is None else _names(about.labels, about.classes)
    unknown = np.full(count, -1)
    speakers = unknown if about.speakers is None else about.speakers
    for i, (label, speaker) in enumerate(zip(labels, speakers, strict=True)):
        yield Row(str(i), label, "" if speaker < 0 else str(speaker), split)


def _names(labels: Any, classes: Sequence[str]) -> list[str]:
    return [classes[int(label)] if classes else str(label) for label in labels]


def findings_of_all(rows: Sequence[Row], digests: Sequence[str]) -> Iterator[Finding]:
    """Look for what only shows in all samples together.

    Args:
        rows: the samples.
        digests: the checksum of each, empty for one that cannot be read.
    """
    yield from _twice(rows, digests)
    yield from _leaking(rows)
    yield from _uneven(rows)


def _twice(rows: Sequence[Row], digests: Sequence[str]) -> Iterator[Finding]:
    first: dict[str, Row] = {}
    for row, digest in zip(rows, digests, strict=True):
        other = first.setdefault(digest, row) if digest else row
        if other is row:
            continue
        if other.label != row.label:
            text = f"is the same as {other.file}, which is {other.label!r} and not {row.label!r}"
            yield Finding(row.file, f"{text}; one of them has the wrong label")
        elif other.split != row.split:
            text = f"is the same as {other.file}, which is in {other.split} and not {row.split}"
            yield Finding(row.file, f"{text}: what is tested was trained on; remove one")
        else:
            yield Finding(row.file, f"is the same as {other.file}; remove one")


def _leaking(rows: Sequence[Row]) -> Iterator[Finding]:
    """Speakers who are in training and in another split."""
    splits = defaultdict(set)
    for row in rows:
        if row.speaker:
            splits[row.speaker].add(row.split)
    both = sorted(s for s, where in splits.items() if "train" in where and len(where) > 1)
    if both:
        yield Finding(
            ", ".join(both[:5]) + (" ..." if len(both) > 5 else ""),
            f"{len(both)} of {len(splits)} speakers are in training and in another split, so that "
            "accuracies are those on known voices",
        )


def _uneven(rows: Iterable[Row]) -> Iterator[Finding]:
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        if row.split == "train":
            counts[row.label] += 1
    if len(counts) < 2 or "" in counts:
        return
    few, many = min(counts, key=lambda c: counts[c]), max(counts, key=lambda c: counts[c])
    if counts[many] > 10 * counts[few]:
        yield Finding(
            few,
            f"this class has {counts[few]} recordings for training and {many!r} has "
            f"{counts[many]}: accuracy will mostly be that of the frequent classes",
        )


def relative(path: Path, folder: Path) -> str:
    """Return the place of a file in a folder, with slashes."""
    return path.relative_to(folder).as_posix()


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a table of samples (``.csv``), which is there whole or not at all."""
    if path.suffix.lower() != ".csv":
        raise DataError(f"{path} must end in .csv")
    with atomic(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        write(file, rows)


def write(file: TextIO, rows: Iterable[Row]) -> None:
    """Write a table of samples, with its titles, to an open file."""
    table = csv.writer(file, lineterminator="\n")
    table.writerow(Row._fields)
    table.writerows(rows)
