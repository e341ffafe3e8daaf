"""How a neuron declares its parameters: their defaults, their ranges, and which are learned.

A learnable parameter with a range is stored in an unconstrained form and mapped into its range at
every use, so that no optimiser step can leave it.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from snnsim.errors import ConfigError, short
from snnsim.units import check_tau, logit_to_tau, tau_to_decay, tau_to_logit


@dataclass(frozen=True)
class Parameter:
    """A ``Parameter`` declares a parameter of a neuron model.

    Its methods take ``dt`` and ``discretization`` as keywords, which only :class:`Tau` uses.

    Args:
        default: its value, a number or a tensor that broadcasts to the layer's neurons.
        learnable: whether it is learned.
        per_neuron: whether each neuron has its own value (a tensor ``default`` keeps its shape).
        low, high: the ends of its range; ``None`` means no limit. A learnable parameter stays
            strictly inside; a fixed one may lie on an end.
    """

    default: Any
    learnable: bool = False
    per_neuron: bool = False
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        for end in (self.low, self.high):
            if end is not None and not _is_finite(end):
                raise ConfigError(
                    f"an end of a parameter's range is {short(end)} but must be a finite number, "
                    "or None for none"
                )
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ConfigError(f"a parameter's range {self.low} .. {self.high} is empty")

    def check(self, name: str, value: Tensor, **time: Any) -> None:
        """Raise :class:`ConfigError` when ``value`` is not finite or outside the range."""
        ends = (self.low, self.high)
        too_low = self.low is not None and bool((value < self.low).any())
        too_high = self.high is not None and bool((value > self.high).any())
        edge = self.learnable and any(
            end is not None and bool((value == end).any()) for end in ends
        )
        if not bool(torch.isfinite(value).all()) or too_low or too_high or edge:
            strictly = "strictly " if self.learnable else ""
            rule = "be finite"
            if ends != (None, None):
                rule = f"lie {strictly}within {self.low} .. {self.high}"
            raise ConfigError(f"{name} is {_short(value)} but must {rule}")

    def to_raw(self, value: Tensor, **time: Any) -> Tensor:
        """Return the unconstrained form in which ``value`` is stored."""
        if self.low is not None and self.high is not None:
            return torch.logit((value - self.low) / (self.high - self.low))
        if self.low is not None:
            return _inverse_softplus(value - self.low)
        if self.high is not None:
            return _inverse_softplus(self.high - value)
        return value.clone()

    def from_raw(self, raw: Tensor, **time: Any) -> Tensor:
        """Return the value for which an unconstrained form stands."""
        if self.low is not None and self.high is not None:
            return self.low + (self.high - self.low) * torch.sigmoid(raw)
        if self.low is not None:
            return self.low + torch.nn.functional.softplus(raw)
        if self.high is not None:
            return self.high - torch.nn.functional.softplus(raw)
        return raw

    def for_step(self, value: Tensor, **time: Any) -> Tensor:
        """Return what the step function receives for this value."""
        return value


@dataclass(frozen=True)
class Tau(Parameter):
    """A ``Tau`` declares a time constant in ms, for which the step receives the decay per step.

    ``tau_x`` reaches the step as ``decay_x``. If it is learned, the logit of the decay is stored,
    so that the decay stays within (0, 1) whatever the optimiser does.
    """

    def check(self, name: str, value: Tensor, **time: Any) -> None:
        if value.numel() == 0:
            return
        check_tau(float(value.min()), **time, name=name)
        decay = tau_to_decay(value.double(), **time)
        if self.learnable and not bool(((decay > 0) & (decay < 1)).all()):
            raise ConfigError(
                f"{name} is {_short(value)} ms, which gives the decay {_short(decay)} at dt = "
                f"{time['dt']:g} ms; a learnable one needs a decay strictly between 0 and 1"
            )

    def to_raw(self, value: Tensor, **time: Any) -> Tensor:
        return tau_to_logit(value.double(), **time).to(value.dtype)

    def from_raw(self, raw: Tensor, **time: Any) -> Tensor:
        return logit_to_tau(raw, **time)

    def for_step(self, value: Tensor, **time: Any) -> Tensor:
        return tau_to_decay(value, **time)


def as_parameter(declared: Parameter, given: Any) -> Parameter:
    """Return ``declared`` with its default (and more) replaced by what a constructor received."""
    if isinstance(given, Parameter):
        if isinstance(declared, Tau) != isinstance(given, Tau):
            raise ConfigError(
                "a time constant must be given as a number, a tensor or sn.Tau(...), and anything "
                "else as a number, a tensor or sn.Parameter(...)"
            )
        lows = [p.low for p in (declared, given) if p.low is not None]
        highs = [p.high for p in (declared, given) if p.high is not None]
        return replace(given, low=max(lows, default=None), high=min(highs, default=None))
    return replace(declared, default=given)


def numbers(name: str, given: Any) -> Tensor:
    """Return a number, or an array of numbers, as a tensor.

    Raises:
        ConfigError: if ``given`` is anything else.
    """
    dtype = torch.get_default_dtype()
    with suppress(TypeError, ValueError, RuntimeError, OverflowError):
        kind = torch.as_tensor(given).dtype
        if kind != torch.bool and not kind.is_complex:
            return torch.as_tensor(given, dtype=dtype)
    raise ConfigError(f"{name} is {short(given)} but must be a number or a tensor of numbers")


def _is_finite(number: Any) -> bool:
    with suppress(TypeError, OverflowError):
        return not isinstance(number, bool) and math.isfinite(number)
    return False


def _inverse_softplus(value: Tensor) -> Tensor:
    return value + torch.log(-torch.expm1(-value))


def _short(value: Tensor) -> str:
    flat = value.detach().flatten()
    if flat.numel() == 1:
        return f"{float(flat):g}"
    return f"{float(flat.min()):g} .. {float(flat.max()):g}"
