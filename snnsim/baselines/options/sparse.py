"""Masks on weights: at random before training, or by size after it.

Source: the experiments of 2024 (arXiv:2407.20656), section 4.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snnsim.baselines.baseline import own_generator
from snnsim.errors import ConfigError, check_choice, check_number

WAYS = ("random", "magnitude")


class Mask(nn.Module):
    """Parametrise a weight: it is itself where the mask is 1, and 0 elsewhere."""

    mask: Tensor

    def __init__(self, mask: Tensor):
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, w: Tensor) -> Tensor:
        return w * self.mask


def sparsify(net: nn.Module, density: float, way: str = "random", seed: int | None = None) -> float:
    """Keep a fraction of the weights of all matrices for good; the others are 0 and stay 0.

    Args:
        net: network that is changed in place: its matrices get a parametrisation.
        density: fraction of the weights that is kept, above 0 and at most 1.
        way: ``"random"`` keeps the same fraction of every matrix; ``"magnitude"`` keeps the
            largest weights of all matrices together.
        seed: seed of the random choice; ``None`` draws one from torch's own random numbers.

    Returns:
        The fraction that was kept.

    >>> from snnsim.baselines.models.gru import GRU
    >>> net = GRU(10, 20)
    >>> round(sparsify(net, 0.25), 2)
    0.25
    """
    check_choice("way", way, WAYS)
    check_number("density", density, most=1, above=0)
    found = list(matrices(net))
    if not found:
        raise ConfigError("the network has no matrix of weights that could be made sparse")
    generator = own_generator(seed)
    sizes = torch.cat([w.detach().abs().flatten() for _, _, w in found])
    limit = sizes.kthvalue(max(round((1 - density) * len(sizes)), 1)).values
    kept = 0
    for module, name, w in found:
        if way == "random":
            order = torch.rand(w.shape, generator=generator).flatten().argsort().argsort()
            mask = (order < round(density * w.numel())).view_as(w)
        else:
            mask = w.detach().abs() > limit if density < 1 else torch.ones_like(w) > 0
        kept += int(mask.sum())
        parametrize.register_parametrization(module, name, Mask(mask.to(w)))
    return kept / len(sizes)


def matrices(net: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Yield all weights with two axes or more, each with its module and its name there."""
    for module in list(net.modules()):
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.dim() > 1:
                yield module, name, parameter
