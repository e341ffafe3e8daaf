"""Surrogate networks: the same network with its recurrent weights shuffled or removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.errors import ConfigError, check_choice, check_seed
from snnsim.synapses import Recurrent

WAYS = ("shuffled", "removed")


def recurrent_weights(net: nn.Module) -> list[Tensor]:
    """Return the matrices that connect units of one layer across a time step.

    They are those of :class:`snnsim.synapses.Recurrent` and of torch's recurrent layers, which some
    rate-coded models contain; other models mix them with further weights.
    """
    found: list[Tensor] = []
    for module in net.modules():
        if isinstance(module, Recurrent):
            found.append(module.w_rec)
        elif isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
            found += [p for n, p in module.named_parameters() if n.startswith("weight_hh")]
    return found


@contextmanager
def other_weights(net: nn.Module, how: str = "shuffled", seed: int = 0) -> Iterator[None]:
    """Within this context, a network has other recurrent weights; afterwards it has its own.

    Args:
        net: the network.
        how: ``"shuffled"`` exchanges the entries of every recurrent matrix that are not 0 with each
            other; in a network without any, those of all its matrices of weights. ``"removed"``
            makes the recurrent matrices 0.
        seed: the seed of the order.

    Raises:
        ConfigError: if nothing can be shuffled or removed.

    >>> import snnsim as sn
    >>> net = sn.Recurrent(sn.LIF(4, dt=1.0))
    >>> with other_weights(net, "removed"):
    ...     float(net.w_rec.detach().abs().sum())
    0.0
    """
    check_choice("weights", how, WAYS)
    random = np.random.default_rng(check_seed(seed))
    chosen = recurrent_weights(net)
    if how == "shuffled" and not chosen:
        chosen = _matrices(net)
    if not chosen:
        raise ConfigError(
            f"{type(net).__name__} has no recurrent matrix that could be {how}; take "
            "weights='shuffled', or no null (nulls=0)"
        )
    before = [each.detach().clone() for each in chosen]
    try:
        for each in chosen:
            _change(each, how, random)
        yield
    finally:
        with torch.no_grad():
            for each, values in zip(chosen, before, strict=True):
                each.copy_(values)


def _matrices(net: nn.Module) -> list[Tensor]:
    """Weights with two axes or more; not delays, decays or codes."""
    named = ((name.rpartition(".")[2], p) for name, p in net.named_parameters())
    return [p for name, p in named if p.dim() > 1 and name.startswith(("weight", "w_"))]


@torch.no_grad()
def _change(weights: Tensor, how: str, random: np.random.Generator) -> None:
    if how == "removed":
        weights.zero_()
        return
    present = weights != 0
    order = torch.from_numpy(random.permutation(int(present.sum())))
    weights[present] = weights[present][order.to(weights.device)]
