"""The trainer of one task."""

from __future__ import annotations

import itertools
import json
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snnsim import checkpoint
from snnsim.data import Augmentation, Batch, Sequences, describe
from snnsim.data.augmentation.options import CUTMIX
from snnsim.errors import CheckpointError, ConfigError, short
from snnsim.functional.readouts import fractions
from snnsim.saving import Spec
from snnsim.sparsity import add_masks, check_synapses, masked_in, sparsify
from snnsim.training import distributed
from snnsim.training.calibration import calibrate
from snnsim.training.evaluate import answers, evaluate, run_padded
from snnsim.training.loop import Loop, set_seed
from snnsim.training.next_step import objective_of
from snnsim.training.objectives import Classification, Custom, Objective, as_objective
from snnsim.training.optimizers import Optimizers
from snnsim.training.recipe import CLASS, Recipe
from snnsim.training.repeated import repeated
from snnsim.training.start import start_from
from snnsim.training.step import Part

# of the metrics, besides the objective's own
ROW = ("train_loss", "validation_loss", "firing_rate", "lr", "sigma", "seconds")


class Watcher:
    """A watcher is told what the training loop does; this one ignores everything.

    ``writing`` is called before every checkpoint and may raise an error to stop it. ``row`` is one
    row of the metrics.
    """

    def writing(self) -> None: ...

    def epoch_started(self, epoch: int, steps: int) -> None: ...

    def step_done(self, epoch: int, step: int, loss: float) -> None: ...

    def epoch_ended(self, row: dict[str, Any]) -> None: ...


