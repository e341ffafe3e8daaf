"""CPU rung of the recurrent scan: source for numba, printed from the derived program.

One work item is one sample. The recurrent input is accumulated spike by spike, so its cost
follows the firing rate; outputs that are not binary are weighted and cost the same per
non-zero value. The backward pass recomputes the trajectory from the inputs and the outputs.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from snnsim.kernels.compile import compile_numba
from snnsim.kernels.derive import Equations
from snnsim.kernels.scaffold import Pieces
from snnsim.kernels.threads import run_chunked

FORWARD = """
@kernel
def forward(_x, _state, _params, _w_from, _y0, _y, _first, _last):
{constants}
    _T, _N = _x.shape[0], _x.shape[2]
    _total = np.empty(_N, _x.dtype)
{param_rows}
    for _b in range(_first, _last):
{state_rows}
        for _t in range(_T):
            _total[:] = _x[_t, _b]
            _before = _y[_t - 1, _b] if _t > 0 else _y0[_b]
            _row_y = _y[_t, _b]
            for _m in range(_N):
                _amount = _before[_m]
                if _amount != F(0.0):
                    _row_w = _w_from[_m]
                    for _n in range(_N):
                        _total[_n] += _amount * _row_w[_n]
            for _n in range(_N):
                x = _total[_n]
{load}
{lines}
{store}
                _row_y[_n] = {output}
"""

BACKWARD = """
@kernel
def backward(
    _x, _state, _params, _w_from, _w_to, _y0, _y, _g_y, _g_x, _g_state, _g_params, _g_y0,
    _first, _last,
):
{constants}
    _T, _N = _x.shape[0], _x.shape[2]
    _path = np.empty((_T + 1, {n_states}, _N), _x.dtype)
    _totals = np.empty((_T, _N), _x.dtype)
{param_rows}
    for _b in range(_first, _last):
{gradient_rows}
        _path[0] = _state[:, _b]
        for _t in range(_T):
            _total = _totals[_t]
            _total[:] = _x[_t, _b]
            _before = _y[_t - 1, _b] if _t > 0 else _y0[_b]
{path_rows}
            for _m in range(_N):
                _amount = _before[_m]
                if _amount != F(0.0):
                    _row_w = _w_from[_m]
                    for _n in range(_N):
                        _total[_n] += _amount * _row_w[_n]
            for _n in range(_N):
                x = _total[_n]
{load}
{lines}
{store_next}
        _g_before = _g_y0[_b]
        _g_before[:] = F(0.0)
        for _t in range(_T - 1, -1, -1):
            _total = _totals[_t]
            _row_g_y = _g_y[_t, _b]
            _row_g_x = _g_x[_t, _b]
{path_rows}
            for _n in range(_N):
                x = _total[_n]
{load}
{lines}
                _g_output = _row_g_y[_n] + _g_before[_n]
{load_gradients}
{adjoint}
{store_gradients}
                _row_g_x[_n] = {g_x}
            _g_before[:] = F(0.0)
            for _n in range(_N):
                _amount = _row_g_x[_n]
                if _amount != F(0.0):
                    _row_w = _w_to[_n]
                    for _m in range(_N):
                        _g_before[_m] += _amount * _row_w[_m]
"""


def source(equations: Equations, learnt: tuple[bool, ...]) -> str:
    """Source of ``forward`` and ``backward``; conventions as in the feed-forward scan.

    ``_w_from`` is ``w_rec`` transposed, ``_w_to`` is ``w_rec``; both contiguous.
    """
    piece = Pieces(equations, learnt)
    parts = piece.for_cpu("_b", ":", 1)
    parts["constants"] = piece.constants(1)
    return FORWARD.format(**parts) + BACKWARD.format(**parts)


@cache
def compiled(equations: Equations, learnt: tuple[bool, ...], dtype: str) -> Any:
    """The compiled kernels for one set of equations, learnt parameters and number type."""
    return compile_numba(source(equations, learnt), dtype)


def _arrays(*tensors):
    return tuple(t.detach().contiguous().numpy() for t in tensors)


def forward(equations: Equations, x, state, params, w_rec, y0):
    """Forward scan; arguments and results as in :func:`reference.recurrent_scan`."""
    T, B, N = x.shape
    kernels = compiled(equations, (False,) * len(equations.params), str(x.dtype).split(".")[1])
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    final = state.clone(memory_format=torch.contiguous_format)
    run_chunked(kernels.forward, _arrays(x, final, params, w_rec.t(), y0, y), B, T * B * N)
    return y, final


def backward(equations, learnt, x, state, params, w_rec, y0, y, g_y, g_final):
    """Gradients ``(g_x, g_state, g_params, g_y0)``; that of ``w_rec`` follows from ``g_x``."""
    T, B, N = x.shape
    kernels = compiled(equations, learnt, str(x.dtype).split(".")[1])
    g_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    g_state = g_final.clone(memory_format=torch.contiguous_format)
    g_params = x.new_zeros((len(learnt), B, N))
    g_y0 = torch.empty_like(y0, memory_format=torch.contiguous_format)
    arrays = _arrays(x, state, params, w_rec.t(), w_rec, y0, y, g_y, g_x, g_state, g_params, g_y0)
    run_chunked(kernels.backward, arrays, B, T * B * N)
    return g_x, g_state, g_params.sum(1), g_y0
