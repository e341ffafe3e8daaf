"""Real Fourier transform along time of time-major tensors, on the CPU.

Lanes (sample times channel) are contiguous, so a transform works on blocks of ``LANES``
neighbouring ones: the block's rows are read once, transformed in the cache and written once.
A period of ``2 M`` real steps is one complex transform of length ``M`` (even steps are the
real part, odd ones the imaginary part), done in mixed radices 2, 3, 4 and 5 without
reordering (Stockham 1966, in Cochran et al. 1967).

A spectrum is three planes, ``[3, F, lanes]`` with ``F = M + 1``: real part, imaginary part
and ``imaginary + sign * real``. With them a complex product costs three real ones:

    (a + ib)(c + id),       signs +1, +1:  re = ac - bd,  im = (a+b)(c+d) - ac - bd
    conj(a + ib)(c + id),   signs +1, -1:  re = ac + bd,  im = (a+b)(d-c) + ac - bd

so that both are ``re = p0 - s p1`` and ``im = p2 - s p0 - p1`` of the products ``p`` of like
planes, ``s = +1`` for the product and ``-1`` for the correlation.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from snnsim.kernels.compile import jit
from snnsim.kernels.delay_conv.radices import radices

LANES = 256


@lru_cache(maxsize=32)
def _tables(period: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Radices of half the period, and ``[period, 2]`` cosines and sines of its angles."""
    angle = 2 * np.pi / period * np.arange(period)
    turn = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(dtype)
    factors = radices(period // 2)
    assert factors is not None, "a period comes from transforms.good_period"
    return np.array(factors, dtype=np.int64), turn


def blocks(lanes: int) -> int:
    """Number of work items of a transform."""
    return (lanes + LANES - 1) // LANES


def tables(period: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """What both transforms need to know about ``period``."""
    return _tables(period, np.dtype(dtype).name)


@jit
def _radix2(source, target, i, m, o, s, w, turns):
    """Rows ``i, i + m, ..`` of a complex source to rows ``o, o + s, ..`` of the target.

    ``w`` lanes each; output ``j`` is turned by ``turns[j]``.
    """
    (a, b), (c, d) = source, target
    wr, wi = turns[1, 0], turns[1, 1]
    for n in range(w):
        xr, xi = a[i, n], b[i, n]
        yr, yi = a[i + m, n], b[i + m, n]
        c[o, n] = xr + yr
        d[o, n] = xi + yi
        ur, ui = xr - yr, xi - yi
        c[o + s, n] = ur * wr - ui * wi
        d[o + s, n] = ur * wi + ui * wr


@jit
def _radix3(source, target, i, m, o, s, w, turns):
    (a, b), (c, d) = source, target
    i0, i1, i2 = i, i + m, i + 2 * m
    half, side = turns[0, 0], turns[0, 1]
    ar, ai, br, bi = turns[1, 0], turns[1, 1], turns[2, 0], turns[2, 1]
    for n in range(w):
        sr, si = a[i1, n] + a[i2, n], b[i1, n] + b[i2, n]
        dr, di = side * (a[i1, n] - a[i2, n]), side * (b[i1, n] - b[i2, n])
        mr, mi = a[i0, n] - half * sr, b[i0, n] - half * si
        c[o, n] = a[i0, n] + sr
        d[o, n] = b[i0, n] + si
        ur, ui = mr + di, mi - dr
        c[o + s, n] = ur * ar - ui * ai
        d[o + s, n] = ur * ai + ui * ar
        ur, ui = mr - di, mi + dr
        c[o + 2 * s, n] = ur * br - ui * bi
        d[o + 2 * s, n] = ur * bi + ui * br


@jit
def _radix4(source, target, i, m, o, s, w, turns):
    (a, b), (c, d) = source, target
    i0, i1, i2, i3 = i, i + m, i + 2 * m, i + 3 * m
    ar, ai, br, bi = turns[1, 0], turns[1, 1], turns[2, 0], turns[2, 1]
    cr, ci = turns[3, 0], turns[3, 1]
    for n in range(w):
        pr, pi = a[i0, n] + a[i2, n], b[i0, n] + b[i2, n]
        qr, qi = a[i0, n] - a[i2, n], b[i0, n] - b[i2, n]
        rr, ri = a[i1, n] + a[i3, n], b[i1, n] + b[i3, n]
        tr, ti = a[i1, n] - a[i3, n], b[i1, n] - b[i3, n]
        c[o, n] = pr + rr
        d[o, n] = pi + ri
        ur, ui = qr + ti, qi - tr
        c[o + s, n] = ur * ar - ui * ai
        d[o + s, n] = ur * ai + ui * ar
        ur, ui = pr - rr, pi - ri
        c[o + 2 * s, n] = ur * br - ui * bi
        d[o + 2 * s, n] = ur * bi + ui * br
        ur, ui = qr - ti, qi + tr
        c[o + 3 * s, n] = ur * cr - ui * ci
        d[o + 3 * s, n] = ur * ci + ui * cr


@jit
def _radix5(source, target, i, m, o, s, w, turns):
    (a, b), (c, d) = source, target
    c1, s1, c2, s2 = turns[0, 0], turns[0, 1], turns[5, 0], turns[5, 1]
    for n in range(w):
        x0r, x0i = a[i, n], b[i, n]
        pr, pi = a[i + m, n] + a[i + 4 * m, n], b[i + m, n] + b[i + 4 * m, n]
        qr, qi = a[i + m, n] - a[i + 4 * m, n], b[i + m, n] - b[i + 4 * m, n]
        rr, ri = a[i + 2 * m, n] + a[i + 3 * m, n], b[i + 2 * m, n] + b[i + 3 * m, n]
        tr, ti = a[i + 2 * m, n] - a[i + 3 * m, n], b[i + 2 * m, n] - b[i + 3 * m, n]
        c[o, n] = x0r + pr + rr
        d[o, n] = x0i + pi + ri
        er, ei = x0r + c1 * pr + c2 * rr, x0i + c1 * pi + c2 * ri
        fr, fi = s1 * qr + s2 * tr, s1 * qi + s2 * ti
        gr, gi = x0r + c2 * pr + c1 * rr, x0i + c2 * pi + c1 * ri
        hr, hi = s2 * qr - s1 * tr, s2 * qi - s1 * ti
        ur, ui = er + fi, ei - fr
        c[o + s, n] = ur * turns[1, 0] - ui * turns[1, 1]
        d[o + s, n] = ur * turns[1, 1] + ui * turns[1, 0]
        ur, ui = gr + hi, gi - hr
        c[o + 2 * s, n] = ur * turns[2, 0] - ui * turns[2, 1]
        d[o + 2 * s, n] = ur * turns[2, 1] + ui * turns[2, 0]
        ur, ui = gr - hi, gi + hr
        c[o + 3 * s, n] = ur * turns[3, 0] - ui * turns[3, 1]
        d[o + 3 * s, n] = ur * turns[3, 1] + ui * turns[3, 0]
        ur, ui = er - fi, ei + fr
        c[o + 4 * s, n] = ur * turns[4, 0] - ui * turns[4, 1]
        d[o + 4 * s, n] = ur * turns[4, 1] + ui * turns[4, 0]


@jit
def _complex_transform(source, target, factors, turn, w):
    """``sum_t z_t exp(-2 pi i k t / M)`` of ``z``, the real and imaginary parts in ``source``.

    Returns those of the result, which stand in one of the two.
    """
    period = turn.shape[0]
    n, s = period // 2, 1
    turns = np.empty((6, 2), turn.dtype)
    for radix in factors:
        m = n // radix
        turns[0, 0] = turn[period // radix % period, 0]  # cos and sin of one radix-th turn
        turns[0, 1] = turn[period // radix % period, 1]
        if radix == 3:
            turns[0, 0] = -turns[0, 0]
        if radix == 5:
            turns[5, 0], turns[5, 1] = turn[2 * period // 5, 0], turn[2 * period // 5, 1]
        for p in range(m):
            for j in range(1, radix):
                place = (j * p * (period // n)) % period
                turns[j, 0], turns[j, 1] = turn[place, 0], -turn[place, 1]
            for q in range(s):
                i, o = q + s * p, q + s * radix * p
                g = s * m
                if radix == 2:
                    _radix2(source, target, i, g, o, s, w, turns)
                elif radix == 3:
                    _radix3(source, target, i, g, o, s, w, turns)
                elif radix == 4:
                    _radix4(source, target, i, g, o, s, w, turns)
                else:
                    _radix5(source, target, i, g, o, s, w, turns)
        n, s = m, s * radix
        source, target = target, source
    return source


@jit
def analyse(x, span, sign, out, column, tables, block0, block1):
    """Spectra of the rows of ``x [T, lanes]`` that the :class:`.transforms.Span` names.

    Written to columns ``column ..`` of ``out [3, F, columns]``.
    """
    (first, last, place, _), (factors, turn) = span, tables
    period = turn.shape[0]
    m = period // 2
    half = x.dtype.type(0.5)
    a, b = np.empty((m, LANES), x.dtype), np.empty((m, LANES), x.dtype)
    c, d = np.empty((m, LANES), x.dtype), np.empty((m, LANES), x.dtype)
    for block in range(block0, block1):
        start = block * LANES
        w = min(LANES, x.shape[1] - start)
        for k in range(period):
            part = a if k % 2 == 0 else b
            t = first + k - place
            if k >= place and t < last:
                for n in range(w):
                    part[k // 2, n] = x[t, start + n]
            else:
                part[k // 2, :w] = 0
        zr, zi = _complex_transform((a, b), (c, d), factors, turn, w)
        at = column + start
        for n in range(w):
            re, im = zr[0, n] + zi[0, n], zr[0, n] - zi[0, n]
            out[0, 0, at + n] = re
            out[1, 0, at + n] = 0
            out[2, 0, at + n] = sign * re
            out[0, m, at + n] = im
            out[1, m, at + n] = 0
            out[2, m, at + n] = sign * im
        for k in range(1, m):
            cos, sin = turn[k, 0], turn[k, 1]
            j = m - k
            for n in range(w):
                er, ei = half * (zr[k, n] + zr[j, n]), half * (zi[k, n] - zi[j, n])
                dr, di = half * (zi[k, n] + zi[j, n]), half * (zr[j, n] - zr[k, n])
                re = er + cos * dr + sin * di
                im = ei + cos * di - sin * dr
                out[0, k, at + n] = re
                out[1, k, at + n] = im
                out[2, k, at + n] = im + sign * re


@jit
def synthesise(products, column, sign, y, span, tables, block0, block1):
    """The signal whose spectrum the ``products [3, F, columns]`` make, as the span says.

    Written to rows of ``y [T, lanes]``, but added to those before ``span.covered``.
    """
    (first, last, place, covered), (factors, turn) = span, tables
    period = turn.shape[0]
    m = period // 2
    scale = y.dtype.type(1.0 / period)
    a, b = np.empty((m, LANES), y.dtype), np.empty((m, LANES), y.dtype)
    c, d = np.empty((m, LANES), y.dtype), np.empty((m, LANES), y.dtype)
    for block in range(block0, block1):
        start = block * LANES
        w = min(LANES, y.shape[1] - start)
        at = column + start
        for n in range(w):
            # the first and the last frequency are real
            low = scale * (products[0, 0, at + n] - sign * products[1, 0, at + n])
            high = scale * (products[0, m, at + n] - sign * products[1, m, at + n])
            a[0, n] = low + high
            b[0, n] = low - high
        for k in range(1, m // 2 + 1):
            cos, sin = turn[k, 0], turn[k, 1]
            j = m - k
            for n in range(w):
                p, q = products[0, k, at + n], products[1, k, at + n]
                kr, ki = scale * (p - sign * q), scale * (products[2, k, at + n] - sign * p - q)
                p, q = products[0, j, at + n], products[1, j, at + n]
                jr, ji = scale * (p - sign * q), scale * (products[2, j, at + n] - sign * p - q)
                er, ei = kr + jr, ki - ji
                dr, di = kr - jr, ki + ji
                odd_r, odd_i = cos * dr - sin * di, cos * di + sin * dr
                a[k, n] = er - odd_i
                b[k, n] = ei + odd_r
                a[j, n] = er + odd_i
                b[j, n] = odd_r - ei
        # the inverse transform is the forward one with the two parts exchanged
        zi, zr = _complex_transform((b, a), (d, c), factors, turn, w)
        for t in range(first, last):
            k = (t - first + place) % period
            part = zr if k % 2 == 0 else zi
            if t < covered:
                for n in range(w):
                    y[t, start + n] += part[k // 2, n]
            else:
                for n in range(w):
                    y[t, start + n] = part[k // 2, n]
