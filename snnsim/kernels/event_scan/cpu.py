"""CPU rung of the event-driven layer: source for numba, printed from the derived program.

One work item is one sample: its currents, neurons and the weights of a spiking input stay in
the cache while time runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnsim.errors import ShapeError
from snnsim.finite import check_input
from snnsim.kernels.compile import compile_numba
from snnsim.kernels.derive import Equations
from snnsim.kernels.event_scan.reference import Connections
from snnsim.kernels.guard import check_axes, check_operands, check_shape
from snnsim.kernels.scaffold import Pieces, feedback_row
from snnsim.kernels.threads import run_chunked

FORWARD = """
@kernel
def forward(
    _x, _pending, _state, _params, _bias, _weight, _target, _delayed, _w_rec, _reach, _finite, _y,
    _first, _last,
):
{constants}
    if (
        _x.shape[2] != _weight.shape[0]
        or _pending.shape != (_x.shape[1], _reach, _params.shape[1])
        or _state.shape != ({n_states}, _x.shape[1], _params.shape[1])
    ):
        raise ValueError("shapes")
    if _finite:
        for _value in _state.flat:
            if not np.isfinite(_value):
                raise ValueError("not finite")
    _T, _I, _N = _x.shape[0], _x.shape[2], _state.shape[2]
    _rows, _fan = _pending.shape[1], np.uint64(_weight.shape[1])
    _currents = np.empty((_T + _rows) * _N, _x.dtype)
    _recurrent = _w_rec.shape[0] > 0
{param_rows}
    for _b in range(_first, _last):
        _currents[: _rows * _N] = _pending[_b].reshape(-1)
        _currents[_rows * _N :] = 0
{state_rows}
        for _t in range(_T):
            _now = np.uint64(_t * _N)
            for _m in range(_I):
                _amount = _x[_t, _b, _m]
                if _amount != F(0.0):
                    if _finite and not np.isfinite(_amount):
                        raise ValueError("not finite")
                    _i = np.uint64(_m)
                    if _delayed:
                        for _k in range(_fan):
                            _currents[_now + _target[_i, _k]] += _weight[_i, _k] * _amount
                    else:
                        for _k in range(_fan):
                            _currents[_now + _k] += _weight[_i, _k] * _amount
            _row_y = _y[_t, _b]
            _row = _currents[_t * _N : (_t + 1) * _N]
            for _n in range(_N):
                x = _row[_n] + _bias[_n]
{load}
{lines}
{store}
                _row_y[_n] = {output}
            if _recurrent:
                _row = _currents[(_t + 1) * _N : (_t + 2) * _N]
{feedback}
        _pending[_b] = _currents[_T * _N :].reshape(_rows, _N)
"""


def source(equations: Equations) -> str:
    """Source of ``forward``, which updates ``_pending`` and ``_state`` in place."""
    piece = Pieces(equations, (False,) * len(equations.params))
    parts = piece.for_cpu("_b", ":", 1)
    parts["constants"] = piece.constants(1)
    parts["feedback"] = feedback_row(4, "_row_y[_m]", "_w_rec", "_row")
    return FORWARD.format(**parts)


@cache
def compiled(equations: Equations, dtype: str) -> Any:
    """The compiled kernel for one set of equations and number type."""
    return compile_numba(source(equations), dtype)


class Prepared(NamedTuple):
    """A layer's kernel and its constant arguments: made once, used at every step."""

    kernel: Callable[..., None]
    constants: tuple[Any, ...]
    dtype: torch.dtype
    inputs: int
    neurons: tuple[int, int]  # numbers of states and of neurons
    rows: int  # steps for which currents can be under way


def prepare(
    equations: Equations,
    params: Tensor,
    bias: Tensor,
    connections: Connections,
    rows: int,
) -> Prepared:
    """Make a layer's kernel and its constants from the tensors of README.md.

    Args:
        equations: of the neurons.
        params: their parameters, ``[P, N]``.
        bias: ``[N]``.
        connections: ``w_rec`` has no rows where there is no recurrence.
        rows: steps for which currents can be under way: ``target`` lies below ``(rows + 1) N``.
    """
    N, (weight, target, w_rec) = params.shape[1], connections
    check_operands(params, bias, weight, w_rec)
    check_shape("params", params, (len(equations.params), N))
    check_shape("bias", bias, (N,))
    check_shape("target", target, tuple(weight.shape))
    check_shape("w_rec", w_rec, (N if len(w_rec) else 0, N))
    if target.numel() and not 0 <= int(target.min()) <= int(target.max()) < (rows + 1) * N:
        raise ShapeError(f"a target lies outside of {rows + 1} steps of {N} neurons")
    if len(w_rec) and rows < 1:
        raise ShapeError("recurrent currents are under way for one step, but rows is 0")
    direct = target.numel() > 0 and bool((target == torch.arange(weight.shape[1])).all())
    numbers = (a.detach().contiguous().numpy() for a in (params, bias, weight))
    places = target.to(torch.int64).numpy().astype("uint32")
    kernel = compiled(equations, str(weight.dtype).split(".")[1]).forward
    constants = (*numbers, places, not direct, w_rec.detach().contiguous().numpy(), rows)
    sizes = (weight.shape[0], (len(equations.states), N), rows)
    return Prepared(kernel, constants, weight.dtype, *sizes)


def check_arguments(prepared: Prepared, x: Tensor, pending: Tensor, state: Tensor) -> None:
    """Raise :class:`ShapeError` unless input and state are those of this layer."""
    states, n = prepared.neurons
    check_axes("x", x, "T, B, I")
    check_operands(x, pending, state)
    if x.dtype != prepared.dtype or x.shape[2] != prepared.inputs:
        raise ShapeError(
            f"x is {x.dtype} of shape {tuple(x.shape)} but the layer takes {prepared.dtype} of "
            f"[T, B, {prepared.inputs}]"
        )
    check_shape("pending", pending, (x.shape[1], prepared.rows, n))
    check_shape("neurons", state, (states, x.shape[1], n))


def forward(
    prepared: Prepared, x: Tensor, pending: Tensor, state: Tensor, check_finite: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """See README.md; ``check_finite`` says whether NaN and infinities in ``x`` are refused.

    A streamed step takes microseconds, so the kernel itself compares the shapes and looks at the
    values; only where something is wrong it is looked for here.
    """
    n = prepared.neurons[1]
    types = x.dtype == pending.dtype == state.dtype == prepared.dtype
    if not types or not x.dim() == pending.dim() == state.dim() == 3:
        check_arguments(prepared, x, pending, state)
    x, pending, state = (a.detach() if a.requires_grad else a for a in (x, pending, state))
    # numpy copies and makes small arrays in half the time that torch needs
    after, neurons = pending.numpy().copy(), state.numpy().copy()
    y = np.empty((*x.shape[:2], n), after.dtype)
    args = (x.contiguous().numpy(), after, neurons, *prepared.constants, check_finite, y)
    try:
        run_chunked(prepared.kernel, args, x.shape[1], x.numel() * 16)
    except ValueError:
        check_arguments(prepared, x, pending, state)
        check_input(x)
        check_input(state, "the state of the neurons")
        raise
    return torch.from_numpy(y), torch.from_numpy(after), torch.from_numpy(neurons)
