"""``snnsim <data set> train`` and ``evaluate``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import snnsim_datasets
import torch
from snnsim_datasets.tools.audio import Recordings
from snnsim_datasets.tools.rows import write_rows
from torch import Tensor, nn

from snnsim.baselines import RateNetwork
from snnsim.baselines.size import parameters_of
from snnsim.data import Sequences, View, describe, outputs_of
from snnsim.data.targets import CLASS
from snnsim.diagnosis import diagnose
from snnsim.errors import CheckpointError, ConfigError
from snnsim.functional.readouts import fractions
from snnsim.synapses.delayed import delayed_layers
from snnsim.training import (
    Answer,
    Classification,
    MultiLabel,
    Scores,
    Trainer,
    Watcher,
    accuracy_over_time,
    answers,
    calibrated,
    calibration_error,
    checkpoint,
    distributed,
    evaluate,
)
from snnsim.training.next_step import Next
from snnsim.training.objectives import FRACTIONS
from snnsim_experiments import run_folder
from snnsim_experiments.advice import Advice
from snnsim_experiments.build import Facts, build_network, load_split, some_of
from snnsim_experiments.experiment import Experiment
from snnsim_experiments.forecasts import (
    NRMSE,
    PERSISTENCE,
    R2,
    check_causal,
    figures_of,
    objective_for,
    objective_on,
    of_labels,
)
from snnsim_experiments.lock import Held
from snnsim_experiments.place import HERE, Place
from snnsim_experiments.progress import (
    DownloadBar,
    EpochWatcher,
    TensorBoardWatcher,
    TerminalWatcher,
)

SPLITS = ("train", "validation", "test")
DRAWN = 300  # test samples whose answers are drawn, at most
SCORES = ("test", "validation", "last_test")  # of a summary, each with the name of its metric
OTHERS = (
    "parameters", "mean_firing_rate", "seconds", "test_loss", "test_samples", "best_epoch",
    "epochs", "seed",
)  # fmt: skip
NUMBERS = (*(f"{name}_accuracy" for name in SCORES), *OTHERS)  # of a summary on classes


def train(experiment: Experiment, place: Place = HERE) -> dict[str, Any]:
    """Run an experiment on a data set into the folder of a place.

    Args:
        experiment: one without a method, as :func:`snnsim_experiments.resolve` makes it.
        place: where it runs.

    Returns:
        The content of ``summary.json`` (accuracies as fractions), and ``out``, the folder.
    """
    with run_folder.opened(experiment, place) as (held, device, longer):
        out = held.folder
        if (out / "summary.json").exists() and not longer:
            summary = read_summary(out / "summary.json")
            if run_folder.is_elsewhere(out, place.root):
                run_folder.check_same_data(out, checksums_of(experiment, place.root))
            text = f"{out} is already complete"
            place.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            summary = _train(experiment, place, held, device)
        return {"out": str(out), **summary} if distributed.rank() == 0 else {}


def checksums_of(config: Experiment, root: str | None) -> dict[str, str]:
    """Return the checksums of all files that a run reads."""
    return _checksums(load_split(config, split, root) for split in SPLITS)


def _checksums(parts: Iterable[Any]) -> dict[str, str]:
    return {name: total for part in parts for name, total in part.checksums.items()}


def read_summary(path: Path) -> dict[str, Any]:
    """Read the summary of a finished run.

    Raises:
        CheckpointError: it is not one.
    """
    found = run_folder.read_object(path)
    metrics = (Next.metric, NRMSE, MultiLabel.metric, "accuracy")
    metric = next((name for name in metrics if f"test_{name}" in found), "accuracy")
    beside = R2 if f"test_{R2}" in found else PERSISTENCE
    further = (f"test_{beside}",) if metric == NRMSE else ()
    for name in (*(f"{each}_{metric}" for each in SCORES), *further, *OTHERS):
        value: Any = found.get(name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or (name.endswith(FRACTIONS) and not 0 <= value <= 1):
            raise CheckpointError(
                f"{path} is damaged: its {name} is {value!r}; delete it and run again with --resume"
            )
    return found


def _train(
    experiment: Experiment, place: Place, held: Held, device: torch.device
) -> dict[str, Any]:
    first = distributed.rank() == 0
    quiet = place.quiet or not first
    parts = _load(experiment, place, quiet)
    net = build_network(experiment, *Facts.of(parts[0])).to(device)
    check_causal(net, experiment.model, parts[0])
    if isinstance(net, RateNetwork):
        net.prepare(some_of(parts[0]).to(device))
    initial = checkpoint.prefixed("net", {k: v.clone() for k, v in net.state_dict().items()})
    recipe = experiment.recipe
    objective = objective_on(parts[0], recipe.target, recipe.readout, recipe.mask_padding)
    before = checkpoint.without_prefix("net", initial)
    ask = partial(diagnose, net, parts[0], recipe=recipe, objective=objective, before=before)
    advice = Advice(parts[0], ask, str(held.folder)) if distributed.size() == 1 else None
    terminal = TerminalWatcher(place.console, recipe.epochs, quiet, held, advice)
    trainer = Trainer(
        net, parts[0], parts[1], recipe,
        objective=objective, out=held.folder, seed=experiment.seed, device=device,
        augmentation=experiment.augmentation, watcher=_watched(terminal, place, held.folder),
    )  # fmt: skip
    if first:
        if not (held.folder / "run.json").exists():
            checkpoint.save(held.folder / "initial.safetensors", initial, {})
        facts = facts_for_later(parts[0]) | {
            "delay_rungs": _rungs(net, experiment, parts[0]),
            "kind": trainer.objective.kind,
        }
        run_folder.note_start(held.folder, experiment, place, _checksums(parts), facts)
        _keep_splits(held.folder, experiment, place)
    distributed.barrier()
    if place.resume and trainer.resume() and not quiet:
        place.console.print(f"continuing at epoch {trainer.position.epoch + 1}")
    with terminal:
        trainer.run()
    distributed.barrier()  # the best weights are on disk
    summary = _tested(experiment, trainer, parts)
    if first:
        held.check()
        _plot(held.folder, trainer, parts[2], place)
        run_folder.write_json(held.folder / "summary.json", summary)
    distributed.barrier()  # nobody leaves the group while another still works in it
    return summary


def _watched(watcher: Watcher, place: Place, folder: Path) -> Watcher:
    """A watcher with those around it that a place asks for."""
    if place.tensorboard and distributed.rank() == 0:
        watcher = TensorBoardWatcher(watcher, folder / "tensorboard")
    if place.after_epoch is not None:
        watcher = EpochWatcher(watcher, place.after_epoch)
    return watcher


def _keep_splits(folder: Path, experiment: Experiment, place: Place) -> None:
    """Write which of a user's own samples is in which split, beside what it was trained on."""
    listed = getattr(snnsim_datasets.get(experiment.source), "rows", None)
    if listed is not None and not (folder / "splits.csv").exists():
        write_rows(folder / "splits.csv", listed(place.root, **experiment.data))


