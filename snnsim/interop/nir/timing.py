"""How decays and thresholds of a step are written as NIR's continuous equations, and read back.

NIR writes ``tau v' = (v_leak - v) + r I``, and everybody steps it by forward Euler, whose decay is
``1 - dt / tau`` and whose factor of the input is ``r dt / tau``. A neuron fires in NIR if the
membrane is above the threshold, and here if it is not below.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def tau_of(decay: Array, dt: float) -> Array:
    """Return the time constant in s (float32) whose Euler step of ``dt`` s has a decay."""
    return (dt / (1.0 - np.asarray(decay, dtype=np.float64))).astype(np.float32)


def decay_of(tau: Array, dt: float) -> Array:
    """Return the decay (float64) of an Euler step of ``dt`` s."""
    return 1.0 - dt / np.asarray(tau, dtype=np.float64)


def gain_for_unit_input(tau: Array, dt: float) -> Array:
    """Return the ``r`` (float32) with which an input of 1 raises the membrane by 1 per step.

    Its rounding is less than that by which :func:`threshold_above` lowers a threshold, so that an
    input of exactly the threshold fires.
    """
    return (np.asarray(tau, dtype=np.float64) / dt).astype(np.float32)


def is_unit_gain(r: Array, tau: Array, dt: float) -> bool:
    """Return whether an input of 1 raises the membrane by 1 per step, up to float32."""
    gain = np.asarray(r, np.float64) * dt / np.asarray(tau, np.float64)
    return bool(np.all(np.abs(gain - 1) < 1e-6))


def threshold_above(threshold: Array) -> Array:
    """Return the threshold (float32) above which lies what is not below the given one."""
    return np.nextafter(np.asarray(threshold, np.float32), np.float32(-np.inf))


def threshold_from(threshold: Array) -> Array:
    """Return the threshold (float32) not below which lies what is above the given one."""
    return np.nextafter(np.asarray(threshold, np.float32), np.float32(np.inf))
