"""Masks on weights: by chance before training, or by size after it.

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
    """A parametrisation: the weight where the mask is 1, else 0."""

    mask: Tensor

    def __init__(self, mask: Tensor):
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, w: Tensor) -> Tensor:
        return w * self.mask


def sparsify(net: nn.Module, density: float, way: str = "random", seed: int | None = None) -> float:
    """Keep a share of all matrices' weights for good; the others are 0 and stay 0.

    Args:
        net: changed in place. Its weights get a parametrisation, so nothing else changes.
        density: the share, in (0, 1].
        way: ``"random"``: the same share of every matrix; ``"magnitude"``: the largest of all.
        seed: of the random choice; ``None``: drawn from torch's own random numbers.

    Returns:
        The share that was kept.

    >>> from snnsim.baselines.models.gru import GRU
    >>> net = GRU(10, 20)
    >>> round(sparsify(net, 0.25), 2)
    0.25
    """
    check_choice("way", way, WAYS)
    check_number("density", density, most=1, above=0)
    found = list(matrices(net))
    if not found:
        raise ConfigError("the network has no matrix of weights to make sparse")
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
    """All weights with two axes or more, with the modules that own them."""
    for module in list(net.modules()):
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.dim() > 1:
                yield module, name, parameter
