"""The trainer of a stream of tasks."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snnsim import checkpoint
from snnsim.continual import metrics
from snnsim.continual.learner import Learner
from snnsim.continual.method import Method, options_of, under_todays_names
from snnsim.continual.watcher import ContinualWatcher, WeightsOfTasks
from snnsim.data import Augmentation, Batch
from snnsim.data.augmentation.options import CUTMIX
from snnsim.errors import ConfigError
from snnsim.layer import start_training
from snnsim.synapses.delayed import delayed_layers
from snnsim.training import distributed
from snnsim.training.loop import Loop, Position
from snnsim.training.optimizers import Optimizers
from snnsim.training.recipe import GENERATING, OF_ONE_TASK, Recipe, task_recipe
from snnsim.training.rules.online import online_gradients
from snnsim.training.start import start_from
from snnsim.training.step import Part


def ContinualRecipe(**options: Any) -> Recipe:
    """Call :func:`snnsim.training.task_recipe` by its former name, for one more release."""
    warnings.warn(
        "ContinualRecipe is now snnsim.training.task_recipe, and what it makes a Recipe; the old "
        "name works for one more release",
        FutureWarning,
        stacklevel=2,
    )
    return task_recipe(**options)


class ContinualTrainer(Loop):
    """Trains a learner on one task after the other by a method, and tests it on all.

    Args:
        learner: the network and its heads.
        method: the method, see :class:`snnsim.continual.Method`.
        recipe: hyper-parameters of each task, such as :func:`snnsim.training.task_recipe` makes.
        out: folder for ``last.safetensors`` and, if the recipe has ``keep_weights``, for the files
            of ``weights`` (see :class:`snnsim.continual.WeightsOfTasks`); ``None`` writes nothing.
        seed: seed of the order of samples.
        device: the device to compute on.
        watcher: an object that is told of every step and task.
        augmentation: how training samples are changed at random in every epoch; ``None`` leaves
            them as they are. What a method does with the training data by itself, such as replay,
            it does with samples as they are.
    """

    part = "learner"
    defaults = task_recipe().as_json()

    def __init__(
        self,
        learner: Learner,
        method: Method,
        recipe: Recipe,
        *,
        out: Path | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
        watcher: ContinualWatcher | None = None,
        augmentation: Augmentation | None = None,
    ):
        super().__init__(
            learner.to(device), recipe, out=out, seed=seed, device=device,
            watcher=watcher or ContinualWatcher(), augmentation=augmentation,
        )  # fmt: skip
        self.learner, self.method, self.stream = learner, method, learner.stream
        count = len(self.stream)
        self.matrix = np.zeros((count, count))
        self.untrained = np.zeros(count)
        self.seconds = [0.0] * count
        folder = None if out is None else out / "weights"
        self.kept = WeightsOfTasks(learner, method, folder) if recipe.keep_weights else None
        if recipe.start_from:
            start_from(learner, recipe.start_from)
        try:
            method.attach(learner, recipe.plain)
            self._check_recipe()
            self._check_augmentation()
        except BaseException:
            method.detach()
            raise

    def _check_augmentation(self) -> None:
        if self.augmentation.mix == CUTMIX:
            raise ConfigError(
                f"augmentation.mix is {CUTMIX!r}, but methods of continual learning need samples "
                "of one class each; leave it out, or take mix='same'"
            )
        self._augmented(self.stream.tasks[0].train)  # refuses what the data do not allow

    def _check_recipe(self) -> None:
        recipe, plain = self.recipe, task_recipe()
        self._check_until()
        for name in (*OF_ONE_TASK, *GENERATING):
            if getattr(recipe, name) != getattr(plain, name):
                raise ConfigError(
                    f"{name}={getattr(recipe, name)} is for training on one data set, and a stream "
                    "of tasks has several; leave it out"
                )
        if recipe.lr_delay is not None and not any(delayed_layers(self.learner)):
            raise ConfigError(
                f"lr_delay={recipe.lr_delay:g}, but the network has no delays; leave it out"
            )
        for name in ("until", "patience"):
            value = getattr(recipe, name)
            if value and not all(t.validation and len(t.validation) for t in self.stream.tasks):
                raise ConfigError(
                    f"{name}={value} compares accuracy on validation data, which the tasks of "
                    f"{self.stream.name} do not have"
                )
            if value and self.learner.answer is not None:
                raise ConfigError(
                    f"{name}={value} tests within a task, but {type(self.method).__name__} answers "
                    f"only after it; use {name}=0"
                )

    def run(self) -> dict[str, Any]:
        """Train to the end, and return the summary."""
        distributed.broadcast(self.learner)
        if self.position == Position():
            self.untrained = np.array(self._test(0))
        while self.position.task < len(self.stream):
            self._run_task()
        return self.summary()

    def _run_task(self) -> None:
        task = self.position.task
        if not self.position.begun:
            distributed.same_random_numbers(self.device)
            self.method.on_task_start(task)
            self.optimizers = None
        optimizers = self._ready()
        data = self.method.training_data(task)
        self.watcher.task_started(task, self._steps(data) * self.recipe.epochs)
        if self._done():  # before an interruption
            start_training(self.learner)
            self.method.on_epoch_start(task)
        while not self._done():
            self._run_epoch(data)
            self._next_epoch(**self._validated())
            self.save()
        optimizers.narrow_to(self.recipe.epochs)
        self._check_weights()
        began = time.monotonic()
        distributed.same_random_numbers(self.device)
        self.method.on_task_end(task)
        self.seconds[task] = self.position.seconds + time.monotonic() - began
        self.matrix[task] = self._test(task)
        self.watcher.tested(task, self.matrix[task].tolist())
        self._keep_weights(task)
        self.position, self.optimizers = Position(task=task + 1), None
        self.save()

    def _keep_weights(self, task: int) -> None:
        if self.kept is not None and (self.out is None or self._announce_writing()):
            self.kept.tested(task, self.matrix[task].tolist())

    def _done(self) -> bool:
        return self.position.stopped or self.position.epoch >= self.recipe.epochs

    def _validated(self) -> dict[str, Any]:
        if not (self.recipe.until or self.recipe.patience):
            return {}
        held = self.stream.tasks[self.position.task].validation
        assert held is not None  # or the trainer would have been refused
        right = self.learner.correct(held, self.position.task)
        return self._judge(right / len(held), 0.0)

    # --- what the loop asks ----------------------------------------------------------------------

    def _made_optimizers(self) -> Optimizers:
        task = self.position.task
        among = self.method.parameters(task).values()
        recipe = self.recipe.of_task(task)
        return Optimizers(self.learner, recipe, among, narrow=task == 0)

    def _key(self) -> tuple[int, ...]:
        return (self.seed, self.position.task, self.position.epoch)

    def _where(self) -> str:
        here = self.position
        return f"in task {here.task}, epoch {here.epoch}, step {here.step}"

    @property
    def _body(self) -> nn.Module:
        return self.learner.body

    def _begin_epoch(self, steps: int) -> None:
        self.method.on_epoch_start(self.position.task)

    def _begin_step(self, step: int, steps: int) -> None:
        here = self.position
        self.method.on_step_start(here.task, here.epoch * steps + step, steps * self.recipe.epochs)

    def _gradients_ready(self) -> None:
        self.method.on_gradients(self.position.task)

    def _weights_changed(self) -> None:
        self.method.on_step_end(self.position.task)

    def _end_step(self, step: int, steps: int, loss: float) -> None:
        here = self.position
        self.watcher.step_done(here.task, here.epoch * steps + step + 1, loss)

    def _measure(
        self, batch: Batch, mine: np.ndarray, extra: dict[str, Tensor], whole: int
    ) -> Part:
        """The method's loss of a process's samples, which are a part of the joint batch."""
        task, learner, fraction = self.position.task, self.learner, len(mine) / whole
        self.method.on_batch(batch, task)
        if learner.learning == "ottt":  # takes the gradient of the entropies itself
            scores, taken = None, self._online(batch, fraction)
            loss = self.method.loss(taken.new_zeros(()), batch, None, task, mine)
        else:
            scores, taken = learner.scores(batch.x, task, batch.lengths), torch.zeros(())
            ce = _entropies(scores, batch).sum()
            loss = self.method.loss(ce, batch, scores, task, mine)
            if len(mine):  # means over samples
                loss = loss + sum(extra.values())
        mean = fraction * loss
        return Part(mean, whole * float(mean.detach() + taken))

    def _online(self, batch: Batch, fraction: float) -> Tensor:
        """Gradients of the entropies at every step; returns their mean, times the fraction."""
        task, learner = self.position.task, self.learner
        head, classes = learner.head(task), learner.classes(task)
        lengths = learner.within(batch.x, batch.lengths)

        def entropies(y: Tensor) -> Tensor:
            return fraction * _entropies(y[..., :classes], batch)

        return online_gradients(learner.body, head, batch.x, entropies, lengths)[1]

    # --- results and checkpoints -----------------------------------------------------------------

    def _test(self, after: int) -> list[float]:
        return [self.learner.accuracy(task, after) for task in range(len(self.stream))]

    def summary(self) -> dict[str, Any]:
        """Return the results so far, fractions in percent: the content of ``summary.json``."""
        done = self.position.task
        matrix = self.matrix[:done, :done]
        transfers = self.stream.scenario == "domain"  # else nothing has trained a task's outputs
        fwt = 100 * metrics.forward_transfer(matrix, self.untrained[:done]) if transfers else None
        return {
            "acc": 100 * metrics.average_accuracy(matrix) if done else None,
            "bwt": 100 * metrics.backward_transfer(matrix),
            "fwt": fwt,
            "forgetting": 100 * metrics.forgetting(matrix),
            "matrix": (100 * self.matrix[:done]).tolist(),
            "memory_bytes": self.method.memory_bytes(),
            "seconds_per_task": self.seconds[:done],
            "parameters": sum(p.numel() for p in self.learner.parameters()),
            "tasks": [task.name for task in self.stream.tasks],
            "scenario": self.stream.scenario,
            "seed": self.seed,
        }

    def _identity(self) -> dict[str, Any]:
        stream = [self.stream.name, self.stream.scenario, *(t.name for t in self.stream.tasks)]
        options = options_of(self.method)
        return {
            "method": type(self.method).__name__,
            "method's options": options,
            "stream": stream,
            "augmentation": self.augmentation.as_json(),
        }

    def _check_identity(self, path: Path, values: dict[str, Any]) -> None:
        if "method's options" in values:
            options = under_todays_names(self.method, values["method's options"])
            values = values | {"method's options": options}
        super()._check_identity(path, values)

    def _memory(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = checkpoint.prefixed("method", self.method.tensors())
        tensors["matrix"] = torch.from_numpy(self.matrix)
        tensors["untrained"] = torch.from_numpy(self.untrained)
        return tensors, {"seconds": self.seconds}

    def _restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self.method.load(checkpoint.without_prefix("method", tensors))
        self.seconds = values["seconds"]
        self.matrix = tensors["matrix"].numpy().copy()
        self.untrained = tensors["untrained"].numpy().copy()
        self.optimizers = None
        self._check_restored()

    def _check_restored(self) -> None:
        """Raise ``ValueError`` for a place at which no training can stand."""
        here, count = self.position, len(self.stream)
        inside = 0 <= here.task < count
        if not 0 <= here.task <= count or (here.seconds and not here.begun):
            raise ValueError(f"no training stands at {here}")
        self._check_position(self._steps(self.stream.tasks[here.task].train) if inside else 0)
        sizes = (self.matrix.shape, self.untrained.shape, np.shape(self.seconds))
        if sizes != ((count, count), (count,), (count,)):
            raise ValueError(f"its results are of {self.matrix.shape[0]} tasks and not {count}")


def _entropies(scores: Tensor, batch: Batch) -> Tensor:
    """Of each sample, divided by their number."""
    each = nn.functional.cross_entropy(scores, batch.target, reduction="none")
    return each / max(len(batch.target), 1)
