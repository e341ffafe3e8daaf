"""Sparsity: masks on the weights of synapses, at random or by magnitude.

A mask ``m`` of zeros and ones multiplies a weight wherever the network uses it, ``w = m * w'``. So
a synapse that was cut has weight 0 and gradient 0 from then on; the gradient of its delay, which
has the weight as a factor, is 0 as well, and the delay stays where it is. Source: Darji
2024 (arXiv:2407.20601), section 4: masks by global magnitude over input-to-hidden weights,
hidden-to-hidden weights or both, then training on (``density``, ``prune_at`` and ``prune_way`` of
:class:`snnsim.training.Recipe`).

The networks from random graphs of the same source (every unit is a vertex, and its layer the length
of the longest path to it) are left out: a Watts-Strogatz graph of 256 units with 4 neighbours, half
of them rewired, has some 54 layers of 5 units, and half of its edges skip layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snnsim.errors import ConfigError, check_choice, check_number
from snnsim.synapses import Dense, Recurrent
from snnsim.synapses.delayed import DelayedConnection

WAYS = ("random", "magnitude")
"""Which weights a mask keeps: some at random, or the largest."""
WHATS = ("input", "recurrent", "both")
PERS = ("layer", "network")
CONNECTIONS = (Dense, DelayedConnection, nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
RECURRENT = {"w_rec", "w_context"}  # what our layers call their recurrent weights


class Mask(nn.Module):
    """A mask parametrises a weight: it is itself where the mask is 1, and 0 elsewhere."""

    mask: Tensor

    def __init__(self, mask: Tensor):
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, w: Tensor) -> Tensor:
        return w * self.mask


def sparsify(
    net: nn.Module,
    density: float,
    way: str = "random",
    seed: int | None = None,
    *,
    what: str = "both",
    per: str | None = None,
) -> float:
    """Keep a fraction of the synapses of a network for good; the others are 0 and stay 0.

    The synapses are the weights of connections (``Dense``, ``Delayed``, ``Recurrent``,
    convolutions, and torch's linear, convolutional and recurrent layers), of spiking networks and
    baselines alike. Biases, delays, decays, codes and other tables are never masked. A synapse
    that an earlier call cut stays cut.

    Args:
        net: the network, which is changed in place: its weights get a parametrisation.
        density: the fraction of the synapses that is kept, above 0 and at most 1.
        way: ``"random"`` keeps random synapses; ``"magnitude"`` keeps those with the largest
            absolute weights.
        seed: the seed of the random choice; ``None`` draws one from torch's own random numbers.
        what: which synapses are masked: ``"recurrent"`` for those within a layer, over which
            activity returns one time step later; ``"input"`` for all others; or ``"both"``.
        per: ``"layer"`` keeps the fraction of each weight matrix; ``"network"`` keeps it of all of
            them together. ``None`` is ``"layer"`` for random masks and ``"network"`` for masks by
            magnitude.

    Returns:
        The fraction of these synapses that was kept.

    Raises:
        ConfigError: if the network has no such synapses.

    >>> net = Dense(10, 20)
    >>> round(sparsify(net, 0.25), 2), int((net.weight != 0).sum())
    (0.25, 50)
    """
    check_choice("way", way, WAYS)
    check_choice("what", what, WHATS)
    per = per if per is not None else {"random": "layer", "magnitude": "network"}[way]
    check_choice("per", per, PERS)
    check_number("density", density, most=1, above=0)
    check_synapses(net, what)
    found = list(matrices(net, what))
    possible = [_possible(module, w) for module, _, w in found]
    alive = [p & _mask(m, n, w) for p, (m, n, w) in zip(possible, found, strict=True)]
    if way == "random":
        generator = torch.Generator().manual_seed(_seed(seed))
        costs = [torch.rand(w.shape, generator=generator) for _, _, w in found]
    else:
        costs = [-w.detach().abs().cpu() for _, _, w in found]
    costs = [cost.masked_fill(~a, torch.inf) for cost, a in zip(costs, alive, strict=True)]
    sizes = [int(p.sum()) for p in possible]
    if per == "layer":
        kept = [_cheapest(c, round(density * n)) for c, n in zip(costs, sizes, strict=True)]
    else:
        together = _cheapest(torch.cat([c.flatten() for c in costs]), round(density * sum(sizes)))
        parts = together.split([c.numel() for c in costs])
        kept = [part.view(c.shape) for part, c in zip(parts, costs, strict=True)]
    for (module, name, w), mask in zip(found, kept, strict=True):
        _apply(module, name, mask.to(w))
    return sum(int(mask.sum()) for mask in kept) / max(sum(sizes), 1)


def matrices(net: nn.Module, what: str = "both") -> Iterator[tuple[nn.Module, str, Tensor]]:
    """Yield the weights of all synapses of a network, each with its module and its name there.

    Args:
        net: the network.
        what: ``"input"``, ``"recurrent"`` or ``"both"``, as in :func:`sparsify`. Recurrent are the
            weights of ``Recurrent``, the hidden-to-hidden ones of torch's recurrent layers, and
            those of baselines that are called ``w_rec`` or ``w_context``.
    """
    for path, module in list(net.named_modules()):
        for name in _weights_of(module):
            parts = {name, *path.split(".")}
            recurrent = name.startswith("weight_hh") or bool(parts & RECURRENT)
            if what == "both" or (what == "recurrent") == recurrent:
                yield module, name, getattr(module, name)


def check_synapses(net: nn.Module, what: str = "both") -> None:
    """Raise :class:`ConfigError` unless a network has synapses that could be cut.

    Args:
        net: the network.
        what: ``"input"``, ``"recurrent"`` or ``"both"``, as in :func:`sparsify`.
    """
    if next(matrices(net, what), None) is None:
        kind = "" if what == "both" else f"{what} "
        raise ConfigError(
            f"{type(net).__name__} has no matrix of {kind}weights that could be made sparse"
        )


def masked(net: nn.Module) -> list[tuple[str, str]]:
    """Return which weights have a mask, each as the path of its module and its name there."""
    return [
        (path, name)
        for path, module in net.named_modules()
        for name in _weights_of(module)
        if _mask_of(module, name) is not None
    ]


def masked_in(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return which weights have a mask, as :func:`masked` does, by the names of a state dict.

    >>> masked_in(["layers.0.parametrizations.weight.0.mask", "layers.0.bias"])
    [('layers.0', 'weight')]
    """
    found = (re.fullmatch(r"(?:(.*)\.)?parametrizations\.(\w+)\.\d+\.mask", n) for n in names)
    return [(match[1] or "", match[2]) for match in found if match]


def add_masks(net: nn.Module, weights: Iterable[tuple[str, str]]) -> None:
    """Give weights a mask that cuts nothing, so that the masks of a file can be loaded.

    Args:
        net: the network, which is changed in place; masks that it already has stay.
        weights: the weights as :func:`masked` returns them.

    Raises:
        ConfigError: if the network has no such weight.
    """
    modules = dict(net.named_modules())
    for path, name in weights:
        if path not in modules or name not in _weights_of(modules[path]):
            raise ConfigError(f"the network has no synapses {path}.{name} that could have a mask")
        if _mask_of(modules[path], name) is None:
            _apply(modules[path], name, torch.ones_like(getattr(modules[path], name)))


def _weights_of(module: nn.Module) -> list[str]:
    """The names of a module's own weights of synapses."""
    if isinstance(module, CONNECTIONS):
        return ["weight"]
    if isinstance(module, Recurrent):
        return ["w_rec"]
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        own = [name for name, _ in module.named_parameters(recurse=False)]
        own += list(getattr(module, "parametrizations", ()))
        return [name for name in own if name.startswith("weight_")]
    return []


def _possible(module: nn.Module, w: Tensor) -> Tensor:
    """Where a weight can be a synapse at all: not on the diagonal without self-connections."""
    mask = module.mask if isinstance(module, Recurrent) else torch.ones_like(w)
    return mask.detach().cpu() != 0


def _mask_of(module: nn.Module, name: str) -> Mask | None:
    if not parametrize.is_parametrized(module, name):
        return None
    steps: Any = getattr(module, "parametrizations")[name]  # noqa: B009
    return next((step for step in steps if isinstance(step, Mask)), None)


def _mask(module: nn.Module, name: str, w: Tensor) -> Tensor:
    """Which synapses have not been cut."""
    found = _mask_of(module, name)
    return (torch.ones_like(w) if found is None else found.mask).detach().cpu() != 0


def _apply(module: nn.Module, name: str, mask: Tensor) -> None:
    before = _mask_of(module, name)
    if before is None:
        parametrize.register_parametrization(module, name, Mask(mask))
    else:
        before.mask.copy_(mask)


def _cheapest(cost: Tensor, count: int) -> Tensor:
    """A mask of the smallest entries; those that are infinite never belong to them."""
    order = cost.flatten().argsort().argsort().view(cost.shape)
    return (order < count) & cost.isfinite()


def _seed(seed: int | None) -> int:
    return int(torch.randint(1 << 31, ())) if seed is None else seed
