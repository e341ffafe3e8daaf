"""The functions with which a neuron's equations are written.

Every function here works on torch tensors (the reference, differentiated by autograd), on sympy
expressions (from which adjoint and kernels are derived) and on plain numbers. A step function that
uses only ``+ - * /``, whole powers, comparisons inside :func:`where` and these functions is
therefore the only place where its equations are written.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch

from snnsim.elementary import (
    absolute,
    atan,
    cos,
    equal,
    erf,
    exp,
    heaviside,
    is_symbolic,
    log,
    maximum,
    minimum,
    sin,
    sqrt,
    tanh,
    where,
)
from snnsim.surrogate import ATan, Surrogate

__all__ = [
    "absolute",
    "atan",
    "cos",
    "detach",
    "equal",
    "erf",
    "exp",
    "log",
    "maximum",
    "minimum",
    "sin",
    "spike",
    "sqrt",
    "tanh",
    "where",
]

_DEFAULT = ATan()
_surrogate: ContextVar[Surrogate] = ContextVar("surrogate", default=_DEFAULT)


@contextmanager
def using_surrogate(surrogate: Surrogate):
    """Within this context, the gradient of :func:`spike` of a tensor comes from ``surrogate``."""
    token = _surrogate.set(surrogate)
    try:
        yield
    finally:
        _surrogate.reset(token)


class _Spike(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(u, surrogate):
        return surrogate.forward(u)

    @staticmethod
    def setup_context(ctx, inputs, output):
        u, ctx.surrogate = inputs
        ctx.save_for_backward(u)
        ctx.save_for_forward(u)

    @staticmethod
    def backward(ctx, *grad_outputs):
        (u,) = ctx.saved_tensors
        return grad_outputs[0] * ctx.surrogate.derivative(u), None

    @staticmethod
    def jvp(ctx, *tangents):
        (u,) = ctx.saved_tensors
        return tangents[0] * ctx.surrogate.derivative(u)


@cache
def symbolic_functions() -> tuple[Any, Any]:
    """Return the sympy functions ``Spike`` and ``Detach``, which the derivation replaces."""
    import sympy

    return sympy.Function("Spike", real=True), sympy.Function("Detach", real=True)


def spike(u):
    """Return 1 where ``u >= 0``, else 0; its gradient is the surrogate gradient of the neuron.

    NaN stays NaN, so that a neuron whose state is lost does not fall silent instead.

    >>> spike(0.0), spike(-0.1)
    (1.0, 0.0)
    """
    if isinstance(u, torch.Tensor):
        return _Spike.apply(u, _surrogate.get())
    if is_symbolic(u):
        return symbolic_functions()[0](u)
    return heaviside(u)


def detach(a):
    """Return ``a``, through which no gradient flows.

    >>> detach(2.0)
    2.0
    """
    if isinstance(a, torch.Tensor):
        return a.detach()
    if is_symbolic(a):
        return symbolic_functions()[1](a)
    return a
