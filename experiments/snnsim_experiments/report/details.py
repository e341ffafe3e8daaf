"""The parts of a report on one run, each a heading and blocks of the page."""

from __future__ import annotations

import base64
import io
import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from markupsafe import Markup

from snnsim.errors import short
from snnsim.report import Cost
from snnsim.training.objectives import FRACTIONS
from snnsim_experiments import run_folder
from snnsim_experiments.answered import Answered
from snnsim_experiments.predicted import Predicted
from snnsim_experiments.report.charts import Line, histogram, legend, line_chart, tag
from snnsim_experiments.report.delays import Delays
from snnsim_experiments.report.facts import MEASURES, Run
from snnsim_experiments.report.measured import Measured
from snnsim_experiments.report.rasters import Raster
from snnsim_experiments.report.tables import Table, folded, matrix, paragraph, values

IN_MATRIX = 40  # classes of a confusion matrix; of more, only the most frequent confusions
CONFUSIONS = 12
DRAWN = 300  # answers in a picture, at most
TOOLS = (
    ("in", "Zoom in"), ("out", "Zoom out"), ("left", "Earlier"), ("right", "Later"),
    ("tall", "Taller"), ("all", "Whole"),
)  # fmt: skip
HELP = (
    "Move the pointer over a layer to read it; drag to move, and press Ctrl with the wheel to "
    "zoom. With the keyboard: plus and minus zoom, the arrows move, T makes layers taller, and 0 "
    "shows all."
)


@dataclass(frozen=True)
class Part:
    """A ``Part`` of a report has a heading and blocks.

    Attributes:
        id: its name in addresses.
        heading: its heading.
        blocks: what stands below it.
    """

    id: str
    heading: str
    blocks: list[Any] = field(default_factory=list)


def parts_of(run: Run, found: Measured | None) -> list[Part]:
    """Return the parts of the report on a run.

    Args:
        run: the run.
        found: what its network does; ``None`` where it is not looked at, as on a stream.
    """
    parts = [_what(run, found)]
    if run.rows:
        parts.append(Part("curves", "Training", _curves(run)))
    if run.on_stream:
        parts.append(Part("tasks", "Tasks", _tasks(run)))
    if found is not None:
        parts += _of_network(run, found)
    return parts


def _of_network(run: Run, found: Measured) -> list[Part]:
    parts = [
        Part("answers", "Answers", _answers(run, found)),
        Part("rasters", "Activity", [_raster(each, i) for i, each in enumerate(found.rasters)]),
        Part("delays", "Delays", _delays(found.delays)),
        Part("cost", "Cost", _cost(found.cost)),
        Part("diagnosis", "Diagnosis", _diagnosis(found)),
    ]
    without = "data"  # what nothing of the others can be without
    for part in parts:
        reason = found.missing.get(part.id, found.missing.get(without))
        if not part.blocks and part.id != "delays" and reason:
            part.blocks.append(paragraph(f"Not here: {reason}."))
    return [part for part in parts if part.blocks]


def percent(value: float | None, digits: int = 1) -> str:
    """Return a value in percent as a table has it; a dash for none."""
    return "–" if value is None else f"{value:.{digits}f} %"


def _what(run: Run, found: Measured | None) -> Part:
    experiment, about = run.experiment, run.about
    recipe = experiment.recipe
    samples = ", ".join(f"{n:,} {split}" for split, n in (found.sizes if found else {}).items())
    classes = about.get("classes") or []
    pairs = [
        ("data", experiment.source),
        ("samples", samples),
        ("classes", f"{len(classes)}: {short(', '.join(classes), 300)}" if classes else ""),
        ("input", _input(about)),
        ("network", run.title.split(" on ")[0]),
        ("parameters", _count(run, found)),
        ("training", f"{recipe.epochs} epochs, batches of {recipe.batch_size}, {recipe.optimizer}, "
                     f"learning rate {recipe.lr:g}, {recipe.schedule}"),
        ("seed", run.seed),
        ("started", about.get("started", "")),
        ("command", command_of(run)),
        ("versions", ", ".join(f"{n} {v}" for n, v in about.get("versions", {}).items())),
        ("commit", about.get("commit") or ""),
    ]  # fmt: skip
    blocks: list[Any] = [values("Data, network and training", [p for p in pairs if p[1] != ""])]
    if found:
        rows = [(name, what) for name, what in found.layers]
        blocks.append(folded("Layers", Table("Layers", ("name", "layer"), rows, frozenset({1}))))
    settings = [(name, json.dumps(value)) for name, value in sorted(run.settings.items())]
    blocks.append(folded("All settings", values("All settings", settings)))
    sums = sorted(about.get("data_checksums", {}).items())
    if sums:
        blocks.append(folded("Checksums of the data", values("SHA-256 of the files", sums)))
    return Part("what", "What was trained on what", blocks)


def command_of(run: Run) -> str:
    """Return the command that made a run; empty if it is not known."""
    command = run.about.get("command")
    return shlex.join(map(str, command)) if isinstance(command, list) else ""


