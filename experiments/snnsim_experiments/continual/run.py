"""Running methods on streams, over seeds."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from snnsim.continual import ContinualTrainer, ContinualWatcher, Stream, methods
from snnsim.errors import ConfigError
from snnsim.training import distributed, set_seed
from snnsim_experiments import run_folder
from snnsim_experiments.continual import networks, streams
from snnsim_experiments.experiment import Experiment
from snnsim_experiments.lock import Held, claim
from snnsim_experiments.place import HERE, Place
from snnsim_experiments.progress import DownloadBar

MEASURES = ("acc", "bwt", "fwt", "forgetting")


class TerminalWatcher(ContinualWatcher):
    """A bar over the steps of a task on a terminal, and a line per task (none when quiet)."""

    def __init__(self, console: Console, tasks: int, quiet: bool, held: Held):
        self.console, self.tasks, self.quiet, self.held = console, tasks, quiet, held
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        off = quiet or not console.is_terminal
        self.bar = Progress(*columns, TimeRemainingColumn(), console=console, disable=off)
        self.row: Any = None

    def __enter__(self) -> TerminalWatcher:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def writing(self) -> None:
        self.held.check()

    def task_started(self, task: int, steps: int) -> None:
        if self.row is not None:
            self.bar.remove_task(self.row)
        self.row = self.bar.add_task(f"task {task + 1}/{self.tasks}", total=steps)

    def step_done(self, task: int, step: int, loss: float) -> None:
        title = f"task {task + 1}/{self.tasks} loss {loss:.3f}"
        self.bar.update(self.row, completed=step, description=title)

    def tested(self, task: int, row: list[float]) -> None:
        if not self.quiet:
            past = "  ".join(f"{100 * a:.1f}" for a in row[: task + 1])
            self.console.print(f"task {task + 1:>2}/{self.tasks}  {past} %", highlight=False)


class Refused(ConfigError):
    """A method cannot work with this stream and network; the message says why."""


def run(experiment: Experiment, seeds: Sequence[int], place: Place = HERE) -> dict[str, Any]:
    """Run an experiment on a stream for each seed into ``seed<n>`` of the folder of a place.

    Returns:
        The content of ``summary.json`` (means over seeds, and under ``"std"`` their standard
        deviations), and ``out``, the folder.
    """
    device = distributed.start(run_folder.device(place.device))
    try:
        folder = place.out or run_folder.default_folder(experiment)
        out = Path(distributed.agree(str(folder)))
        with claim(out) as held:
            return _run_seeds(experiment, seeds, place, held, device)
    finally:
        distributed.stop()


def _run_seeds(
    experiment: Experiment,
    seeds: Sequence[int],
    place: Place,
    held: Held,
    device: torch.device,
) -> dict[str, Any]:
    out, first = held.folder, distributed.rank() == 0
    found = run_folder.prepare(out, experiment, place.resume, but=("seed",))
    distributed.barrier()
    if place.resume and not found and first:
        text = f"there is no run in {out}; starting one"
        place.console.print(text, markup=False, highlight=False)
    each = (_run(replace(experiment, seed=seed), place, held, device) for seed in seeds)
    summary = aggregate(list(each)) | {
        "stream": experiment.source,
        "method": experiment.method,
        "learning": experiment.network["learning"],
        "feedback": experiment.network["feedback"],
    }
    if first:
        held.check()
        run_folder.write_json(out / "summary.json", summary)
        _plot(summary, out)
    return {"out": str(out), **summary} if first else {}


def aggregate(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """Means of the summaries of several seeds, with sample standard deviations."""
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
    with TerminalWatcher(place.console, len(stream), quiet, held) as watcher:
        try:
            trainer = ContinualTrainer(
                learner, method, experiment.recipe, out=folder, seed=experiment.seed,
                device=device, watcher=watcher,
            )  # fmt: skip
        except ConfigError as error:
            raise Refused(str(error)) from error
        if first:
            _note_start(experiment, place, out, stream)
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


def _note_start(experiment: Experiment, place: Place, out: Path, stream: Stream) -> None:
    """Write what a run is, once for all seeds; a method that is refused leaves the folder free."""
    for other in place.beside:
        run_folder.check_same_data(other, stream.checksums)
    if (out / "run.json").exists():
        run_folder.check_same_data(out, stream.checksums)
        return
    told = {
        "tasks": [task.name for task in stream.tasks],
        "data_checksums": stream.checksums,
        "root": None if place.root is None else str(Path(place.root).absolute()),
    }
    run_folder.write_json(out / "run.json", run_folder.describe(experiment, told))


def _plot(summary: dict[str, Any], out: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        return
    from snnsim import plotting

    plotting.save(plotting.accuracy_matrix(summary["matrix"]), out / "plots" / "matrix.png")
    plotting.save(plotting.accuracy_curves(summary["matrix"]), out / "plots" / "tasks.png")