class Trainer(Loop):
    """A trainer trains a network on a data set and keeps the weights of the best validation score.

    An interrupted training can be resumed, bit for bit.

    Args:
        net: the network, on ``device``.
        train, validation: data sets, see :class:`snnsim.data.Sequences`.
        recipe: the hyper-parameters.
        objective: what training minimises: an :class:`Objective`, such as ``Regression()``, or a
            function from outputs and batch to a loss; with ``None``, that of the recipe's target
            and read-out. It also gives the score by which the best epoch is chosen.
        out: the folder for ``last.safetensors``, ``best.safetensors`` and ``metrics.jsonl``; with
            ``None`` nothing is kept.
        seed: the seed of the order of samples, 0 or more; it also seeds dropout at the start.
        device: the device on which to compute.
        watcher: an object that is told of every step and epoch.
        augmentation: how training samples are changed at random in every epoch; ``None`` leaves
            them as they are. Validation samples are never changed.

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

    optimizers: Optimizers

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
        augmentation: Augmentation | None = None,
    ):
        super().__init__(
            net, recipe, out=out, seed=seed, device=device, watcher=watcher or Watcher(),
            augmentation=augmentation,
        )  # fmt: skip
        self.train, self.validation = train, validation
        self.objective = self._chosen(objective)
        self._check_until()
        self._check_mixed()
        self._augmented(self._shown())  # refuses what the data do not allow before training
        if recipe.prunes:
            check_synapses(net)
        self.optimizers = Optimizers(net, recipe)
        self.rows: list[dict[str, Any]] = []
        self.steps = int(np.max(train.lengths))  # what evaluation pads to
        self._spec = None if out is None else _spec_of(net)
        set_seed(seed)

    def _chosen(self, given: Any) -> Objective:
        """The objective that is given, or that of the recipe."""
        if given is None:
            return objective_of(self.recipe)
        if self.recipe.target != CLASS:
            raise ConfigError(
                f"the recipe's target is {self.recipe.target!r} and an objective is given as well; "
                "give one of them"
            )
        return as_objective(given, self.recipe.readout, self.recipe.mask_padding)

    def _check_mixed(self) -> None:
        """Refuse mixed classes where the objective compares with something else."""
        if self.augmentation.mix == CUTMIX and not isinstance(
            self.objective, Classification | Custom
        ):
            raise ConfigError(
                f"augmentation.mix is {CUTMIX!r}, which mixes classes, but the objective is "
                f"{self.objective.name}; leave it out, or take mix='same'"
            )

    def run(self) -> list[dict[str, Any]]:
        """Train to the end and return the rows of the metrics, one per epoch.

        Raises:
            NonFiniteError: if an input, the loss, a gradient or a weight becomes NaN or infinite.
        """
        if self.recipe.start_from and not self.position.begun:
            start_from(self.net, self.recipe.start_from)
        distributed.broadcast(self.net)
        while self.position.epoch < self.recipe.epochs and not self.position.stopped:
            self._prune()
            self._run_epoch(self._shown())
            self._end_epoch()
        return self.rows

    def _prune(self) -> None:
        """Cut synapses if the epoch that begins is the first one without them."""
        here, recipe = self.position, self.recipe
        if recipe.prunes and (here.epoch, here.step) == (recipe.prune_at, 0):
            sparsify(self.net, recipe.density, recipe.prune_way, self.seed, per="network")

    def _shown(self) -> Sequences:
        """The training samples of this epoch, as many as there are, some of them repeated."""
        recipe, epoch = self.recipe, self.position.epoch
        if not recipe.repeat:
            return self.train
        return repeated(self.train, recipe.repeat, recipe.repeat_fraction, self.seed, epoch)

    def _begin_epoch(self, steps: int) -> None:
        self.watcher.epoch_started(self.position.epoch, steps)

    def _end_step(self, step: int, steps: int, loss: float) -> None:
        self.watcher.step_done(self.position.epoch, step, loss)

    def _measure(
        self, batch: Batch, mine: np.ndarray, extra: dict[str, Tensor], whole: int
    ) -> Part:
        batch = self.objective.posed(batch)
        y, ends = run_padded(self.net, batch.x, batch.lengths, self.objective.mask_padding)
        loss, score = self.objective.measure(y, batch, ends)
        penalty = self.objective.penalty(self.net, batch)
        if penalty is not None:
            loss = loss + penalty
        for value in extra.values() if len(mine) else ():  # means over samples
            loss = loss + len(mine) * value
        return Part(loss / whole, float(loss.detach()), score)

    def _end_epoch(self) -> None:
        self._check_weights()
        here, recipe = self.position, self.recipe
        began = time.monotonic()
        scores = evaluate(
            self.net,
            self.validation,
            objective=self.objective,
            batch_size=recipe.batch_size,
            steps=self.steps,
            check_finite=recipe.check_finite,
        )
        row = {
            "epoch": here.epoch,
            "train_loss": here.loss / here.samples,
            f"train_{scores.metric}": here.score / here.samples,
            "validation_loss": scores.loss,
            f"validation_{scores.metric}": scores.score,
            "firing_rate": scores.firing_rate,
            "lr": self.optimizers.main.param_groups[0]["lr"],
            "sigma": [float(c.sigma.detach()) for c in self.optimizers.connections],
            "seconds": here.seconds + time.monotonic() - began,
        }
        judged = self._judge(scores.score, scores.loss)
        self._next_epoch(seconds=0.0, **judged)
        self.rows.append(row)
        self._write_epoch(better="best_epoch" in judged)
        self.watcher.epoch_ended(row)

    def _write_epoch(self, better: bool) -> None:
        """Best weights, then metrics, then the position: a kill in between repeats the epoch."""
        if not self._announce_writing():
            return
        assert self.out is not None
        if better:
            checkpoint.save(self.out / "best.safetensors", *self._network())
        lines = "".join(json.dumps(row) + "\n" for row in self.rows)
        checkpoint.write_text(self.out / "metrics.jsonl", lines)
        self.save()

    def _network(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The network as :func:`snnsim.load` reads it, or its weights where it cannot be made."""
        epoch, recipe = self.position.best_epoch, self.recipe.as_json()
        values: dict[str, Any] = {"epoch": epoch, "steps": self.steps, "seed": self.seed}
        values["recipe"] = recipe
        if self._spec is None:
            return checkpoint.prefixed("net", self.net.state_dict()), values
        return self._spec.tensors(self.net), values | self._spec.values(self.net, self._about())

    def _about(self) -> dict[str, Any]:
        """What whoever uses the network has to know of the data, and of how it is read out."""
        about, recipe = describe(self.train), self.recipe
        return {
            "classes": list(about.classes),
            "channels": about.channels,
            "dt": about.dt,
            "encoder": about.encoder,
            "steps": self.steps,
            "readout": recipe.readout,
            "mask_padding": self.objective.mask_padding,
            "target": recipe.target,
            "kind": self.objective.kind,
            "batch_size": recipe.batch_size,
        }

    # --- going on --------------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        return {"objective": self.objective.name, "augmentation": self.augmentation.as_json()}

    def _memory(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {}, {"steps": self.steps}

    def _allow_longer(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        if before["epochs"] < now["epochs"]:
            before["epochs"] = now["epochs"]

    def _restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self._check_restored()
        longer = values["recipe"]["epochs"] < self.recipe.epochs
        if longer:  # what had been enough is not any more
            self.position = replace(self.position, stopped=False)
        self.rows = self._kept_rows()

    def _check_restored(self) -> None:
        """Raise ``ValueError`` for a place at which no training can stand."""
        here, samples = self.position, len(self.train)
        self._check_position(self._steps(self.train))
        seen = min(here.step * self.recipe.batch_size, samples)
        if here.step == 0 and (here.loss, here.seconds) != (0.0, 0.0):
            raise ValueError(f"before an epoch's first step nothing can have been summed: {here}")
        if here.samples != seen or not self.objective.possible(here.score, seen):
            raise ValueError(f"{here.samples} samples cannot have been seen by {here}")
        best = self.objective.possible(here.best_score, 1) and 0 <= here.best_epoch < here.epoch
        if here.epoch and not (best and math.isfinite(here.best_loss)):
            raise ValueError(f"no epoch can have been the best of {here}")

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

    def calibrate(self) -> float | None:
        """Fit the temperature of the network's probabilities to the validation data.

        Call it after :meth:`load_best`. With an output folder, the temperature is also written to
        ``best.safetensors``, as ``about["temperature"]``; weights stay as they are.

        Returns:
            The temperature, see :func:`snnsim.training.calibrate`; ``None`` where the network does
            not answer with a class for each sample.
        """
        aim = self.objective
        if not isinstance(aim, Classification):
            return None
        found = answers(
            self.net,
            self.validation,
            objective=aim,
            batch_size=self.recipe.batch_size,
            steps=self.steps,
            check_finite=self.recipe.check_finite,
        )
        scores = torch.stack([each.found for each in found])
        labels = torch.stack([each.target for each in found])
        temperature = calibrate(fractions(aim.readout, scores), labels)
        self._keep(temperature)
        return temperature

    def _keep(self, temperature: float) -> None:
        """Write the temperature beside the best weights, unless it is there already."""
        if self.out is None or distributed.rank() != 0:
            return
        path = self.out / "best.safetensors"
        tensors, values = checkpoint.load(path)
        about = values.get("about", {})
        if about.get("temperature") != temperature and self._announce_writing():
            told = {"about": about | {"temperature": temperature}}
            checkpoint.save(path, tensors, values | told)

    def load_best(self) -> None:
        """Load the best weights so far into the network."""
        assert self.out is not None
        path = self.out / "best.safetensors"
        tensors = checkpoint.without_prefix("net", checkpoint.load(path)[0])
        add_masks(self.net, masked_in(tensors))
        checkpoint.load_weights(self.net, tensors, path)


def _spec_of(net: nn.Module) -> Spec | None:
    """What a network is made of; ``None`` where it cannot be made again: it has weights only."""
    try:
        return Spec(net)
    except ConfigError:
        return None
    except Exception as error:  # of a constructor of one's own that is called once more
        warnings.warn(f"the run will have weights but no network: {error!r}", stacklevel=3)
        return None


def _checked_row(row: Any, metric: str) -> dict[str, Any]:
    """A row of the metrics; ``ValueError`` or ``KeyError`` if it is none."""
    if not isinstance(row, dict) or type(row["epoch"]) is not int or row["epoch"] < 0:
        raise ValueError("a row without an epoch")
    for name in (*ROW, f"train_{metric}", f"validation_{metric}"):
        for value in row[name] if name == "sigma" else [row[name]]:
            if type(value) not in (int, float) or not math.isfinite(value):
                raise ValueError(f"{name} of epoch {row['epoch']} is {short(value, 40)}")
    return row