def _load(experiment: Experiment, place: Place, quiet: bool) -> list[Any]:
    """The three parts of the data; one process downloads and converts them before the others."""
    first = distributed.rank() == 0
    if not first:
        distributed.barrier()
    with DownloadBar(place.console, quiet) as bar:
        parts = [load_split(experiment, split, place.root, bar) for split in SPLITS]
    if first:
        distributed.barrier()
    return parts


def _tested(experiment: Experiment, trainer: Trainer, parts: list[Any]) -> dict[str, Any]:
    """The summary of a finished training; the network then has its best weights."""
    _, validation_set, test_set = parts
    last = score(trainer.net, experiment, test_set, trainer.steps)
    if trainer.rows:
        held_out = trainer.rows[-1]["validation_loss"]
    else:  # the metrics of a finished training were lost
        held_out = score(trainer.net, experiment, trainer.validation, trainer.steps).loss
    trainer.load_best()
    test = score(trainer.net, experiment, test_set, trainer.steps)
    best, before = trainer.position.best_score, figures_of(last.metric, last.score, test_set)
    return {
        **_named("test", figures_of(test.metric, test.score, test_set)),
        **_named("validation", figures_of(test.metric, best, validation_set)),
        "parameters": parameters_of(trainer.net),
        "mean_firing_rate": test.firing_rate,
        "seconds": sum(row["seconds"] for row in trainer.rows),
        "test_loss": test.loss,
        "test_samples": test.samples,
        **_named("last_test", {k: v for k, v in before.items() if k not in (PERSISTENCE, R2)}),
        "last_test_loss": last.loss,
        "last_validation_loss": held_out,
        "best_epoch": trainer.position.best_epoch,
        "epochs": trainer.position.epoch,
        "seed": experiment.seed,
        **(_further(trainer, test_set) if distributed.rank() == 0 else {}),
    }


def _further(trainer: Trainer, test_set: Any) -> dict[str, float]:
    """What else there is to say about classes or labels on test data."""
    aim = trainer.objective
    if not isinstance(aim, Classification | MultiLabel):
        return {}
    found = _answers(trainer, test_set)
    scores = torch.stack([each.found for each in found])
    targets = torch.stack([each.target for each in found])
    if isinstance(aim, MultiLabel):
        return _named("test", of_labels(aim, scores, targets > 0))
    temperature, shares = trainer.calibrate(), fractions(aim.readout, scores)
    return _calibration(temperature, shares, targets) if temperature is not None else {}


