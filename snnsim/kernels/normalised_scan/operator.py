"""Batch normalisation, a neuron's scan and dropout as one operator.

The normalised input and the spikes before dropout are never in memory: the step that is
compiled is the neuron's own, applied to ``(x - mean) * gain + bias``, its output times the
mask. With ``gain = weight / sqrt(var + eps)`` and ``n`` values per channel, the statistics add

    g_x += -(gain sum_g + (x - mean) weight / sqrt(var + eps)^3 sum_gx) / n,
    sum_g = sum g_u,   sum_gx = sum g_u (x - mean)

(Ioffe & Szegedy 2015, arXiv:1502.03167) to the scan's gradient, where ``g_u`` is the gradient
at the normalised input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from snnsim.errors import ShapeError
from snnsim.kernels import dispatch
from snnsim.kernels.derive import Equations
from snnsim.kernels.guard import check_axes, check_operands, check_shape
from snnsim.kernels.normalised_scan.reference import Normalisation
from snnsim.kernels.operator import declare
from snnsim.kernels.threads import run_chunked

NORM = ("norm_mean", "norm_gain", "norm_bias")
MASK = "dropout_mask"


@dataclass(frozen=True)
class _NormalisedStep:
    """A step that normalises its input and masks its output; the mask is a constant state."""

    step: Any
    masked: bool

    def __call__(self, x, *states, norm_mean, norm_gain, norm_bias, **keywords):
        own = states[:-1] if self.masked else states
        output, new_states = self.step((x - norm_mean) * norm_gain + norm_bias, *own, **keywords)
        if not self.masked:
            return output, new_states
        return states[-1] * output, (*new_states, states[-1])


@cache
def normalised(equations: Equations, masked: bool) -> Equations:
    """The equations with normalised input and, if ``masked``, masked output."""
    return replace(
        equations,
        step=_NormalisedStep(equations.step, masked),
        states=(*equations.states, MASK) if masked else equations.states,
        params=(*equations.params, *NORM),
    )


@dispatch.constant_when_traced
def _key(equations: Equations, masked: bool) -> str:
    return dispatch.key_of(normalised(equations, masked))


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance ``[N]`` over time and batch of ``x [T, B, N]``."""
    rows = x.flatten(0, 1)
    if x.device.type != "cpu":
        var, mean = torch.var_mean(rows, 0, correction=0)
        return mean, var
    from snnsim.kernels.normalised_scan import columns

    partial = torch.zeros((columns.PARTS, 2, rows.shape[1]), dtype=torch.float64)
    run_chunked(columns.moments, (rows.numpy(), partial.numpy()), columns.PARTS, rows.numel())
    total, squares = partial.sum(0) / rows.shape[0]
    return (rows[0] + total).to(x.dtype), (squares - total * total).clamp(min=0).to(x.dtype)


def _add_affine(y: Tensor, x: Tensor, constant: Tensor, slope: Tensor) -> None:
    if x.device.type != "cpu":
        y.add_(constant).addcmul_(x, slope)
        return
    from snnsim.kernels.normalised_scan import columns

    arrays = (a.numpy() for a in (y.flatten(0, 1), x.flatten(0, 1), constant, slope))
    run_chunked(columns.add_affine, tuple(arrays), x.shape[0] * x.shape[1], x.numel())


