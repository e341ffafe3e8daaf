"""A network as a graph of the Neuromorphic Intermediate Representation."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snnsim.errors import ConfigError, NonFiniteError, check_number
from snnsim.finite import first_not_finite
from snnsim.interop.nir.draw_connections import (
    Connection,
    conv_node,
    delays_of,
    dense_node,
    torch_bias,
)
from snnsim.interop.nir.draw_neurons import draw_neuron, draw_recurrent
from snnsim.interop.nir.drawing import NOMINAL_DT, Drawing, Signal, together
from snnsim.layer import evaluating, is_plain
from snnsim.networks import BatchNorm, Dropout, Sequential, Skip
from snnsim.neurons.neuron import Neuron
from snnsim.synapses import Bias, Delayed, DelayedConv2d, Dense, Recurrent
from snnsim.synapses.over_time import OverTime

Shape = tuple[int, ...]
PASSED_OVER = (Dropout, nn.Dropout, nn.Identity)  # in evaluation
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
WIDE = (
    "{} has delays that are spread over {:g} time steps, of which NIR can only have whole ones; "
    "train with narrow_delays until they are narrow, or export what evaluation makes of them with "
    "round=True"
)


@torch.no_grad()
def to_nir(
    net: nn.Module,
    *,
    shape: Shape | None = None,
    dt: float = NOMINAL_DT,
    round: bool = False,
) -> nir.NIRGraph:
    """Return a network as a NIR graph that computes what the network computes in evaluation mode.

    Time is written for steps of ``dt`` seconds, whatever the step of the network is, because other
    programs read NIR for steps of 0.1 ms and cannot be told otherwise; the true step is among the
    graph's metadata. Steps stay steps: what happens in ``n`` steps here happens in ``n`` there.

    Args:
        net: a network of connections, convolutions, pooling, neurons, and what stands between them
            in training only. Batch normalisation is folded into the weights before it.
        shape: the shape of one step of one sample, such as ``(2, 34, 34)``; it may be left out if
            the network begins with a flat connection.
        dt: the length of a time step for which time constants are written, in s.
        round: whether delays that are still spread over several steps are rounded, as evaluation
            does; by default they are refused.

    Returns:
        A ``nir.NIRGraph``; ``nir.write(path, graph)`` writes it to a file. With kernels that are
        not square, ``nir.read`` needs ``type_check=False``, because it takes them for square. What
        connections with ``padding="lengthen"`` append is not in it: append as many zeros to the
        input.

    Raises:
        ConfigError: if a part of the network has no form in NIR; the message names it.
        NonFiniteError: if a weight is NaN or infinite.

    Source: Pedersen et al. 2024, Nature Communications 15, 8122; node definitions of nir 1.0.

    >>> import torch
    >>> import snnsim as sn
    >>> net = sn.Sequential(sn.Dense(3, 4), sn.LIF(4, dt=1.0, reset="zero"))
    >>> sorted(to_nir(net).nodes)
    ['input', 'layer0_Dense', 'layer1_LIF', 'output']
    """
    check_number("dt", dt, 0, 1)
    lost = first_not_finite([*net.named_parameters(), *net.named_buffers()])
    if lost is not None:
        raise NonFiniteError(f"{lost} of the network is NaN or infinite: its training diverged")
    drawing = Drawing(dt)
    walk = _Walk(drawing, round)
    size = _input_shape(net, shape)
    drawing.nodes["input"] = nir.Input(input_type={"input": np.array(size)})
    with evaluating(net):
        out = walk.run(_flattened(net, ""), Signal(("input",), size))
    drawing.nodes["output"] = nir.Output(output_type={"output": np.array(out.shape)})
    drawing.join(out, "output")
    about = {"snnsim": json.dumps({"nominal_dt_s": dt, "layers": drawing.advice})}
    checked = not any(_is_oblong(node) for node in drawing.nodes.values())
    return nir.NIRGraph(drawing.nodes, drawing.edges, about, type_check=checked)


def _is_oblong(node: Any) -> bool:
    """Whether a node is a convolution whose output the nir library takes for another shape."""
    return isinstance(node, nir.Conv2d) and node.weight.shape[2] != node.weight.shape[3]


def _input_shape(net: nn.Module, shape: Shape | None) -> Shape:
    if shape is not None:
        return tuple(int(n) for n in shape)
    for _, layer in _flattened(net, ""):
        inside = layer.layer if isinstance(layer, Skip) else layer
        if isinstance(inside, Sequential):
            return _input_shape(inside, None)
        if isinstance(inside, Dense | Delayed):
            return (inside.n_in,)
        if isinstance(inside, nn.Linear):
            return (inside.in_features,)
        neurons = inside.neuron if isinstance(inside, Recurrent) else inside
        if isinstance(neurons, Neuron):
            return tuple(neurons.shape)
        if not isinstance(inside, PASSED_OVER):
            break
    raise ConfigError(
        "the network does not say what shape its input has; give the shape of one step of one "
        "sample, such as shape=(2, 34, 34)"
    )


def _flattened(net: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """The layers of nested sequences, by names such as ``layer2_0``."""
    if not isinstance(net, Sequential | nn.Sequential):
        yield name or "network", net
        return
    if isinstance(net, Sequential) and not is_plain(net, Sequential):
        raise _no_form(name or "the network", net, "it has a hook or a forward of its own")
    for index, layer in enumerate(net):
        yield from _flattened(layer, f"{name}_{index}" if name else f"layer{index}")


def _no_form(name: str, layer: nn.Module, why: str) -> ConfigError:
    return ConfigError(f"{name} ({_kind(layer)}) has no form in NIR: {why}")


def _kind(layer: nn.Module) -> str:
    inside = layer.module if isinstance(layer, OverTime) else layer
    kind: type = parametrize.type_before_parametrizations(inside)
    return kind.__name__


class _Walk:
    """Goes through layers and draws them."""

    def __init__(self, drawing: Drawing, round: bool):
        self.drawing, self.round = drawing, round

    def run(self, layers: Iterable[tuple[str, nn.Module]], signal: Signal) -> Signal:
        """Draw layers one after another; a connection waits for the normalisation after it."""
        waiting: tuple[str, Connection] | None = None
        for name, layer in layers:
            if isinstance(layer, PASSED_OVER):
                continue
            scaling = self._scaling(name, layer)
            if scaling is not None and waiting is not None:
                waiting = (waiting[0], waiting[1].scaled(*scaling))
                continue
            signal, waiting = self._drawn(waiting, signal), None
            label = f"{name}_{_kind(layer)}"
            if scaling is not None:
                waiting = (label, _per_channel(signal.shape, *scaling))
            elif (connection := self.connection(name, layer, signal.shape)) is not None:
                waiting = (label, connection)
            else:
                signal = self.other(name, label, layer, signal)
        return self._drawn(waiting, signal)

    def _drawn(self, waiting: tuple[str, Connection] | None, signal: Signal) -> Signal:
        return signal if waiting is None else waiting[1].draw(self.drawing, waiting[0], signal)

    def _scaling(self, name: str, layer: nn.Module) -> tuple[Tensor, Tensor] | None:
        """The gain and the shift of each channel, if that is what a layer does."""
        if isinstance(layer, Bias):
            _check(is_plain(layer, Bias), name, layer)
            return torch.ones_like(layer.bias), layer.bias.detach()
        module: Any = layer.module if isinstance(layer, OverTime) else layer
        if not isinstance(layer, BatchNorm) and not (
            module is not layer and isinstance(module, NORMS)
        ):
            return None
        if module.running_mean is None or module.running_var is None:
            raise _no_form(name, layer, "it keeps no running averages to be evaluated with")
        gain = torch.rsqrt(module.running_var + module.eps)
        gain = gain if module.weight is None else gain * module.weight
        shift = -module.running_mean * gain
        return gain, shift if module.bias is None else shift + module.bias

    def connection(self, name: str, layer: nn.Module, shape: Shape) -> Connection | None:
        """A layer as a connection, if it is one."""
        module: Any = layer.module if isinstance(layer, OverTime) else layer
        if isinstance(module, Dense | nn.Linear):
            _check(
                is_plain(module, (Dense if isinstance(module, Dense) else nn.Linear)), name, layer
            )
            self._flat(name, layer, shape)
            weight, bias = module.weight.detach(), torch_bias(module)
            return Connection(weight, bias, dense_node, (len(weight),))
        if isinstance(module, Delayed):
            _check(is_plain(module, Delayed), name, layer)
            self._flat(name, layer, shape)
            self._delays(name, module)
            weight = module.weight.detach()
            return Connection(weight, None, dense_node, (len(weight),), **delays_of(module))
        if isinstance(module, DelayedConv2d):
            _check(is_plain(module, DelayedConv2d), name, layer)
            self._delays(name, module)
            node = conv_node(
                shape[1:], stride=module.stride, padding=module.margin, dilation=1, groups=1
            )
            after = _size_after(module, shape)
            return Connection(module.weight.detach(), None, node, after, **delays_of(module))
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            if module.padding_mode != "zeros":
                raise _no_form(name, layer, f"its padding is {module.padding_mode!r}, not zeros")
            node = conv_node(
                shape[1:], stride=module.stride, padding=module.padding,
                dilation=module.dilation, groups=module.groups,
            )  # fmt: skip
            after = _size_after(layer, shape)
            return Connection(module.weight.detach(), torch_bias(module), node, after)
        return None

    def _flat(self, name: str, layer: nn.Module, shape: Shape) -> None:
        if len(shape) != 1:
            raise _no_form(name, layer, f"it is applied along the last axis of {shape}; flatten it")

    def _delays(self, name: str, layer: Delayed | DelayedConv2d) -> None:
        """Check that delays are narrow, and note what NIR has no place for."""
        width = float(layer.sigma.detach().abs()) if layer.learn_delay else 0.0
        if width > 1 and not self.round:
            raise ConfigError(WIDE.format(name, width))
        self.drawing.advice[name] = {
            "dt_ms": layer.dt,
            "max_delay_steps": layer.length - 1,
            "padding": layer.padding,
        }

    def other(self, name: str, label: str, layer: nn.Module, signal: Signal) -> Signal:
        """Draw what is no connection."""
        module = layer.module if isinstance(layer, OverTime) else layer
        neuron = layer.neuron if isinstance(layer, Recurrent) else layer
        if isinstance(neuron, Neuron):
            if neuron.shape != signal.shape:
                raise ConfigError(
                    f"{name} has neurons of shape {neuron.shape} but receives {signal.shape}"
                )
            self.drawing.advice[name] = _timing(neuron)
            if isinstance(layer, Recurrent):
                return draw_recurrent(self.drawing, label, layer, signal).output
            return draw_neuron(self.drawing, label, neuron, signal).output
        if isinstance(layer, Skip):
            return self._skip(name, layer, signal)
        if isinstance(layer, OverTime) and isinstance(module, nn.AvgPool2d):
            node, after = _pool(name, layer, module), _size_after(layer, signal.shape)
            return self.drawing.add(label, node, signal, after)
        if isinstance(module, nn.Flatten):
            first = 1 if isinstance(layer, OverTime) else 2  # of the axes of time and batch
            return self._flatten(name, label, layer, module, signal, first)
        raise _no_form(name, layer, "export the layers before it, or replace it")

    def _skip(self, name: str, layer: Skip, signal: Signal) -> Signal:
        if not is_plain(layer, Skip):
            raise _no_form(name, layer, "it has a hook or a forward of its own")
        signal = self.drawing.single(name, signal)
        inner = self.run(_flattened(layer.layer, f"{name}_layer"), signal)
        around = signal
        if layer.project is not None:
            around = self.run(_flattened(layer.project, f"{name}_project"), signal)
        if set(inner.sources) & set(around.sources):  # NIR has one edge between two nodes
            one = nir.Scale(scale=np.ones(around.shape, np.float32))
            around = self.drawing.add(f"{name}_around", one, around, around.shape)
        return together(inner, around)

    def _flatten(
        self,
        name: str,
        label: str,
        layer: nn.Module,
        module: nn.Flatten,
        signal: Signal,
        first: int,
    ) -> Signal:
        start = module.start_dim - first
        end = module.end_dim if module.end_dim < 0 else module.end_dim - first
        if module.start_dim < 0 or start < 0 or (module.end_dim >= 0 and end < 0):
            raise _no_form(name, layer, "it would flatten time or samples")
        kind = {"input": np.array(signal.shape)}
        node = nir.Flatten(input_type=kind, start_dim=start, end_dim=end)
        after = tuple(torch.empty(signal.shape, device="meta").flatten(start, end).shape)
        return self.drawing.add(label, node, signal, after)


def _check(plain: bool, name: str, layer: nn.Module) -> None:
    if not plain:
        raise _no_form(name, layer, "it has a hook or a forward of its own")


def _timing(neuron: Neuron) -> dict[str, Any]:
    """The step of neurons and their time constants, which float32 does not keep to the bit."""
    about: dict[str, Any] = {"dt_ms": neuron.dt, "discretization": neuron.discretization}
    for key in neuron.declared:
        if key.startswith("tau_"):
            about[key] = getattr(neuron, key).detach().tolist()
            if neuron.declared[key].learnable:
                about[f"raw_{key}"] = getattr(neuron, f"raw_{key}").detach().tolist()
    return about


def _pool(name: str, layer: nn.Module, pool: nn.AvgPool2d) -> Any:
    pair = {
        key: np.array(value if isinstance(value, tuple) else (value, value))
        for key, value in (
            ("kernel_size", pool.kernel_size), ("stride", pool.stride), ("padding", pool.padding)
        )
    }  # fmt: skip
    area = int(np.prod(pair["kernel_size"]))
    if pool.ceil_mode or (not pool.count_include_pad and pair["padding"].any()):
        raise _no_form(name, layer, "its windows are cut at the border")
    if pool.divisor_override == 1:
        return nir.SumPool2d(**pair)
    if pool.divisor_override not in (None, area):
        raise _no_form(name, layer, "it divides by another number than the size of its windows")
    return nir.AvgPool2d(**pair)


def _size_after(layer: nn.Module, shape: Shape) -> Shape:
    like = next(layer.parameters(), torch.empty(0))
    y = layer(like.new_zeros((1, 1, *shape)))
    return tuple((y[0] if isinstance(y, tuple) else y).shape[2:])


def _per_channel(shape: Shape, gain: Tensor, shift: Tensor) -> Connection:
    """A normalisation by itself: a diagonal matrix, or a convolution of one pixel."""
    if len(shape) == 1:
        return Connection(torch.diag(gain), shift, dense_node, shape)
    weight = gain.view(-1, 1, *[1] * (len(shape) - 1))
    node = conv_node(shape[1:], stride=1, padding=0, dilation=1, groups=len(gain))
    return Connection(weight, shift, node, shape)
