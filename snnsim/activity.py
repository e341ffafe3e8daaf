"""Recordings: what the layers of a network do while it runs, as values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.baselines import Baseline
from snnsim.data import Sequences, describe, fetch
from snnsim.data.protocol import resized
from snnsim.errors import ConfigError, ShapeError, nearest, short
from snnsim.layer import Layer, device_of, evaluating, listening, map_state
from snnsim.neurons import LI, Neuron
from snnsim.training.evaluate import equally_padded, run_padded
from snnsim.training.rules.dsr import RateLIF

OUTPUT, INPUT, VOLTAGE = "output", "input", "voltage"
SPIKES, STATE, CURRENT, RATE = "spikes", "state", "current", "rate"


@dataclass(frozen=True)
class Recording:
    """A ``Recording`` holds the activity of one layer in answer to some samples.

    Attributes:
        values: the activity, ``[T, S, ...]``: time steps, samples, and the layer's units.
        kind: ``"spikes"``, ``"state"`` (of a membrane, or of a rate-coded model), ``"current"``
            (the input of neurons) or ``"rate"`` (the output of a rate-coded model).
        name: the name of the layer in the network.
        what: what was recorded: ``"output"``, ``"input"``, ``"voltage"`` or the name of a state
            variable.
        lengths: the number of time steps of each sample, ``[S]``; later steps are padding.
        target: the targets of the samples, as their batch had them; ``None`` if there are none.
        dt: the length of a time step in ms; ``None`` if it is unknown.
        task: the number of the task that each sample is from, ``[S]``; ``None`` if all are from
            one.
    """

    values: Tensor
    kind: str
    name: str
    what: str
    lengths: Tensor
    target: Tensor | None = None
    dt: float | None = None
    task: Tensor | None = None

    def of(self, sample: int) -> Tensor:
        """Return the values of one sample within its own steps, ``[steps, ...]``."""
        return self.values[: int(self.lengths[sample]), sample]

    def inside(self) -> Tensor:
        """Return a mask ``[T, S]`` of the steps that belong to each sample."""
        steps = torch.arange(len(self.values), device=self.values.device)
        return steps[:, None] < self.lengths.to(steps.device)

    def means(self) -> Tensor:
        """Return each unit's mean over a sample's own steps, ``[S, ...]``; for spikes, the rate."""
        inside = self.inside()
        inside = inside.view(*inside.shape, *[1] * (self.values.dim() - 2)).to(self.values.dtype)
        return (self.values * inside).sum(0) / inside.sum(0).clamp(min=1)

    def events(self, sample: int) -> tuple[Tensor, Tensor]:
        """Return the time steps and the units of the spikes of one sample, in temporal order."""
        if self.kind != SPIKES:
            raise ConfigError(f"{self.name} was recorded as {self.kind}, which has no events")
        step, unit = self.of(sample).flatten(1).nonzero(as_tuple=True)
        return step, unit


def record(
    net: nn.Module,
    data: Sequences | Tensor,
    layers: Iterable[str] | None = None,
    what: str = OUTPUT,
    *,
    batch_size: int = 256,
) -> dict[str, Recording]:
    """Run a network on data, in evaluation mode, and return what its layers did.

    Args:
        net: any network.
        data: a data set, or a batch ``[T, B, ...]`` whose samples are all as long as the batch. All
            values are kept in memory; take part of a large data set with :class:`snnsim.data.View`.
        layers: names of layers as in ``net.named_modules()``; ``None`` means all neurons and
            rate-coded models.
        what: ``"output"`` (for spiking neurons, the spikes); ``"input"``, the current;
            ``"voltage"``, the membrane before its reset; or the name of a state variable, such as
            ``"v"`` (after the reset).
        batch_size: the largest number of samples in a batch.

    Returns:
        A :class:`Recording` for each layer by its name, in the order in which they first ran.

    Raises:
        ConfigError: if there is no such layer, or it has no such state variable.

    >>> import snnsim as sn
    >>> net = sn.Sequential(sn.Dense(3, 4), sn.LIF(4, dt=1.0))
    >>> found = record(net, torch.rand(6, 2, 3), what="voltage")
    >>> {name: tuple(each.values.shape) for name, each in found.items()}
    {'layers.1': (6, 2, 4)}
    """
    if isinstance(data, Tensor):
        with torch.no_grad(), evaluating(net), recording(net, layers, what) as activity:
            net(data)
        return dict(activity)
    parts: list[tuple[np.ndarray, dict[str, Recording]]] = []
    axis = 0
    steps, dt = int(np.max(data.lengths)), describe(data).dt
    device = device_of(net)
    for chosen, padded in equally_padded(data.lengths, steps, batch_size):
        batch = fetch(data, chosen, padded)
        x = batch.x.to(device)
        with torch.no_grad(), evaluating(net), recording(net, layers, what) as activity:
            run_padded(net, x, batch.lengths)
        found = {
            name: replace(
                each,
                lengths=batch.lengths + max(len(each.values) - len(x), 0),
                target=batch.target,
                dt=dt,
            )
            for name, each in activity.items()
        }
        parts.append((chosen, found))
        axis = int(batch.per_step)
    return _joined(parts, axis)


def of_tasks(recordings: Sequence[Recording]) -> Recording:
    """Join recordings of one layer, each of the samples of a task, to one that says their task.

    Args:
        recordings: one for each task, of the same units; shorter ones are padded with zeros.

    >>> one, two = (Recording(torch.ones(n, 1, 3), "rate", "", "output", torch.tensor([n]))
    ...             for n in (2, 4))
    >>> found = of_tasks([one, two])
    >>> found.values.sum(0)[:, 0].tolist(), found.task.tolist()
    ([2.0, 4.0], [0, 1])
    """
    sizes = {tuple(each.values.shape[2:]) for each in recordings}
    if len(sizes) != 1:
        raise ConfigError(
            f"recordings of tasks have units of the shapes {sorted(sizes)}; record the same layer "
            "in every task"
        )
    longest = max(len(each.values) for each in recordings)
    counts = torch.tensor([each.values.shape[1] for each in recordings])
    targets = [each.target for each in recordings if each.target is not None]
    classes = len(targets) == len(recordings) and all(t.dim() == 1 for t in targets)
    return replace(
        recordings[0],
        values=torch.cat([resized(each.values, longest) for each in recordings], 1),
        lengths=torch.cat([each.lengths for each in recordings]),
        target=torch.cat(targets) if classes else None,
        task=torch.arange(len(recordings)).repeat_interleave(counts),
    )


def _joined(
    parts: list[tuple[np.ndarray, dict[str, Recording]]], axis: int
) -> dict[str, Recording]:
    """Recordings of parts of the samples as one, in the order of the data.

    ``axis`` is that of the samples in their targets.
    """
    order = torch.from_numpy(np.argsort(np.concatenate([chosen for chosen, _ in parts])))
    joined = {}
    for name, first in parts[0][1].items():
        each = [found[name] for _, found in parts]
        values = torch.cat([part.values for part in each], 1)[:, order]
        lengths = torch.cat([part.lengths for part in each])[order]
        targets = [part.target for part in each if part.target is not None]
        target = torch.cat(targets, axis).index_select(axis, order)
        joined[name] = replace(first, values=values, lengths=lengths, target=target)
    return joined


@contextmanager
def recording(
    net: nn.Module, layers: Iterable[str] | None = None, what: str = OUTPUT
) -> Iterator[Mapping[str, Recording]]:
    """Within this context, every run of a network leaves a recording of what its layers did.

    It is meant for your own training loop: the values have gradients, so that a loss can depend on
    them. Nothing is left in the network afterwards.

    Args:
        net: any network.
        layers, what: as in :func:`record`.

    Yields:
        A mapping from the names of layers to the recordings of their last run.

    >>> import snnsim as sn
    >>> net = sn.Sequential(sn.Dense(3, 4), sn.LIF(4, dt=1.0))
    >>> with recording(net) as activity:
    ...     y, _ = net(torch.rand(6, 2, 3))
    >>> torch.equal(activity["layers.1"].values, y)
    True
    """
    modules = _chosen(net, layers)
    for name, module in modules.items():
        _check(name, module, what)
    found: dict[str, Recording] = {}
    inner = [False]

    def told(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if inner[0]:  # a state is found by running the layer again
            return
        inner[0] = True
        try:
            values, kind = _values(module, what, inputs, output)
        finally:
            inner[0] = False
        lengths = torch.full((values.shape[1],), len(values))
        found[name] = Recording(values, kind, name, what, lengths)

    with listening(modules, told):
        yield found


def neurons_of(net: nn.Module) -> dict[str, nn.Module]:
    """Return all neurons and rate-coded models of a network by name."""
    kinds = (Neuron, Baseline, RateLIF)
    found = {n: m for n, m in net.named_modules() if isinstance(m, kinds)}
    within = tuple(f"{n}." for n, m in found.items() if n and isinstance(m, Baseline))
    return {n: m for n, m in found.items() if not n.startswith(within or "-")}


def layer_titles(net: nn.Module) -> dict[str, str]:
    """Return what to call each layer of neurons where people read it: its number and its kind.

    >>> import snnsim as sn
    >>> hidden = sn.Dense(3, 4), sn.LIF(4, dt=1.0)
    >>> layer_titles(sn.Sequential(*hidden, sn.Dense(4, 2), sn.LI(2, dt=1.0)))
    {'layers.1': 'layer 1: LIF', 'layers.3': 'layer 2: LI'}
    """
    return {
        name: f"layer {number}: {type(module).__name__}"
        for number, (name, module) in enumerate(neurons_of(net).items(), 1)
    }


def _chosen(net: nn.Module, layers: Iterable[str] | None) -> dict[str, nn.Module]:
    known: dict[str, nn.Module] = dict(net.named_modules())
    if layers is None:
        found = neurons_of(net)
        if not found:
            raise ConfigError(
                f"{type(net).__name__} has no neurons to record; name layers, some of "
                f"{short(', '.join(known), 200)}"
            )
        return found
    names = [layers] if isinstance(layers, str) else list(layers)
    for name in names:
        if name not in known:
            raise ConfigError(
                f"there is no layer {name!r}{nearest(name, known)}; there are "
                f"{short(', '.join(n for n in known if n), 300)}"
            )
    return {name: known[name] for name in names}


def _check(name: str, module: nn.Module, what: str) -> None:
    """Refuse what a layer cannot show, before anything runs."""
    if what in (OUTPUT, INPUT):
        return
    if isinstance(module, Neuron):
        known = (OUTPUT, INPUT, VOLTAGE, *type(module).state)
        if what not in known:
            raise ConfigError(
                f"{type(module).__name__} ({name}) has no {what!r}{nearest(what, known)}; it has "
                f"{', '.join(known)}"
            )
    elif what == VOLTAGE or not isinstance(module, Layer):
        raise ConfigError(
            f"{name} is a {type(module).__name__}, of which only 'output', 'input' and, of layers, "
            "states can be recorded"
        )


def _values(
    module: nn.Module, what: str, inputs: tuple[Any, ...], output: Any
) -> tuple[Tensor, str]:
    """What a layer did in one run, ``[T, B, ...]``, and its kind."""
    y = output[0] if isinstance(output, tuple) else output
    if what == OUTPUT:
        return y, _kind(module)
    if what == INPUT:
        return inputs[0], CURRENT if isinstance(module, Neuron) else RATE
    if isinstance(module, Neuron):
        if what == VOLTAGE:
            return module.voltage(*inputs), STATE
        return module.trace(*inputs)[1][what], STATE
    return _states(module, what, inputs), STATE


def _kind(module: nn.Module) -> str:
    if isinstance(module, LI):
        return STATE
    return SPIKES if isinstance(module, Neuron) else RATE


def _states(module: nn.Module, what: str, inputs: tuple[Any, ...]) -> Tensor:
    """A state of a layer after every step, found by running it step by step.

    ``"state"`` is all of it, side by side; else the entry of that name.
    """
    x, state = (*inputs, None)[:2]
    taken = []
    for step in range(len(x)):
        _, state = module(x[step : step + 1], state)
        taken.append(_entry(module, what, state, x.shape[1]))
    return torch.stack(taken)


def _entry(module: nn.Module, what: str, state: Any, batch: int) -> Tensor:
    if isinstance(state, dict) and isinstance(state.get(what), Tensor):
        found: Tensor = state[what]
        return found
    if what != STATE:
        known = sorted(state) if isinstance(state, dict) else []
        raise ConfigError(
            f"{type(module).__name__} has no state {what!r}; it has {', '.join([*known, STATE])}"
        )
    parts: list[Tensor] = []
    keep: Callable[[Tensor], None] = parts.append
    map_state(keep, state)
    sized = [p for p in parts if p.is_floating_point() and p.dim()]
    flat = [p.reshape(batch, -1) for p in sized if p.shape[0] == batch]
    if not flat:
        raise ShapeError(f"{type(module).__name__} keeps no state from step to step")
    return torch.cat(flat, 1)
