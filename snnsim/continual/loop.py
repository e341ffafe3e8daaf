"""Training over a stream of tasks."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.continual import metrics
from snnsim.continual.learner import Learner
from snnsim.continual.method import Method, options_of
from snnsim.data import Batch, Sequences
from snnsim.errors import (
    CheckpointError,
    ConfigError,
    NonFiniteError,
    check_choice,
    check_number,
    check_seed,
)
from snnsim.finite import first_not_finite
from snnsim.layer import start_training
from snnsim.synapses import narrow_delays
from snnsim.training import checkpoint, distributed, split_parameters
from snnsim.training.fit import epoch_order
from snnsim.training.recipe import Together
from snnsim.training.rules.online import online_gradients
from snnsim.training.schedules import cosine
from snnsim.training.step import JointStep, Part

OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True)
class ContinualRecipe:
    """How each task is trained; the optimiser and its schedule start afresh with every task.

    Attributes:
        epochs: passes over a task's data.
        batch_size: samples per step.
        lr: learning rate in the first task.
        later_lr: in the others; 0 means the same.
        optimizer: ``"sgd"`` or ``"adam"``.
        momentum: of SGD; Adam has its own.
        weight_decay: L2 penalty on weights; see :func:`snnsim.training.split_parameters`.
        schedule: ``"constant"``, or ``"cosine"`` over the epochs of a task.
        delay_lr: learning rate of delays, in steps; 0 means ``100 * lr``.
        sigma_end, sigma_share: the kernels of learnt delays narrow to this width, in steps, over
            this share of the first task; later tasks keep it.
        until: a task ends early, after the epoch in which this accuracy on its validation data is
            reached; 0 for never.
        checkpoint_steps: also store every so many steps within an epoch; 0: after epochs only.
        check_finite: whether every batch is searched for NaN and infinities.
    """

    epochs: int = 1
    batch_size: int = 64
    lr: float = 0.1
    later_lr: float = 0.0
    optimizer: str = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: str = "constant"
    delay_lr: float = 0.0
    sigma_end: float = 0.23
    sigma_share: float = 0.25
    until: float = 0.0
    checkpoint_steps: int = 0
    check_finite: bool = True

    def __post_init__(self) -> None:
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("schedule", self.schedule, SCHEDULES)
        for name in ("epochs", "batch_size"):
            check_number(name, getattr(self, name), 1)
        check_number("until", self.until, 0, 1)
        check_number("sigma_end", self.sigma_end, 0)
        check_number("sigma_share", self.sigma_share, 0, 1)
        check_number("lr", self.lr, above=0)
        for name in ("later_lr", "momentum", "weight_decay", "delay_lr", "checkpoint_steps"):
            check_number(name, getattr(self, name), 0)

    @property
    def plain(self) -> str:
        """``"sgd"`` where a projected gradient stays projected in the optimiser's step."""
        return f"{self.optimizer} with weight decay" if self.weight_decay else self.optimizer


@dataclass(frozen=True)
class Place:
    """Where a run over a stream stands."""

    task: int = 0
    epoch: int = 0
    step: int = 0
    started: bool = False  # whether the task has begun
    seconds: float = 0.0


class ContinualWatcher:
    """What the loop reports to; this one ignores everything.

    ``writing`` comes before every checkpoint, and may raise to stop it.
    """

    def writing(self) -> None: ...

    def task_started(self, task: int, steps: int) -> None: ...

    def step_done(self, task: int, step: int, loss: float) -> None: ...

    def tested(self, task: int, row: list[float]) -> None: ...


