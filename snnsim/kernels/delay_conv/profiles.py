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
from snnsim.kernels.vector import NARROW

SYNAPSES = 256  # neighbouring synapses whose taps are in the cache together
BEFORE = NARROW // 2 - 1  # taps of a narrow window below the one at or below the delay


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
def _gradients(row, upstream, weight, delay, sigma, profile, low, high):
    """Of one synapse: gradients of weight, delay and sigma from those of taps ``low .. high``."""
    width = abs(sigma)
    total = of_p = of_width = dot = dot_p = dot_width = 0.0
    _fill(row, delay, width, profile, low, high)
    for d in range(low, high):
        x = row[d]
        x_p, x_width = _slopes(x, d - delay, width, profile)
        total += x
        of_p += x_p
        of_width += x_width
        dot += upstream[d] * x
        dot_p += upstream[d] * x_p
        dot_width += upstream[d] * x_width
    scale = 1.0 / (total + EPSILON)
    mean = dot * scale
    scale *= weight
    slope = scale * (dot_width - mean * of_width)
    return mean, scale * (dot_p - mean * of_p), slope * np.sign(sigma)


@jit
def taps_backward(weight, delay, sigma, profile, g, g_weight, g_delay, g_sigma, first, last):
    """Gradients of synapses ``first .. last`` from ``g [D, synapses]``."""
    length, wide = g.shape[0], g.itemsize == 8
    row, upstream = np.empty(length), np.empty(length)
    for s in range(first, last):
        for k in range(weight.shape[1]):
            width = float(sigma[s * weight.shape[1] + k if sigma.size > 1 else 0])
            p = float(delay[s, k])
            low, high = _window(p, _reach(abs(width), profile, wide), length)
            for d in range(low, high):
                upstream[d] = g[d, s]
            g_weight[s, k], g_delay[s, k], slope = _gradients(
                row, upstream, float(weight[s, k]), p, width, profile, low, high
            )
            if g_sigma.size > 0:
                g_sigma[s, k] = slope


def fits_window(sigma, profile, wide):
    """Whether a profile of that width lies within ``NARROW`` taps wherever its centre is."""
    reach = getattr(_reach, "py_func", _reach)  # itself where NUMBA_DISABLE_JIT is set
    return reach(abs(sigma), profile, wide) <= NARROW // 2


@jit
def windows(weight, delay, sigma, profile, length, starts, out, first, last):
    """The taps of narrow profiles, ``NARROW`` of each synapse, in blocks of outputs.

    ``weight`` and ``delay`` are ``[O, I K]``; ``starts [blocks, I K, size]`` gets the first
    tap of each window (it may be negative, and then those taps are 0), ``out`` of shape
    ``[blocks, I K, size, NARROW]`` the taps. Outputs past the last one are left alone.
    """
    size, row = starts.shape[2], np.empty(length)
    for block in range(first, last):
        many = min(size, weight.shape[0] - block * size)
        for c in range(weight.shape[1]):
            for j in range(many):
                o = block * size + j
                width = abs(float(sigma[o * weight.shape[1] + c if sigma.size > 1 else 0]))
                p = float(delay[o, c])
                start = floor(p) - BEFORE
                low, high = max(start, 0), min(start + NARROW, length)
                _fill(row, p, width, profile, low, high)
                total = 0.0
                for d in range(low, high):
                    total += row[d]
                scale = float(weight[o, c]) / (total + EPSILON)
                starts[block, c, j] = start
                for n in range(NARROW):
                    d = start + n
                    out[block, c, j, n] = row[d] * scale if low <= d < high else 0.0


@jit
def windows_backward(
    weight, delay, sigma, profile, length, g, g_weight, g_delay, g_sigma, first, last
):
    """Gradients from ``g [blocks, I K, size, NARROW]``, that of :func:`windows`."""
    size, row, upstream = g.shape[2], np.empty(length), np.empty(length)
    for block in range(first, last):
        for c in range(weight.shape[1]):
            for j in range(min(size, weight.shape[0] - block * size)):
                o = block * size + j
                place = o * weight.shape[1] + c
                width = float(sigma[place if sigma.size > 1 else 0])
                p = float(delay[o, c])
                start = floor(p) - BEFORE
                low, high = max(start, 0), min(start + NARROW, length)
                for d in range(low, high):
                    upstream[d] = g[block, c, j, d - start]
                g_weight[o, c], g_delay[o, c], slope = _gradients(
                    row, upstream, float(weight[o, c]), p, width, profile, low, high
                )
                if g_sigma.size > 0:
                    g_sigma[o, c] = slope
