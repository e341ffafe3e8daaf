"""Reference rung: batch normalisation, the scan's reference and the mask, one after the other."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snnsim.kernels.derive import Equations
from snnsim.kernels.scan import reference


class Normalisation(NamedTuple):
    """Weight and bias ``[N]`` of a batch normalisation, and what is added to the variance."""

    weight: Tensor
    bias: Tensor
    eps: float


def normalised_scan(
    equations: Equations,
    x: Tensor,
    state: Tensor,
    mask: Tensor | None,
    params: Tensor,
    norm: Normalisation,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As :func:`snnsim.kernels.normalised_scan.normalised_scan`, differentiated by autograd."""
    var, mean = torch.var_mean(x, (0, 1), correction=0)
    normalised = (x - mean) * torch.rsqrt(var + norm.eps) * norm.weight + norm.bias
    y, final = reference.scan(equations, normalised, state, params)
    return y if mask is None else y * mask, final, mean, var
