"""The matrix that carries errors backwards.

backprop    the weights themselves
random      a fixed random matrix: feedback alignment (Lillicrap et al. 2016)
sign        the signs of the weights, scaled: sign-symmetric (Xiao et al. 2019)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

FEEDBACKS = ("backprop", "random", "sign")
"""What carries errors backwards: the weights, fixed random matrices, or the weights' signs."""


def random_feedback(weight: Tensor) -> Tensor:
    """Return a random matrix of ``weight``'s shape, ``U(-1 / sqrt(fan_in), 1 / sqrt(fan_in))``."""
    bound = 1 / math.sqrt(weight[0].numel())
    return torch.empty_like(weight).uniform_(-bound, bound)


def sign_feedback(weight: Tensor) -> Tensor:
    """Return ``sign(W) / sqrt(fan_in)``; for kernels ``sign(W) sqrt(2 / (kernel * outputs))``.

    >>> sign_feedback(torch.tensor([[3.0, -0.1, 0.0, 2.0]])).tolist()
    [[0.5, -0.5, 0.0, 0.5]]
    """
    if weight.dim() == 2:
        return weight.sign() / math.sqrt(weight.shape[1])
    return weight.sign() * math.sqrt(2 / (weight[0, 0].numel() * weight.shape[0]))
