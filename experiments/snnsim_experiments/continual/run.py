"""Running methods on streams, over seeds."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from snnsim.continual import ContinualTrainer, ContinualWatcher, methods
from snnsim.errors import ConfigError
from snnsim.training import distributed, set_seed
from snnsim_experiments import run_folder
from snnsim_experiments.continual import networks, streams
from snnsim_experiments.continual.config import ContinualConfig
from snnsim_experiments.progress import DownloadBar

MEASURES = ("acc", "bwt", "fwt", "forgetting")


class TerminalWatcher(ContinualWatcher):
    """A bar over the steps of a task on a terminal, and a line per task (none when quiet)."""

    def __init__(self, console: Console, tasks: int, quiet: bool, held: run_folder.Held):
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


def run(
    config: ContinualConfig,
    seeds: list[int],
    root: str | None,
    out: Path,
    *,
    device: str = "cpu",
    resume: bool = False,
    quiet: bool = False,
    console: Console | None = None,
    beside: Sequence[Path] = (),
) -> dict[str, Any]:
    """Run a configuration for each seed into ``out/seed<n>``; returns ``out/summary.json``.

    The summary holds means over seeds, and under ``"std"`` their standard deviations. Runs in
    ``beside``, with which it will be compared, must have been on the same data.
    """
    console = console or Console(stderr=True)
    place = distributed.start(run_folder.device(device))
    try:
        out = Path(distributed.agree(str(out)))
        with run_folder.claim(out) as held:
            return _run_seeds(config, seeds, root, held, place, resume, quiet, console, beside)
    finally:
        distributed.stop()


def _run_seeds(config, seeds, root, held, place, resume, quiet, console, beside) -> dict[str, Any]:
    out = held.folder
    summaries: list[dict[str, Any]] = []
    first = distributed.rank() == 0
    found = prepare(out, config, resume)
    distributed.barrier()
    if resume and not found and first:
        console.print(f"there is no run in {out}; starting one", markup=False, highlight=False)
    for seed in seeds:
        each = replace(config, seed=seed)
        summaries.append(_run(each, root, held, place, resume, quiet, console, beside))
    summary = aggregate(summaries) | {
        "stream": config.stream_name,
        "method": config.method_name,
        "learning": config.network["learning"],
        "feedback": config.network["feedback"],
    }
    if first:
        held.check()
        run_folder.write_json(out / "summary.json", summary)
        _plot(summary, out)
    return {"out": str(out), **summary} if first else {}


def prepare(out: Path, config: ContinualConfig, resume: bool) -> bool:
    """Check that a run may be written to ``out``; whether there is one to go on with.

    Nothing is written: a method that turns out to be refused leaves the folder free.
    """
    stored = out / "run.json"
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; choose another --out")
    if not stored.exists():
        if run_folder.ours_alone(out):
            raise ConfigError(f"{out} is not empty and not a run; choose another --out")
        return False
    if not resume:
        raise ConfigError(f"{out} already holds a run; go on with --resume or choose another --out")
    before = run_folder.read_json(stored).get("config")
    if before != _as_json(config):
        raise ConfigError(
            f"{out} was started with another configuration (differs in "
            f"{', '.join(_differences(before, _as_json(config)))}); resume with the same options "
            "or choose another --out"
        )
    return True


def _differences(before: Any, now: dict[str, Any]) -> list[str]:
    if not isinstance(before, dict):
        return ["everything"]
    found = []
    for section, values in now.items():
        stored = before.get(section)
        if isinstance(values, dict) and isinstance(stored, dict):
            keys = sorted(stored.keys() | values.keys())
            found += [f"{section}.{k}" for k in keys if stored.get(k) != values.get(k)]
        elif stored != values:
            found.append(section)
    return found


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


def _run(config, root, held, place, resume, quiet, console, beside) -> dict[str, Any]:
    out = held.folder
    folder = out / f"seed{config.seed}"
    done = folder / "summary.json"
    first = distributed.rank() == 0
    options = config.stream | {"seed": config.stream["seed"] + config.seed}
    if done.exists():
        found = run_folder.read_object(done)
        if run_folder.is_elsewhere(out, root):
            stream = streams.build(config.stream_name, root, **options)
            run_folder.check_same_data(out, stream.checksums)
        return found
    with DownloadBar(console, quiet or not first) as bar:
        stream = streams.build(config.stream_name, root, bar, **options)
    set_seed(config.seed)
    learner = networks.build(stream, **config.network)
    method = methods.get(config.method_name)(**config.method)
    with TerminalWatcher(console, len(stream), quiet or not first, held) as watcher:
        try:
            trainer = ContinualTrainer(
                learner, method, config.recipe, out=folder, seed=config.seed, device=place,
                watcher=watcher,
            )  # fmt: skip
        except ConfigError as error:
            raise Refused(str(error)) from error
        for other in beside if first else ():
            run_folder.check_same_data(other, stream.checksums)
        if first and (out / "run.json").exists():
            run_folder.check_same_data(out, stream.checksums)
        elif first:
            told = {
                "tasks": [task.name for task in stream.tasks],
                "data_checksums": stream.checksums,
                "root": None if root is None else str(Path(root).absolute()),
            }
            facts = run_folder.describe(config, told)
            run_folder.write_json(out / "run.json", facts | {"config": _as_json(config)})
        if resume and trainer.resume() and not quiet and first:
            console.print(f"continuing with task {trainer.place.task + 1} of seed {config.seed}")
        summary = trainer.run()
    if first:
        held.check()
        run_folder.write_json(done, summary)
        (folder / "last.safetensors").unlink(missing_ok=True)
        _plot(summary, folder)
    distributed.barrier()
    return summary


def _as_json(config: ContinualConfig) -> Any:
    """The configuration without its seed, of which a run may have several."""
    values = json.loads(json.dumps(asdict(config)))
    del values["seed"]
    return values


def _plot(summary: dict[str, Any], out: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        return
    from snnsim import plotting

    plotting.save(plotting.accuracy_matrix(summary["matrix"]), out / "plots" / "matrix.png")
    plotting.save(plotting.accuracy_curves(summary["matrix"]), out / "plots" / "tasks.png")


def seeds_of(text: str) -> list[int]:
    """Seeds from ``"0,1,2"``.

    >>> seeds_of("0,2")
    [0, 2]
    """
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--seeds is {text!r} but must be numbers such as 0,1,2") from None
    if len(set(seeds)) != len(seeds) or min(seeds) < 0 or max(seeds) >= 2**63:
        raise ConfigError(f"--seeds is {text!r} but must be different numbers from 0 to 2^63 - 1")
    return seeds
