"""CUDA kernels of the one-tap rung: spikes are added where they arrive.

A thread owns one output channel of one sample (or one weight), so nothing is added atomically
and the result is the same every time. Neighbouring threads are neighbouring outputs: weights
and offsets are read together, and an input value is one broadcast that all skip if it is 0.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import Tensor

from snnsim.kernels import cuda_runtime

THREADS = 128

SOURCE = """
@kernel
def accumulate(_x, _front, _weight, _offset, _copies, _y):
    _i = cuda.grid(1)
    _rows = _weight.shape[1]
    if _i < _x.shape[1] * _rows:
        _b, _r = _i // _rows, _i % _rows
        for _t in range(_y.shape[0]):
            _y[_t, _b, _r] = F(0.0)
        for _t in range(_x.shape[0]):
            for _c in range(_x.shape[2]):
                _value = _x[_t, _b, _c]
                if _value != F(0.0):
                    for _k in range(_copies):
                        _column = _c * _copies + _k
                        _to = _t + _front - _offset[_column, _r]
                        if _to >= 0 and _to < _y.shape[0]:
                            _y[_to, _b, _r] += _weight[_column, _r] * _value

@kernel
def correlate(_x, _front, _offset, _copies, _g, _g_weight):
    _i = cuda.grid(1)
    _rows = _offset.shape[1]
    if _i < _offset.shape[0] * _rows:
        _column, _r = _i // _rows, _i % _rows
        _c, _shift = _column // _copies, _front - _offset[_column, _r]
        _sum = F(0.0)
        for _b in range(_x.shape[1]):
            for _t in range(_x.shape[0]):
                _value = _x[_t, _b, _c]
                _to = _t + _shift
                if _value != F(0.0) and _to >= 0 and _to < _g.shape[0]:
                    _sum += _value * _g[_to, _b, _r]
        _g_weight[_column, _r] = _sum
"""


def signatures(dtype: str) -> dict[str, str]:
    """Argument types of the two kernels, for compiling them without launching."""
    matrix, cube, places = f"{dtype}[:, ::1]", f"{dtype}[:, :, ::1]", "int32[:, ::1]"
    return {
        "accumulate": f"void({cube}, int64, {matrix}, {places}, int64, {cube})",
        "correlate": f"void({cube}, int64, {places}, int64, {cube}, {matrix})",
    }


@cache
def compiled(dtype: str) -> Any:
    """The kernels for one number type."""
    return cuda_runtime.compile_cuda(SOURCE, dtype)


def accumulate(x: Tensor, front: int, weight: Tensor, offset: Tensor, frames: int) -> Tensor:
    """``y[t, b, r] = sum_c weight[c, r] x[t + offset[c, r] - front, b, c // copies]``.

    ``weight`` and ``offset`` (int32) are ``[columns, rows]``, the columns being inputs times
    copies. Returns ``[frames, B, rows]``.
    """
    y = x.new_empty((frames, x.shape[1], weight.shape[1]))
    kernel = compiled(str(x.dtype).split(".")[1]).accumulate
    args = (x, front, weight, offset, weight.shape[0] // x.shape[2], y)
    cuda_runtime.launch(kernel, x.shape[1] * weight.shape[1], THREADS, args)
    return y


def correlate(x: Tensor, front: int, offset: Tensor, g: Tensor) -> Tensor:
    """Gradient of ``weight`` in :func:`accumulate` from that of its result, ``g``."""
    g_weight = x.new_empty(offset.shape)
    kernel = compiled(str(x.dtype).split(".")[1]).correlate
    args = (x, front, offset, offset.shape[0] // x.shape[2], g, g_weight)
    cuda_runtime.launch(kernel, g_weight.numel(), THREADS, args)
    return g_weight
