"""Networks for NeuroBench, which measures them by its own code."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snnsim.costing import activations_of, arriving, connections_of, others, weight_of
from snnsim.errors import ConfigError, short
from snnsim.layer import evaluating, listening
from snnsim.synapses import Delayed, DelayedConv2d

Mirrored = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


class Activation(nn.Module):
    """An ``Activation`` returns its input; NeuroBench sees outputs of neurons pass through it."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class Measured(nn.Module):
    """A ``Measured`` network is one whose connections and neurons NeuroBench can see.

    NeuroBench sees only layers of torch that are called once for every time step. So the network
    runs as it is, and what arrives at a connection then passes, step by step, through a layer of
    torch with the same weights; outputs of neurons pass through an :class:`Activation`. What these
    return is not used. A delayed connection stands as one without delays, and with as many outputs
    as it has delayed copies, so that an operation counts when its spike is emitted.

    Parameters and buffers are those of the network itself, so that the footprint is its own.

    Args:
        net: any network; its weights are taken when it is wrapped, so wrap it again after a change.

    Call: ``[B, T, ...] -> [B, T', ...]``, batch first, in evaluation mode and without gradient.
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        self._network = (net,)  # not a part: NeuroBench would count its layers beside their mirrors
        self.shown: dict[str, nn.Module] = {}
        with torch.no_grad():
            for name, connection in connections_of(net).items():
                self._show(f"{name} ", mirror(connection))
            for name in activations_of(net):
                self._show(name, Activation())

    def _show(self, name: str, part: nn.Module) -> None:
        self.shown[name] = part
        self.add_module((name or "network").replace(".", "/"), part)

    @property
    def network(self) -> nn.Module:
        """Return the network that is measured."""
        return self._network[0]

    def named_parameters(self, *args: Any, **kwargs: Any) -> Any:
        """Return the parameters of the network; the layers beside it have the same."""
        return self.network.named_parameters(*args, **kwargs)

    def named_buffers(self, *args: Any, **kwargs: Any) -> Any:
        """Return the buffers of the network."""
        return self.network.named_buffers(*args, **kwargs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Measured:
        """Convert the network and the layers beside it."""
        self.network._apply(fn, recurse)
        super()._apply(fn, recurse)
        return self

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        net, samples = self.network, len(x)
        connections, activations = connections_of(net), activations_of(net)

        def told(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
            if name in connections:
                steps, part = arriving(module, inputs, output, samples), self.shown[f"{name} "]
            else:
                steps = output[0] if isinstance(output, tuple) else output
                part = self.shown[name]
            for step in steps:
                part(step.to(weight_of(module).dtype) if name in connections else step)

        with evaluating(net), listening(connections | activations, told):
            y = net(x.transpose(0, 1))
        y = y[0] if isinstance(y, tuple) else y
        return y.transpose(0, 1)


def mirror(connection: nn.Module) -> Mirrored:
    """Return a layer of torch with the weights of a connection, without bias and delays.

    Args:
        connection: one of those that :func:`snnsim.costing.connections_of` finds.
    """
    weight = weight_of(connection)
    layer: Mirrored
    if isinstance(connection, DelayedConv2d):
        size, stride, margin = connection.kernel_size, connection.stride, connection.margin
        layer = nn.Conv2d(weight.shape[1], len(weight), size, stride, margin, bias=False)
    elif isinstance(connection, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        layer = copy.deepcopy(connection)
        layer.bias = None
    else:
        if isinstance(connection, Delayed):
            weight = weight.transpose(1, 2).flatten(0, 1)
        layer = nn.Linear(weight.shape[1], len(weight), bias=False)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer


def for_neurobench(net: nn.Module) -> Any:
    """Return a network as a ``TorchModel`` of NeuroBench, which then measures more than zeros.

    Args:
        net: any network; see :class:`Measured` for what NeuroBench sees of it, and how delays
            count.

    Returns:
        A ``neurobench.models.TorchModel``, whose input is ``[B, T, ...]``, batch first. A warning
        names weights that NeuroBench will not see, because they belong to no connection.

    Raises:
        ConfigError: if NeuroBench is not installed.
    """
    try:
        from neurobench.models import TorchModel
    except ImportError as error:
        raise ConfigError(
            f"NeuroBench cannot be imported ({error}); install it with pip install "
            "'snnsim[neurobench]', or use sn.cost(net, x).neurobench(), which needs nothing"
        ) from error
    if hidden := others(net):
        warnings.warn(
            f"NeuroBench will not see {short(', '.join(hidden), 200)} of this network, which "
            "belong to no connection; its figures leave out what they cost",
            stacklevel=2,
        )
    model = TorchModel(Measured(net))
    model.add_activation_module(Activation)
    return model
