"""Tables of a page: with a caption, and heads that a screen reader can follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from snnsim_experiments.report.charts import tag


@dataclass(frozen=True)
class Table:
    """A ``Table`` has a row for each thing, whose first cell is its name.

    Attributes:
        caption: what it shows.
        heads: the names of the columns.
        rows: the rows.
        words: the numbers of the columns, besides the first, that hold words and not numbers.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Any]]
    words: frozenset[int] = frozenset()

    def __html__(self) -> Markup:
        heads = [
            tag("th", head, scope="col", **self._align(i)) for i, head in enumerate(self.heads)
        ]
        rows = [
            tag(
                "tr",
                tag("th", row[0], scope="row"),
                *(tag("td", cell, **self._align(i)) for i, cell in enumerate(row[1:], 1)),
            )
            for row in self.rows
        ]
        top = tag("thead", tag("tr", *heads)) if any(self.heads) else ""
        inside = tag("table", tag("caption", self.caption), top, tag("tbody", *rows))
        return scrolling(inside, self.caption)

    def _align(self, column: int) -> dict[str, str]:
        return {} if column == 0 or column in self.words else {"class_": "number"}


def scrolling(inside: Markup, label: str) -> Markup:
    """Return something wide in a part of the page that scrolls, also by keyboard."""
    return tag("div", inside, class_="wide", tabindex=0, role="group", aria_label=label)


def values(caption: str, pairs: Sequence[tuple[str, Any]]) -> Table:
    """Return a table of names and values, without heads."""
    return Table(caption, ("", ""), pairs, frozenset({1}))


def matrix(
    counts: Sequence[Sequence[float]],
    across: Sequence[str],
    down: Sequence[str],
    caption: str,
    shares: Sequence[Sequence[float]],
) -> Markup:
    """Return a matrix as a table with shaded cells.

    Args:
        counts: what is in the cells; zeros are left empty.
        across, down: the names of the columns and rows.
        caption: what it shows.
        shares: how dark each cell is, from 0 to 1.
    """
    heads = [tag("td"), *(tag("th", name, scope="col") for name in across)]
    rows = []
    for i, (name, row) in enumerate(zip(down, counts, strict=True)):
        cells = [tag("th", name, scope="row")]
        for j, count in enumerate(row):
            style = f"--share: {shares[i][j]:.3f}"
            title = f"{name} → {across[j]}: {count:g}"
            own = "own" if i == j else ""
            cells.append(
                tag("td", f"{count:g}" if count else "", style=style, title=title, class_=own)
            )
        rows.append(tag("tr", *cells))
    inside = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *heads)),
        tag("tbody", *rows),
        class_="matrix",
    )
    return scrolling(inside, caption)


def paragraph(*text: Any, class_: str = "") -> Markup:
    """Return a paragraph; texts in it are escaped."""
    return tag("p", *text, class_=class_)


def folded(summary: str, *inside: Any) -> Markup:
    """Return what is shown when one asks for it."""
    return tag("details", tag("summary", summary), *map(escape, inside))