def _input(about: dict[str, Any]) -> str:
    channels, dt = about.get("channels"), about.get("dt")
    if channels is None:
        return ""
    encoder = (about.get("encoder") or {}).get("kind", "")
    return f"{channels} channels, steps of {dt} ms" + (f", {encoder}" if encoder else "")


def _count(run: Run, found: Measured | None) -> str:
    number = found.parameters if found else run.summary.get("parameters")
    return f"{number:,}" if isinstance(number, int) else ""


def _curves(run: Run) -> list[Any]:
    """Loss, score and firing rate over epochs, with the best epoch."""
    epochs = [row["epoch"] + 1 for row in run.rows]
    best = run.summary.get("best_epoch")
    mark = best + 1 if isinstance(best, int) else None
    fraction = run.measure in FRACTIONS
    scale, unit = (100, " (%)") if fraction else (1, "")
    charts = [
        _epochs(run, epochs, ("loss",), "loss", 1, mark),
        _epochs(run, epochs, (run.measure,), f"{run.measure}{unit}", scale, mark),
    ]
    if any(row.get("firing_rate") for row in run.rows):
        rates = [_times(row.get("firing_rate"), 100) for row in run.rows]
        line = Line("training", epochs, rates, 2)
        charts.append(line_chart([line], "epoch", "neurons that fire per step (%)", mark, "best"))
    end = f", the best of which is {mark}" if mark else ""
    told = f"{len(epochs)} epochs of {run.experiment.recipe.epochs}{end}."
    if not run.summary:
        told += " The run is not finished."
    return [paragraph(told), tag("div", *charts, class_="row")]


def _epochs(
    run: Run, epochs: Sequence[int], what: tuple[str], label: str, scale: float, mark: int | None
) -> Markup:
    lines = [
        Line(part, epochs, [_times(row.get(f"{part}_{what[0]}"), scale) for row in run.rows], i)
        for i, part in enumerate(("train", "validation"))
    ]
    return line_chart(lines, "epoch", label, mark, "best")


def _times(value: Any, scale: float) -> float | None:
    return scale * value if isinstance(value, int | float) else None


def _tasks(run: Run) -> list[Any]:
    """The accuracy on every task after every task."""
    accuracies = run.summary.get("matrix")
    if not accuracies:
        return [paragraph("The run is not finished.")]
    names = run.about.get("tasks") or [f"task {i + 1}" for i in range(len(accuracies[0]))]
    shown = [[round(value, 1) for value in row] for row in accuracies]
    shares = [[min(max(value / 100, 0), 1) for value in row] for row in accuracies]
    after = [f"after {name}" for name in names[: len(shown)]]
    spread = run.summary.get("std") or {}
    rows = [
        (key, percent(run.summary.get(key), 2), percent(spread.get(key), 2)) for key in MEASURES
    ]
    count = len(accuracies)
    lines = [
        Line(names[t], range(t + 1, count + 1), [accuracies[i][t] for i in range(t, count)], t,
             entry="" if len(names) <= 12 else None)
        for t in range(min(len(names), count))
    ]  # fmt: skip
    seeds = ", ".join(map(str, run.summary.get("seeds", [])))
    return [
        Table(
            f"Measures of the stream, seeds {seeds}",
            ("measure", "mean", "standard deviation"),
            rows,
        ),
        matrix(shown, names, after, "Accuracy in percent on each task after each task", shares),
        tag("figure", line_chart(lines, "after task", "accuracy (%)")),
    ]


def _answers(run: Run, found: Measured) -> list[Any]:
    answers = found.answers
    if answers is None:
        return []
    of = f"{found.asked:,} test samples"
    if found.asked < found.of:
        of += f" (chosen evenly among {found.of:,})"
    if isinstance(answers, Answered):
        rows = [(name, f"{value:.4g}") for name, value in answers.scores.items()]
        scores = Table(f"How good the answers to {of} are", ("score", "value"), rows)
        return [scores, *_picture(answers)]
    figures = answers.figures()
    low, high = (100 * end for end in figures["interval"])
    told = (
        f"{figures['right']:,} of {of} are answered right: {100 * figures['accuracy']:.1f} % "
        f"(95 % interval {low:.1f} to {high:.1f} %)."
    )
    blocks: list[Any] = [paragraph(told)]
    error = run.summary.get("test_calibration_error")
    if isinstance(error, float):
        blocks.append(
            paragraph(f"Expected calibration error of the probabilities: {100 * error:.1f} %.")
        )
    return [*blocks, *_confusion(answers)]


def _picture(answers: Answered) -> list[Any]:
    """Some answers beside what they should be, where there is matplotlib."""
    plotting, kind = run_folder.plotting(), answers.objective.kind
    if plotting is None or kind not in plotting.ANSWERS:
        return []
    figure = plotting.answers(kind, answers.answers[:DRAWN], answers.classes, answers.dt)
    content = io.BytesIO()
    plotting.literal(figure).savefig(content, format="png", dpi=100)
    source = f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
    told = f"Answers to test samples beside what they should be ({kind})"
    return [tag("figure", tag("img", src=source, alt=told), tag("figcaption", told))]


