"""Composition of layers with explicit state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnsim.errors import ConfigError, ShapeError, short
from snnsim.layer import Layer, run_layer
from snnsim.networks import fusion
from snnsim.synapses.delayed import delayed_layers


class Sequential(Layer):
    """Run layers one after another; the state is the tuple of their states.

    A plain ``torch.nn`` module is applied to the whole ``[T, B, ...]`` tensor and has no
    state. Batch normalisation, a neuron and dropout in a row are computed as one operator
    where nothing (a hook, another process's statistics) needs them apart.

    >>> import torch
    >>> from snnsim.neurons import LIF
    >>> from snnsim.synapses import Dense
    >>> net = Sequential(Dense(3, 4), LIF(4, dt=1.0))
    >>> x = torch.rand(6, 2, 3)
    >>> whole, _ = net(x)
    >>> first, state = net(x[:2])
    >>> second, _ = net(x[2:], state)
    >>> torch.equal(whole, torch.cat([first, second]))
    True
    """

    def __init__(self, *layers: nn.Module):
        super().__init__()
        for place, layer in enumerate(layers):
            _check_module(f"layer {place}", layer)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, state: tuple[Any, ...] | None = None) -> tuple[Tensor, Any]:
        states = split_state(state, len(self.layers))
        layers = list(self.layers)
        after: list[Any] = []
        while len(after) < len(layers):
            first = len(after)
            count = fusion.fusable(layers[first : first + 3])
            group = layers[first : first + count]
            if count and fusion.can_run(group, x):
                x, new = fusion.run(group, x, states[first : first + count])
                after += new
            else:
                x, one = run_layer(layers[first], x, states[first])
                after.append(one)
        return x, tuple(after)

    def __getitem__(self, index: int) -> nn.Module:
        return self.layers[index]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self):
        return iter(self.layers)


def split_state(state: Any, count: int) -> tuple[Any, ...]:
    """Return the states of ``count`` layers; raise :class:`ShapeError` for any other state."""
    if state is None:
        return (None,) * count
    if not isinstance(state, tuple) or len(state) != count:
        have = f"has {len(state)} entries" if isinstance(state, tuple) else f"is {type(state)}"
        raise ShapeError(
            f"the state {have} but the network {count} layers; pass the state that this "
            "network returned, or None to start afresh"
        )
    return state


def _check_module(what: str, given: Any) -> None:
    if isinstance(given, list | tuple):
        raise ConfigError(f"{what} is a {type(given).__name__}; write Sequential(*layers)")
    if not isinstance(given, nn.Module):
        raise ConfigError(f"{what} is {short(given, 80)} but must be a layer or a torch module")


class Skip(Layer):
    """Add a skip connection to a layer, ``y = layer(x) + project(x)``; the state is that of both.

    Where delays with ``padding="lengthen"`` make the layer's output longer than its input, zeros
    follow on the skipping path.

    Args:
        layer: layer that is skipped.
        project: optional module on the skipping path, to match channels.

    >>> import torch
    >>> from snnsim.synapses import Dense
    >>> y, _ = Skip(Sequential(Dense(3, 3)))(torch.zeros(2, 1, 3))
    >>> tuple(y.shape)
    (2, 1, 3)
    """

    def __init__(self, layer: nn.Module, project: nn.Module | None = None):
        super().__init__()
        _check_module("the skipped layer", layer)
        if project is not None:
            _check_module("project", project)
        self.layer, self.project = layer, project

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        inner, outer = split_state(state, 2)
        y, inner = run_layer(self.layer, x, inner)
        around = x
        if self.project is not None:
            around, outer = run_layer(self.project, x, outer)
        longer = len(y) - len(around)
        if longer > 0 and longer == sum(layer.tail for layer in delayed_layers(self.layer)):
            around = torch.cat([around, around.new_zeros((longer, *around.shape[1:]))])
        if around.shape != y.shape:
            raise ShapeError(
                f"a skip connection joins {tuple(around.shape)} to {tuple(y.shape)}; give "
                "project= a module that makes the shapes equal"
            )
        return y + around, (inner, outer)
