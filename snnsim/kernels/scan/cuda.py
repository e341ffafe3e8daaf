"""CUDA rung of the scan: source for numba-cuda, printed from the derived program.

One thread per neuron and sample; neighbouring threads read neighbouring neurons, the state
stays in registers and time is the loop. The backward kernel first recomputes the trajectory
into ``_path`` (``[T, S, lanes]``, allocated for the call) and then walks it backwards.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from snnsim.kernels import cuda_runtime
from snnsim.kernels.derive import Equations
from snnsim.kernels.scaffold import Pieces

THREADS = 128

FORWARD = """
@kernel
def forward(_x, _state, _params, _y):
{constants}
    _i = cuda.grid(1)
    if _i < _x.shape[1]:
        _n = _i % _params.shape[1]
{load_state}
{load_params}
        for _t in range(_x.shape[0]):
            x = _x[_t, _i]
{lines}
            _y[_t, _i] = {output}
{new}
{advance}
{store_state}
"""

BACKWARD = """
@kernel
def backward(_x, _state, _params, _path, _g_y, _g_x, _g_state, _g_params):
{constants}
    _i = cuda.grid(1)
    if _i < _x.shape[1]:
        _n = _i % _params.shape[1]
{load_state}
{load_params}
        for _t in range(_x.shape[0]):
            x = _x[_t, _i]
{store_path}
{lines}
{new}
{advance}
{load_gradients}
{zero_gradients}
        for _s in range(_x.shape[0]):
            _t = _x.shape[0] - 1 - _s
            x = _x[_t, _i]
{load_path}
            _g_output = _g_y[_t, _i]
{lines}
{adjoint}
            _g_x[_t, _i] = {g_x}
{add_gradients}
{new_gradients}
{advance_gradients}
{store_gradients}
"""


def source(equations: Equations, learnt: tuple[bool, ...]) -> str:
    """Source of ``forward`` and ``backward`` on flat lanes ``[T, B * N]``."""
    piece = Pieces(equations, learnt)
    parts = piece.for_cuda("_i", 2)
    parts["constants"] = piece.constants(1)
    return FORWARD.format(**parts) + BACKWARD.format(**parts)


def signatures(dtype: str) -> dict[str, str]:
    """Argument types of the two kernels, for compiling them without launching."""
    matrix, cube = f"{dtype}[:, ::1]", f"{dtype}[:, :, ::1]"
    return {
        "forward": f"void({', '.join([matrix] * 4)})",
        "backward": f"void({', '.join([matrix] * 3 + [cube] + [matrix] * 4)})",
    }


@cache
def compiled(equations: Equations, learnt: tuple[bool, ...], dtype: str) -> Any:
    """The kernels for one set of equations, learnt parameters and number type."""
    return cuda_runtime.compile_cuda(source(equations, learnt), dtype)


def forward(equations: Equations, x, state, params):
    """Forward scan; arguments and results as in :func:`reference.scan`, without gradients."""
    T, B, N = x.shape
    kernels = compiled(equations, (False,) * len(equations.params), str(x.dtype).split(".")[1])
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    final = state.clone(memory_format=torch.contiguous_format)
    arrays = (
        x.reshape(T, B * N),
        final.view(len(equations.states), B * N),
        params,
        y.view(T, B * N),
    )
    cuda_runtime.launch(kernels.forward, B * N, THREADS, arrays)
    return y, final


def backward(equations: Equations, learnt: tuple[bool, ...], x, state, params, g_y, g_final):
    """Gradients ``(g_x, g_state, g_params)`` from those of the scan's two results."""
    T, B, N = x.shape
    S, lanes = len(equations.states), B * N
    kernels = compiled(equations, learnt, str(x.dtype).split(".")[1])
    path = x.new_empty((T, S, lanes))
    g_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    g_state = g_final.clone(memory_format=torch.contiguous_format)
    g_params = x.new_zeros((len(learnt), lanes))
    arrays = (
        x.reshape(T, lanes),
        state.reshape(S, lanes),
        params,
        path,
        g_y.reshape(T, lanes),
        g_x.view(T, lanes),
        g_state.view(S, lanes),
        g_params,
    )
    cuda_runtime.launch(kernels.backward, lanes, THREADS, arrays)
    return g_x, g_state, g_params.view(len(learnt), B, N).sum(1)
