"""CPU kernels that spread weights over taps, and their adjoint.

The profiles are those of ``functional/delays.py``, from which they and their slopes are printed.
With the unnormalised profile ``x_d``, its sum ``S + 1e-7`` and ``g_d`` the gradient at tap
``d``, a synapse ``kernel_d = w x_d / S`` has

    g_w = sum_d g_d x_d / S
    g_p = w (sum_d g_d x'_d - g_w sum_d x'_d) / S      x' = dx/dp, and likewise for the scale.
"""

from __future__ import annotations

from math import exp, floor, sqrt

import numpy as np

from snnsim.functional.delays import EPSILON, OFFSET, SPREAD
from snnsim.kernels.compile import compile_numba, jit
from snnsim.kernels.printer import Printer
from snnsim.kernels.vector import NARROW

SYNAPSES = 256  # neighbouring synapses whose taps are in the cache together
BEFORE = NARROW // 2 - 1  # taps of a narrow window below the one at or below the delay
GAUSS, TRIANGLE = OFFSET["gauss"], OFFSET["triangle"]

SOURCE = """
@kernel
def value(distance, scale):
{constants}
    return {value}

@kernel
def slopes(value, distance, scale, inverse):
{constants}
    return {of_delay}, {of_scale}
"""


def source(profile: str) -> str:
    """Source of a profile and of its slopes in the delay and in the scale.

    The slopes are in terms of the profile's value, and of ``inverse``, which is ``1 / scale``.
    """
    import sympy

    distance = sympy.Symbol("distance", real=True)
    scale, value, inverse = sympy.symbols("scale value inverse", positive=True)
    spread = SPREAD[profile](distance, scale)
    parts = {"value": spread, "of_delay": -spread.diff(distance), "of_scale": spread.diff(scale)}
    for name in ("of_delay", "of_scale"):
        slope = parts[name].subs(spread, value)
        parts[name] = slope.replace(
            lambda e: e.is_Pow and e.base == scale and e.exp.is_negative,
            lambda e: inverse**-e.exp,  # a division once, not at every tap
        )
    printer = Printer()
    printed = {name: printer(expression) for name, expression in parts.items()}
    return SOURCE.format(constants=printer.constants("    "), **printed)


_gauss = compile_numba(source("gauss"), "float64")
_triangle = compile_numba(source("triangle"), "float64")
gauss_slopes = _gauss.slopes
triangle_value, triangle_slopes = _triangle.value, _triangle.slopes


@jit
def _scale(width, profile):
    return width + (GAUSS if profile == 0 else TRIANGLE)


@jit
def _reach(width, profile, wide):
    """Distance beyond which a tap is below half a rounding error of the number type."""
    scale = _scale(width, profile)
    return sqrt(80.0 if wide else 40.0) * scale if profile == 0 else scale


@jit
def _window(delay, reach, length):
    return max(floor(delay - reach), 0), min(floor(delay + reach) + 2, length)


@jit
def _gaussian(row, delay, scale, low, high):
    """The Gaussian at taps ``low .. high``, outwards from the nearest by the ratio of neighbours.

    The ratio changes by a constant factor, so three exponentials serve all taps; in float64
    the error after ``n`` taps is about ``n^2`` roundings.
    """
    inverse = 1.0 / scale
    half = 0.5 * inverse * inverse
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
    scale = _scale(width, profile)
    if profile == 0:
        _gaussian(row, delay, scale, low, high)
    else:
        for d in range(low, high):
            row[d] = triangle_value(d - delay, scale)


@jit
def _slopes(value, distance, scale, inverse, profile):
    """Derivatives of the profile in the delay and in its scale."""
    if profile == 0:
        return gauss_slopes(value, distance, scale, inverse)
    return triangle_slopes(value, distance, scale, inverse)


@jit
def taps(synapses, out, first, last):
    """Fill columns ``first .. last`` of ``out [D, S]``; weights and delays are ``[S, K]``."""
    weight, delay, sigma, profile = synapses
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
    scale = _scale(width, profile)
    inverse = 1.0 / scale
    for d in range(low, high):
        x = row[d]
        x_p, x_width = _slopes(x, d - delay, scale, inverse, profile)
        total += x
        of_p += x_p
        of_width += x_width
        dot += upstream[d] * x
        dot_p += upstream[d] * x_p
        dot_width += upstream[d] * x_width
    share = 1.0 / (total + EPSILON)
    mean = dot * share
    share *= weight
    slope = share * (dot_width - mean * of_width)
    return mean, share * (dot_p - mean * of_p), slope * np.sign(sigma)


@jit
def taps_backward(synapses, g, gradients, first, last):
    """Gradients of synapses ``first .. last`` from ``g [D, S]``."""
    weight, delay, sigma, profile = synapses
    g_weight, g_delay, g_sigma = gradients
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
def windows(synapses, length, starts, out, first, last):
    """The taps of narrow profiles, ``NARROW`` of each synapse, in blocks of outputs.

    Weights and delays are ``[O, I K]``; ``starts [blocks, I K, size]`` gets the first
    tap of each window (it may be negative, and then those taps are 0), ``out`` of shape
    ``[blocks, I K, size, NARROW]`` the taps. Outputs past the last one are left alone.
    """
    weight, delay, sigma, profile = synapses
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
def windows_backward(synapses, length, g, gradients, first, last):
    """Gradients from ``g [blocks, I K, size, NARROW]``, that of :func:`windows`."""
    weight, delay, sigma, profile = synapses
    g_weight, g_delay, g_sigma = gradients
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
