"""CPU kernels that spread weights over taps, and their adjoint; see ``functional/delays.py``.

With the unnormalised profile ``x_d``, its sum ``S + 1e-7`` and ``g_d`` the gradient at tap
``d``, a synapse ``kernel_d = w x_d / S`` has

    g_w = sum_d g_d x_d / S
    g_p = w (sum_d g_d x'_d - g_w sum_d x'_d) / S      x' = dx/dp, and alike for sigma.
"""

from __future__ import annotations

from math import exp, floor, sqrt

import numpy as np

from snnsim.functional.delays import EPSILON, SIGMA_OFFSET
from snnsim.kernels.compile import jit

SYNAPSES = 256  # neighbouring synapses whose taps are in the cache together


@jit
def _reach(width, profile, wide):
    """Distance beyond which a tap is below half a rounding error of the number type."""
    if profile == 0:
        return sqrt(80.0 if wide else 40.0) * (width + SIGMA_OFFSET)
    return 1.0 + width


@jit
def _window(delay, reach, length):
    return max(floor(delay - reach), 0), min(floor(delay + reach) + 2, length)


@jit
def _gauss(row, delay, width, low, high):
    """Gaussian at taps ``low .. high``, outwards from the nearest by the ratio of neighbours.

    The ratio changes by a constant factor, so three exponentials serve all taps; in float64
    the error after ``n`` taps is about ``n^2`` roundings.
    """
    scale = 1.0 / (width + SIGMA_OFFSET)
    half = 0.5 * scale * scale
    nearest = min(max(floor(delay + 0.5), low), high - 1)
    distance = nearest - delay
    row[nearest] = exp(-half * distance * distance)
    factor = exp(-2.0 * half)
    value, ratio = row[nearest], exp(-half * (1.0 + 2.0 * distance))
    for d in range(nearest + 1, high):
        value *= ratio
        ratio *= factor
        row[d] = value
    value, ratio = row[nearest], exp(-half * (1.0 - 2.0 * distance))
    for d in range(nearest - 1, low - 1, -1):
        value *= ratio
        ratio *= factor
        row[d] = value


@jit
def _fill(row, delay, width, profile, low, high):
    """The unnormalised profile at taps ``low .. high``."""
    if profile == 0:
        _gauss(row, delay, width, low, high)
    else:
        for d in range(low, high):
            row[d] = max(0.0, 1.0 + width - abs(d - delay))


@jit
def _slopes(value, distance, width, profile):
    """Derivatives of the profile in the delay and in the (positive) width."""
    if profile == 0:
        scale = 1.0 / (width + SIGMA_OFFSET)
        slope = value * distance * scale * scale
        return slope, slope * distance * scale
    if value > 0.0:
        return float(np.sign(distance)), 1.0
    return 0.0, 0.0


@jit
def taps(weight, delay, sigma, profile, out, first, last):
    """Fill columns ``first .. last`` of ``out [D, synapses]``."""
    length, wide = out.shape[0], out.itemsize == 8
    row = np.empty(length)
    for start in range(first, last, SYNAPSES):
        stop = min(start + SYNAPSES, last)
        out[:, start:stop] = 0
        for s in range(start, stop):
            for k in range(weight.shape[1]):
                place = s * weight.shape[1] + k if sigma.size > 1 else 0
                width = abs(float(sigma[place]))
                p = float(delay[s, k])
                low, high = _window(p, _reach(width, profile, wide), length)
                total = 0.0
                _fill(row, p, width, profile, low, high)
                for d in range(low, high):
                    total += row[d]
                scale = float(weight[s, k]) / (total + EPSILON)
                for d in range(low, high):
                    out[d, s] += row[d] * scale


@jit
def taps_backward(weight, delay, sigma, profile, g, g_weight, g_delay, g_sigma, first, last):
    """Gradients of synapses ``first .. last`` from ``g [D, synapses]``."""
    length, wide = g.shape[0], g.itemsize == 8
    row = np.empty(length)
    for s in range(first, last):
        for k in range(weight.shape[1]):
            place = s * weight.shape[1] + k if sigma.size > 1 else 0
            width = abs(float(sigma[place]))
            p = float(delay[s, k])
            low, high = _window(p, _reach(width, profile, wide), length)
            total = of_p = of_width = dot = dot_p = dot_width = 0.0
            _fill(row, p, width, profile, low, high)
            for d in range(low, high):
                x = row[d]
                x_p, x_width = _slopes(x, d - p, width, profile)
                upstream = float(g[d, s])
                total += x
                of_p += x_p
                of_width += x_width
                dot += upstream * x
                dot_p += upstream * x_p
                dot_width += upstream * x_width
            scale = 1.0 / (total + EPSILON)
            mean = dot * scale
            scale *= float(weight[s, k])
            g_weight[s, k] = mean
            g_delay[s, k] = scale * (dot_p - mean * of_p)
            if g_sigma.size > 0:
                slope = scale * (dot_width - mean * of_width)
                g_sigma[s, k] = slope * np.sign(float(sigma[place]))
