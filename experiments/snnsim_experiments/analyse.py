"""``snnsim analyse``: look inside the network of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from snnsim.analysis import ANALYSES, Report, Subject, analyse, options, title
from snnsim.data import View
from snnsim.errors import ConfigError
from snnsim_experiments import run_folder
from snnsim_experiments.build import load_split
from snnsim_experiments.forecasts import objective_on
from snnsim_experiments.settings import Changes, parse_changes


def subject_of(
    run: Path,
    split: str = "test",
    samples: int = 200,
    root: str | None = None,
    checkpoint: str = "best",
    **chosen: Any,
) -> Subject:
    """Return the network of a run, with samples of its data, as what analyses look at.

    Args:
        run: the folder of a run on a data set.
        split: the split of the data.
        samples: the largest number of samples; they lie evenly in the split.
        root: the folder of the data; ``None`` for that of the run.
        checkpoint: ``"best"``, ``"last"`` or ``"initial"``.
        chosen: further attributes of the subject, see :class:`snnsim.analysis.Subject`.

    Raises:
        ConfigError: if the run is one on a stream of tasks.
    """
    net, experiment, facts = run_folder.load_network(run, checkpoint)
    if experiment.method:
        raise ConfigError(f"{run} is a run on a stream of tasks; analyse a run on a data set")
    data = load_split(experiment, split, facts.get("root") if root is None else root)
    kept = np.unique(np.linspace(0, len(data) - 1, min(samples, len(data))).round().astype(int))
    recipe = experiment.recipe
    known: dict[str, Any] = {"readout": recipe.readout, "mask_padding": recipe.mask_padding}
    known["objective"] = objective_on(data)
    return Subject(net, View(data, kept), **known | {"steps": facts["steps"]} | chosen)


def analyse_run(
    subject: Subject, what: str, out: Path, changes: Changes = (), device: str = "cpu"
) -> Report:
    """Analyse a subject, and write ``WHAT.json`` and ``WHAT.png`` into a folder.

    Args:
        subject: what is looked at, see :func:`subject_of`.
        what: the name of the analysis.
        out: the folder.
        changes: options of the analysis as ``"name=value"``.
        device: where the network runs.
    """
    where = run_folder.device(device)
    known = options(what)  # refuses an unknown analysis before anything else is done
    named = [f"{what}.{change}" for change in changes]
    chosen = parse_changes(named, [what]).get(what, {})
    for name, value in chosen.items():
        if name in known and type(known[name]) is float and type(value) is int:
            chosen[name] = float(value)
    report = analyse(replace(subject, net=subject.net.to(where)), what, **chosen)
    out.mkdir(parents=True, exist_ok=True)
    run_folder.write_json(out / f"{what}.json", report.as_json())
    plotting = run_folder.plotting()
    if plotting is not None:
        plotting.save(plotting.report(report), out / f"{what}.png")
    return report


def told() -> dict[str, str]:
    """Return what each analysis is, by name."""
    return {what: title(what) for what in ANALYSES}
