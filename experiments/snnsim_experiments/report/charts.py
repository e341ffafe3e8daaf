"""Charts as SVG, in the colours of the page: of epochs, of delays, of scores with intervals.

Every text goes through :func:`tag`, which escapes it. A line chart carries its points as JSON, from
which the script of the page shows values under the pointer or the arrow keys.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 40
COLOURS = 8  # that the style of the page has


def tag(_name: str, *inside: Any, **attributes: Any) -> Markup:
    """Return an element; texts in it and values of attributes are escaped.

    >>> print(tag("text", "a < b", x=3, class_="small"))
    <text x="3" class="small">a &lt; b</text>
    """
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for name, value in attributes.items()
    )
    if _name == "img":  # which is never closed
        return Markup(f"<img{named}>")
    return Markup(f"<{_name}{named}>{''.join(map(escape, inside))}</{_name}>")


@dataclass(frozen=True)
class Line:
    """A ``Line`` of a chart has a point for each ``x`` with a finite ``y``.

    Attributes:
        name: its name.
        x, y: its points; ``None`` in ``y`` for none.
        colour: the number of its colour.
        dashed: whether it is dashed.
        entry: its name in the legend; empty for its own, and ``None`` if it is not listed.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    colour: int = 0
    dashed: bool = False
    entry: str | None = ""

    @property
    def points(self) -> list[tuple[float, float]]:
        """Return the points that can be drawn."""
        pairs = zip(self.x, self.y, strict=True)
        return [(x, y) for x, y in pairs if y is not None and math.isfinite(y)]


