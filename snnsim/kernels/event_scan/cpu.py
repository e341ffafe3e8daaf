"""CPU rung of the event-driven layer: source for numba, printed from the derived program.

One work item is one sample: its currents, neurons and the weights of a spiking input stay in
the cache while time runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnsim.kernels.compile import compile_numba
from snnsim.kernels.derive import Equations
from snnsim.kernels.scaffold import Pieces
from snnsim.kernels.threads import run_chunked

FORWARD = """
@kernel
def forward(
    _x, _pending, _state, _params, _bias, _weight, _target, _delayed, _w_rec, _y, _first, _last,
):
{constants}
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
                for _m in range(_N):
                    _amount = _row_y[_m]
                    if _amount != F(0.0):
                        for _n in range(_N):
                            _row[_n] += _w_rec[_m, _n] * _amount
        _pending[_b] = _currents[_T * _N :].reshape(_rows, _N)
"""


def source(equations: Equations) -> str:
    """Source of ``forward``, which updates ``_pending`` and ``_state`` in place."""
    piece = Pieces(equations, (False,) * len(equations.params))
    parts = piece.for_cpu("_b", ":", 1)
    parts["constants"] = piece.constants(1)
    return FORWARD.format(**parts)


@cache
def compiled(equations: Equations, dtype: str) -> Any:
    """The compiled kernel for one set of equations and number type."""
    return compile_numba(source(equations), dtype)


class Prepared(NamedTuple):
    """A layer's kernel and its constant arguments: made once, used at every step."""

    kernel: Callable[..., None]
    constants: tuple[Any, ...]


def prepare(
    equations: Equations,
    params: Tensor,
    bias: Tensor,
    weight: Tensor,
    target: Tensor,
    w_rec: Tensor,
) -> Prepared:
    """From the tensors of README.md; ``w_rec`` has no rows where there is no recurrence."""
    direct = target.numel() > 0 and bool((target == torch.arange(weight.shape[1])).all())
    numbers = (a.detach().contiguous().numpy() for a in (params, bias, weight))
    places = target.to(torch.int64).numpy().astype("uint32")
    kernel = compiled(equations, str(weight.dtype).split(".")[1]).forward
    return Prepared(kernel, (*numbers, places, not direct, w_rec.detach().contiguous().numpy()))


def forward(
    prepared: Prepared, x: Tensor, pending: Tensor, state: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """See README.md; ``x`` and the state are contiguous."""
    y = x.new_empty((*x.shape[:2], state.shape[2]))
    pending, state = pending.clone(), state.clone()
    args = (x.numpy(), pending.numpy(), state.numpy(), *prepared.constants, y.numpy())
    run_chunked(prepared.kernel, args, x.shape[1], x.numel() * 16)
    return y, pending, state
