"""CPU rung of the scan: source for numba, printed from the derived program.

One work item is up to ``BLOCK`` neighbouring neurons (of several samples if one has fewer). Its
state stays in the first-level cache while time runs in the outer loop; the inner loop over
contiguous neurons is what the compiler vectorises. The backward pass needs nothing but the
forward's inputs: it recomputes the trajectory of one block into a local buffer and walks it
backwards.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from snnsim.kernels.compile import compile_numba
from snnsim.kernels.derive import Equations
from snnsim.kernels.scaffold import Pieces
from snnsim.kernels.threads import run_chunked

BLOCK = 1024  # neurons, of one sample or of several side by side

FORWARD = """
@kernel
def forward(_x, _state, _params, _y, _first, _last):
{constants}
    _T, _N = _x.shape[0], _x.shape[2]
    _blocks = (_N + {size} - 1) // {size}
    for _item in range(_first, _last):
        _b = _item // _blocks
        _n0 = (_item % _blocks) * {size}
        _n1 = min(_n0 + {size}, _N)
{state_rows}
{param_rows}
        for _t in range(_T):
            _row_x = _x[_t, _b, _n0:_n1]
            _row_y = _y[_t, _b, _n0:_n1]
            for _n in range(_n1 - _n0):
                x = _row_x[_n]
{load}
{lines}
{store}
                _row_y[_n] = {output}
"""

BACKWARD = """
@kernel
def backward(_x, _state, _params, _g_y, _g_x, _g_state, _g_params, _first, _last):
{constants}
    _T, _N = _x.shape[0], _x.shape[2]
    _blocks = (_N + {size} - 1) // {size}
    _path = np.empty((_T + 1, {n_states}, min({size}, _N)), _x.dtype)
    for _item in range(_first, _last):
        _b = _item // _blocks
        _n0 = (_item % _blocks) * {size}
        _n1 = min(_n0 + {size}, _N)
{param_rows}
{gradient_rows}
        _path[0, :, : _n1 - _n0] = _state[:, _b, _n0:_n1]
        for _t in range(_T):
            _row_x = _x[_t, _b, _n0:_n1]
{path_rows}
            for _n in range(_n1 - _n0):
                x = _row_x[_n]
{load}
{lines}
{store_next}
        for _t in range(_T - 1, -1, -1):
            _row_x = _x[_t, _b, _n0:_n1]
            _row_g_y = _g_y[_t, _b, _n0:_n1]
            _row_g_x = _g_x[_t, _b, _n0:_n1]
{path_rows}
            for _n in range(_n1 - _n0):
                x = _row_x[_n]
{load}
{lines}
                _g_output = _row_g_y[_n]
{load_gradients}
{adjoint}
{store_gradients}
                _row_g_x[_n] = {g_x}
"""


def source(equations: Equations, learnt: tuple[bool, ...]) -> str:
    """Source of ``forward`` and ``backward``; ``learnt`` says which parameters need gradients.

    ``forward`` updates its ``_state`` in place. ``backward`` finds the gradient of the final
    state in ``_g_state`` and leaves that of the initial state there; it adds to ``_g_params``
    (``[P, B, N]``, so that no two work items share a cell).
    """
    piece = Pieces(equations, learnt)
    parts = {"size": BLOCK, **piece.for_cpu("_b, _n0:_n1", "_n0:_n1", 2)}
    parts["constants"] = piece.constants(1)
    return FORWARD.format(**parts) + BACKWARD.format(**parts)


@cache
def compiled(equations: Equations, learnt: tuple[bool, ...], dtype: str) -> Any:
    """The compiled kernels for one set of equations, learnt parameters and number type."""
    return compile_numba(source(equations, learnt), dtype)


def work(x) -> tuple[int, int]:
    """Work items of a scan over ``x``, and the number of its updates."""
    T, B, N = x.shape
    return B * ((N + BLOCK - 1) // BLOCK), T * B * N


def _together(B: int, N: int) -> int:
    """How many samples of a narrow layer make one row that is worth a vector loop."""
    return next((k for k in range(BLOCK // max(N, 1), 1, -1) if B % k == 0), 1)


def _rows(count: int, *tensors: Tensor) -> tuple[Any, ...]:
    """Arrays ``[A, B, N]`` with ``count`` samples side by side: ``[A, B / count, count N]``."""
    return tuple(
        a.detach().contiguous().view(len(a), a.shape[1] // count, count * a.shape[2]).numpy()
        for a in tensors
    )


def forward(equations: Equations, x, state, params):
    """Forward scan; arguments and results as in :func:`reference.scan`, without gradients."""
    kernels = compiled(equations, (False,) * len(equations.params), str(x.dtype).split(".")[1])
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    final = state.clone(memory_format=torch.contiguous_format)
    count = _together(*x.shape[1:])
    x_, final_, y_ = _rows(count, x, final, y)
    repeated = params.detach().repeat(1, count).contiguous().numpy()
    run_chunked(kernels.forward, (x_, final_, repeated, y_), *work(x_))
    return y, final


def backward(equations: Equations, learnt: tuple[bool, ...], x, state, params, g_y, g_final):
    """Gradients ``(g_x, g_state, g_params)`` from those of the scan's two results."""
    kernels = compiled(equations, learnt, str(x.dtype).split(".")[1])
    g_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    g_state = g_final.clone(memory_format=torch.contiguous_format)
    g_params = x.new_zeros((len(learnt), *x.shape[1:]))
    count = _together(*x.shape[1:])
    x_, state_, *rest = _rows(count, x, state, g_y, g_x, g_state, g_params)
    repeated = params.detach().repeat(1, count).contiguous().numpy()
    run_chunked(kernels.backward, (x_, state_, repeated, *rest), *work(x_))
    return g_x, g_state, g_params.sum(1)
