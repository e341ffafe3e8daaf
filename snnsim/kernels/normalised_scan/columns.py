"""CPU kernels over the columns (channels) of a ``[rows, N]`` array."""

from __future__ import annotations

import numpy as np

from snnsim.kernels.compile import jit

PARTS = 64  # sums of rows taken by themselves: fixed, so that threads do not change the bits


@jit
def moments(x, partial, first, last):
    """Sums and sums of squares of ``x - x[0]`` over each of ``partial [parts, 2, N]``'s rows.

    The shift keeps the digits that the variance is made of.
    """
    rows, N = x.shape
    shift = x[0].astype(np.float64)
    for part in range(first, last):
        total, squares = partial[part, 0], partial[part, 1]
        for r in range(rows * part // partial.shape[0], rows * (part + 1) // partial.shape[0]):
            row = x[r]
            for n in range(N):
                value = row[n] - shift[n]
                total[n] += value
                squares[n] += value * value


@jit
def add_affine(y, x, constant, slope, first, last):
    """``y += constant + slope * x`` for rows ``first .. last``, per column."""
    for r in range(first, last):
        out, row = y[r], x[r]
        for n in range(x.shape[1]):
            out[n] += constant[n] + slope[n] * row[n]
