"""Spikes as bits: whether inputs can be packed, and sums of the weights of those that spike."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnsim.kernels.plain_vector import LANES
from snnsim.kernels.threads import run_chunked

PLANES = 4  # bits of a whole number of spikes in a step, at most
LOOKED_AT = 2  # samples by which it is told whether an input is spikes
TRIALS = 4


class Packed(NamedTuple):
    """``words [groups, planes, C, steps]`` of the multiples of ``unit`` that inputs are.

    ``used [groups, steps]`` says where any input of a group spikes.
    """

    words: Any
    used: Any
    unit: float


@cache
def masks_are_fast() -> bool:
    """Whether kernels are compiled for a processor that adds under a mask (AVX-512)."""
    import numba
    from numba.core.registry import cpu_target

    settings: Any = numba.config
    if settings.DISABLE_JIT:
        return False
    return "+avx512bw" in cpu_target.target_context.codegen()._tm_features


def fits(x: Tensor) -> bool:
    """Whether an input may be packed; how many samples there are does not matter to a sample."""
    return x.dtype == torch.float32 and masks_are_fast()


def whole_blocks(frames: int) -> int:
    """The number of steps of as many blocks of sums as hold ``frames``."""
    return -(-frames // LANES) * LANES


def pack(x: Tensor, front: int, steps: int) -> Packed | None:
    """Pack an input as ``steps`` words, ``front`` of them before its first step.

    Returns:
        The words; ``None`` if the inputs are not multiples, up to 15, of one value.
    """
    unit, most = _multiples(x[:, :LOOKED_AT])
    planes = most.bit_length()
    while 0 < planes <= PLANES:
        packed, seen = _pack(x, front, steps, unit, planes)
        if (seen < 0).any():
            return None
        needed = int(np.bitwise_or.reduce(seen, initial=1)).bit_length()
        if needed <= planes:
            return packed
        planes = needed
    return None


def _multiples(x: Tensor) -> tuple[float, int]:
    """The value that inputs are multiples of, and the largest multiple; 0 if there are too many.

    It is found as greatest common divisors are: from the smallest value and what the others leave.
    """
    above = x[x != 0]
    if not above.numel():
        return 1.0, 1
    unit = float(above.min())
    for _ in range(TRIALS):
        if not 0 < unit < float("inf"):
            return 1.0, 0
        whole = (above / unit).round()
        left = (above - whole * unit).abs()
        if not left.any():
            return unit, min(int(whole.max()), 2**PLANES)
        unit = float(left[left > 0].min())
    return 1.0, 0


def _pack(x: Tensor, front: int, steps: int, unit: float, planes: int) -> tuple[Packed, Any]:
    from snnsim.kernels.delay_conv import masks

    groups = -(-x.shape[1] // LANES)
    words = np.zeros((groups, planes, x.shape[2], steps), np.uint16)
    used, seen = np.zeros((groups, steps), np.uint8), np.zeros(groups, np.int32)
    values = x.detach()[: max(steps - front, 0)].contiguous().numpy()
    args = (values, front, values.dtype.type(unit), words, used, seen)
    run_chunked(masks.pack, args, groups, x.numel())
    return Packed(words, used, unit), seen


def accumulate(
    packed: Packed, weight: Any, offset: Any, bias: Any, reach: int, y: Tensor
) -> Tensor:
    """Fill ``y [frames, B, R]`` with the sums of the weights ``[R, columns]`` of what spikes."""
    from snnsim.kernels.delay_conv import masks

    groups, planes, channels, steps = packed.words.shape
    copies = weight.shape[1] // channels
    places = np.arange(planes) * channels + np.arange(channels)[:, None]  # [C, planes]
    base = np.repeat(places, copies, 0).reshape(-1) * steps
    if planes > 1 or packed.unit != 1.0:
        powers = (packed.unit * 2.0 ** np.arange(planes)).astype(weight.dtype)
        weight = (weight[:, :, None] * powers).reshape(len(weight), -1)
        offset = np.repeat(offset, planes, 1)
    synapses = (weight, offset, base)
    args = (packed.words, packed.used, synapses, bias, reach, y.numpy())
    run_chunked(masks.accumulate, args, groups, y.numel() * weight.shape[1])
    return y
