"""The units of a network: which connections lead into which layer of neurons, and from where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snnsim.baselines import RateNetwork
from snnsim.continual.presynaptic import Part, connections_of, owner_of, weight_of
from snnsim.errors import ConfigError
from snnsim.layer import listening
from snnsim.networks import Skip
from snnsim.synapses import Recurrent


@dataclass
class Block:
    """A block has the weights from the units of one layer (or the input) to those of another.

    Attributes:
        module: the connection.
        after: number of the layer of units it leads into.
        before: number of the layer it comes from; -1 for the input.
        mask: ``[units after, units before]``, which pairs are connected. A convolution
            connects a pair of channels by a whole kernel, and a fully connected layer behind
            images a channel by all of its pixels.
    """

    module: nn.Module
    after: int
    before: int
    mask: Tensor

    def full(self, mask: Tensor) -> Tensor:
        """Return a mask of pairs as one of the weight's shape, on its device."""
        weight = weight_of(self.module)
        wide = mask.repeat_interleave(weight[0].numel() // mask.shape[1], 1)
        return wide.view(weight.shape).to(weight.device)

    def rows(self) -> list[nn.Parameter]:
        """Return the connection's parameters with a row for each unit it leads into."""
        found = owner_of(self.module).parameters(recurse=False)
        return [p for p in found if p.dim() and len(p) == len(self.mask)]


class Units:
    """Finds the layers of units of a chain, and the blocks of weights between them.

    Args:
        net: a network of layers one after the other (no skipped ones).

    >>> import snnsim as sn
    >>> from snnsim.training.rules import prepare
    >>> net = prepare(sn.Sequential(sn.Dense(3, 4), sn.LIF(4, dt=1.0), sn.Dense(4, 2)))
    >>> units = Units(net)
    >>> units.sizes, [tuple(block.mask.shape) for block in units.blocks]
    ([4, 2], [(4, 3), (2, 4)])
    """

    def __init__(self, net: nn.Module):
        if any(isinstance(module, Skip | RateNetwork) for module in net.modules()):
            raise ConfigError(
                "units are known of chains of layers only, but this network skips layers or has "
                "gates and several connections in one; use a plain snnsim.Sequential"
            )
        self.net = net
        self.sizes: list[int] = []
        self.blocks: list[Block] = []
        for module in connections_of("body", net).values():
            if isinstance(module, Part):  # of a layer that holds several connections
                raise ConfigError(
                    "units are known of layers with one connection each, but this network has a "
                    "recurrent layer of torch's; use snnsim.Recurrent"
                )
            self.blocks.append(self._block(module))

    def _block(self, module: nn.Module) -> Block:
        weight, last = weight_of(module), len(self.sizes) - 1
        if isinstance(module, Recurrent):
            return Block(module, last, last, torch.ones(weight.shape, dtype=torch.bool))
        before = weight.shape[1] if last < 0 else self.sizes[-1]
        if weight[0].numel() % before:
            raise ConfigError(
                f"a connection from {weight.shape[1]} inputs cannot follow {before} units; "
                "convolve in one group"
            )
        self.sizes.append(len(weight))
        mask = torch.ones(len(weight), before, dtype=torch.bool)
        return Block(module, last + 1, last, mask)

    @torch.no_grad()
    def activity(self, x: Tensor) -> list[Tensor]:
        """Measure the mean absolute activity of every unit of every layer for ``x [T, B, ...]``."""
        found: dict[int, Tensor] = {}

        def seen(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
            found[int(name)] = inputs[0]

        into = (block for block in self.blocks if 0 <= block.before < block.after)
        with listening({str(block.before): block.module for block in into}, seen):
            y, _ = self.net(x)
        found[len(self.sizes) - 1] = y
        return [
            found[layer].abs().mean((0, 1)).reshape(size, -1).mean(1)
            for layer, size in enumerate(self.sizes)
        ]
