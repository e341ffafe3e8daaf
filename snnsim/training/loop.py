"""The training loop, the same for a single task and for every task of a stream."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from snnsim import checkpoint
from snnsim.data import Augmentation, Augmented, Batch, Sequences
from snnsim.errors import CheckpointError, NonFiniteError, check_number, check_seed, short
from snnsim.finite import first_not_finite
from snnsim.layer import start_training
from snnsim.sparsity import add_masks, masked_in
from snnsim.training import distributed
from snnsim.training.finite import first_culprit
from snnsim.training.objectives import FRACTIONS, Classification, Objective
from snnsim.training.optimizers import Optimizers
from snnsim.training.recipe import Recipe, complete
from snnsim.training.step import JointStep, Part

# what positions were stored under before
FORMER = {"correct": "score", "best_accuracy": "best_score"}


@dataclass(frozen=True)
class Position:
    """A position says where a training stands.

    It holds everything that is neither a tensor nor determined by the epoch.

    Attributes:
        task: the number of the task in its stream, from 0.
        epoch: the number of completed epochs of the task.
        step: the number of completed optimiser steps of the current epoch.
        loss, score: sums over the samples of the current epoch so far.
        samples: the number of these samples.
        seconds: the training time so far of the current epoch; on a stream, of the current task.
        best_score, best_loss, best_epoch: the validation score, the loss and the number of the best
            epoch so far; a number of -1 means none.
        stopped: whether training ended early.
    """

    task: int = 0
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

    @property
    def begun(self) -> bool:
        """Return whether anything of the task has been trained."""
        return self.epoch + self.step > 0

    @classmethod
    def stored(cls, values: Any) -> Position:
        """Return the position that a checkpoint holds, also one of an earlier version."""
        found: dict[str, Any] = {FORMER.get(name, name): v for name, v in values.items()}
        if "started" in found:  # of a stream
            found = vars(cls()) | {k: v for k, v in found.items() if k != "started"}
        return checkpoint.record(cls, {"task": 0} | found)


def set_seed(seed: int) -> None:
    """Seed every random generator that training uses."""
    torch.manual_seed(check_seed(seed))


def epoch_order(samples: int, *key: int) -> np.ndarray:
    """Return the order of the training samples.

    It depends only on ``key``: the seed, the task (on a stream) and the epoch.
    """
    return np.random.default_rng(key).permutation(samples)


class Loop:
    """A loop runs epochs of joint steps, and writes and resumes checkpoints.

    This is the base class of trainers.

    What is measured on a batch, and what happens before and after epochs and steps, is up to a
    trainer; everything else is here and nowhere else.
    """

    part = "net"  # under which a checkpoint has the weights
    objective: Objective = Classification()

    def __init__(
        self,
        net: nn.Module,
        recipe: Recipe,
        *,
        out: Path | None,
        seed: int,
        device: torch.device | str,
        watcher: Any,
        augmentation: Augmentation | None = None,
    ):
        self.net, self.recipe, self.out = net, recipe, out
        self.augmentation = augmentation or Augmentation()
        self.seed, self.device, self.watcher = check_seed(seed), torch.device(device), watcher
        self.position = Position()
        self.optimizers: Optimizers | None = None

    # --- what a trainer says ---------------------------------------------------------------------

    def _key(self) -> tuple[int, ...]:
        """Of the order of this epoch's samples."""
        return (self.seed, self.position.epoch)

    def _augmented(self, data: Sequences) -> Sequences:
        """The samples as this epoch shows them."""
        acts = self.augmentation.acts
        return Augmented(data, self.augmentation, self._key()) if acts else data

    def _begin_epoch(self, steps: int) -> None: ...

    def _begin_step(self, step: int, steps: int) -> None: ...

    def _measure(
        self, batch: Batch, mine: np.ndarray, extra: dict[str, Tensor], whole: int
    ) -> Part:
        raise NotImplementedError

    def _gradients_ready(self) -> None: ...

    def _weights_changed(self) -> None: ...

    def _end_step(self, step: int, steps: int, loss: float) -> None: ...

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint can only be continued with, besides recipe and seed."""
        return {}

    def _memory(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and values of a checkpoint besides weights, optimisers and position."""
        return {}, {}

    def _restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Inverse of :meth:`_memory`; raises ``ValueError`` for what cannot be."""

    def _made_optimizers(self) -> Optimizers:
        return Optimizers(self.net, self.recipe)

    # --- an epoch --------------------------------------------------------------------------------

    def _steps(self, data: Sequences) -> int:
        return -(-len(data) // self.recipe.batch_size)

    def _run_epoch(self, data: Sequences) -> None:
        """All steps of the epoch that are left; the position is then behind its last."""
        optimizers = self._ready()
        data = self._augmented(data)
        epoch, size, steps = self.position.epoch, self.recipe.batch_size, self._steps(data)
        optimizers.start_epoch(epoch)
        order = epoch_order(len(data), *self._key())
        start_training(self.net)
        self._begin_epoch(steps)
        for step in range(self.position.step, steps):
            began = time.monotonic()
            chosen = order[step * size : (step + 1) * size]
            optimizers.start_step(epoch, step, steps)
            self._begin_step(step, steps)
            loss, score = self._step(data, chosen)
            here = self.position
            self.position = replace(
                here,
                step=step + 1,
                loss=here.loss + loss,
                score=here.score + score,
                samples=here.samples + len(chosen),
                seconds=here.seconds + time.monotonic() - began,
            )
            self._end_step(step, steps, loss / len(chosen))
            every = self.recipe.checkpoint_steps
            if every and (step + 1) % every == 0:
                self.save()

    def _ready(self) -> Optimizers:
        if self.optimizers is None:
            self.optimizers = self._made_optimizers()
        return self.optimizers

    def _step(self, data: Sequences, chosen: np.ndarray) -> tuple[float, float]:
        """One optimiser step on a joint batch; returns its summed loss and score."""
        recipe = self.recipe
        joint = JointStep(
            self.net,
            self.device,
            self._fail,
            recipe.accumulate,
            recipe.precision,
            recipe.check_finite,
        )
        found = joint(data, chosen, self._measure, self._ready(), self._gradients_ready)
        self._weights_changed()
        return found

    def _next_epoch(self, **judged: Any) -> None:
        """Put the position before the next epoch."""
        none: dict[str, Any] = {"step": 0, "loss": 0.0, "score": 0.0, "samples": 0}
        self.position = replace(self.position, epoch=self.position.epoch + 1, **none, **judged)

    def _check_until(self) -> None:
        """Refuse percent where the score is a fraction."""
        metric = self.objective.metric
        if metric in FRACTIONS:
            check_number(f"until, which is compared with {metric},", self.recipe.until, 0, 1)

    def _judge(self, score: float, loss: float) -> dict[str, Any]:
        """What a validation changes of the position: the best, and whether to stop."""
        here, recipe, objective = self.position, self.recipe, self.objective
        waits = recipe.prunes and here.epoch < recipe.prune_at  # for the cut
        first = recipe.prune_at if recipe.prunes and not waits else 0  # what was before is over
        best = (here.best_score, here.best_loss)
        found: dict[str, Any] = {}
        if here.best_epoch < first or objective.better(score, loss, best):
            found = {"best_score": score, "best_loss": loss, "best_epoch": here.epoch}
        waited = here.epoch - found.get("best_epoch", here.best_epoch)
        reached = recipe.until and not objective.better(recipe.until, loss, (score, loss))
        stopped = bool(reached or (recipe.patience and waited >= recipe.patience))
        return found | {"stopped": stopped and not waits}

    # --- what is wrong ---------------------------------------------------------------------------

    @property
    def _body(self) -> nn.Module:
        """What can be run on an input to see where it stops being finite."""
        return self.net

    def _where(self) -> str:
        return f"at epoch {self.position.epoch}, step {self.position.step}"

    def _fail(self, what: str, x: Tensor | None = None) -> NoReturn:
        culprit = "" if x is None else f"; first not finite: {first_culprit(self._body, x)}"
        raise NonFiniteError(
            f"{what} is not finite {self._where()}{culprit}. {self._last_good()}. Try a smaller lr "
            "or lr_delay, or clip"
        )

    def _last_good(self) -> str:
        last = None if self.out is None else self.out / "last.safetensors"
        good = str(last) if last is not None and last.is_file() else "none yet"
        return f"Last good checkpoint: {good}"

    def _check_weights(self) -> None:
        """Nothing that is not finite is evaluated, stored or predicted from."""
        lost = first_not_finite(self._everything())
        if lost is not None:
            self._fail(lost)

    def _check_position(self, steps: int) -> None:
        """Raise ``ValueError`` for a place where no training with so many steps stands."""
        here = self.position
        if not (0 <= here.epoch <= self.recipe.epochs and 0 <= here.step <= steps):
            raise ValueError(f"no training stands at {here}")
        if not (math.isfinite(here.loss) and 0 <= here.seconds < math.inf):
            raise ValueError(f"the loss {here.loss} or the seconds {here.seconds} are no numbers")

    def _check_optimizers(self) -> None:
        """Raise ``ValueError`` where optimisers that remember have nothing to remember."""
        remember = self.recipe.optimizer == "adam" or self.recipe.momentum
        for optimizer in self._ready().each if self.position.begun and remember else ():
            if not checkpoint.optimizer_tensors(optimizer):
                raise ValueError("it has no state of the optimisers")

    # --- checkpoints -----------------------------------------------------------------------------

    def _everything(self) -> Iterator[tuple[str, Tensor]]:
        """Weights, buffers and the optimisers' memory, by name."""
        yield from checkpoint.prefixed(self.part, self.net.state_dict()).items()
        for i, optimizer in enumerate(self.optimizers.each if self.optimizers else ()):
            named = checkpoint.optimizer_tensors(optimizer)
            yield from checkpoint.prefixed(f"optimizer{i}", named).items()

    def _announce_writing(self) -> bool:
        """Whether this process writes at all; its watcher is told, and may raise to stop it."""
        if self.out is None or distributed.rank() != 0:
            return False
        getattr(self.watcher, "writing", lambda: None)()  # some of old have none
        return True

    def save(self) -> None:
        """Write what resuming needs to ``last.safetensors``, if there is an output folder."""
        if not self._announce_writing():
            return
        assert self.out is not None
        if self.position.step:  # the end of an epoch has been checked
            self._check_weights()
        tensors, values = self._memory()
        tensors = dict(self._everything()) | tensors
        tensors |= checkpoint.prefixed("random", checkpoint.random_state(self.device))
        values = {
            "position": vars(self.position),
            "recipe": self.recipe.as_json(),
            "seed": self.seed,
            **self._identity(),
            **values,
        }
        checkpoint.save(self.out / "last.safetensors", tensors, values)

    def resume(self) -> bool:
        """Continue from ``last.safetensors``; return false if there is none yet.

        Raises:
            CheckpointError: if the file is damaged, or was written with another recipe, seed or
                objective.
        """
        assert self.out is not None
        path = self.out / "last.safetensors"
        if not path.is_file():
            return False
        tensors, values = checkpoint.load(path)
        with checkpoint.reading(path):
            self._check_identity(path, values)
            self._continue_from(path, tensors, values)
        return True

    def _check_identity(self, path: Path, values: dict[str, Any]) -> None:
        base = self.recipe.as_json()
        told = {"recipe": complete(values["recipe"], type(self).defaults), "seed": values["seed"]}
        once: dict[str, Any] = {
            "objective": Classification(self.recipe.readout, self.recipe.mask_padding).name,
            "augmentation": Augmentation().as_json(),
        }
        told |= {name: values.get(name, once.get(name)) for name in self._identity()}
        if "augmentation" in told:  # of which earlier versions had fewer options
            told["augmentation"] = once["augmentation"] | told["augmentation"]
        mine = {"recipe": base, "seed": self.seed, **self._identity()}
        self._allow_longer(told["recipe"], base)
        for what, value in mine.items():
            if told[what] != value:
                raise CheckpointError(
                    f"{path} was written with another {what}: {_unlike(told[what], value)}; resume "
                    "with the same, or use a new folder"
                )

    defaults: dict[str, Any] = Recipe().as_json()  # of keys that earlier versions did not store

    def _allow_longer(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        """Take a larger number of epochs for no difference, where a trainer can go on with it."""

    def _continue_from(self, path: Path, tensors: dict[str, Tensor], values: Any) -> None:
        weights = checkpoint.without_prefix(self.part, tensors)
        add_masks(self.net, masked_in(weights))
        checkpoint.load_weights(self.net, weights, path)
        self.position = Position.stored(values.get("position", values.get("place")))
        self._restore(tensors, values)
        if self.position.begun:
            groups = self._ready().main.param_groups
            tensors = _of_two(tensors, sum(len(group["params"]) for group in groups))
        for i, optimizer in enumerate(self.optimizers.each if self.optimizers else ()):
            named = checkpoint.without_prefix(f"optimizer{i}", tensors)
            checkpoint.load_optimizer(optimizer, named)
        self._check_optimizers()
        checkpoint.set_random_state(checkpoint.without_prefix("random", tensors), self.device)


def _unlike(before: Any, now: Any) -> str:
    if not isinstance(before, dict) or not isinstance(now, dict):
        return f"{short(before)} and not {short(now)}"
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return ", ".join(
        f"{key} {short(before.get(key))} and not {short(now.get(key))}" for key in keys
    )


def _of_two(tensors: dict[str, Tensor], main: int) -> dict[str, Tensor]:
    """A checkpoint of one optimiser for everything as one of two, of which one is of delays."""
    found = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part == "optimizer":
            number, _, key = rest.partition(".")
            place = int(number)
            name = f"optimizer{int(place >= main)}.{place - main * (place >= main)}.{key}"
        found[name] = tensor
    return found