class ContinualTrainer:
    """Trains a learner on one task after the other by a method, and tests it on all.

    Args:
        learner: network and heads.
        method: see :class:`snnsim.continual.Method`.
        recipe: hyper-parameters.
        out: folder for ``last.safetensors`` and ``summary.json``; ``None`` keeps nothing.
        seed: of the order of samples.
        device: where to compute.
        watcher: is told of every step and task.
    """

    def __init__(
        self,
        learner: Learner,
        method: Method,
        recipe: ContinualRecipe,
        *,
        out: Path | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
        watcher: ContinualWatcher | None = None,
    ):
        self.learner, self.method, self.recipe = learner.to(device), method, recipe
        self.stream, self.out, self.seed = learner.stream, out, check_seed(seed)
        self.device, self.watcher = torch.device(device), watcher or ContinualWatcher()
        self.place = Place()
        count = len(self.stream)
        self.matrix = np.zeros((count, count))
        self.untrained = np.zeros(count)
        self.seconds = [0.0] * count
        self.optimizer: torch.optim.Optimizer | None = None
        method.attach(learner, recipe.plain)
        named = [name for name, _ in learner.named_parameters()]
        if recipe.delay_lr and not any(name.endswith("delay") for name in named):
            raise ConfigError(
                f"delay_lr={recipe.delay_lr:g}, but the network has no delays; leave it out"
            )
        if recipe.until and not all(t.validation and len(t.validation) for t in self.stream.tasks):
            raise ConfigError(
                f"until={recipe.until} compares accuracy on validation data, which the tasks of "
                f"{self.stream.name} do not have"
            )
        if recipe.until and learner.answer is not None:
            raise ConfigError(
                f"until={recipe.until} tests within a task, but {type(method).__name__} answers "
                "only after it; use until=0"
            )

    def run(self) -> dict[str, Any]:
        """Train to the end; returns the summary."""
        distributed.broadcast(self.learner)
        if self.place == Place():
            self.untrained = np.array(self._test(0))
        while self.place.task < len(self.stream):
            self._run_task()
        return self.summary()

    def _run_task(self) -> None:
        task = self.place.task
        if not self.place.started:
            distributed.same_random_numbers(self.device)
            self.method.begin_task(task)
            self.place = replace(self.place, started=True)
            self.optimizer = None
        if self.optimizer is None:
            self.optimizer = self._optimizer(task)
        data = self.method.training_data(task)
        steps = -(-len(data) // self.recipe.batch_size)
        self.watcher.task_started(task, steps * self.recipe.epochs)
        if self.place.epoch == self.recipe.epochs:  # all done before an interruption
            start_training(self.learner)
            self.method.enter(task)
        while self.place.epoch < self.recipe.epochs:
            self._run_epoch(data, steps)
        self._narrow(task, self.recipe.epochs)
        self._check_weights()
        began = time.monotonic()
        distributed.same_random_numbers(self.device)
        self.method.end_task(task)
        self.seconds[task] = self.place.seconds + time.monotonic() - began
        self.matrix[task] = self._test(task)
        self.watcher.tested(task, self.matrix[task].tolist())
        self.place = Place(task=task + 1)
        self.save()

    def _run_epoch(self, data: Sequences, steps: int) -> None:
        place, recipe = self.place, self.recipe
        self._set_rates(place.task, place.epoch)
        order = epoch_order(len(data), self.seed, place.task, place.epoch)
        start_training(self.learner)
        self.method.enter(place.task)
        for step in range(place.step, steps):
            began = time.monotonic()
            self._narrow(place.task, place.epoch + step / steps)
            self.method.begin_step(place.task, place.epoch * steps + step, steps * recipe.epochs)
            chosen = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            loss = self._step(data, chosen)
            seconds = self.place.seconds + time.monotonic() - began
            self.place = replace(self.place, step=step + 1, seconds=seconds)
            self.watcher.step_done(place.task, place.epoch * steps + step + 1, loss)
            if recipe.checkpoint_steps and (step + 1) % recipe.checkpoint_steps == 0:
                self.save()
        epochs = recipe.epochs if self._reached(place.task) else place.epoch + 1
        self.place = replace(self.place, epoch=epochs, step=0)
        self.save()

    def _narrow(self, task: int, epoch: float) -> None:
        """Widths of delay kernels: they fall in the first task and stay narrow."""
        recipe = self.recipe
        done = epoch if task == 0 else recipe.epochs
        narrow_delays(
            self.learner, done, recipe.epochs, end=recipe.sigma_end, fraction=recipe.sigma_share
        )

    def _fail(self, what: str, x: Tensor | None = None) -> NoReturn:
        advice = "" if what == "the input" else "; try a smaller learning rate"
        raise NonFiniteError(
            f"{what} is not finite in task {self.place.task}, epoch {self.place.epoch}, step "
            f"{self.place.step}{advice}"
        )

    def _check_weights(self) -> None:
        """Nothing that is not finite is tested or stored."""
        lost = first_not_finite(self.learner.state_dict().items())
        if lost is not None:
            self._fail(lost)

    def _reached(self, task: int) -> bool:
        if not self.recipe.until:
            return False
        held = self.stream.tasks[task].validation
        assert held is not None  # or the trainer would have been refused
        right = self.learner.correct(held, task)
        return right >= self.recipe.until * len(held)

    def _step(self, data: Sequences, chosen: np.ndarray) -> float:
        task, method, recipe = self.place.task, self.method, self.recipe
        assert self.optimizer is not None
        joint = JointStep(self.learner, self.device, self._fail, check_finite=recipe.check_finite)
        measure = partial(self._measure, share=len(distributed.share(chosen)) / len(chosen))
        optimizer = Together(self.learner, [self.optimizer])
        loss, _ = joint(
            data, chosen, measure, optimizer, after_backward=lambda: method.after_backward(task)
        )
        method.after_step(task)
        return loss

    def _measure(
        self, batch: Batch, mine: np.ndarray, extra: dict[str, Tensor], share: float
    ) -> Part:
        """The method's loss of a process's samples, which are a share of the joint batch."""
        task, learner = self.place.task, self.learner
        self.method.before_step(batch, task)
        if learner.learning == "ottt":  # takes the gradient of the entropies itself
            scores, taken = None, self._online(batch, share)
            loss = self.method.loss(taken.new_zeros(()), batch, None, task, mine)
        else:
            scores, taken = learner.scores(batch.x, task, batch.lengths), torch.zeros(())
            ce = _entropies(scores, batch).sum()
            loss = self.method.loss(ce, batch, scores, task, mine)
            if len(mine):  # means over samples
                loss = loss + sum(extra.values())
        mean = share * loss
        return Part(mean, float(mean.detach() + taken))

    def _online(self, batch: Batch, share: float) -> Tensor:
        """Gradients of the entropies at every step; returns their mean, times the share."""
        task, learner = self.place.task, self.learner
        head, classes = learner.head(task), learner.classes(task)
        within = learner.within(batch.x, batch.lengths)

        def entropies(y: Tensor) -> Tensor:
            return share * _entropies(y[..., :classes], batch)

        return online_gradients(learner.body, head, batch.x, entropies, within)[1]

    def _optimizer(self, task: int) -> torch.optim.Optimizer:
        undecayed = {id(p) for p in split_parameters(self.learner)[1]}
        weights: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        delays: list[nn.Parameter] = []
        for name, parameter in self.method.parameters(task).items():
            if name.endswith("delay"):
                delays.append(parameter)
            else:
                (plain if id(parameter) in undecayed else weights).append(parameter)
        groups: list[dict[str, Any]] = [
            {"params": weights, "scale": 1.0},
            {"params": plain, "scale": 1.0, "weight_decay": 0.0},
        ]
        if delays:
            scale = (self.recipe.delay_lr or 100 * self.recipe.lr) / self.recipe.lr
            groups.append({"params": delays, "scale": scale, "weight_decay": 0.0})
        recipe = self.recipe
        if recipe.optimizer == "adam":
            return torch.optim.Adam(groups, lr=recipe.lr, weight_decay=recipe.weight_decay)
        return torch.optim.SGD(
            groups, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )

    def _set_rates(self, task: int, epoch: int) -> None:
        recipe = self.recipe
        rate = recipe.later_lr if task and recipe.later_lr else recipe.lr
        if recipe.schedule == "cosine":
            rate = cosine(epoch, recipe.epochs, rate)
        assert self.optimizer is not None
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]

    def _test(self, after: int) -> list[float]:
        return [self.learner.accuracy(task, after) for task in range(len(self.stream))]

    def summary(self) -> dict[str, Any]:
        """Results so far, in percent where they are shares; the content of ``summary.json``."""
        done = self.place.task
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

    def save(self) -> None:
        """Store everything a resumption needs, if there is a folder."""
        if self.out is None or distributed.rank() != 0:
            return
        getattr(self.watcher, "writing", ContinualWatcher().writing)()  # some of old have none
        tensors = checkpoint.prefixed("learner", self.learner.state_dict())
        tensors |= checkpoint.prefixed("method", self.method.tensors())
        if self.optimizer is not None and self.place.started:
            named = checkpoint.optimizer_tensors(self.optimizer)
            tensors |= checkpoint.prefixed("optimizer", _only_tensors(named))
        tensors |= checkpoint.prefixed("random", checkpoint.random_state(self.device))
        tensors["matrix"] = torch.from_numpy(self.matrix)
        tensors["untrained"] = torch.from_numpy(self.untrained)
        values = {
            "place": asdict(self.place),
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "seconds": self.seconds,
            **self._identity(),
        }
        checkpoint.save(self.out / "last.safetensors", tensors, values)

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint can only be continued with."""
        stream = [self.stream.name, self.stream.scenario, *(t.name for t in self.stream.tasks)]
        options = options_of(self.method)
        return {"method": type(self.method).__name__, "method's options": options, "stream": stream}

    def resume(self) -> bool:
        """Continue from ``last.safetensors``; false if there is none yet."""
        assert self.out is not None
        path = self.out / "last.safetensors"
        if not path.is_file():
            return False
        tensors, values = checkpoint.load(path)
        with checkpoint.reading(path):
            self._continue_from(path, tensors, values)
        return True

    def _continue_from(self, path: Path, tensors: dict[str, Tensor], values: Any) -> None:
        mine = {"recipe": asdict(self.recipe), "seed": self.seed, **self._identity()}
        for what, value in mine.items():
            if values.get(what) != value:
                raise CheckpointError(
                    f"{path} was written with another {what}: {values.get(what)} and not {value}; "
                    "resume with the same, or use a new folder"
                )
        checkpoint.load_weights(self.learner, checkpoint.without_prefix("learner", tensors), path)
        self.method.load(checkpoint.without_prefix("method", tensors))
        self.place, self.seconds = checkpoint.record(Place, values["place"]), values["seconds"]
        self.matrix = tensors["matrix"].numpy().copy()
        self.untrained = tensors["untrained"].numpy().copy()
        if self.place.started:
            self.optimizer = self._optimizer(self.place.task)
            named = checkpoint.without_prefix("optimizer", tensors)
            checkpoint.load_optimizer(self.optimizer, named)
        self._check_place()
        checkpoint.set_random_state(checkpoint.without_prefix("random", tensors), self.device)

    def _steps_of(self, task: int) -> int:
        """Steps of an epoch of a task; 0 after the last."""
        size = len(self.stream.tasks[task].train) if task < len(self.stream) else 0
        return -(-size // self.recipe.batch_size)

    def _check_place(self) -> None:
        """Raise ``ValueError`` for a place at which no training can stand."""
        here, count = self.place, len(self.stream)
        inside = 0 <= here.task <= count and 0 <= here.epoch <= self.recipe.epochs
        begun = (here.epoch, here.step, here.seconds) != (0, 0, 0.0)
        possible = inside and here.step >= 0 and 0 <= here.seconds < math.inf
        if not possible or (begun and not here.started) or here.step > self._steps_of(here.task):
            raise ValueError(f"no training stands at {here}")
        sizes = (self.matrix.shape, self.untrained.shape, np.shape(self.seconds))
        if sizes != ((count, count), (count,), (count,)):
            raise ValueError(f"its results are of {self.matrix.shape[0]} tasks and not {count}")


def _entropies(scores: Tensor, batch: Batch) -> Tensor:
    """Of each sample, divided by their number."""
    each = nn.functional.cross_entropy(scores, batch.target, reduction="none")
    return each / max(len(batch.target), 1)


def _only_tensors(named: dict[str, Any]) -> dict[str, Tensor]:
    return {key: value for key, value in named.items() if isinstance(value, Tensor)}
