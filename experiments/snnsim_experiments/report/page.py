"""One page about some runs, which needs no network and no other file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

import snnsim
from snnsim.errors import ConfigError
from snnsim.training import checkpoint
from snnsim.training.objectives import FRACTIONS
from snnsim_experiments.report.charts import Estimate, Line, estimates, line_chart
from snnsim_experiments.report.details import Part, parts_of
from snnsim_experiments.report.facts import Run, read_runs
from snnsim_experiments.report.groups import Difference, Group, differences, grouped, short_text
from snnsim_experiments.report.measured import Limits, Measured, measure
from snnsim_experiments.report.tables import Table

NAMES = {"acc": "mean accuracy after all tasks (%)", "nrmse": "test NRMSE", "f1": "test F1 (%)"}


@dataclass(frozen=True)
class Detail:
    """A ``Detail`` is what the page says about one run.

    Attributes:
        number: its number on the page, from 1.
        run: the run.
        parts: what is said.
    """

    number: int
    run: Run
    parts: list[Part]

    @property
    def contents(self) -> list[tuple[str, str]]:
        """Return the names and headings of the parts."""
        return [(part.id, part.heading) for part in self.parts]


def write_report(
    folders: Sequence[Path],
    out: Path,
    limits: Limits | None = None,
    most: int = 4,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write a page about runs: results, curves, activity, delays, cost and diagnosis.

    Args:
        folders: run folders, finished or not, and folders with several, such as those of sweeps
            and comparisons.
        out: the file to write, which ends in ``.html``.
        limits: how much the networks are asked; ``None`` for the default.
        most: the number of runs that are shown in detail, at most: the best of each group by
            validation.
        say: is told what is being done.

    Returns:
        The file.

    Raises:
        ConfigError: if ``out`` has another ending.
        CheckpointError: if there is no run that can be read.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out is {out}, but its name must end in .html")
    text = page(read_runs(folders), limits or Limits(), most, say)
    out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write_text(out, text)
    return out


def page(
    runs: Sequence[Run], limits: Limits, most: int, say: Callable[[str], None] = lambda _: None
) -> str:
    """Return the page about some runs as HTML; see :func:`write_report`."""
    groups = grouped(runs)
    chosen = [group.best() or group.runs[0] for group in groups][:most]
    details = []
    for number, run in enumerate(chosen, 1):
        found = _looked_at(run, limits, say)
        details.append(Detail(number, run, parts_of(run, found)))
    script = part("page.js")
    digest = hashlib.sha256(script.encode()).digest()
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    gains = differences(groups)
    return environment.from_string(part("page.html.jinja")).render(
        title=_title(runs, groups),
        style=Markup(part("page.css")),
        script=Markup(script),
        script_hash=base64.b64encode(digest).decode("ascii"),
        groups=_groups(groups),
        chart=_estimates(groups),
        differences=_differences(gains) if gains else None,
        several=_several(gains),
        curves=_over_epochs(groups) if len(runs) > 1 else None,
        details=details,
        made=_made(runs, chosen, limits),
        table=lambda table: table,
    )


def part(name: str) -> str:
    """Return a file of the page: a template, its style or its script."""
    return (resources.files(__package__) / "parts" / name).read_text(encoding="utf-8")


def _looked_at(run: Run, limits: Limits, say: Callable[[str], None]) -> Measured | None:
    """What the network of a run does; ``None`` if there is no network."""
    if run.on_stream or not (run.folder / "best.safetensors").exists():
        return None
    return measure(run, limits, say)


def _title(runs: Sequence[Run], groups: Sequence[Group]) -> str:
    if len(runs) == 1:
        return f"{runs[0].name}: {runs[0].title}"
    sources = sorted({run.experiment.source for run in runs})
    return f"{len(runs)} runs in {len(groups)} groups on {short_text(', '.join(sources))}"


def score_name(run: Run) -> str:
    """Return what the test score of a run is, with its unit."""
    plain = f"test {run.metric}" + (" (%)" if run.in_percent else "")
    return NAMES.get(run.metric, plain)


def _groups(groups: Sequence[Group]) -> Table:
    """A row for each group."""
    rows = []
    for group in groups:
        first, mean, spread = group.runs[0], group.mean(), group.spread()
        ends = group.interval()
        digits = 3 if first.smaller_is_better else 1
        shown = "not finished" if mean is None else f"{mean:.{digits}f}"
        validation = group.mean("validation") if not first.on_stream else None
        rows.append((
            group.name,
            score_name(first),
            shown + ("" if spread is None else f" ± {spread:.{digits}f}"),
            "–" if ends is None else f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}",
            "–" if validation is None else f"{validation:.{digits}f}",
            _mean_of(group, "mean_firing_rate", 100, 2),
            _mean_of(group, "parameters", 1, 0),
            _mean_of(group, "seconds", 1, 0),
            short_text(", ".join(str(run.seed) for run in group.runs)),
        ))  # fmt: skip
    heads = (
        "runs", "score", "result", "95 % interval", "validation", "rate (%)", "parameters",
        "seconds", "seeds",
    )  # fmt: skip
    return Table(
        "Runs that differ in nothing but the seed are a group", heads, rows, frozenset({1})
    )


def _mean_of(group: Group, name: str, scale: float, digits: int) -> str:
    found = [run.summary.get(name) for run in group.finished]
    numbers = [value for value in found if isinstance(value, int | float)]
    return f"{scale * sum(numbers) / len(numbers):,.{digits}f}" if numbers else "–"


def _estimates(groups: Sequence[Group]) -> Markup | None:
    """The groups that have the score of the first, as a chart."""
    label = score_name(groups[0].runs[0])
    rows = [
        Estimate(g.name, mean, g.interval(), g.scores() if len(g.scores()) > 1 else ())
        for g in groups
        if (mean := g.mean()) is not None and score_name(g.runs[0]) == label
    ]
    return estimates(rows, label) if rows else None


def _differences(found: Sequence[Difference]) -> Table:
    rows = []
    for each in found:
        ends = (
            "–" if each.interval is None else f"{each.interval[0]:+.2f} to {each.interval[1]:+.2f}"
        )
        clear = "yes" if each.clear else ("no" if each.interval else "one seed")
        seeds = ", ".join(map(str, each.seeds))
        rows.append((f"{each.name} − {each.against}", f"{each.mean:+.2f}", ends, clear, seeds))
    heads = ("difference", "mean", "95 % interval", "without 0", "seeds")
    return Table("Test score of each group less that of the first, by seed", heads, rows)


def _several(found: Sequence[Difference]) -> str:
    """What is said where several differences are looked at, of which one is clear by chance."""
    if len(found) < 2:
        return ""
    return f"; here are {len(found)} of them"


def _over_epochs(groups: Sequence[Group]) -> Markup | None:
    """The validation score of all runs on data sets, each group in its colour."""
    first = next((run for group in groups for run in group.runs if run.rows), None)
    if first is None:
        return None
    fraction = first.measure in FRACTIONS
    key, scale = f"validation_{first.measure}", 100 if fraction else 1
    lines = []
    for colour, group in enumerate(groups):
        shown = [run for run in group.runs if run.rows and run.measure == first.measure]
        for place, run in enumerate(shown):
            epochs = [row["epoch"] + 1 for row in run.rows]
            scores = [scale * row[key] if key in row else None for row in run.rows]
            several = len(group.runs) > 1
            name = f"{group.name}, seed {run.seed}" if several else group.name
            entry = None if place else group.name
            lines.append(Line(name, epochs, scores, colour, entry=entry))
    unit = " (%)" if fraction else ""
    return line_chart(lines, "epoch", f"validation {first.measure}{unit}")


def _made(runs: Sequence[Run], chosen: Sequence[Run], limits: Limits) -> str:
    rest = len(runs) - len(chosen)
    shown = (
        ""
        if rest == 0
        else f" {rest} more are only in the results;"
        + (" in detail stands the best of each group by validation, of the first groups.")
    )
    return (
        f"By snnsim {snnsim.__version__}, from the run folders and by asking the networks with "
        f"their best weights: at most {limits.samples:,} test samples for answers, 200 for "
        f"cost, and a few batches of training data for the diagnosis.{shown}"
    )
