"""A deep network as its parts: blocks of equal input and output width, one after another."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from snnsim.baselines import RateNetwork
from snnsim.errors import ConfigError
from snnsim.layer import Layer
from snnsim.networks import Sequential, Skip
from snnsim.synapses import Delayed, Dense


class Stack(NamedTuple):
    """A ``Stack`` is a network, taken apart into its blocks.

    Attributes:
        before: what comes before the first block.
        blocks: layers of equal width, in their order.
        after: what comes after the last block, the read-out included.
        names: the name of the module in the network whose output is that of each block.
    """

    before: nn.Module
    blocks: tuple[nn.Module, ...]
    after: nn.Module
    names: tuple[str, ...]


def stack_of(net: nn.Module) -> Stack:
    """Take a network apart into the longest run of blocks of equal input and output width.

    Args:
        net: a :class:`Sequential` with connections or :class:`Skip`, such as
            :func:`snnsim.delay_network` builds, or a :class:`RateNetwork`.

    Raises:
        ConfigError: if there are fewer than two such blocks.

    >>> import snnsim as sn
    >>> net = sn.delay_network((9, 8, 8, 8, 3), dt=1.0, tau_mem=2.0, max_delay_ms=4, dropout=0.0)
    >>> stack_of(net).names
    ('layers.7', 'layers.11')
    """
    if isinstance(net, RateNetwork):
        found = _of_rates(net)
    elif isinstance(net, Sequential):
        found = _of_spikes(net)
    else:
        raise ConfigError(
            f"{type(net).__name__} cannot be taken apart into blocks; give a Sequential of "
            "connections and neurons, or a RateNetwork"
        )
    if len(found.blocks) < 2:
        raise ConfigError(
            "an analysis of depth needs 2 or more hidden blocks of equal input and output width, "
            f"but the network has {len(found.blocks)}; train one with network.layers=4 or more"
        )
    return found


def _of_spikes(net: Sequential) -> Stack:
    groups = _groups(net)
    equal = [_is_equal(group) for group in groups[:-1]]  # the last is the read-out
    runs = itertools.groupby(range(len(equal)), equal.__getitem__)
    chosen = max((list(run) for same, run in runs if same), key=len, default=[])
    first, last = (chosen[0], chosen[-1] + 1) if chosen else (0, 0)
    place = list(itertools.accumulate((len(group) for group in groups), initial=0))
    return Stack(
        _chain(groups[:first]),
        tuple(_chain([group]) for group in groups[first:last]),
        _chain(groups[last:]),
        tuple(f"layers.{place[index + 1] - 1}" for index in range(first, last)),
    )


def _groups(net: Sequential) -> list[list[nn.Module]]:
    """Layers from one connection, or skip connection, up to the next."""
    groups: list[list[nn.Module]] = []
    for layer in net:
        if not groups or isinstance(layer, (Dense, Delayed, Sequential, Skip)):
            groups.append([])
        groups[-1].append(layer)
    return groups


def _is_equal(group: Sequence[nn.Module]) -> bool:
    every: list[Any] = [m for layer in group for m in layer.modules()]
    ends = [m for m in every if isinstance(m, (Dense, Delayed))]
    return bool(ends) and ends[0].n_in == ends[-1].n_out


def _chain(groups: Sequence[Sequence[nn.Module]]) -> Sequential:
    return Sequential(*itertools.chain(*groups))


class _RateBlock(Layer):
    """One layer of a :class:`RateNetwork` with its norm, dropout and join."""

    def __init__(self, net: RateNetwork, index: int):
        super().__init__()
        self.layer, self.drop = net.layers[index], net.drop
        self.norm = net.norms[index] if net.residual else None
        self.join = net.joins[index] if net.residual else None

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        y, state = self.layer(x if self.norm is None else self.norm(x), state)
        y = self.drop(y)[0]
        return (y if self.join is None else self.join(x, y)), state


def _of_rates(net: RateNetwork) -> Stack:
    if net.streaming == "none" or net.head is None:
        raise ConfigError(
            f"{net.model} looks at whole samples or has no read-out, so its layers cannot be run "
            "one by one; give a causal model with outputs"
        )
    every = [_RateBlock(net, index) for index in range(len(net.layers))]
    first = 0 if net.residual else 1  # whose input is as wide as the data
    before = [net.encoder, *([] if net.enter is None else [net.enter]), *every[:first]]
    kind = "joins" if net.residual else "layers"
    names = tuple(f"{kind}.{index}" for index in range(first, len(every)))
    return Stack(Sequential(*before), tuple(every[first:]), net.head, names)
