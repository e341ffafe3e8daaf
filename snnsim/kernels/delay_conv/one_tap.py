"""One-tap rung: every synapse delays by a whole number of steps, so it adds once per step.

``y[t, b, r] = sum_c w[r, c] x[t + offset[r, c] - front, b, c // copies]`` is the forward pass
(``offset = D - 1 - delay``, ``front = D - 1``) and, with weights and delays transposed, the
gradient of ``x`` (``offset = delay``, ``front = 0``). The gradient of a weight is the inner
product of its output's gradient with the shifted input.

Work is done sample by sample with time contiguous and everything in the cache: ``frames / 16``
vector operations per synapse whatever ``D``. A channel with few spikes is added spike by
spike instead, and a silent one is skipped.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnsim.errors import ShapeError
from snnsim.functional.delays import unit_sum
from snnsim.kernels.delay_conv import one_tap_cuda, packed
from snnsim.kernels.guard import (
    check_axes,
    check_count,
    check_delays,
    check_operands,
    check_shape,
    check_synapses,
)
from snnsim.kernels.operator import declare
from snnsim.kernels.threads import run_chunked


def _flat(a: Tensor):
    return a.detach().contiguous().numpy()


def _columns(a: Tensor) -> Tensor:
    """``[O, I, K]`` as ``[I K, O]``."""
    return a.detach().flatten(1).t().contiguous()


def _steps(delay: Tensor) -> Tensor:
    return delay.detach().round().to(torch.int32)


class Shifts(NamedTuple):
    """``weight`` and ``offset`` ``[rows, columns]``, and the same transposed, for the kernels."""

    weight: Any
    offset: Any
    weight_t: Any
    offset_t: Any


def shifts_of(weight: Tensor, offset: Tensor) -> Shifts:
    """Arrays for :func:`accumulate` from ``[rows, columns]``, made once for many calls."""
    return Shifts(*(_flat(a) for a in (weight, offset, weight.t(), offset.t())))


def forward_shifts(weight: Tensor, delay: Tensor, length: int) -> Shifts:
    """Arrays of the forward pass from ``[O, I, K]``, whose delays are checked."""
    check_axes("weight", weight, "O, I, K")
    check_operands(weight, delay)
    check_shape("delay", delay, tuple(weight.shape))
    check_delays(delay, length)
    offset = (length - 1 - _steps(delay)).flatten(1)
    return shifts_of(unit_sum(weight).flatten(1), offset)


def accumulate(
    x: Tensor,
    front: int,
    matrices: Shifts,
    reach: int,
    frames: int,
    bias: Tensor | None = None,
) -> Tensor:
    """The sum above, ``[frames, B, rows]``; offsets lie within ``0 .. reach - 1``."""
    from snnsim.kernels.delay_conv import shifts

    rows, columns = matrices.weight.shape
    check_axes("x", x, "T, B, I")
    if x.shape[2] == 0 or columns % x.shape[2] or _flat(x[:0]).dtype != matrices.weight.dtype:
        raise ShapeError(
            f"x is {x.dtype} of shape {tuple(x.shape)} but the connection has {columns} columns "
            f"of {matrices.weight.dtype}"
        )
    if bias is not None:
        check_shape("bias", bias, (rows,))
        check_operands(x, bias)
    y = x.new_empty((frames, x.shape[1], rows))
    start = _flat(x.new_empty(0) if bias is None else bias)
    if packed.fits(x):
        steps = packed.whole_blocks(frames) + reach - 1
        spikes = packed.pack(x, front, steps)
        if spikes is not None:
            matrix, offset = matrices.weight, matrices.offset
            return packed.accumulate(spikes, matrix, offset, start, reach, y)
    args = (_flat(x), front, matrices, start, reach, y.numpy())
    items = x.shape[1] * shifts.chunks(frames)
    run_chunked(shifts.accumulate, args, items, y.numel() * columns)
    return y


def _forward(x: Tensor, weight: Tensor, delay: Tensor, length: int, frames: int) -> Tensor:
    """Delay by the nearest whole step; ``weight`` and ``delay`` are ``[O, I, K]``.

    Returns ``[frames, B, O]``. Gradients flow to ``x`` and ``weight``, not to ``delay``.
    """
    check_synapses(x, weight, delay, length)
    check_count("frames", frames, 0, x.shape[0] + length - 1)
    if x.device.type == "cuda":
        offset, scaled = _columns(length - 1 - _steps(delay)), _columns(unit_sum(weight))
        return one_tap_cuda.accumulate(x, length - 1, scaled, offset, frames)
    return accumulate(x, length - 1, forward_shifts(weight, delay, length), length, frames)


def _backward(
    x: Tensor,
    weight: Tensor,
    delay: Tensor,
    g_y: Tensor,
    length: int,
    wants_x: bool,
    wants_weight: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of the forward pass; what is not wanted comes back empty."""
    g = g_y
    check_synapses(x, weight, delay, length)
    check_operands(x, g)
    check_count("the number of output steps", g.shape[0], 0, x.shape[0] + length - 1)
    check_shape("g", g, (g.shape[0], x.shape[1], weight.shape[0]))
    if x.device.type == "cuda":
        return _backward_cuda(x, weight, delay, g, length, wants_x, wants_weight)
    from snnsim.kernels.delay_conv import shifts

    T, B, _ = x.shape
    steps = _steps(delay)
    g_x, g_weight = x.new_empty(0), x.new_empty(0)
    if wants_x:
        swapped = unit_sum(weight).transpose(0, 1).flatten(1)
        matrices = shifts_of(swapped, steps.transpose(0, 1).flatten(1))
        g_x = accumulate(g, 0, matrices, length, T)
    if wants_weight:
        groups = min(B, shifts.GROUPS)
        offset = _flat((length - 1 - steps).flatten(1).t())
        partial = x.new_zeros((groups, *offset.shape))
        args = (_flat(x), length - 1, offset, length, _flat(g), partial.numpy())
        run_chunked(shifts.correlate, args, groups, g.numel() * x.shape[2])
        g_weight = unit_sum(partial.sum(0).t().reshape(weight.shape))
    return g_x, g_weight


def _backward_cuda(x, weight, delay, g, length, wants_x, wants_w):
    steps, g_x, g_weight = _steps(delay), x.new_empty(0), x.new_empty(0)
    if wants_x:
        swapped, shifted = (_columns(a.transpose(0, 1)) for a in (unit_sum(weight), steps))
        g_x = one_tap_cuda.accumulate(g, 0, swapped, shifted, x.shape[0])
    if wants_w:
        found = one_tap_cuda.correlate(x, length - 1, _columns(length - 1 - steps), g)
        g_weight = unit_sum(found.t().reshape(weight.shape))
    return g_x, g_weight


one_tap_conv, _ = declare(
    "one_tap_conv",
    _forward,
    _backward,
    outputs=("y",),
    shapes=lambda x, weight, delay, length, frames: [(frames, x.shape[1], weight.shape[0])],
    gradients=("x", "weight"),
)
