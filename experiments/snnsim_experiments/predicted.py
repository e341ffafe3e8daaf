"""What a network answers to samples, how sure it is, and how often it is right."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnsim import checkpoint
from snnsim.errors import ConfigError
from snnsim.functional.metrics import confusion_matrix, wilson_interval
from snnsim.training import calibrated

ON_SCREEN = 20  # classes of a matrix; of more, as many of the most frequent confusions
LONGEST = 18  # letters of a class's name beside a matrix
WIDEST = 60  # letters of all names above it
ENDINGS = (".csv", ".json")


class Sample(NamedTuple):
    """A sample that a network was asked about.

    Attributes:
        file: the file that it is in.
        number: its number in that file, from 0.
        label: the number of its class; ``None`` where that is not known.
    """

    file: str
    number: int
    label: int | None


@dataclass(frozen=True)
class Predicted:
    """``Predicted`` holds the classes that a network answered with for some samples.

    Attributes:
        run: the folder of the network.
        classes: the names of its classes.
        samples: what it was asked about.
        fractions: the scores of the classes as fractions, ``[n, C]``.
        temperature: the temperature of the probabilities; ``None`` where none was fitted.
        top: the number of classes to name for each sample.
    """

    run: str
    classes: Sequence[str]
    samples: Sequence[Sample]
    fractions: Tensor
    temperature: float | None = None
    top: int = 3

    @cached_property
    def probabilities(self) -> Tensor:
        """Return the probabilities of the classes, or fractions where they are not calibrated."""
        if self.temperature is None:
            return self.fractions
        return calibrated(self.fractions, self.temperature)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Return what is known of each sample, as plain values.

        ``file`` and ``index`` say which it is; ``classes`` are the best ones, ``scores`` their
        fractions of all scores and, in a run that has a temperature, ``probabilities`` their
        probabilities. ``class`` is the true one and ``right`` whether it is the best; both are
        ``None`` where it is not known.
        """
        ranked = self.fractions.sort(dim=1, descending=True)
        sure = self.probabilities.gather(1, ranked.indices)
        return [
            self._row(sample, ranked.indices[i].tolist(), ranked.values[i], sure[i])
            for i, sample in enumerate(self.samples)
        ]

    def _row(
        self, sample: Sample, order: list[int], scores: Tensor, sure: Tensor
    ) -> dict[str, Any]:
        label = sample.label
        return {
            "file": sample.file,
            "index": sample.number,
            "classes": [self.classes[c] for c in order[: self.top]],
            "scores": scores[: self.top].tolist(),
            **({} if self.temperature is None else {"probabilities": sure[: self.top].tolist()}),
            "class": None if label is None else self.classes[label],
            "right": None if label is None else order[0] == label,
        }

    @cached_property
    def confusion(self) -> Tensor:
        """Return how often each class was answered by each, ``[C, C]``, rows being true classes."""
        known = [i for i, sample in enumerate(self.samples) if sample.label is not None]
        labels = torch.tensor([self.samples[i].label for i in known], dtype=torch.int64)
        return confusion_matrix(self.fractions[known].argmax(1), labels, len(self.classes))

    def confusions(self) -> list[tuple[int, int, int]]:
        """Return the kinds of wrong answers, the most frequent first.

        Each is how often it was given, and the numbers of the true class and of the answer.
        """
        return confusions(self.confusion.tolist())

    def figures(self) -> dict[str, Any]:
        """Return how often the answers are right, of the samples whose class is known."""
        known = int(self.confusion.sum())
        if not known:
            return {}
        right = int(self.confusion.trace())
        return {
            "accuracy": right / known,
            "interval": list(wilson_interval(right, known)),
            "right": right,
            "samples": known,
        }

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "run": self.run,
            "temperature": self.temperature,
            "classes": list(self.classes),
            **self.figures(),
            "confusion": self.confusion.tolist(),
            "rows": self.rows,
        }

    def write(self, path: Path) -> None:
        """Write a table of all probabilities (``.csv``), or everything (``.json``)."""
        check_ending(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".csv":
            checkpoint.write_text(path, self._table())
        else:
            from snnsim_experiments.run_folder import write_json

            write_json(path, self.as_json())

    def _table(self) -> str:
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["file", "index", "class", "answer", "right", *self.classes])
        for row, sure in zip(self.rows, self.probabilities.tolist(), strict=True):
            right = "" if row["right"] is None else int(row["right"])
            told = [row["file"], row["index"], row["class"], row["classes"][0], right]
            rows.writerow([*told, *(f"{p:.6g}" for p in sure)])
        return text.getvalue()


def check_ending(path: Path) -> None:
    """Raise :class:`ConfigError` for a file that :meth:`Predicted.write` has no layout for."""
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(
            f"--out is {path} but its name must end in .csv (a table of all probabilities) or "
            ".json (everything)"
        )


def matrix_lines(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> list[str]:
    """Return a confusion matrix as lines of text, or its largest entries where it is too wide.

    Columns have the names of the classes, or numbers where these would be too wide.

    Args:
        counts: the matrix, rows being true classes.
        classes: the names of the classes.

    >>> for line in matrix_lines([[9, 1], [0, 8]], ["no", "yes"]):
    ...     print(line)
    rows: true class, columns: answer
          no  yes
    no     9    1
    yes    .    8
    """
    if len(classes) > ON_SCREEN:
        return _most_frequent(counts, classes)
    long = max(map(len, classes))
    if len(classes) * (long + 2) <= WIDEST:
        heads, names = list(classes), list(classes)
    else:
        heads = [str(number) for number in range(1, len(classes) + 1)]
        names = [f"{n:>2} {_cut(name)}" for n, name in zip(heads, classes, strict=True)]
    cells = [heads, *([str(count or ".") for count in row] for row in counts)]
    width = max(len(cell) for row in cells for cell in row) + 2
    beside = ["", *names]
    first = max(map(len, beside))
    lines = [
        f"{name:<{first}}" + "".join(f"{cell:>{width}}" for cell in row)
        for name, row in zip(beside, cells, strict=True)
    ]
    return ["rows: true class, columns: answer", *lines]


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 2]}.."


def confusions(counts: Sequence[Sequence[int]]) -> list[tuple[int, int, int]]:
    """Return the wrong answers of a confusion matrix, the most frequent first.

    >>> confusions([[9, 1, 0], [0, 8, 0], [0, 2, 3]])
    [(2, 2, 1), (1, 0, 1)]
    """
    wrong = [
        (count, true, answer)
        for true, row in enumerate(counts)
        for answer, count in enumerate(row)
        if count and true != answer
    ]
    return sorted(wrong, key=lambda each: -each[0])


def _most_frequent(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> list[str]:
    """The most frequent wrong answers; there may be fewer than fit on the screen."""
    wrong = confusions(counts)
    lines = [f"  {n:>4} x {classes[true]}, taken for {classes[found]}" for n, true, found in wrong]
    head = f"{len(classes)} classes; the most frequent of {len(wrong)} kinds of wrong answers"
    return [f"{head} (all: --out FILE.json)", *lines[:ON_SCREEN]] if wrong else []
