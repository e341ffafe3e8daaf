"""Switching: how long states last, which units announce their end, and which cause it.

A unit announces a change of state if its kick index

    P(change in the next step | the unit fires) / P(change in the next step)

is above 1; whether it causes it shows when it is silenced. Source: "kick neurons" of Torre et al.
2025, arXiv:2510.25674.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.activity import SPIKES, Recording, record
from snnsim.analysis.subject import last_hidden
from snnsim.data import Sequences, fetch
from snnsim.errors import ConfigError, check_size
from snnsim.layer import device_of
from snnsim.synapses import Recurrent
from snnsim.training.evaluate import evaluate

FEWEST = 20  # times that a unit fires, for its kick index to be more than chance


class Residency(NamedTuple):
    """A ``Residency`` says how long states last, and which units announce their end.

    Attributes:
        stay: the mean number of time steps for which each state lasts, ``[K]``; NaN if it never
            occurs.
        moves: the probability of each state (column) in the step after a state (row), ``[K, K]``.
        kick: the kick index of each unit, ``[N]``; 1 for units that never fire.
        fired: the number of time steps in which each unit fires, the last of each sample left out,
            ``[N]``.
    """

    stay: np.ndarray
    moves: np.ndarray
    kick: np.ndarray
    fired: np.ndarray

    def known_kick(self) -> np.ndarray:
        """Return the kick index of units that fire 20 times or more, and 1 of all others, ``[N]``.

        A unit that fires once, before a change by chance, has the highest kick index possible.
        """
        return np.where(self.fired >= FEWEST, self.kick, 1.0)


def residency(rec: Recording, states: Tensor, count: int = 0) -> Residency:
    """Return how long states last, and which units announce their end.

    Args:
        rec: the recording of a layer. A unit fires where it spikes; one of a rate-coded model,
            where it is above its mean.
        states: the state at every step of every sample, ``[T, S]`` whole numbers from 0.
        count: the number of states; 0 for the largest that occurs, plus 1.

    Raises:
        ConfigError: if the states do not belong to the recording.
    """
    check_size("count", count, 0)
    values = rec.values.flatten(2)
    if states.shape != values.shape[:2] or states.is_floating_point() or int(states.min()) < 0:
        raise ConfigError(
            f"states are {states.dtype} {list(states.shape)} but must be whole numbers from 0 for "
            f"every step and sample of the recording, {list(values.shape[:2])}"
        )
    z = states.cpu().numpy()
    size = max(count, int(z.max()) + 1)
    inside = rec.inside().cpu().numpy()
    both = inside[1:]
    moves = np.zeros((size, size))
    np.add.at(moves, (z[:-1][both], z[1:][both]), 1)
    entered = np.append(inside[:1], both & (z[1:] != z[:-1]), axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        stay = np.bincount(z[inside], minlength=size) / np.bincount(z[entered], minlength=size)
        moves = moves / moves.sum(1, keepdims=True)
    return Residency(stay, moves, *_kick(rec, values, (z[1:] != z[:-1])[both], both))


def _kick(
    rec: Recording, values: Tensor, changes: np.ndarray, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The kick index of each unit, and how often it fires."""
    base = values.new_zeros(()) if rec.kind == SPIKES else rec.means().flatten(1).mean(0)
    fires = (values > base).cpu().numpy()[:-1][inside]
    fired = fires.sum(0)
    if not changes.any():
        return np.ones(len(fired)), fired
    given = (fires * changes[:, None]).sum(0) / np.maximum(fired, 1)
    return np.where(fired > 0, given / changes.mean(), 1.0), fired


def ablate(
    net: nn.Module,
    data: Sequences,
    units: Any = None,
    *,
    layer: str = "",
    **evaluation: Any,
) -> np.ndarray:
    """Return the accuracy that is lost when single units are silenced, ``[len(units)]``.

    The output of a unit is 0 for all that receive it; within a recurrent layer of spiking neurons
    these include the neurons of that layer. The own recurrence of a rate-coded model stays.

    Args:
        net: a spiking or rate-coded network.
        data: a data set with targets.
        units: numbers of units; ``None`` for all.
        layer: the name of the layer; ``""`` for the last hidden one.
        evaluation: arguments of :func:`snnsim.training.evaluate`, such as ``readout`` or
            ``objective``.

    Returns:
        For each unit, the score of the whole network minus that without the unit.

    Raises:
        ConfigError: if there is no such unit.
    """
    layer = layer or last_hidden(net)
    first = fetch(data, np.arange(1)).x[:1].to(device_of(net))
    size = record(net, first, [layer])[layer].values.flatten(2).shape[2]
    chosen = np.arange(size) if units is None else np.asarray(units)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or ((chosen < 0) | (chosen >= size)).any():
        raise ConfigError(f"units are {units!r} but must be whole numbers in 0 .. {size - 1}")
    whole = evaluate(net, data, **evaluation).score
    lost = []
    for unit in chosen:
        with silenced(net, layer, int(unit)):
            lost.append(whole - evaluate(net, data, **evaluation).score)
    return np.asarray(lost)


@contextmanager
def silenced(net: nn.Module, layer: str, unit: int) -> Iterator[None]:
    """Within this context, the output of one unit of a layer is 0."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
        y = (output[0] if isinstance(output, tuple) else output).clone()
        y.flatten(2)[..., unit] = 0
        return (y, *output[1:]) if isinstance(output, tuple) else y

    module = dict(net.named_modules())[layer]
    around = [m for m in net.modules() if isinstance(m, Recurrent) and module in (m, m.neuron)]
    before = [m.w_rec.detach().clone() for m in around]
    handle = module.register_forward_hook(hook)
    try:
        with torch.no_grad():
            for each in around:
                each.w_rec[:, unit] = 0
        yield
    finally:
        handle.remove()
        with torch.no_grad():
            for each, weights in zip(around, before, strict=True):
                each.w_rec.copy_(weights)
