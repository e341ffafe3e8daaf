"""Milliseconds and steps, time constants and decays: the only place they are converted.

Time is in milliseconds everywhere outside the kernels. ``dt`` is the length of one
simulation step and is always given explicitly.
"""

from __future__ import annotations

import math

from snnsim.errors import ConfigError, check_choice

DISCRETIZATIONS = ("exponential", "euler")


def check_dt(dt: float) -> float:
    """Return ``dt`` as a float; raise :class:`ConfigError` unless it is positive and finite."""
    if not (isinstance(dt, (int, float)) and math.isfinite(dt) and dt > 0):
        raise ConfigError(f"dt is {dt!r} but must be a positive number of milliseconds")
    return float(dt)


def ms_to_steps(ms: float, dt: float) -> int:
    """Number of whole steps of ``dt`` ms in ``ms`` milliseconds, rounded to nearest.

    >>> ms_to_steps(240.0, dt=10.0)
    24
    """
    return round(ms / check_dt(dt))


def steps_to_ms(steps, dt: float):
    """Milliseconds that ``steps`` steps (a number or a tensor) of ``dt`` ms last.

    >>> steps_to_ms(24, dt=10.0)
    240.0
    """
    return steps * check_dt(dt)


def tau_to_decay(tau, dt: float, discretization: str = "exponential"):
    """Factor by which a leaky variable with time constant ``tau`` shrinks in one step.

    ``exponential`` is the exact solution ``exp(-dt / tau)``; ``euler`` is the forward-Euler
    ``1 - dt / tau`` that many published systems use (it needs ``tau >= dt``).

    Args:
        tau: time constant in ms, a number or a tensor, positive.
        dt: step in ms.
        discretization: ``"exponential"`` or ``"euler"``.

    Returns:
        The decay, of the kind of ``tau``, in ``[0, 1)``.

    >>> round(tau_to_decay(10.05, dt=10.0, discretization="euler"), 6)
    0.004975
    """
    check_choice("discretization", discretization, DISCRETIZATIONS)
    dt = check_dt(dt)
    smallest = float(tau.min()) if hasattr(tau, "min") else float(tau)
    if discretization == "euler":
        if not smallest >= dt:
            raise ConfigError(
                f"tau is {smallest:g} ms but forward Euler needs tau >= dt = {dt:g} ms; "
                "use a smaller dt or discretization='exponential'"
            )
        return 1.0 - dt / tau
    if not smallest > 0:
        raise ConfigError(f"tau is {smallest:g} ms but must be positive")
    ratio = -dt / tau
    return ratio.exp() if hasattr(ratio, "exp") else math.exp(ratio)


def decay_to_tau(decay, dt: float, discretization: str = "exponential"):
    """Inverse of :func:`tau_to_decay`: the time constant in ms.

    >>> round(decay_to_tau(tau_to_decay(20.0, dt=1.0), dt=1.0), 9)
    20.0
    """
    check_choice("discretization", discretization, DISCRETIZATIONS)
    dt = check_dt(dt)
    if discretization == "euler":
        return dt / (1.0 - decay)
    log = decay.log() if hasattr(decay, "log") else math.log(decay)
    return -dt / log