def _answers(trainer: Trainer, data: Sequences) -> list[Answer]:
    """What the trained network answers to data."""
    recipe = trainer.recipe
    return answers(
        trainer.net,
        data,
        objective=trainer.objective,
        batch_size=recipe.batch_size,
        check_finite=recipe.check_finite,
        steps=trainer.steps,
    )


def _calibration(temperature: float, shares: Tensor, labels: Tensor) -> dict[str, float]:
    """The temperature of the best weights, and what it does on test data."""
    return {
        "temperature": temperature,
        "test_calibration_error": calibration_error(calibrated(shares, temperature), labels),
        "test_calibration_error_uncalibrated": calibration_error(shares, labels),
    }


def _named(part: str, figures: dict[str, float]) -> dict[str, float]:
    return {f"{part}_{name}": value for name, value in figures.items()}


def _rungs(net: nn.Module, experiment: Experiment, data: Any) -> list[str]:
    """The kernel of every delayed connection in training."""
    steps, found = int(np.max(data.lengths)), []
    for layer in delayed_layers(net):
        found.append(layer.rung(steps, experiment.recipe.batch_size))
        steps += layer.tail
    return found


def facts_for_later(data: Any) -> dict[str, Any]:
    """Return what a later evaluation or prediction has to know of the training data."""
    audio = asdict(data.front_end) if isinstance(data, Recordings) else None
    about = describe(data)
    values: dict[str, Any] = {} if data.classes else {"outputs": outputs_of(data)}
    return {
        "audio": audio,
        "encoder": about.encoder,
        "channels": data.channels,
        "classes": list(data.classes),
        "dt": data.dt,
        "shape": list(about.shape),
        "steps": int(np.max(data.lengths)),
        **values,
    }


def score(net, config: Experiment, data: Any, steps: int) -> Scores:
    """Evaluate a network on data by the rules of the recipe of an experiment."""
    recipe = config.recipe
    objective = objective_for(data, recipe)
    return evaluate(
        net,
        data,
        objective=objective,
        batch_size=recipe.batch_size,
        check_finite=recipe.check_finite,
        steps=steps,
    )


def score_over_time(
    net, config: Experiment, data: Any, steps: int, every: int, plot: Path
) -> dict[str, float]:
    """Return the accuracy by the time seen, ``{"100": 0.3, ...}`` in ms, and draw it to a file."""
    aim = objective_for(data, config.recipe)
    if not isinstance(aim, Classification):
        raise ConfigError(
            f"this run on {config.source} answers with {aim.kind or config.recipe.target}, not "
            "with a class for each sample, so that no answer could come early; remove --over-time"
        )
    names = ("readout", "mask_padding", "batch_size", "check_finite")
    rules: dict[str, Any] = {name: getattr(config.recipe, name) for name in names}
    found = accuracy_over_time(net, data, every=every, **rules, steps=steps)
    ms = [step * data.dt for step in found.steps]
    if plotting := run_folder.plotting():
        plotting.save(plotting.accuracy_over_time(ms, found.accuracy), plot)
    return {f"{time:g}": accuracy for time, accuracy in zip(ms, found.accuracy, strict=True)}


def _asked(trainer: Trainer, data: Any, target: int) -> str:
    """What the first sample is and what the network answers to it."""
    answer = int(_answers(trainer, View(data, np.asarray([0])))[0].found.argmax())
    return f"true class {data.classes[target]!r}, answer {data.classes[answer]!r}"


def _plot(out: Path, trainer: Trainer, data: Any, place: Place) -> None:
    net, plotting = trainer.net, run_folder.plotting()
    if plotting is None:
        if not place.quiet:
            place.console.print(
                "no plots: matplotlib is missing (pip install 'snnsim[viz]')", markup=False
            )
        return
    folder = out / "plots"
    metric = trainer.objective.metric
    best = trainer.position.best_epoch
    plotting.save(plotting.curves(trainer.rows, metric, best), folder / "curves.png")
    batch = data.batch([0])
    kind = trainer.objective.kind
    target = int(batch.target[0]) if kind == CLASS else None
    title = "" if target is None else _asked(trainer, data, target)
    if kind in plotting.ANSWERS:
        found = _answers(trainer, View(data, np.arange(min(len(data), DRAWN))))
        figure = plotting.answers(kind, found, data.classes, data.dt)
        plotting.save(figure, folder / "answers.png")
    if not isinstance(net, RateNetwork):  # it has no spikes
        x = batch.x.to(trainer.device)
        named: Any = {"classes": data.classes, "target": target} if kind == CLASS else {}
        figure = plotting.raster(net, x, data.dt, title, **named)
        plotting.save(figure, folder / "raster.png")
    before, _ = checkpoint.load(out / "initial.safetensors")
    histogram = plotting.delay_histogram(net, checkpoint.without_prefix("net", before))
    if histogram is not None:
        plotting.save(histogram, folder / "delays.png")
