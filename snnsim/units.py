"""Conversion of milliseconds to time steps and of time constants to decays, here and nowhere else.

Time is in milliseconds everywhere outside the kernels. ``dt`` is the length of one time step and is
always given explicitly.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor

from snnsim.errors import ConfigError, check_choice, is_number, short

DISCRETIZATIONS = ("exponential", "euler")
Number = TypeVar("Number", float, Tensor)


def check_dt(dt: float) -> float:
    """Return ``dt`` as a float; raise :class:`ConfigError` unless it is positive and finite."""
    if not (is_number(dt) and dt > 0):
        raise ConfigError(f"dt is {short(dt)} but must be a positive number of milliseconds")
    return float(dt)


def ms_to_steps(ms: float, dt: float) -> int:
    """Return the number of whole steps of ``dt`` ms in ``ms`` milliseconds, rounded to nearest.

    >>> ms_to_steps(240.0, dt=10.0)
    24
    """
    return round(ms / check_dt(dt))


def steps_to_ms(steps, dt: float):
    """Return how many milliseconds ``steps`` steps (a number or a tensor) of ``dt`` ms last.

    >>> steps_to_ms(24, dt=10.0)
    240.0
    """
    return steps * check_dt(dt)


def check_tau(
    tau: float, dt: float, discretization: str = "exponential", name: str = "tau"
) -> None:
    """Raise :class:`ConfigError` unless a time constant in ms can be discretised at ``dt``."""
    check_choice("discretization", discretization, DISCRETIZATIONS)
    if not (tau > 0 and math.isfinite(tau)):
        raise ConfigError(f"{name} is {tau:g} ms but must be positive and finite")
    if discretization == "euler" and tau < dt:
        raise ConfigError(
            f"{name} is {tau:g} ms but forward Euler needs {name} >= dt = {dt:g} ms; "
            "use a smaller dt or discretization='exponential'"
        )


def tau_to_decay(tau: Number, dt: float, discretization: str = "exponential") -> Number:
    """Return the factor by which a leaky variable with time constant ``tau`` shrinks in one step.

    ``exponential`` is the exact solution ``exp(-dt / tau)``; ``euler`` is the forward-Euler ``1 -
    dt / tau`` that many published systems use. :func:`check_tau` says what is allowed.

    Args:
        tau: the time constant in ms, above 0; a number or a tensor.
        dt: the length of a time step in ms, above 0.
        discretization: ``"exponential"`` or ``"euler"``.

    >>> tau_to_decay(torch.tensor(10.0), dt=5.0, discretization="euler").item()
    0.5
    """
    if discretization == "euler":
        return 1.0 - dt / tau
    return torch.exp(-dt / tau) if isinstance(tau, Tensor) else math.exp(-dt / tau)


def tau_to_logit(tau: Tensor, dt: float, discretization: str = "exponential") -> Tensor:
    """Return ``log(decay / (1 - decay))`` of a time constant, also precise for a long one."""
    if discretization == "euler":
        return torch.log(tau / dt - 1.0)
    return -torch.log(torch.expm1(dt / tau))


def logit_to_tau(logit: Tensor, dt: float, discretization: str = "exponential") -> Tensor:
    """Return the time constant in ms of a logit, as the inverse of :func:`tau_to_logit`.

    >>> tau = torch.tensor(2e4, dtype=torch.float64)
    >>> round(logit_to_tau(tau_to_logit(tau, dt=0.1), dt=0.1).item(), 6)
    20000.0
    """
    if discretization == "euler":
        return dt * (1.0 + torch.exp(logit))
    return dt / torch.nn.functional.softplus(-logit)
