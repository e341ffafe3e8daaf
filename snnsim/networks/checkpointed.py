"""Backpropagation through long sequences in the memory of a short one."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from snnsim.errors import ConfigError
from snnsim.layer import Layer
from snnsim.networks.normalization import BatchNorm


def run_checkpointed(
    net: Layer, x: Tensor, state: Any = None, *, steps: int | None = None
) -> tuple[Tensor, Any]:
    """Return ``net(x, state)``, run in pieces of time that the backward pass computes again.

    Only the states between the pieces (and the outputs) are kept, so with the default length of
    a piece the memory for the backward pass grows with the square root of the number of steps.
    It costs a second forward pass. Source: Chen et al. 2016, arXiv:1604.06174.

    Args:
        net: a layer or network whose state can be carried on.
        x: input ``[T, B, ...]``.
        state: initial state; ``None`` for that of the network.
        steps: number of steps of a piece; ``None`` for the square root of ``T``.

    Returns:
        Output and final state, the same as those of ``net(x, state)``, with the same gradients.

    Raises:
        ConfigError: if ``steps`` is not positive, or if batch normalisation would take its
            statistics from each piece by itself.

    >>> from snnsim.neurons import LIF
    >>> z, _ = run_checkpointed(LIF(4, dt=1.0), torch.ones(100, 2, 4))
    >>> tuple(z.shape)
    (100, 2, 4)
    """
    if steps is not None and steps < 1:
        raise ConfigError(f"steps is {steps} but a piece must have at least one step")
    if any(isinstance(layer, BatchNorm) and layer.training for layer in net.modules()):
        raise ConfigError(
            "in training, batch normalisation takes its statistics from all time steps together, "
            "so the sequence cannot be cut; put the BatchNorm layers into evaluation mode"
        )
    length = steps or max(1, math.isqrt(max(x.shape[0], 1)))
    pieces = []
    for piece in x.split(length) if x.shape[0] else (x,):
        y, state = checkpoint(net, piece, state, use_reentrant=False)
        pieces.append(y)
    return torch.cat(pieces), state
