"""Spikes as bits: whether inputs can be packed, and sums of the weights of those that spike."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnsim.kernels.plain_vector import LANES
from snnsim.kernels.threads import run_chunked


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
    unit, planes = 1.0, 1
    for _ in range(3):
        packed, seen = _pack(x, front, steps, unit, planes)
        needed = int(seen.max(initial=0)).bit_length()
        if (seen < 0).any():
            if unit != 1.0:
                return None
            unit = _smallest(x)
            if not 0 < unit < float("inf"):
                return None
        elif needed > planes:
            from snnsim.kernels.delay_conv import masks

            if needed > masks.PLANES:
                return None
            planes = needed
        else:
            return packed
    return None


def _pack(x: Tensor, front: int, steps: int, unit: float, planes: int) -> tuple[Packed, Any]:
    from snnsim.kernels.delay_conv import masks

    groups = -(-x.shape[1] // LANES)
    words = np.zeros((groups, planes, x.shape[2], steps), np.uint16)
    used, seen = np.zeros((groups, steps), np.uint8), np.zeros(groups, np.int32)
    values = x.detach()[: max(steps - front, 0)].contiguous().numpy()
    args = (values, front, values.dtype.type(unit), planes, words, used, seen)
    run_chunked(masks.pack, args, groups, x.numel())
    return Packed(words, used, unit), seen


def _smallest(x: Tensor) -> float:
    above = x[x > 0]
    return float(above.min()) if above.numel() else float("inf")


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
