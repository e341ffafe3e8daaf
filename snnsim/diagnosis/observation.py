"""One look at a network: a forward and a backward pass over some batches, and a few trial steps.

Everything is done with a copy of the network and with random numbers of its own, so that the
network, its modes and statistics and torch's generators stay as they are.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.data import Batch, Sequences
from snnsim.diagnosis.chance import Probe, constant_loss, labels_of, probe
from snnsim.diagnosis.layers_seen import LayerSeen, add_gradients, watching
from snnsim.errors import ConfigError, short
from snnsim.finite import all_finite, first_not_finite
from snnsim.layer import auxiliary_losses, device_of, evaluating, listening
from snnsim.training.evaluate import run_padded
from snnsim.training.optimizers import Optimizers
from snnsim.training.recipe import Recipe

# trial steps: enough for a learning rate that is too large to throw the loss up
TRIAL_STEPS = 8


@dataclass
class Observation:
    """An ``Observation`` holds all numbers that a diagnosis judges.

    Attributes:
        net: a copy of the network, in training mode, with the gradients of the pass.
        batches: what it was shown.
        lengths: the number of steps of all samples of the data, ``[n]``.
        objective: the objective.
        recipe: how it is trained; ``None`` if that is unknown.
        labels: the classes of all samples, or of those that were shown; ``None`` without classes.
        layers: what its layers did, in the order in which they ran.
        loss, score: means over the samples; NaN if they could not be computed.
        chance: the loss of the best constant answer; ``None`` where that is unknown.
        answers: the class that it answers for each sample; empty without classes.
        outputs: the number of outputs; 0 if that is unknown.
        gradients: the gradient's norm for every parameter that needs one; ``None`` if it has none.
        called: the names of the modules that were called in the pass.
        probe: what a linear probe says of the classes.
        losses: the losses of trial steps, with the default recipe if none is given.
        later: what the layers do after the trial steps.
        moved: the relative change of each parameter in a mean trial step.
        changed: the relative change of each parameter since an earlier point in time.
        trained: whether there is an earlier point in time.
        evaluated: the mean score and loss in evaluation mode; ``None`` unless it is trained.
    """

    net: nn.Module
    batches: list[Batch]
    lengths: np.ndarray
    objective: Any
    recipe: Recipe | None = None
    labels: np.ndarray | None = None
    layers: dict[str, LayerSeen] = field(default_factory=dict)
    loss: float = math.nan
    score: float = math.nan
    chance: float | None = None
    answers: list[int] = field(default_factory=list)
    outputs: int = 0
    gradients: dict[str, float | None] = field(default_factory=dict)
    called: set[str] = field(default_factory=set)
    probe: Probe | None = None
    losses: list[float] = field(default_factory=list)
    later: dict[str, LayerSeen] = field(default_factory=dict)
    moved: dict[str, float] = field(default_factory=dict)
    changed: dict[str, float] = field(default_factory=dict)
    trained: bool = False
    evaluated: tuple[float, float] | None = None

    @property
    def samples(self) -> int:
        """Return the number of samples that were shown."""
        return sum(len(batch.lengths) for batch in self.batches)

    @property
    def spiking(self) -> list[LayerSeen]:
        """Return the layers whose output is spikes and which ran, in this order."""
        return [each for each in self.layers.values() if each.spiking and each.steps]

    def after_trial(self, layer: LayerSeen) -> LayerSeen:
        """Return what a layer does after the trial steps; what it did before if there are none.

        Args:
            layer: what it did before.
        """
        later = self.later.get(layer.name)
        return layer if later is None or not later.steps else later


@contextmanager
def own_random_numbers(device: torch.device) -> Iterator[None]:
    """Within this context torch draws other random numbers, always the same ones.

    Args:
        device: the device of the network.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        yield


def copied(net: nn.Module) -> nn.Module:
    """Return a copy of a network without gradients, in training mode.

    Raises:
        ConfigError: if the network holds something that cannot be copied.
    """
    try:
        again = copy.deepcopy(net)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(
            f"{type(net).__name__} cannot be copied, and a diagnosis works with a copy: "
            f"{short(str(error), 200)}; keep no computed tensors, files or threads in a network"
        ) from error
    if not again.training:
        again.train()
    again.zero_grad(set_to_none=True)
    return again


