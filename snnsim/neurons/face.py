"""How a neuron describes itself: its signature, its page in ``help`` and its ``repr``."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from torch import Tensor

from snnsim.errors import short
from snnsim.neurons.parameters import Parameter, Tau


def signature_of(cls: Any) -> inspect.Signature:
    """Return the constructor's signature with the model's own parameters and options by name."""
    own = list(inspect.signature(cls.__init__).parameters.values())[1:]
    shared = [p for p in own if p.kind is not p.VAR_KEYWORD]
    if len(shared) == len(own):  # a constructor of its own, which says all
        return inspect.Signature(own)
    taken = {p.name for p in shared}
    named = {name: spec.default for name, spec in cls._declared.items()} | cls._options
    kind = inspect.Parameter.KEYWORD_ONLY
    values = [
        inspect.Parameter(name, kind, default=value)
        for name, value in named.items()
        if name not in taken
    ]
    first = [p for p in shared if p.default is p.empty]
    rest = [p for p in shared if p.default is not p.empty]
    return inspect.Signature([*first, *values, *rest])


def page_of(cls: Any) -> str:
    """Return the docstring of a model: its own, its equations, and its parameters with ranges."""
    parts = [inspect.cleandoc(cls.__dict__.get("__doc__") or f"{cls.__name__} neurons.")]
    if cls.__module__.startswith("snnsim.neurons."):
        about = inspect.cleandoc(sys.modules[cls.__module__].__doc__ or "")
        parts.append(f"Equations and source:\n\n{_indented(about)}")
    lines = [f"{name}: {_described(spec)}" for name, spec in cls._declared.items()]
    lines += [f"{name}: {value!r}, an option" for name, value in cls._options.items()]
    parts.append(f"Parameters, with their defaults:\n\n{_indented(chr(10).join(lines))}")
    parts.append("Everything else is described by :class:`snnsim.Neuron`.")
    return "\n\n".join(parts)


def _described(spec: Parameter) -> str:
    told = [f"{short_value(spec.default)}{' ms' if isinstance(spec, Tau) else ''}"]
    if isinstance(spec, Tau):
        told.append("above 0, and with forward Euler at least dt")
    elif spec.low is not None and spec.high is not None:
        told.append(f"within {spec.low:g} .. {spec.high:g}")
    elif spec.low is not None:
        told.append(f"at least {spec.low:g}")
    elif spec.high is not None:
        told.append(f"at most {spec.high:g}")
    if spec.learnable:
        told.append("learnt")
    return ", ".join(told)


def short_value(value: Any) -> str:
    """Return a number as text, or the range of several numbers.

    >>> import torch
    >>> short_value(2.0), short_value(torch.tensor([1.0, 3.0]))
    ('2', '1 .. 3')
    """
    if not isinstance(value, Tensor):
        return f"{value:g}" if isinstance(value, float) else short(value)
    flat = value.detach().flatten()
    if not flat.numel():
        return "none"
    low, high = float(flat.min()), float(flat.max())
    return f"{low:g}" if low == high else f"{low:g} .. {high:g}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())
