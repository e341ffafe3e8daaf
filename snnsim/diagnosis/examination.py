"""From a network and data to a diagnosis."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.data import Batch, Sequences, fetch
from snnsim.diagnosis import of_data, of_layers, of_training
from snnsim.diagnosis.findings import Diagnosis, Finding, worst_first
from snnsim.diagnosis.observation import (
    Observation,
    copied,
    inputs_finite,
    observe,
    own_random_numbers,
)
from snnsim.errors import check_size
from snnsim.layer import device_of
from snnsim.training.evaluate import run_padded
from snnsim.training.next_step import Next, objective_of
from snnsim.training.objectives import Custom, as_objective
from snnsim.training.recipe import Recipe

CHECKS: tuple[Callable[[Observation], Iterator[Finding]], ...] = (
    of_layers.of_finite,
    of_data.of_scale,
    of_data.of_labels,
    of_data.of_padding,
    of_layers.of_dropout,
    of_layers.of_activity,
    of_layers.of_surrogates,
    of_layers.of_missing_gradients,
    of_layers.of_gradients,
    of_layers.of_delays,
    of_training.of_frozen,
    of_training.of_learning_rate,
    of_training.of_change,
    of_training.of_outcome,
)

# with these no loss can be computed
IMPOSSIBLE = ("input not finite", "labels outside of outputs")


def diagnose(
    net: nn.Module,
    data: Sequences | Batch,
    *,
    recipe: Recipe | None = None,
    objective: Any = None,
    before: nn.Module | Mapping[str, Tensor] | None = None,
    batches: int = 4,
    batch_size: int = 32,
) -> Diagnosis:
    """Find out why a network learns nothing, from a forward and a backward pass.

    A copy of the network is run in training mode, so that nothing of the network changes, nor
    torch's random numbers. A finding of the severity ``"problem"`` has a wide margin to what
    working networks do; warnings and notes may be as they should.

    Args:
        net: any network, trained or not.
        data: a data set with the training samples, or one batch ``(x, target, lengths)``.
        recipe: how the network is trained, for the objective and for trial steps with a copy; with
            ``None`` these are those of the default recipe, and learning rates are not judged.
        objective: what training minimises, as in :class:`snnsim.training.Trainer`; with ``None``
            that of the recipe.
        before: the network, or its ``state_dict()``, at the start of a training that ``net`` has
            been through; whether weights have moved, and what was learnt, is then judged as well.
        batches: the largest number of batches to look at, at least 1.
        batch_size: the number of samples in each, at least 1.

    >>> import snnsim as sn
    >>> net = sn.Sequential(sn.Dense(3, 8), sn.LIF(8, dt=1.0, v_threshold=1e3),
    ...                     sn.Dense(8, 2), sn.LI(2, dt=1.0))
    >>> batch = torch.rand(20, 6, 3), torch.tensor([0, 1] * 3), torch.full((6,), 20)
    >>> found = diagnose(net, batch)
    >>> found.healthy, found.worst.what, found.worst.where
    (False, 'dead layer', 'layers.1')
    """
    check_size("batches", batches)
    check_size("batch_size", batch_size)
    chosen = objective_of(recipe or Recipe()) if objective is None else objective
    aim = as_objective(chosen, "sum_softmax", False)
    if isinstance(data, tuple):
        data = _OneBatch(*data)
    order = np.random.default_rng(0).permutation(len(data))[: batches * batch_size]
    parts = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    wrong = _swapped(data, parts[0])
    if wrong is not None:
        return Diagnosis((wrong,))
    shown = [_on(device_of(net), fetch(data, part)) for part in parts]
    early = list(of_data.of_batches(shown))
    if inputs_finite(shown):
        early += _labels_outside(net, shown, aim)
    if any(each.what in IMPOSSIBLE for each in early):
        return Diagnosis(worst_first(early), samples=len(order))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of layers whose findings say more
        seen = observe(net, data, shown, aim, recipe, _weights(before))
        findings = [*early, *(found for check in CHECKS for found in check(seen))]
    rows = tuple(layer.row() for layer in seen.layers.values())
    return Diagnosis(worst_first(findings), rows, seen.samples, seen.loss, seen.chance)


class _OneBatch:
    """One batch as a data set, which gives some of its samples."""

    def __init__(self, x: Tensor, target: Tensor, lengths: Tensor | None = None):
        self.x, self.target = x, target
        if lengths is None:
            lengths = torch.full((x.shape[1],), x.shape[0])
        self.lengths = lengths.cpu().numpy()

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, indices: Any, steps: int | None = None) -> Batch:
        """Return some of the samples, as they are padded."""
        if self.x.shape[1] != len(self):  # is refused later, or told to be swapped
            return Batch(self.x, self.target, torch.from_numpy(self.lengths))
        chosen = torch.as_tensor(np.asarray(indices), device=self.x.device)
        per_step = self.target.dim() > 1 and self.target.shape[:2] == self.x.shape[:2]
        target = self.target.index_select(int(per_step), chosen.to(self.target.device))
        lengths = torch.from_numpy(self.lengths[np.asarray(indices)])
        return Batch(self.x.index_select(1, chosen), target, lengths)


def _on(device: torch.device, batch: Batch) -> Batch:
    return Batch(batch.x.to(device), batch.target.to(device), batch.lengths)


def _swapped(data: Sequences, part: np.ndarray) -> Finding | None:
    """That batch and time are swapped; anything else that is wrong is refused by ``fetch``."""
    found = data.batch(part)
    if not isinstance(found, tuple) or len(found) != 3:
        return None
    x, target, lengths = found
    if not all(isinstance(each, Tensor) for each in found) or not lengths.dim():
        return None
    return of_data.swapped(x, target, lengths)


def _labels_outside(net: nn.Module, shown: list[Batch], aim: Any) -> list[Finding]:
    """That classes lie outside of the outputs of a network, which one sample tells."""
    targets = [batch.target.flatten() for batch in shown]
    if any(target.is_floating_point() for target in targets) or isinstance(aim, Next | Custom):
        return []
    batch = shown[0]
    with torch.no_grad(), own_random_numbers(device_of(net)), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y, _ = run_padded(copied(net).eval(), batch.x[:, :1], batch.lengths[:1])
    wrong = of_data.outside(torch.cat(targets), y.shape[-1])
    return [] if wrong is None else [wrong]


def _weights(before: nn.Module | Mapping[str, Tensor] | None) -> Mapping[str, Tensor] | None:
    return before.state_dict() if isinstance(before, nn.Module) else before
