"""Answers of a network on the screen and as pictures."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snnsim.errors import ConfigError
from snnsim_experiments import options
from snnsim_experiments.answered import Answered
from snnsim_experiments.predicted import Predicted, matrix_lines


def show(found: Predicted | Answered) -> None:
    """Print a table of samples, and how good the answers are as far as that is known."""
    if isinstance(found, Answered):
        _show_answered(found)
    else:
        _show_predicted(found)


def _show_answered(found: Answered) -> None:
    good = "right" if "right" in found.rows[0] else "error"
    several = found.objective.per_step  # whose answers would not fit on a line
    titles = ["sample", good, *(() if several else ("answer", "target"))]
    options.print_table((_answered_cells(row, good, several) for row in found.rows), *titles)
    options.print_line("")
    options.print_values(found.scores)


def _answered_cells(row: dict[str, Any], good: str, several: bool) -> list[str]:
    judged = row[good]
    cells = [str(row["index"]), f"{judged:.4g}" if type(judged) is float else _yes_or_no(judged)]
    if several:
        return cells
    return [*cells, *(", ".join(map(_short, row[name])) or "-" for name in ("answer", "target"))]


def _yes_or_no(value: bool) -> str:
    return "yes" if value else "no"


def _short(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _show_predicted(found: Predicted) -> None:
    rows = found.rows
    several = len({row["file"] for row in rows}) > 1
    names = _in_common_folder(rows) if several else [str(row["index"]) for row in rows]
    known = any(row["class"] is not None for row in rows)
    titles = [
        "file" if several else "sample",
        *(("class", "") if known else ()),
        "classes, best first",
    ]
    cells = ([name, *_cells(row, known)] for name, row in zip(names, rows, strict=True))
    options.print_table(cells, *titles)
    if found.temperature is None:
        options.messages.print(
            f"{found.run} has no temperature, so that percentages are fractions of the scores, not "
            "probabilities; runs that are trained now have one",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
    if known:
        _show_figures(found)


def _in_common_folder(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The file of each row below the folder of all, with a number where it has several samples."""
    paths = [Path(row["file"]).absolute() for row in rows]
    folder = os.path.commonpath([path.parent for path in paths])
    samples = Counter(paths)
    return [
        str(path.relative_to(folder)) + (f" {row['index']}" if samples[path] > 1 else "")
        for path, row in zip(paths, rows, strict=True)
    ]


def _cells(row: dict[str, Any], known: bool) -> list[str]:
    """The class of a sample with a mark for a wrong answer, if any are known, and answers."""
    sure = row.get("probabilities", row["scores"])
    named = ", ".join(f"{c} {p:.1%}" for c, p in zip(row["classes"], sure, strict=True))
    mark = "wrong" if row["right"] is False else ""
    return [*((row["class"] or "?", mark) if known else ()), named]


def _show_figures(found: Predicted) -> None:
    figures = found.figures()
    low, high = figures["interval"]
    options.print_line("")
    options.print_line(
        f"accuracy {figures['accuracy']:.1%}: {figures['right']} of {figures['samples']} are right "
        f"(95 % interval: {low:.1%} to {high:.1%})",
        style="bold",
    )
    for line in matrix_lines(found.confusion.tolist(), found.classes):
        options.print_line(line)


def draw(found: Predicted | Answered, path: Path) -> None:
    """Draw answers beside what is true: of classes, the confusion matrix."""
    from snnsim import plotting

    if isinstance(found, Answered):
        kind = found.objective.kind
        figure = plotting.answers(kind, found.answers, found.classes, found.dt)
    elif found.figures():
        figure = plotting.confusion_matrix(found.confusion.tolist(), found.classes)
    else:
        raise ConfigError(
            f"--plot is {path}, but the classes of these samples are not known; give a spike file "
            "with labels, a folder for each class, or a table"
        )
    plotting.save(figure, path)
