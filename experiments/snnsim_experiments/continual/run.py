"""Runs of methods on streams, over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snnsim.continual import ContinualTrainer, methods
from snnsim.errors import ConfigError
from snnsim.training import distributed, set_seed
from snnsim_experiments import run_folder
from snnsim_experiments.continual import networks, streams
from snnsim_experiments.experiment import Experiment
from snnsim_experiments.lock import Held
from snnsim_experiments.place import HERE, Place
from snnsim_experiments.progress import DownloadBar, StreamWatcher

MEASURES = ("acc", "bwt", "fwt", "forgetting")


class Refused(ConfigError):
    """Raised where a network cannot work with the data or method; the message says why."""


def run(experiment: Experiment, seeds: Sequence[int], place: Place = HERE) -> dict[str, Any]:
    """Run an experiment on a stream for each seed into ``seed<n>`` of the folder of a place.

    Args:
        experiment: one with a method, as :func:`snnsim_experiments.resolve` makes it.
        seeds: the seeds, in place of that of the experiment.
        place: where the experiment runs.

    Returns:
        The content of ``summary.json`` (accuracies in percent, means over seeds, and under
        ``"std"`` their standard deviations), and ``out``, the folder.
    """
    with run_folder.opened(experiment, place) as (held, device, _):
        each = (_run(replace(experiment, seed=seed), place, held, device) for seed in seeds)
        summary = aggregate(list(each)) | {
            "stream": experiment.source,
            "method": experiment.method,
            "learning": experiment.network["learning"],
            "feedback": experiment.network["feedback"],
        }
        if distributed.rank() != 0:
            return {}
        held.check()
        run_folder.write_json(held.folder / "summary.json", summary)
        _plot(summary, held.folder)
        return {"out": str(held.folder), **summary}


def aggregate(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the means of the summaries of several seeds, with sample standard deviations."""
    first = summaries[0]

    def mean(values: list[Any]) -> Any:
        return None if any(v is None for v in values) else np.mean(values, axis=0).tolist()

    keys = (*MEASURES, "matrix", "seconds_per_task", "memory_bytes")
    means = {key: mean([s[key] for s in summaries]) for key in keys}
    means["memory_bytes"] = int(means["memory_bytes"])
    spread = {
        key: None
        if means[key] is None
        else float(np.std([s[key] for s in summaries], ddof=1 if len(summaries) > 1 else 0))
        for key in MEASURES
    }
    same = {key: first[key] for key in ("parameters", "tasks", "scenario")}
    return means | {"std": spread, "seeds": [s["seed"] for s in summaries]} | same


def _run(experiment: Experiment, place: Place, held: Held, device: torch.device) -> dict[str, Any]:
    out, first = held.folder, distributed.rank() == 0
    folder = out / f"seed{experiment.seed}"
    done = folder / "summary.json"
    options = experiment.data | {"seed": experiment.data["seed"] + experiment.seed}
    if done.exists():
        found = run_folder.read_object(done)
        if run_folder.is_elsewhere(out, place.root):
            stream = streams.build(experiment.source, place.root, **options)
            run_folder.check_same_data(out, stream.checksums)
        return found
    quiet = place.quiet or not first
    with DownloadBar(place.console, quiet) as bar:
        stream = streams.build(experiment.source, place.root, bar, **options)
    set_seed(experiment.seed)
    learner = networks.build(stream, model=experiment.model, **experiment.network)
    method = methods.get(experiment.method)(**experiment.method_options)
    with StreamWatcher(place.console, len(stream), quiet, held) as watcher:
        try:
            trainer = ContinualTrainer(
                learner, method, experiment.recipe, out=folder, seed=experiment.seed,
                device=device, watcher=watcher, augmentation=experiment.augmentation,
            )  # fmt: skip
        except ConfigError as error:
            raise Refused(str(error)) from error
        if first:
            facts = {"tasks": [task.name for task in stream.tasks]}
            run_folder.note_start(out, experiment, place, stream.checksums, facts)
        if place.resume and trainer.resume() and not quiet:
            task = trainer.position.task + 1
            place.console.print(f"continuing with task {task} of seed {experiment.seed}")
        summary = trainer.run()
    if first:
        held.check()
        run_folder.write_json(done, summary)
        (folder / "last.safetensors").unlink(missing_ok=True)
        _plot(summary, folder)
    distributed.barrier()
    return summary


def _plot(summary: dict[str, Any], out: Path) -> None:
    if plotting := run_folder.plotting():
        matrix = summary["matrix"]
        plotting.save(plotting.accuracy_matrix(matrix), out / "plots" / "matrix.png")
        plotting.save(plotting.accuracy_curves(matrix), out / "plots" / "tasks.png")
