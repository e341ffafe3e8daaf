"""CUDA rung of the recurrent scan: source for numba-cuda, printed from the derived program.

One block per sample, one thread per neuron; outputs are exchanged through shared memory and
the block's threads meet twice per step. A layer wider than ``MAX_WIDTH`` does not fit.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from snnsim.errors import BackendError
from snnsim.kernels import cuda_runtime
from snnsim.kernels.derive import Equations
from snnsim.kernels.scaffold import Pieces, feedback
from snnsim.kernels.scan.reference import Feedback

MAX_WIDTH = 1024

FORWARD = """
@kernel
def forward(_x, _state, _params, _w_from, _y0, _y):
{constants}
    _shared = cuda.shared.array({width}, F)
    _b, _n = cuda.blockIdx.x, cuda.threadIdx.x
    _N = _x.shape[2]
{load_state}
{load_params}
    _shared[_n] = _y0[_b, _n]
    cuda.syncthreads()
    for _t in range(_x.shape[0]):
        x = _x[_t, _b, _n]
{feedback}
{lines}
        _output = {output}
{new}
{advance}
        cuda.syncthreads()
        _shared[_n] = _output
        _y[_t, _b, _n] = _output
        cuda.syncthreads()
{store_state}
"""

BACKWARD = """
@kernel
def backward(
    _x, _state, _params, _w_from, _w_to, _y0, _y, _path, _g_y, _g_x, _g_state, _g_params, _g_y0
):
{constants}
    _shared = cuda.shared.array({width}, F)
    _b, _n = cuda.blockIdx.x, cuda.threadIdx.x
    _N = _x.shape[2]
{load_state}
{load_params}
    for _t in range(_x.shape[0]):
        x = _x[_t, _b, _n]
{feedback}
        _path[_t, {n_states}, _b, _n] = x
{store_path}
{lines}
{new}
{advance}
{load_gradients}
{zero_gradients}
    _g_before = F(0.0)
    for _s in range(_x.shape[0]):
        _t = _x.shape[0] - 1 - _s
        x = _path[_t, {n_states}, _b, _n]
{load_path}
        _g_output = _g_y[_t, _b, _n] + _g_before
{lines}
{adjoint}
        _g_input = {g_x}
{add_gradients}
{new_gradients}
{advance_gradients}
        cuda.syncthreads()
        _shared[_n] = _g_input
        _g_x[_t, _b, _n] = _g_input
        cuda.syncthreads()
        _g_before = F(0.0)
        for _m in range(_N):
            _g_before += _shared[_m] * _w_to[_m, _n]
    _g_y0[_b, _n] = _g_before
{store_gradients}
"""


def source(equations: Equations, learnt: tuple[bool, ...]) -> str:
    """Source of ``forward`` and ``backward``."""
    piece = Pieces(equations, learnt)
    parts = {"width": MAX_WIDTH, **piece.for_cuda("_b, _n", 1)}
    parts["constants"] = piece.constants(1)
    add = ("x += _amount * _w_from[_m, _n]",)
    before = "_y[_t - 1, _b, _m] if _t > 0 else _y0[_b, _m]"
    forward = FORWARD.format(feedback=feedback(2, "_shared[_m]", add), **parts)
    return forward + BACKWARD.format(feedback=feedback(2, before, add), **parts)


def signatures(dtype: str) -> dict[str, str]:
    """Argument types of the two kernels, for compiling them without launching."""
    two, three, four = f"{dtype}[:, ::1]", f"{dtype}[:, :, ::1]", f"{dtype}[:, :, :, ::1]"
    forward = [three, three, two, two, two, three]
    backward = [three, three, two, two, two, two, three, four, three, three, three, three, two]
    return {"forward": f"void({', '.join(forward)})", "backward": f"void({', '.join(backward)})"}


@cache
def compiled(equations: Equations, learnt: tuple[bool, ...], dtype: str) -> Any:
    """The kernels for one set of equations, learnt parameters and number type."""
    return cuda_runtime.compile_cuda(source(equations, learnt), dtype)


def _check_width(n: int) -> None:
    if n > MAX_WIDTH:
        raise BackendError(
            f"a recurrent layer of {n} neurons is wider than the {MAX_WIDTH} that backend 'cuda' "
            "supports; use backend='reference'"
        )


def forward(equations: Equations, x, state, params, feedback: Feedback):
    """Forward scan; arguments and results as in :func:`reference.recurrent_scan`."""
    w_rec, y0 = feedback
    _check_width(x.shape[2])
    kernels = compiled(equations, (False,) * len(equations.params), str(x.dtype).split(".")[1])
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    final = state.clone(memory_format=torch.contiguous_format)
    arrays = (x, final, params, w_rec.t(), y0, y)
    if x.shape[1] * x.shape[2]:
        cuda_runtime.launch_grid(kernels.forward, x.shape[1], x.shape[2], arrays)
    return y, final


def backward(equations, learnt, x, state, params, feedback: Feedback, y, gradients):
    """Gradients ``(g_x, g_state, g_params, g_y0)``; that of ``w_rec`` follows from ``g_x``."""
    (w_rec, y0), (g_y, g_final) = feedback, gradients
    _check_width(x.shape[2])
    T, B, N = x.shape
    kernels = compiled(equations, learnt, str(x.dtype).split(".")[1])
    path = x.new_empty((T, len(equations.states) + 1, B, N))
    g_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    g_state = g_final.clone(memory_format=torch.contiguous_format)
    g_params = x.new_zeros((len(learnt), B, N))
    g_y0 = torch.zeros_like(y0, memory_format=torch.contiguous_format)
    arrays = (x, state, params, w_rec.t(), w_rec, y0, y, path, g_y, g_x, g_state, g_params, g_y0)
    if B * N:
        cuda_runtime.launch_grid(kernels.backward, B, N, arrays)
    return g_x, g_state, g_params.sum(1), g_y0
