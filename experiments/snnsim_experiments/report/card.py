"""The card of a network: its README.md, from the same facts as the report."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from snnsim import checkpoint
from snnsim_experiments.predicted import Predicted
from snnsim_experiments.report.details import command_of
from snnsim_experiments.report.facts import Run
from snnsim_experiments.report.groups import short_text
from snnsim_experiments.report.measured import Measured
from snnsim_experiments.report.page import part, score_name

SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")
CONFUSIONS = 5


def escaped(value: Any) -> str:
    """Return text that Markdown shows as it is, on one line.

    >>> print(escaped("a|b <i>\\n# c"))
    a\\|b \\<i\\> \\# c
    """
    return SPECIAL.sub(r"\\\1", " ".join(str(value).split()))


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table in Markdown; its cells are escaped."""
    lines = [heads, ["---"] * len(heads), *([escaped(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def card(
    run: Run,
    found: Measured,
    name: str,
    *,
    place: str = "",
    license: str = "",
) -> str:
    """Return the card of the network of a run.

    Args:
        run: the run.
        found: what its network does.
        name: what the network is called.
        place: what :func:`snnsim.from_pretrained` finds it by; empty for its name.
        license: the name of the license, such as ``"cc-by-4.0"``; empty for none.
    """
    score = run.score()
    about = run.about
    template = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    return template.from_string(part("card.md.jinja")).render(
        name=escaped(name),
        place=json.dumps(place or name),
        source=json.dumps(run.experiment.source),
        license=json.dumps(license) if license else "",
        score={"type": run.metric, "value": round(score, 2)} if score is not None else None,
        what=_what(run, found),
        channels=about.get("channels", "channels"),
        dt=about.get("dt", "dt"),
        results=_results(run, found),
        input=_input(run),
        training=_training(run),
        cost=_cost(found),
        limits=_limits(run, found),
    )


def _what(run: Run, found: Measured) -> str:
    layers = table(("layer", "what it is"), found.layers)
    head = f"A {escaped(run.title)}, with {found.parameters:,} parameters, trained by snnsim."
    return f"{head}\n\n{layers}"


def _results(run: Run, found: Measured) -> str:
    score, validation = run.score(), run.score("validation")
    if score is None:
        return "The training is not finished."
    lines = [
        f"- {score_name(run)}: {score:.4g}, on {run.summary.get('test_samples', '?')} samples"
        + _interval(found)
    ]
    if validation is not None:
        lines.append(f"- validation, by which the epoch was chosen: {validation:.4g}")
    error = run.summary.get("test_calibration_error")
    if isinstance(error, float):
        lines.append(f"- expected calibration error of its probabilities: {100 * error:.1f} %")
    lines.append("- one seed; a comparison of methods needs several")
    rows = _confusions(found.answers)
    if rows:
        lines += ["", "Most frequent confusions:", "", table(("class", "answer", "samples"), rows)]
    return "\n".join(lines)


def _interval(found: Measured) -> str:
    if not isinstance(found.answers, Predicted) or not found.answers.figures():
        return ""
    low, high = found.answers.figures()["interval"]
    return f" (95 % interval {100 * low:.1f} to {100 * high:.1f} %)"


def _confusions(answers: Any) -> list[tuple[str, str, int]]:
    if not isinstance(answers, Predicted):
        return []
    names = answers.classes
    return [(names[i], names[j], count) for count, i, j in answers.confusions()[:CONFUSIONS]]


def _input(run: Run) -> str:
    about = run.about
    encoder = about.get("encoder") or about.get("audio") or {}
    classes = about.get("classes") or []
    answers = f"{len(classes)} classes: {', '.join(map(escaped, classes))}" if classes else "values"
    rows = [
        ("channels", about.get("channels", "")),
        ("step", f"{about.get('dt')} ms"),
        ("longest training sample", f"{about.get('steps')} steps"),
        ("made from recordings by", short_text(json.dumps(encoder), 300) if encoder else ""),
        ("read-out", run.experiment.recipe.readout),
    ]
    return f"{table(('', ''), [row for row in rows if row[1] != ''])}\n\nIt answers with {answers}."


def _training(run: Run) -> str:
    versions = ", ".join(f"{n} {v}" for n, v in run.about.get("versions", {}).items())
    sums = sorted(run.about.get("data_checksums", {}).items())
    parts = [
        f"```console\n$ {public_command(run)}\n```",
        _again(run),
        f"Seed {run.seed}, {run.summary.get('epochs', '?')} epochs; the best of them by validation "
        f"is {_best(run)}. {escaped(versions)}.",
    ]
    if sums:
        parts.append(table(("file of the data", "SHA-256"), sums))
    settings = "\n".join(f"{name} = {json.dumps(v)}" for name, v in sorted(run.settings.items()))
    parts.append(
        f"<details><summary>All settings</summary>\n\n```text\n{settings}\n```\n\n</details>"
    )
    return "\n\n".join(parts)


def _again(run: Run) -> str:
    """How exactly the command makes the network again."""
    weights = content_of(run.folder / "best.safetensors")
    if is_portable_run(run):
        return (
            "With the versions and data below it makes these weights again, bit for bit, on every "
            f"x86-64 processor with AVX2: the SHA-256 of their content is `{weights}`."
        )
    return (
        "With the versions and data below and a processor with the same instructions it makes "
        f"these weights again, bit for bit (SHA-256 of their content `{weights}`); elsewhere last "
        "digits differ, and with them what follows. `SNNSIM_PORTABLE=1` before the command takes "
        "the same digits everywhere."
    )


def content_of(file: Path) -> str:
    """Return the SHA-256 of the tensors of a file, whatever else is in it and in which order."""
    return checkpoint.digest(checkpoint.load(file)[0], "")


def public_command(run: Run) -> str:
    """Return the command that makes the network again, without folders of the user."""
    words = shlex.split(command_of(run))
    kept: list[str] = []
    for word, before in zip(words, ["", *words], strict=False):
        if word in ("--out", "-q", "--quiet", "--resume", "--json") or before == "--out":
            continue
        if word.startswith("--out="):
            continue
        if before == "--root" or word.startswith("--root="):
            word = "DATA" if before == "--root" else "--root=DATA"
        kept.append(word)
    return ("SNNSIM_PORTABLE=1 " if is_portable_run(run) else "") + shlex.join(kept)


def is_portable_run(run: Run) -> bool:
    """Return whether a run has the same weights on every x86-64 processor."""
    machine = run.about.get("machine")
    return isinstance(machine, dict) and machine.get("portable") is True


def _best(run: Run) -> str:
    best = run.summary.get("best_epoch")
    return str(best + 1) if isinstance(best, int) else "unknown"


def _cost(found: Measured) -> str:
    cost = found.cost
    if cost is None:
        return f"Not counted: {escaped(found.missing.get('cost', found.missing.get('data', '')))}."
    rows = [
        ("memory of parameters and buffers", f"{cost.footprint:,} bytes"),
        *(
            (name, f"{cost.per_sample(cost.total(count)):,.0f}")
            for name, count in (
                ("accumulations per sample", "acs"),
                ("multiply-accumulations per sample", "macs"),
                ("dense operations per sample", "dense"),
            )
        ),
    ]
    if cost.activation_sparsity is not None:
        rows.append(("outputs of neurons that are 0", f"{100 * cost.activation_sparsity:.2f} %"))
    told = f"In NeuroBench's terms, means over {cost.samples} test samples:"
    return f"{told}\n\n{table(('', ''), rows)}"


def _limits(run: Run, found: Measured) -> str:
    lines = [
        f"It knows only what {escaped(run.experiment.source)} has: other recordings, speakers, "
        "microphones and noise may be answered worse than the figures above say, and something "
        "of no class is answered with one of the classes."
    ]
    if found.diagnosis is not None:
        lines += [
            f"- {each.severity}: {escaped(each.what)} ({escaped(each.where)}). "
            f"{escaped(each.sentence)}"
            for each in found.diagnosis.findings
        ]
    return "\n".join(lines) if len(lines) == 1 else "\n\n".join([lines[0], "\n".join(lines[1:])])