def observe(
    net: nn.Module,
    data: Sequences,
    batches: list[Batch],
    objective: Any,
    recipe: Recipe | None,
    before: Mapping[str, Tensor] | None,
) -> Observation:
    """Run a copy of a network forward and backward, and return what was seen.

    Args:
        net: the network; nothing of it is changed.
        data: the data set that the batches are from.
        batches: on the device of the network.
        objective: the objective.
        recipe: how it is trained; with ``None`` trial steps are those of the default recipe.
        before: the weights at an earlier point in time, by the names of its state.
    """
    again = copied(net)
    seen = Observation(again, batches, np.asarray(data.lengths), objective, recipe)
    seen.labels = labels_of(data, batches)
    seen.chance = constant_loss(objective, [b.target.cpu() for b in batches])
    seen.probe = probe(batches)
    with own_random_numbers(device_of(net)), torch.enable_grad():
        if before is not None:
            seen.changed = relative_changes(before, dict(net.named_parameters()))
            seen.trained = True
            seen.evaluated = _evaluated(seen)  # first: training mode changes running averages
        _run(seen)
        if math.isfinite(seen.loss):
            _try_steps(seen, net)
    return seen


def mean_loss(net: nn.Module, batch: Batch, objective: Any) -> tuple[Tensor, float, Tensor, Tensor]:
    """Return the mean loss and score of a batch, the outputs and where each sample ends.

    Args:
        net: the network.
        batch: on the device of the network.
        objective: the objective.
    """
    batch = objective.posed(batch)
    with auxiliary_losses() as extra:
        y, ends = run_padded(net, batch.x, batch.lengths, objective.mask_padding)
    loss, score = objective.measure(y, batch, ends)
    count = len(batch.lengths)
    return loss / count + sum(extra.values()), score / count, y, ends


def _run(seen: Observation) -> None:
    """The forward and backward pass over all batches."""
    losses, scores = [], []
    modules = dict(seen.net.named_modules())
    for batch in seen.batches:
        with (
            listening(modules, lambda name, *_: seen.called.add(name)),
            watching(seen.net, seen.layers, batch.lengths) as ran,
        ):
            loss, score, y, ends = mean_loss(seen.net, batch, seen.objective)
        if loss.requires_grad:
            (loss / len(seen.batches)).backward()
        add_gradients(ran)
        losses.append(float(loss.detach()))
        scores.append(score)
        seen.outputs = y.shape[-1]
        if seen.labels is not None and not seen.objective.per_step:
            seen.answers += seen.objective.answer(y.detach(), ends).argmax(1).tolist()
    seen.loss, seen.score = float(np.mean(losses)), float(np.mean(scores))
    for name, parameter in seen.net.named_parameters():
        if parameter.requires_grad:
            grad = parameter.grad
            seen.gradients[name] = None if grad is None else float(grad.norm())


@torch.no_grad()
def _evaluated(seen: Observation) -> tuple[float, float]:
    """The mean score and loss in evaluation mode."""
    with evaluating(seen.net):
        found = [mean_loss(seen.net, b, seen.objective)[:2] for b in seen.batches]
    return float(np.mean([s for _, s in found])), float(np.mean([float(x) for x, _ in found]))


def _try_steps(seen: Observation, net: nn.Module) -> None:
    """Some steps of training at the peak learning rate, with another copy of the network."""
    trial = copied(net)
    recipe = replace(seen.recipe or Recipe(), schedule="constant", schedule_delay="constant")
    start = {name: p.detach().clone() for name, p in trial.named_parameters()}
    optimizers = Optimizers(trial, recipe)
    for batch in itertools.islice(itertools.cycle(seen.batches), TRIAL_STEPS):
        optimizers.zero_grad()
        loss = mean_loss(trial, batch, seen.objective)[0]
        seen.losses.append(float(loss.detach()))
        if not (loss.requires_grad and math.isfinite(seen.losses[-1])):
            break
        loss.backward()
        optimizers.step()
        if first_not_finite(trial.named_parameters()) is not None:
            seen.losses.append(math.inf)
            break
    steps = max(len(seen.losses), 1)
    changes = relative_changes(start, dict(trial.named_parameters()))
    seen.moved = {name: change / steps for name, change in changes.items()}
    with torch.no_grad():
        for batch in seen.batches:
            with watching(trial, seen.later, batch.lengths):
                mean_loss(trial, batch, seen.objective)


def relative_changes(before: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the norm of the change of each tensor, relative to its norm before.

    Args:
        before, now: tensors by name; those that are missing or have another shape are left out.

    >>> relative_changes({"w": torch.tensor([3.0, 4.0])}, {"w": torch.tensor([3.0, 4.5])})
    {'w': 0.1}
    """
    found = {}
    for name, value in now.items():
        old = before.get(name)
        if old is None or old.shape != value.shape:
            continue
        old, value = old.detach().double().cpu(), value.detach().double().cpu()
        size = float(old.norm()) or 1.0
        found[name] = float((value - old).norm()) / size
    return found


def not_finite(net: nn.Module) -> str | None:
    """Return the name of the first parameter or buffer that is NaN or infinite."""
    return first_not_finite([*net.named_parameters(), *net.named_buffers()])


def inputs_finite(batches: list[Batch]) -> bool:
    """Return whether the input of all batches is finite."""
    return all(all_finite(batch.x) for batch in batches)
