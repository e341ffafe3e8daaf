"""CPU rung of the recurrent scan: source for numba, printed from the derived program.

One work item is one sample. The recurrent input is accumulated spike by spike, so its cost
follows the firing rate; outputs that are not binary are weighted and cost the same per
non-zero value. The backward pass recomputes the neurons' inputs from the outputs, in the same
order and so bit for bit, and then goes back step by step: the adjoint of the feed-forward scan
for the neurons, a matrix product for the connections.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from snnsim.kernels.compile import compile_numba
from snnsim.kernels.derive import Equations
from snnsim.kernels.scaffold import Pieces, feedback_row
from snnsim.kernels.scan import cpu as scan
from snnsim.kernels.scan.reference import Feedback
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
{feedback}
            for _n in range(_N):
                x = _total[_n]
{load}
{lines}
{store}
                _row_y[_n] = {output}
"""

CURRENTS = """
@kernel
def currents(_x, _w_from, _y0, _y, _totals, _first, _last):
    _T, _N = _x.shape[0], _x.shape[2]
    for _b in range(_first, _last):
        for _t in range(_T):
            _total = _totals[_t, _b]
            _total[:] = _x[_t, _b]
            _before = _y[_t - 1, _b] if _t > 0 else _y0[_b]
{feedback}
"""


def source(equations: Equations) -> str:
    """Source of ``forward`` and of ``currents``, which recomputes the neurons' total input.

    ``_w_from`` is ``w_rec`` transposed, contiguous.
    """
    piece = Pieces(equations, (False,) * len(equations.params))
    parts = piece.for_cpu("_b", ":", 1)
    parts["constants"] = piece.constants(1)
    parts["feedback"] = feedback_row(3, "_before[_m]", "_w_from", "_total")
    return FORWARD.format(**parts) + CURRENTS.format(feedback=parts["feedback"])


@cache
def compiled(equations: Equations, dtype: str) -> Any:
    """The compiled kernels for one set of equations and number type."""
    return compile_numba(source(equations), dtype)


def _arrays(*tensors):
    return tuple(t.detach().contiguous().numpy() for t in tensors)


def forward(equations: Equations, x, state, params, feedback: Feedback):
    """Forward scan; arguments and results as in :func:`reference.recurrent_scan`."""
    w_rec, y0 = feedback
    T, B, N = x.shape
    kernels = compiled(equations, str(x.dtype).split(".")[1])
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    final = state.clone(memory_format=torch.contiguous_format)
    run_chunked(kernels.forward, _arrays(x, final, params, w_rec.t(), y0, y), B, T * B * N)
    return y, final


def backward(equations, learnt, x, state, params, feedback: Feedback, y, gradients):
    """Gradients ``(g_x, g_state, g_params, g_y0)``; that of ``w_rec`` follows from ``g_x``."""
    (w_rec, y0), (g_y, g_final) = feedback, gradients
    T, B, N = x.shape
    dtype = str(x.dtype).split(".")[1]
    totals = torch.empty_like(x, memory_format=torch.contiguous_format)
    currents = compiled(equations, dtype).currents
    run_chunked(currents, _arrays(x, w_rec.t(), y0, y, totals), B, T * B * N)
    kernels = scan.compiled(equations, learnt, dtype)
    work = scan.work(totals[:1])
    path = x.new_empty((T + 1, *state.shape))
    path[0] = state
    params, step_y = params.detach().contiguous().numpy(), x.new_empty((1, B, N)).numpy()
    inputs, states = totals.numpy(), path.numpy()
    for t in range(T):
        states[t + 1] = states[t]
        run_chunked(kernels.forward, (inputs[t : t + 1], states[t + 1], params, step_y), *work)
    g_x = torch.empty_like(totals)
    g_state = g_final.clone(memory_format=torch.contiguous_format)
    g_params = x.new_zeros((len(learnt), B, N))
    g_out, g_back = x.new_empty((1, B, N)), x.new_zeros((B, N))
    g_inputs, results = g_x.numpy(), (g_state.numpy(), g_params.numpy())
    for t in range(T - 1, -1, -1):
        torch.add(g_y[t], g_back, out=g_out[0])
        arrays = (inputs[t : t + 1], states[t], params, g_out.numpy(), g_inputs[t : t + 1])
        run_chunked(kernels.backward, (*arrays, *results), *work)
        torch.mm(g_x[t], w_rec, out=g_back)
    return g_x, g_state, g_params.sum(1), g_back