def normalised_scan(
    equations: Equations,
    x: Tensor,
    state: Tensor,
    mask: Tensor | None,
    params: Tensor,
    norm: Normalisation,
    learnt: Sequence[bool],
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normalise by the batch's statistics, scan and mask.

    Args:
        equations: of the neuron alone.
        x: ``[T, B, N]``, at least two values per channel.
        state: of the neuron alone, ``[S, B, N]``.
        mask: ``[B, N]`` to multiply the output with, or ``None``.
        params: of the neuron alone, ``[P, N]``.
        norm: weight and bias of the normalisation, ``[N]``, and what is added to the variance.
        learnt: for each row of ``params`` whether its gradient is wanted.
        backend: a compiled rung, or ``"auto"``.

    Returns:
        output ``[T, B, N]``, final state, mean and biased variance ``[N]``. Gradients flow from
        the first two to ``x``, ``state``, ``params``, ``weight`` and ``bias``; saved are these
        inputs and the statistics.
    """
    rung = dispatch.choose_backend(backend, x.device)
    key = _key(equations, mask is not None)
    packed = _with_mask(state, mask)
    y, final, mean, var = run_normalised(x, packed, params, *norm, key, list(learnt), rung)
    return y, final[: len(state)], mean, var


def affine_scan(
    equations: Equations,
    x: Tensor,
    state: Tensor,
    mask: Tensor | None,
    params: Tensor,
    affine: Tensor,
    learnt: Sequence[bool],
    backend: str,
) -> tuple[Tensor, Tensor]:
    """As :func:`normalised_scan` with given mean, gain and bias, the rows of ``affine [3, N]``.

    ``learnt`` goes on with whether theirs are wanted. Returns output and final state.
    """
    rows, packed = torch.cat([params, affine]), _with_mask(state, mask)
    rung = dispatch.choose_backend(backend, x.device)
    key = _key(equations, mask is not None)
    y, final = dispatch.run_scan(x, packed, rows, key, list(learnt), rung)
    return y, final[: len(state)]


def _with_mask(state: Tensor, mask: Tensor | None) -> Tensor:
    return state if mask is None else torch.cat([state, mask.unsqueeze(0)])


def _rows(params: Tensor, mean: Tensor, inverse: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.cat([params, torch.stack([mean, weight * inverse, bias])])


def _check(x: Tensor, key: str, *vectors: Tensor) -> None:
    """Raise unless ``x [T, B, N]`` has values to normalise and the vectors are ``[N]``."""
    check_axes("x", x, "T, B, N")
    check_operands(x, *vectors)
    if x.shape[0] * x.shape[1] < 2 or not x.shape[2]:
        raise ShapeError(f"x of shape {tuple(x.shape)} has too few values to normalise by")
    if dispatch.known(key).params[-len(NORM) :] != NORM:
        raise ShapeError("the equations are not those of a normalised neuron")
    for vector in vectors:
        check_shape("a row of the normalisation", vector, (x.shape[2],))


def _forward(
    x: Tensor,
    state: Tensor,
    params: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    key: str,
    learnt: Sequence[bool],
    rung: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _check(x, key, weight, bias)
    x = x.contiguous()
    mean, var = moments(x)
    rows = _rows(params, mean, torch.rsqrt(var + eps), weight, bias)
    dispatch.check_scan(x, state, rows, dispatch.known(key), [*learnt, False, False, False])
    y, final = dispatch.forward("scan", rung, key, x, state, rows)
    return y, final, mean, var


def _backward(
    x: Tensor,
    state: Tensor,
    params: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    g_y: Tensor,
    g_final: Tensor,
    eps: float,
    key: str,
    learnt: Sequence[bool],
    rung: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    _check(x, key, weight, bias, mean, var)
    x = x.contiguous()
    inverse = torch.rsqrt(var + eps)
    rows = _rows(params, mean, inverse, weight, bias)
    wanted = (*learnt, False, True, True)
    dispatch.check_scan(x, state, rows, dispatch.known(key), wanted)
    dispatch.check_gradients(x, state, g_y, g_final)
    g_x, g_state, g_rows = dispatch.backward(
        "scan", rung, key, wanted, x, state, rows, g_y, g_final
    )
    sum_gx, sum_g = g_rows[-2], g_rows[-1]
    count = x.shape[0] * x.shape[1]
    slope = -sum_gx * weight * inverse**3 / count
    constant = -sum_g * weight * inverse / count - slope * mean
    _add_affine(g_x, x, constant, slope)
    return g_x, g_state, g_rows[:-3].clone(), sum_gx * inverse, sum_g.clone()


def _shapes(x: Tensor, state: Tensor, params: Tensor, weight: Tensor, *_: Any) -> Any:
    return x.shape, state.shape, weight.shape, weight.shape


run_normalised, _ = declare(
    "normalised_scan",
    _forward,
    _backward,
    outputs=("y", "final", "mean", "var"),
    shapes=_shapes,
    gradients=("x", "state", "params", "weight", "bias"),
)
