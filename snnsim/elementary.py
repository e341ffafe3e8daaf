"""Elementary functions that work on torch tensors, sympy expressions and plain numbers alike."""

from __future__ import annotations

import math
from typing import Any

import torch

from snnsim.errors import ConfigError


def is_symbolic(*values: Any) -> bool:
    """Return whether any value is a sympy expression (without importing sympy)."""
    return any(hasattr(value, "free_symbols") for value in values)


def where(condition, a, b):
    """Return ``a`` where ``condition`` (a comparison) holds, else ``b``.

    >>> where(1.0 > 0.5, 2.0, 3.0)
    2.0
    """
    if isinstance(condition, torch.Tensor):
        return torch.where(condition, a, b)
    if isinstance(condition, bool) and is_symbolic(a, b):
        raise ConfigError(
            f"a condition in the equations is always {condition}; == and != do not compare "
            "values here, write equal(a, b), and for a fixed option a plain Python if"
        )
    if is_symbolic(condition, a, b):
        import sympy

        return sympy.Piecewise((a, condition), (b, True))
    return a if condition else b


def equal(a, b):
    """Return whether two values are equal, for :func:`where` (``==`` would compare symbols).

    >>> equal(1.0, 1.0)
    True
    """
    if is_symbolic(a, b):
        import sympy

        return sympy.Eq(a, b)
    return a == b


def heaviside(u):
    """Return 1 where ``u >= 0``, else 0, without a gradient; NaN stays NaN.

    >>> heaviside(0.0), heaviside(-1.0)
    (1.0, 0.0)
    """
    if is_symbolic(u):  # of real numbers; what a kernel does with NaN is the printer's business
        return where(u >= 0, 1.0, 0.0)
    if isinstance(u, torch.Tensor):
        return torch.where(u.isnan(), u, (u >= 0).to(u.dtype)).detach()
    return where(u >= 0, 1.0, where(u < 0, 0.0, u))


def maximum(a, b):
    """Return the larger of two values; at a tie the gradient goes to ``a``.

    >>> maximum(1.0, 2.0)
    2.0
    """
    return where(a >= b, a, b)


def minimum(a, b):
    """Return the smaller of two values; at a tie the gradient goes to ``a``.

    >>> minimum(1.0, 2.0)
    1.0
    """
    return where(a <= b, a, b)


def _elementwise(name: str, python=None, sympy_name: str | None = None):
    def function(a):
        if isinstance(a, torch.Tensor):
            return getattr(torch, name)(a)
        if is_symbolic(a):
            import sympy

            return getattr(sympy, sympy_name or name)(a)
        return (python or getattr(math, name))(a)

    function.__name__ = function.__qualname__ = "absolute" if name == "abs" else name
    function.__doc__ = f"Return ``{name}`` of a number, or of every element of a tensor."
    return function


exp = _elementwise("exp")
log = _elementwise("log")
sqrt = _elementwise("sqrt")
sin = _elementwise("sin")
cos = _elementwise("cos")
tanh = _elementwise("tanh")
atan = _elementwise("atan")
erf = _elementwise("erf")
absolute = _elementwise("abs", python=abs, sympy_name="Abs")
