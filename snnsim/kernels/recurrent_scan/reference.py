"""Reference rung of the recurrent scan: that of the scan, with its output fed back."""

from __future__ import annotations

from torch import Tensor

from snnsim.kernels.derive import Equations
from snnsim.kernels.scan.reference import scan


def recurrent_scan(
    equations: Equations, x: Tensor, state: Tensor, params: Tensor, w_rec: Tensor, y0: Tensor
) -> tuple[Tensor, Tensor]:
    """Apply a neuron's step to ``x[t] + w_rec @ y[t-1]`` at every time step.

    Args:
        equations, x, state, params: as of :func:`snnsim.kernels.scan.reference.scan`.
        w_rec: recurrent weights ``[to, from]``, ``[N, N]``.
        y0: output of the step before the first, ``[B, N]``.

    Returns:
        ``(y, final_state)`` of shapes ``[T, B, N]`` and ``[S, B, N]``.
    """
    return scan(equations, x, state, params, (w_rec, y0))
