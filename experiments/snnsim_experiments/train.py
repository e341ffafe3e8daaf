"""``snnsim <data set> train`` and ``evaluate``."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from snnsim_datasets.tools.audio import Recordings
from torch import nn

from snnsim.baselines import RateNetwork
from snnsim.baselines.size import parameters_of
from snnsim.errors import CheckpointError
from snnsim.synapses import Delayed
from snnsim.training import (
    Scores,
    Trainer,
    accuracy_over_time,
    checkpoint,
    distributed,
    evaluate,
)
from snnsim_experiments import run_folder
from snnsim_experiments.build import build_network, load_split
from snnsim_experiments.config import Config
from snnsim_experiments.progress import DownloadBar, TensorBoardWatcher, TerminalWatcher

NUMBERS = (  # of a summary
    "test_accuracy", "validation_accuracy", "parameters", "mean_firing_rate", "seconds",
    "test_loss", "test_samples", "last_test_accuracy", "best_epoch", "epochs", "seed",
)  # fmt: skip


def train(
    config: Config,
    root: str | None,
    out: Path | None,
    *,
    device: str = "cpu",
    resume: bool = False,
    quiet: bool = False,
    tensorboard: bool = False,
    console: Console | None = None,
    beside: Sequence[Path] = (),
) -> dict[str, Any]:
    """Run a configuration into the folder ``out``; returns the content of ``summary.json``.

    Runs in ``beside``, with which it will be compared, must have been on the same data.
    """
    console = console or Console(stderr=True)
    place = distributed.start(run_folder.device(device))
    try:
        out = Path(distributed.agree(str(out or run_folder.default_folder(config))))
        with run_folder.claim(out) as held:
            return _claimed(config, root, held, place, resume, quiet, tensorboard, console, beside)
    finally:
        distributed.stop()


def _claimed(
    config, root, held, place, resume, quiet, tensorboard, console, beside
) -> dict[str, Any]:
    out = held.folder
    config = run_folder.prepare(out, config, resume)
    said = distributed.rank() != 0
    if resume and not (out / "run.json").exists() and not said:
        console.print(f"there is no run in {out}; starting one", markup=False, highlight=False)
    done = out / "summary.json"
    if done.exists():
        summary = read_summary(done)
        if run_folder.is_elsewhere(out, root):
            run_folder.check_same_data(out, checksums_of(config, root))
        console.print(f"{out} is already complete", markup=False, highlight=False, soft_wrap=True)
    else:
        summary = _train(config, root, held, place, resume, quiet, tensorboard, console, beside)
    return {"out": str(out), **summary} if distributed.rank() == 0 else {}


def checksums_of(config: Config, root: str | None) -> dict[str, str]:
    """Of all files that a run reads."""
    parts = (load_split(config, split, root) for split in ("train", "validation", "test"))
    return {name: total for part in parts for name, total in part.checksums.items()}


def read_summary(path: Path) -> dict[str, Any]:
    """The summary of a finished run; a :class:`CheckpointError` if it is not one."""
    found = run_folder.read_object(path)
    for name in NUMBERS:
        value: Any = found.get(name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or (name.endswith("accuracy") and not 0 <= value <= 1):
            raise CheckpointError(
                f"{path} is damaged: its {name} is {value!r}; delete it and --resume makes it anew"
            )
    return found


def _train(
    config, root, held, device, resume, quiet, tensorboard, console, beside
) -> dict[str, Any]:
    out = held.folder
    first = distributed.rank() == 0
    if not first:
        distributed.barrier()  # one process downloads and converts; the others find it done
    with DownloadBar(console, quiet or not first) as bar:
        train_set, validation, test_set = (
            load_split(config, split, root, bar) for split in ("train", "validation", "test")
        )
    if first:
        distributed.barrier()
    net = build_network(config, train_set.channels, len(train_set.classes), train_set.dt).to(device)
    if isinstance(net, RateNetwork):
        some = range(0, len(train_set), max(len(train_set) // 256, 1))  # of all classes
        net.prepare(train_set.batch(some).x.to(device))
    distributed.barrier()  # nobody writes before everybody has looked at the folder
    initial = checkpoint.prefixed("net", {k: v.clone() for k, v in net.state_dict().items()})
    terminal = TerminalWatcher(console, config.recipe.epochs, quiet or not first, held)
    watcher = (
        TensorBoardWatcher(terminal, out / "tensorboard") if tensorboard and first else terminal
    )
    trainer = Trainer(
        net, train_set, validation, config.recipe,
        out=out, seed=config.seed, device=device, watcher=watcher,
    )  # fmt: skip
    sums = train_set.checksums | validation.checksums | test_set.checksums
    for other in beside if first else ():
        run_folder.check_same_data(other, sums)
    if first and (out / "run.json").exists():
        run_folder.check_same_data(out, sums)
    elif first:  # last, so that what cannot start leaves nothing behind
        checkpoint.save(out / "initial.safetensors", initial, {})
        facts = _facts(train_set) | {"delay_rungs": _rungs(net, config, train_set)}
        facts |= {
            "data_checksums": sums,
            "root": None if root is None else str(Path(root).absolute()),
        }
        run_folder.write_json(out / "run.json", run_folder.describe(config, facts))
    distributed.barrier()
    if resume and trainer.resume() and not quiet and first:
        console.print(f"continuing at epoch {trainer.position.epoch + 1}")
    with terminal:
        trainer.run()
    distributed.barrier()  # the best weights are on disk
    last = score(trainer.net, config, test_set, trainer.steps, device)
    trainer.load_best()
    test = score(trainer.net, config, test_set, trainer.steps, device)
    summary = {
        "test_accuracy": test.accuracy,
        "validation_accuracy": trainer.position.best_score,
        "parameters": parameters_of(net),
        "mean_firing_rate": test.firing_rate,
        "seconds": sum(row["seconds"] for row in trainer.rows),
        "test_loss": test.loss,
        "test_samples": test.samples,
        "last_test_accuracy": last.accuracy,
        "best_epoch": trainer.position.best_epoch,
        "epochs": trainer.position.epoch,
        "seed": config.seed,
    }
    if first:
        held.check()
        _plot(out, net, trainer, test_set, console, quiet)
        run_folder.write_json(out / "summary.json", summary)
    distributed.barrier()  # nobody leaves the group while another still works in it
    return summary


def _rungs(net: nn.Module, config: Config, data: Any) -> list[str]:
    """The kernel of every delayed connection in training."""
    steps, found = int(np.max(data.lengths)), []
    for layer in net.modules():
        if isinstance(layer, Delayed):
            found.append(layer.rung(steps, config.recipe.batch_size))
            steps += layer.tail
    return found


def _facts(data: Any) -> dict[str, Any]:
    """What a later evaluation or prediction has to know of the training data."""
    audio = asdict(data.front_end) if isinstance(data, Recordings) else None
    return {
        "audio": audio,
        "channels": data.channels,
        "classes": list(data.classes),
        "dt": data.dt,
        "steps": int(np.max(data.lengths)),
        "data_checksums": data.checksums,
    }


def score(net, config: Config, data: Any, steps: int, device: torch.device) -> Scores:
    """Evaluate by the rules of a configuration's recipe."""
    recipe = config.recipe
    return evaluate(
        net, data,
        readout=recipe.readout, mask_padding=recipe.mask_padding,
        batch_size=recipe.batch_size, steps=steps, device=device, check_finite=recipe.check_finite,
    )  # fmt: skip


