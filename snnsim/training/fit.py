"""The training loop."""

from __future__ import annotations

import itertools
import json
import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.data import Batch, Sequences
from snnsim.errors import CheckpointError, NonFiniteError, check_seed, short
from snnsim.finite import first_not_finite
from snnsim.layer import start_training
from snnsim.training import checkpoint, distributed
from snnsim.training.evaluate import evaluate, run_padded
from snnsim.training.finite import first_culprit
from snnsim.training.objectives import Objective, as_objective
from snnsim.training.recipe import Optimizers, Recipe
from snnsim.training.step import JointStep, Part

# of the metrics, besides the objective's own
ROW = ("train_loss", "validation_loss", "firing_rate", "lr", "sigma", "seconds")


class Watcher:
    """What the loop reports to; this one ignores everything. ``row`` is a line of the metrics.

    ``writing`` comes before every checkpoint, and may raise to stop it.
    """

    def writing(self) -> None: ...

    def epoch_started(self, epoch: int, steps: int) -> None: ...

    def step_done(self, epoch: int, step: int, loss: float) -> None: ...

    def epoch_ended(self, row: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Position:
    """Where training stands: all of it that is neither tensor nor a function of the epoch."""

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    score: float = 0.0
    samples: int = 0
    seconds: float = 0.0
    best_score: float = -1.0
    best_loss: float = float("inf")
    best_epoch: int = -1
    stopped: bool = False


def set_seed(seed: int) -> None:
    """Seed every random generator that training uses."""
    torch.manual_seed(check_seed(seed))


def epoch_order(samples: int, *key: int) -> np.ndarray:
    """The order of the training samples: a function of seed, task (if any) and epoch alone."""
    return np.random.default_rng(key).permutation(samples)


class Trainer:
    """Trains a network on a data set, keeps the best by its validation data, can be resumed.

    Args:
        net: the network, on ``device``.
        train, validation: data sets, see :class:`snnsim.data.Sequences`.
        recipe: hyper-parameters.
        objective: what is made small: an :class:`Objective`, such as ``Regression()``, or a
            function of outputs and batch to a loss; ``None``: classification by the recipe's
            read-out. It also gives the figure by which the best epoch is chosen.
        out: folder for ``last.safetensors``, ``best.safetensors`` and ``metrics.jsonl``;
            ``None`` keeps nothing.
        seed: of the order of samples; also seeds dropout at the start.
        device: where to compute.
        watcher: is told of every step and epoch.

    >>> from snnsim_datasets import load
    >>> from snnsim.networks import shd_network
    >>> set_seed(0)
    >>> net = shd_network(delays="none")
    >>> trainer = Trainer(net, load("spoken-digits", "train"), load("spoken-digits", "validation"),
    ...                   Recipe(epochs=1))
    >>> rows = trainer.run()
    >>> sorted(rows[0])[:3]
    ['epoch', 'firing_rate', 'lr']
    """

    def __init__(
        self,
        net: nn.Module,
        train: Sequences,
        validation: Sequences,
        recipe: Recipe,
        *,
        objective: Objective | Callable[[Tensor, Batch], Tensor] | None = None,
        out: Path | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
        watcher: Watcher | None = None,
    ):
        self.net, self.train, self.validation, self.recipe = net, train, validation, recipe
        self.out, self.seed, self.device = out, seed, torch.device(device)
        self.watcher = watcher or Watcher()
        self.objective = as_objective(objective, recipe.readout, recipe.mask_padding)
        self.optimizers = Optimizers(net, recipe)
        self.position = Position()
        self.rows: list[dict[str, Any]] = []
        self.steps = int(np.max(train.lengths))  # what evaluation pads to
        set_seed(seed)

    def run(self) -> list[dict[str, Any]]:
        """Train to the end; returns the rows of the metrics, one per epoch."""
        distributed.broadcast(self.net)
        while self.position.epoch < self.recipe.epochs and not self.position.stopped:
            self._run_epoch()
        return self.rows

    def resume(self) -> bool:
        """Continue from ``last.safetensors``; false if there is none yet."""
        assert self.out is not None
        path = self.out / "last.safetensors"
        if not path.is_file():
            return False
        tensors, values = checkpoint.load(path)
        with checkpoint.reading(path):
            self._continue_from(path, tensors, values)
        self.rows = self._kept_rows()
        return True

    def _continue_from(self, path: Path, tensors: dict[str, Tensor], values: Any) -> None:
        if values["recipe"] != asdict(self.recipe) or values["seed"] != self.seed:
            raise CheckpointError(
                f"{path} was written with another recipe or seed; resume with the same "
                "configuration, or train into a new folder"
            )
        if values.get("objective", self.objective.name) != self.objective.name:
            raise CheckpointError(
                f"{path} was written with the objective {short(values['objective'])} and not "
                f"{self.objective.name}; resume with the same, or train into a new folder"
            )
        checkpoint.load_weights(self.net, checkpoint.without_prefix("net", tensors), path)
        for i, optimizer in enumerate(self.optimizers.each):
            named = checkpoint.without_prefix(f"optimizer{i}", tensors)
            checkpoint.load_optimizer(optimizer, named)
        checkpoint.set_random_state(checkpoint.without_prefix("random", tensors), self.device)
        self.position = checkpoint.record(Position, _renamed(values["position"]))
        self._check_position()

    def _check_position(self) -> None:
        """Raise ``ValueError`` for a place at which no training can stand."""
        here, samples = self.position, len(self.train)
        steps = -(-samples // self.recipe.batch_size)
        seen = min(here.step * self.recipe.batch_size, samples)
        if not (0 <= here.epoch <= self.recipe.epochs and 0 <= here.step <= steps):
            raise ValueError(f"no training stands at {here}")
        if not (math.isfinite(here.loss) and 0 <= here.seconds < math.inf):
            raise ValueError(f"the loss {here.loss} or the seconds {here.seconds} are no numbers")
        if here.step == 0 and (here.loss, here.seconds) != (0.0, 0.0):
            raise ValueError(f"before an epoch's first step nothing can have been summed: {here}")
        if here.samples != seen or not self.objective.possible(here.score, seen):
            raise ValueError(f"{here.samples} samples cannot have been seen by {here}")
        best = self.objective.possible(here.best_score, 1) and 0 <= here.best_epoch < here.epoch
        if here.epoch and not (best and math.isfinite(here.best_loss)):
            raise ValueError(f"no epoch can have been the best of {here}")
        begun = here.epoch + here.step > 0
        if begun and any(not checkpoint.optimizer_tensors(o) for o in self.optimizers.each):
            raise ValueError("it has no state of the optimisers")

    def _run_epoch(self) -> None:
        epoch, recipe = self.position.epoch, self.recipe
        self.optimizers.start_epoch(epoch)
        order = epoch_order(len(self.train), self.seed, epoch)
        steps = -(-len(order) // recipe.batch_size)
        self.watcher.epoch_started(epoch, steps)
        start_training(self.net)
        for step in range(self.position.step, steps):
            began = time.monotonic()
            indices = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            self.optimizers.start_step(epoch, step, steps)
            loss, score = self._train_step(indices)
            self.position = replace(
                self.position,
                step=step + 1,
                loss=self.position.loss + loss,
                score=self.position.score + score,
                samples=self.position.samples + len(indices),
                seconds=self.position.seconds + time.monotonic() - began,
            )
            self.watcher.step_done(epoch, step, loss / len(indices))
            if recipe.checkpoint_steps and (step + 1) % recipe.checkpoint_steps == 0:
                self._save_last()
        self._end_epoch()

    def _train_step(self, indices: np.ndarray) -> tuple[float, float]:
        """One optimiser step on a joint batch; returns its summed loss and score."""

        def measure(batch: Batch, mine: np.ndarray, extra: dict[str, Tensor]) -> Part:
            y, ends = run_padded(self.net, batch.x, batch.lengths, self.objective.mask_padding)
            loss, score = self.objective.measure(y, batch, ends)
            for value in extra.values() if len(mine) else ():  # means over samples
                loss = loss + len(mine) * value
            return Part(loss / len(indices), float(loss.detach()), score)

        recipe = self.recipe
        joint = JointStep(
            self.net,
            self.device,
            self._fail,
            recipe.accumulate,
            recipe.precision,
            recipe.check_finite,
        )
        return joint(self.train, indices, measure, self.optimizers)

    def _fail(self, what: str, x: Tensor) -> NoReturn:
        raise NonFiniteError(
            f"{what} is not finite at epoch {self.position.epoch}, step {self.position.step}; "
            f"first not finite: {first_culprit(self.net, x)}. {self._last_good()}"
        )

    def _check_weights(self) -> None:
        """Nothing that is not finite is evaluated, stored or predicted from."""
        lost = first_not_finite(self._everything())
        if lost is not None:
            raise NonFiniteError(
                f"{lost} is not finite after step {self.position.step} of epoch "
                f"{self.position.epoch}. {self._last_good()}"
            )

    def _last_good(self) -> str:
        last = None if self.out is None else self.out / "last.safetensors"
        good = str(last) if last is not None and last.is_file() else "none yet"
        return f"Last good checkpoint: {good}. Try a smaller max_lr or lr_delay"

    def _everything(self) -> Iterator[tuple[str, Tensor]]:
        """Weights, buffers and the optimisers' memory, by name."""
        yield from checkpoint.prefixed("net", self.net.state_dict()).items()
        for i, optimizer in enumerate(self.optimizers.each):
            named = checkpoint.optimizer_tensors(optimizer)
            yield from checkpoint.prefixed(f"optimizer{i}", named).items()

    def _end_epoch(self) -> None:
        self._check_weights()
        position, recipe = self.position, self.recipe
        began = time.monotonic()
        scores = evaluate(
            self.net,
            self.validation,
            objective=self.objective,
            batch_size=recipe.batch_size,
            steps=self.steps,
            device=self.device,
            check_finite=recipe.check_finite,
        )
        row = {
            "epoch": position.epoch,
            "train_loss": position.loss / position.samples,
            f"train_{scores.metric}": position.score / position.samples,
            "validation_loss": scores.loss,
            f"validation_{scores.metric}": scores.score,
            "firing_rate": scores.firing_rate,
            "lr": self.optimizers.main.param_groups[0]["lr"],
            "sigma": [float(c.sigma.detach()) for c in self.optimizers.connections],
            "seconds": position.seconds + time.monotonic() - began,
        }
        best = (position.best_score, position.best_loss)
        better = position.best_epoch < 0 or self.objective.better(scores.score, scores.loss, best)
        if better:
            position = replace(
                position,
                best_score=scores.score,
                best_loss=scores.loss,
                best_epoch=position.epoch,
            )
        waited = position.epoch - position.best_epoch
        self.position = replace(
            position,
            epoch=position.epoch + 1,
            step=0,
            loss=0.0,
            score=0.0,
            samples=0,
            seconds=0.0,
            stopped=bool(recipe.patience) and waited >= recipe.patience,
        )
        self.rows.append(row)
        self._write_epoch(better)
        self.watcher.epoch_ended(row)

    def _write_epoch(self, better: bool) -> None:
        """Best weights, then metrics, then the position: a kill in between repeats the epoch."""
        if self.out is None or distributed.rank() != 0:
            return
        self._announce_writing()
        if better:
            values = {"epoch": self.position.best_epoch, "steps": self.steps}
            weights = checkpoint.prefixed("net", self.net.state_dict())
            checkpoint.save(self.out / "best.safetensors", weights, values)
        lines = "".join(json.dumps(row) + "\n" for row in self.rows)
        checkpoint.write_text(self.out / "metrics.jsonl", lines)
        self._save_last()

    def _announce_writing(self) -> None:
        getattr(self.watcher, "writing", Watcher().writing)()  # watchers of old have no such method

    def _save_last(self) -> None:
        if self.out is None or distributed.rank() != 0:
            return
        self._announce_writing()
        if self.position.step:  # the end of an epoch has been checked
            self._check_weights()
        tensors = dict(self._everything())
        tensors |= checkpoint.prefixed("random", checkpoint.random_state(self.device))
        values = {
            "position": asdict(self.position),
            "recipe": asdict(self.recipe),
            "objective": self.objective.name,
            "seed": self.seed,
            "steps": self.steps,
        }
        checkpoint.save(self.out / "last.safetensors", tensors, values)

    def _kept_rows(self) -> list[dict[str, Any]]:
        assert self.out is not None
        path = self.out / "metrics.jsonl"
        if not path.exists():
            self._say_lost(path, 0)
            return []
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            rows = [_checked_row(json.loads(line), self.objective.metric) for line in lines]
            kept = [row for row in rows if row["epoch"] < self.position.epoch]
            if any(a["epoch"] >= b["epoch"] for a, b in itertools.pairwise(rows)):
                raise ValueError("its epochs do not follow one another")
            self._say_lost(path, len(kept))
            return kept
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            raise CheckpointError(
                f"{path} is damaged ({error}); mend or delete it: the weights do not depend on it"
            ) from error

    def _say_lost(self, path: Path, kept: int) -> None:
        if kept < self.position.epoch:
            warnings.warn(
                f"{path} has {kept} rows of the {self.position.epoch} epochs so far: metrics of "
                "the others are lost, the weights are not",
                stacklevel=4,
            )

    def load_best(self) -> None:
        """Put the best weights so far into the network."""
        assert self.out is not None
        path = self.out / "best.safetensors"
        tensors, _ = checkpoint.load(path)
        checkpoint.load_weights(self.net, checkpoint.without_prefix("net", tensors), path)


def _renamed(position: Any) -> Any:
    """A position as it was stored when accuracy was the only score."""
    former = {"correct": "score", "best_accuracy": "best_score"}
    return {former.get(name, name): value for name, value in dict(position).items()}


def _checked_row(row: Any, metric: str) -> dict[str, Any]:
    """A row of the metrics; ``ValueError`` or ``KeyError`` if it is none."""
    if not isinstance(row, dict) or type(row["epoch"]) is not int or row["epoch"] < 0:
        raise ValueError("a row without an epoch")
    for name in (*ROW, f"train_{metric}", f"validation_{metric}"):
        for value in row[name] if name == "sigma" else [row[name]]:
            if type(value) not in (int, float) or not math.isfinite(value):
                raise ValueError(f"{name} of epoch {row['epoch']} is {short(value, 40)}")
    return row