def _confusion(answers: Predicted) -> list[Any]:
    counts, classes = answers.confusion.tolist(), list(answers.classes)
    rows = [
        (f"{classes[i]} → {classes[j]}", count, percent(100 * count / sum(counts[i])))
        for count, i, j in answers.confusions()[:CONFUSIONS]
    ]
    heads = ("true class → answer", "samples", "of the true class")
    blocks: list[Any] = []
    if len(classes) <= IN_MATRIX:
        shares = [[count / max(sum(row), 1) for count in row] for row in counts]
        told = "Confusion matrix: a row for each true class, a column for each answer"
        blocks.append(matrix(counts, classes, classes, told, shares))
    if rows:
        blocks.append(
            folded("Most frequent confusions", Table("Most frequent confusions", heads, rows))
        )
    return blocks


def _raster(raster: Raster, number: int) -> Markup:
    content = json.dumps(asdict(raster)).replace("<", "\\u003c")
    data = Markup(f'<script type="application/json">{content}</script>')
    buttons = [tag("button", name, type="button", data_act=act) for act, name in TOOLS]
    label = f"Activity of all layers over time, {raster.title}. {HELP}"
    rows = [
        (layer.title, layer.units, layer.steps, layer.events, layer.left_out or "")
        for layer in raster.layers
    ]
    heads = ("layer", "units", "steps", "spikes or values", "not shown")
    return tag(
        "figure",
        tag("figcaption", raster.title),
        tag("div", *buttons, class_="tools", role="group", aria_label=f"View of {raster.title}"),
        tag("canvas", tabindex=0, role="img", aria_label=label),
        tag("p", HELP if number == 0 else "", class_="read", aria_live="polite"),
        folded("As a table", Table(f"Activity, {raster.title}", heads, rows)),
        data,
        class_="raster",
    )


def _delays(found: Sequence[Delays]) -> list[Any]:
    if not found:
        return []
    charts = []
    for each in found:
        lines = [Line("after training", [], [], 0), Line("before", [], [], 1, dashed=True)]
        label = f"Delays of {each.name}, before and after training"
        chart = histogram(each.edges, each.now, each.before, f"delay of {each.name} (ms)", label)
        charts.append(tag("div", legend(lines), chart))
    rows = [
        (d.name, f"{d.number:,}", f"{d.mean:.1f}", f"{d.moved:.1f}", percent(100 * d.at_border))
        for d in found
    ]
    heads = ("layer", "delays", "mean (ms)", "moved by (ms)", "at 0 or the longest")
    told = "Delays after training, and the mean distance that training moved them"
    return [tag("div", *charts, class_="row"), Table(told, heads, rows)]


def _cost(cost: Cost | None) -> list[Any]:
    if cost is None:
        return []
    rows = []
    for each in cost.connections:
        counts = (each.events, each.acs, each.macs)
        per_sample = [f"{cost.per_sample(count):,.0f}" for count in counts]
        of_dense = percent(100 * each.operations / max(each.dense, 1), 2)
        rows.append((each.name, percent(100 * each.sparsity), *per_sample, of_dense))
    heads = ("connection", "zero weights", "events", "ACs", "MACs", "of dense")
    activity = None if cost.activation_sparsity is None else 100 * cost.activation_sparsity
    pairs = [
        ("memory of parameters and buffers", f"{cost.footprint:,} bytes"),
        ("outputs of neurons that are 0", percent(activity, 2)),
        ("accumulations per sample", f"{cost.per_sample(cost.total('acs')):,.0f}"),
        ("multiply-accumulations per sample", f"{cost.per_sample(cost.total('macs')):,.0f}"),
        ("dense operations per sample", f"{cost.per_sample(cost.total('dense')):,.0f}"),
        ("not counted", ", ".join(cost.uncounted)),
    ]
    return [
        values("In NeuroBench's terms", [pair for pair in pairs if pair[1]]),
        Table(f"Connections, means over {cost.samples} test samples", heads, rows),
    ]


def _diagnosis(found: Measured) -> list[Any]:
    diagnosis = found.diagnosis
    if diagnosis is None:
        return []
    blocks: list[Any] = []
    if not diagnosis.findings:
        blocks.append(paragraph(f"No findings on {diagnosis.samples} training samples."))
    for each in diagnosis.findings:
        head = tag("strong", f"{each.severity}: {each.what} ({each.where})")
        inside = (tag("p", head), paragraph(each.sentence), paragraph(each.advice))
        blocks.append(tag("div", *inside, class_=f"finding {each.severity}"))
    columns = ("layer", "kind", "rate", "dead", "saturated", "gradient")
    rows = [[_cell(row.get(name)) for name in columns] for row in diagnosis.layers]
    if rows:
        told = "Layers of neurons on training samples"
        blocks.append(folded("Layers", Table(told, columns, rows, frozenset({1}))))
    return blocks


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