def score_over_time(
    net, config: Config, data: Any, steps: int, device: torch.device, every: int, plot: Path
) -> dict[str, float]:
    """Accuracy by the time seen, ``{"100": 0.3, ...}`` in ms; also drawn to a file."""
    recipe = config.recipe
    found = accuracy_over_time(
        net, data, every=every,
        readout=recipe.readout, mask_padding=recipe.mask_padding,
        batch_size=recipe.batch_size, steps=steps, device=device, check_finite=recipe.check_finite,
    )  # fmt: skip
    ms = [step * data.dt for step in found.steps]
    if importlib.util.find_spec("matplotlib") is not None:
        from snnsim import plotting

        plotting.save(plotting.accuracy_over_time(ms, found.accuracy), plot)
    return {f"{time:g}": share for time, share in zip(ms, found.accuracy, strict=True)}


def _plot(out: Path, net, trainer: Trainer, data: Any, console: Console, quiet: bool) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        if not quiet:
            console.print(
                "no plots: matplotlib is missing (pip install 'snnsim[viz]')", markup=False
            )
        return
    from snnsim import plotting

    folder = out / "plots"
    plotting.save(plotting.curves(trainer.rows), folder / "curves.png")
    batch = data.batch([0])
    title = f"class {data.classes[int(batch.target[0])]!r}"
    if not isinstance(net, RateNetwork):  # it has no spikes
        figure = plotting.raster(net, batch.x.to(trainer.device), data.dt, title)
        plotting.save(figure, folder / "raster.png")
    before, _ = checkpoint.load(out / "initial.safetensors")
    histogram = plotting.delay_histogram(net, checkpoint.without_prefix("net", before))
    if histogram is not None:
        plotting.save(histogram, folder / "delays.png")
