"""Runs batch normalisation, a neuron and dropout that follow one another as one operator.

The result is that of the layers by themselves up to rounding; two passes over memory fewer in
either direction, and two tensors fewer saved for backward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snnsim.kernels import dispatch
from snnsim.kernels.guard import DTYPES
from snnsim.kernels.normalised_scan import MASK, NORM, Normalisation, affine_scan, normalised_scan
from snnsim.layer import is_plain
from snnsim.networks.dropout import Dropout
from snnsim.networks.normalization import BatchNorm
from snnsim.neurons.neuron import Neuron
from snnsim.processes import together


def fusable(layers: Sequence[nn.Module]) -> int:
    """Return how many of the first layers run as one: 3 with dropout, 2 without, else 0."""
    if len(layers) < 2 or type(layers[0]) is not BatchNorm or not isinstance(layers[1], Neuron):
        return 0
    neuron = layers[1]
    names = {*neuron.equations.states, *neuron.equations.params}
    if neuron.shape != (layers[0].n,) or names & {*NORM, MASK}:
        return 0
    if not (is_plain(layers[0], BatchNorm) and is_plain(neuron, Neuron)):
        return 0
    with_dropout = len(layers) > 2 and type(layers[2]) is Dropout
    return 3 if with_dropout and is_plain(layers[2], Dropout) else 2


def _compiled(neuron: Any, x: Tensor) -> bool:
    if x.dim() != 3 or x.dtype not in DTYPES or x.shape[2] != neuron.n or not x.numel():
        return False
    return dispatch.choose_backend(neuron.backend, x.device) != "reference"


def can_run(layers: Sequence[nn.Module], x: Tensor) -> bool:
    """Return whether the fused operator takes this input; the layers take any other."""
    norm: Any = layers[0]
    if torch.is_autocast_enabled(x.device.type) or not _compiled(layers[1], x):
        return False
    one_dtype = x.dtype == norm.weight.dtype == norm.running_mean.dtype
    return one_dtype and not (norm.training and (together() or x.numel() <= norm.n))


def run(layers: Sequence[nn.Module], x: Tensor, states: Sequence[Any]) -> tuple[Tensor, list[Any]]:
    """Return output and new states of two or three layers that :func:`fusable` counted."""
    norm: Any
    neuron: Any
    norm, neuron, *rest = layers
    mask_state: Any = None
    state = neuron.pack_state(x, states[1])
    dropout: Any = rest[0] if rest else None
    if dropout is not None:
        mask_state = dropout.mask_for(x, states[2])
    mask = mask_state["mask"] if mask_state is not None and dropout.active else None
    params, learnt = neuron.packed_parameters(x), neuron.learnt()
    if norm.training:
        affine = Normalisation(norm.weight, norm.bias, norm.eps)
        y, final, mean, var = normalised_scan(
            neuron.equations, x, state, mask, params, affine, learnt, neuron.backend
        )
        norm.update(mean, var, x.shape[0] * x.shape[1])
    else:
        rows = torch.stack([norm.running_mean, norm.gain(), norm.bias])
        wanted = [*learnt, False, norm.weight.requires_grad, norm.bias.requires_grad]
        y, final = affine_scan(
            neuron.equations, x, state, mask, params, rows, wanted, neuron.backend
        )
    return y, [None, neuron.unpack_state(final), *([mask_state] if rest else [])]
