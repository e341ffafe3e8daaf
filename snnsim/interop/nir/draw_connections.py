"""Connections as nodes of a NIR graph: weights, delays, and a normalisation folded into them.

NIR has a delay for each channel and none for each synapse. Delays per synapse become a branch for
each whole step that occurs: a delay, and the weights of all synapses that have it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor, nn

from snnsim.functional.delays import round_delay
from snnsim.interop.nir.drawing import Drawing, Signal, together
from snnsim.interop.nir.timing import Array

Shape = tuple[int, ...]
Node = Callable[[Array, Array | None], Any]


def array(values: Tensor) -> Array:
    """Return a tensor as NIR keeps it, in float32."""
    return np.ascontiguousarray(values.detach().cpu().float().numpy())


def dense_node(weight: Array, bias: Array | None) -> Any:
    """Return the node of a matrix, with or without bias."""
    return nir.Linear(weight=weight) if bias is None else nir.Affine(weight=weight, bias=bias)


def conv_node(size: Shape, *, stride: Any, padding: Any, dilation: Any, groups: int) -> Node:
    """Return a function that makes nodes of a convolution over inputs of ``size`` pixels."""
    plain = len(size) == 1  # NIR writes numbers for one axis and pairs for two

    def one(value: Any) -> Any:
        if isinstance(value, str):
            return value
        pair = value if isinstance(value, tuple) else (value,) * len(size)
        return int(pair[0]) if plain else tuple(int(n) for n in pair)

    def node(weight: Array, bias: Array | None) -> Any:
        kind = nir.Conv1d if plain else nir.Conv2d
        weight = _ungrouped(weight, groups)
        return kind(
            input_shape=int(size[0]) if plain else tuple(int(n) for n in size),
            weight=weight,
            stride=one(stride),
            padding=one(padding),
            dilation=one(dilation),
            groups=1,
            bias=np.zeros(len(weight), np.float32) if bias is None else bias,
        )

    return node


def _ungrouped(weight: Array, groups: int) -> Array:
    """The same weights without groups, whose shapes the nir library infers wrongly."""
    if groups == 1:
        return weight
    outs, ins = len(weight) // groups, weight.shape[1]
    full = np.zeros((len(weight), ins * groups, *weight.shape[2:]), np.float32)
    for g in range(groups):
        rows = slice(g * outs, (g + 1) * outs)
        full[rows, g * ins : (g + 1) * ins] = weight[rows]
    return full


@dataclass(frozen=True)
class Connection:
    """A ``Connection`` is a linear map of one step, with delays.

    Attributes:
        weight: the weights, ``[O, ...]``, or ``[O, I, K]`` where each of ``K`` copies has delays.
        bias: what is added to each output channel, ``[O]``, or ``None``.
        node: makes a node of weights of one copy and a bias.
        shape: the shape of one step of the output.
        delay: delays in whole steps, in the shape of the weights, or for axonal and dendritic ones
            ``[channels, K]``; ``None`` if there are none.
        granularity: ``"synaptic"``, ``"axonal"`` or ``"dendritic"``.
    """

    weight: Tensor
    bias: Tensor | None
    node: Node
    shape: Shape
    delay: Tensor | None = None
    granularity: str = "synaptic"

    def scaled(self, gain: Tensor, shift: Tensor) -> Connection:
        """Return the connection whose output is ``gain * output + shift`` of each channel."""
        bias = shift if self.bias is None else shift + gain * self.bias
        weight = self.weight * gain.view(-1, *[1] * (self.weight.dim() - 1))
        return replace(self, weight=weight, bias=bias)

    def draw(self, drawing: Drawing, name: str, signal: Signal) -> Signal:
        """Add the connection to a drawing."""
        if self.delay is None:
            node = self.node(array(self.weight), None if self.bias is None else array(self.bias))
            return drawing.add(name, node, signal, self.shape)
        pen = _Delays(self, drawing, name, drawing.single(name, signal))
        return {"synaptic": pen.steps, "axonal": pen.axons, "dendritic": pen.dendrites}[
            self.granularity
        ]()


class _Delays:
    """Draws the branches of a connection with delays; one of them brings the bias."""

    def __init__(self, connection: Connection, drawing: Drawing, name: str, signal: Signal):
        assert connection.delay is not None
        self.of, self.drawing, self.name, self.signal = connection, drawing, name, signal
        self.delay: Tensor = connection.delay
        self.bias = None if connection.bias is None else array(connection.bias)

    def delayed(self, name: str, steps: Tensor, signal: Signal) -> Signal:
        """A delay of ``steps`` for each channel, or the signal itself if there is none."""
        if not bool(steps.any()):
            return signal
        seconds = (steps.double() * self.drawing.dt).float().numpy()
        first = seconds.reshape(-1, *[1] * (len(signal.shape) - 1))
        full = np.ascontiguousarray(np.broadcast_to(first, signal.shape))
        return self.drawing.add(name, nir.Delay(delay=full), signal, signal.shape)

    def weights(self, name: str, weight: Tensor, signal: Signal) -> Signal:
        """The weights of a branch, with the bias if no branch before has brought it."""
        node = self.of.node(array(weight), self.bias)
        self.bias = None
        return self.drawing.add(name, node, signal, self.of.shape)

    def steps(self) -> Signal:
        branches = []
        copies = self.delay.dim() == 3  # [O, I, K] of a dense connection
        for step in self.delay.unique().long().tolist():
            weight = self.of.weight * (self.delay == step)
            weight = weight.sum(-1) if copies else weight
            name = f"{self.name}_step{step}"
            late = self.delayed(f"{name}_delay", torch.tensor([step]), self.signal)
            branches.append(self.weights(f"{name}_weight", weight, late))
        return together(*branches)

    def axons(self) -> Signal:
        branches = []
        for k in range(self.delay.shape[1]):
            late = self.delayed(f"{self.name}_copy{k}_delay", self.delay[:, k], self.signal)
            weight = self.of.weight[..., k]
            branches.append(self.weights(f"{self.name}_copy{k}_weight", weight, late))
        return together(*branches)

    def dendrites(self) -> Signal:
        branches, bias, self.bias = [], self.bias, None
        for k in range(self.delay.shape[1]):
            name = f"{self.name}_copy{k}"
            early = self.weights(f"{name}_weight", self.of.weight[..., k], self.signal)
            branches.append(self.delayed(f"{name}_delay", self.delay[:, k], early))
        if bias is not None:  # it is there from the first step, so that it cannot be delayed
            self.bias, nothing = bias, torch.zeros_like(self.of.weight[..., 0])
            branches.append(self.weights(f"{self.name}_bias", nothing, self.signal))
        return together(*branches)


def delays_of(layer: Any) -> dict[str, Any]:
    """Return the delays of a layer as the fields of a :class:`Connection`."""
    delay = round_delay(layer.delay.detach(), layer.length).long().cpu()
    return {"delay": delay, "granularity": getattr(layer, "granularity", "synaptic")}


def torch_bias(module: nn.Module) -> Tensor | None:
    """Return the bias of a module of torch, or ``None``."""
    bias = getattr(module, "bias", None)
    return bias.detach() if isinstance(bias, Tensor) else None