@dataclass(frozen=True)
class Axis:
    """An ``Axis`` maps values from ``low`` to ``high`` to places from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Return the place of a value, to a tenth of a pixel."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, count: int = 5, smallest: float = 0.0) -> list[float]:
        """Return about ``count`` round values on the axis, at least ``smallest`` apart.

        >>> Axis(0, 9.2, 0, 100).ticks()
        [0.0, 2.0, 4.0, 6.0, 8.0]
        """
        step = max(_round_step((self.high - self.low) / count), smallest)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def _round_step(rough: float) -> float:
    size = 10.0 ** math.floor(math.log10(rough))
    return size * next(each for each in (1, 2, 5, 10) if each * size >= rough * 0.999)


def spanning(values: Sequence[float], start: float, end: float, zero: bool = False) -> Axis:
    """Return an axis that shows some values, with a little room.

    Args:
        values: the values; none are shown as from 0 to 1.
        start, end: the places of its ends.
        zero: whether 0 is on it.
    """
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-12 * max(abs(high), 1.0):
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    room = 0.04 * (high - low)
    return Axis(low if zero and low == 0 else low - room, high + room, start, end)


def number(value: float) -> str:
    """Return a number as a label has it.

    >>> number(0.30000000000000004), number(20.0), number(1e-5), number(0.0)
    ('0.3', '20', '1e-05', '0')
    """
    return f"{value:.4g}"


def _frame(across: Axis, up: Axis, x_label: str, y_label: str, smallest: float = 0.0) -> Markup:
    """The grid, the ticks and the names of both axes; ``smallest`` is the distance of ticks."""
    parts = []
    for value in up.ticks():
        y = up.place(value)
        parts.append(tag("line", x1=across.start, x2=across.end, y1=y, y2=y, class_="grid"))
        label = tag("text", number(value), x=across.start - 6, y=y + 4, class_="tick end")
        parts.append(label)
    for value in across.ticks(smallest=smallest):
        x = across.place(value)
        parts.append(tag("text", number(value), x=x, y=up.start + 16, class_="tick middle"))
    middle = (across.start + across.end) / 2
    parts.append(tag("text", x_label, x=middle, y=up.start + 34, class_="label middle"))
    height = (up.start + up.end) / 2
    turn = f"translate(14 {height}) rotate(-90)"
    parts.append(tag("text", y_label, transform=turn, class_="label middle"))
    parts.append(
        tag("line", x1=across.start, x2=across.end, y1=up.start, y2=up.start, class_="axis")
    )
    return Markup("").join(parts)


def _svg(inside: Markup, label: str, height: float = HEIGHT, **more: Any) -> Markup:
    box = f"0 0 {WIDTH} {height}"
    return tag("svg", inside, viewBox=box, role="img", aria_label=label, class_="chart", **more)


def line_chart(
    lines: Sequence[Line], x_label: str, y_label: str, mark: float | None = None, note: str = ""
) -> Markup:
    """Return a chart of lines, which the script of the page lets people read value by value.

    Args:
        lines: the lines.
        x_label, y_label: the names of the axes.
        mark: an ``x`` with a line of its own, such as the best epoch.
        note: what the mark is.
    """
    points = [point for line in lines for point in line.points]
    across = spanning([x for x, _ in points], LEFT, WIDTH - RIGHT)
    up = spanning([y for _, y in points], HEIGHT - BOTTOM, TOP)
    parts = [_frame(across, up, x_label, y_label, smallest=1.0)]  # epochs and tasks are whole
    if mark is not None:
        x = across.place(mark)
        parts.append(tag("line", x1=x, x2=x, y1=up.end, y2=up.start, class_="mark"))
        side = "end" if x > WIDTH / 2 else ""
        place = x - 4 if side else x + 4
        parts.append(tag("text", note, x=place, y=up.end + 10, class_=f"tick {side}"))
    for line in lines:
        style = f"line c{line.colour % COLOURS}" + (" dashed" if line.dashed else "")
        places = [(across.place(x), up.place(y)) for x, y in line.points]
        if len(places) == 1:
            parts.append(tag("circle", cx=places[0][0], cy=places[0][1], r=3, class_=style))
        path = " ".join(f"{x},{y}" for x, y in places)
        parts.append(tag("polyline", points=path, class_=style))
    label = f"{y_label} over {x_label}: {', '.join(line.name for line in lines)}"
    readable = {
        "x": [across.low, across.high, across.start, across.end],
        "label": x_label,
        "lines": [{"name": line.name, "points": line.points} for line in lines],
    }
    chart = _svg(
        Markup("").join(parts), label, tabindex=0, data_lines=json.dumps(readable, allow_nan=False)
    )
    return tag("div", legend(lines), chart, tag("p", class_="read", aria_live="polite"))


def legend(lines: Sequence[Line]) -> Markup:
    """Return the names of lines beside their colours."""
    entries = []
    for line in lines:
        style = f"key c{line.colour % COLOURS}" + (" dashed" if line.dashed else "")
        if line.entry is not None:
            entries.append(tag("li", tag("span", class_=style), line.entry or line.name))
    return tag("ul", *entries, class_="legend") if len(entries) > 1 else Markup("")


def histogram(
    edges: Sequence[float], bars: Sequence[int], before: Sequence[int], x_label: str, label: str
) -> Markup:
    """Return a histogram as bars, with an earlier one as a line.

    Args:
        edges: the borders of the bins, one more than there are bins.
        bars, before: the counts in each bin, now and earlier; the latter may be empty.
        x_label: the name of the values.
        label: what it shows, in a sentence.
    """
    across = Axis(edges[0], edges[-1], LEFT, WIDTH - RIGHT)
    up = spanning([*bars, *before], HEIGHT - BOTTOM, TOP, zero=True)
    parts = [_frame(across, up, x_label, "synapses")]
    for low, high, count in zip(edges, edges[1:], bars, strict=False):
        left, right, top = across.place(low), across.place(high), up.place(count)
        size = {"width": round(max(right - left - 0.5, 0.5), 1), "height": up.start - top}
        title = tag("title", f"{number(low)} to {number(high)}: {count}")
        parts.append(tag("rect", title, x=left, y=top, class_="bar", **size))
    if before:
        steps = [
            f"{across.place(x)},{up.place(count)}"
            for low, high, count in zip(edges, edges[1:], before, strict=False)
            for x in (low, high)
        ]
        parts.append(tag("polyline", points=" ".join(steps), class_="line c1 dashed"))
    return _svg(Markup("").join(parts), label)


@dataclass(frozen=True)
class Estimate:
    """An ``Estimate`` is a value with its interval and what it is the mean of, if known."""

    name: str
    value: float
    interval: tuple[float, float] | None = None
    single: Sequence[float] = ()


def estimates(rows: Sequence[Estimate], x_label: str, zero: bool = False) -> Markup:
    """Return values under one another, each with its interval and its single values.

    Args:
        rows: the values.
        x_label: what they are.
        zero: whether 0 has a line of its own.
    """
    height = TOP + BOTTOM + 30 * len(rows)
    values = [v for row in rows for v in (row.value, *row.single, *(row.interval or ()))]
    across = spanning([*values, *([0.0] if zero else [])], 190, WIDTH - RIGHT)
    low = height - BOTTOM
    parts = []
    for value in across.ticks(4):
        x = across.place(value)
        style = "mark" if zero and abs(value) < 1e-12 else "grid"
        parts.append(tag("line", x1=x, x2=x, y1=TOP, y2=low, class_=style))
        parts.append(tag("text", number(value), x=x, y=low + 16, class_="tick middle"))
    for place, row in enumerate(rows):
        y = TOP + 15 + 30 * place
        name = row.name if len(row.name) <= 28 else row.name[:27] + "…"
        shown = tag("title", row.name)
        parts.append(tag("text", name, shown, x=182, y=y + 4, class_="tick end"))
        if row.interval is not None:
            ends = [across.place(end) for end in row.interval]
            parts.append(tag("line", x1=ends[0], x2=ends[1], y1=y, y2=y, class_="interval"))
        for value in row.single:
            parts.append(tag("circle", cx=across.place(value), cy=y, r=2.5, class_="single"))
        said = tag("title", f"{row.name}: {number(row.value)}")
        parts.append(tag("circle", said, cx=across.place(row.value), cy=y, r=5, class_="value"))
    middle = (across.start + across.end) / 2
    parts.append(tag("text", x_label, x=middle, y=low + 34, class_="label middle"))
    told = "; ".join(f"{row.name} {number(row.value)}" for row in rows)
    return _svg(Markup("").join(parts), f"{x_label}: {told}", height)
