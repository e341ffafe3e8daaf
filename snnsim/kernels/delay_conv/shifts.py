"""CPU kernels of the one-tap rung: sums of shifted inputs, and their inner products."""

from __future__ import annotations

import numpy as np

from snnsim.kernels.compile import jit
from snnsim.kernels.vector import WIDTH, fma, load, multiply_add, store, total, zeros_like

CHUNK = 512  # output steps of one work item, a multiple of WIDTH
ROWS = 64  # outputs whose sums are in the first-level cache together
COLUMNS = 32  # inputs that are there with them
GROUPS = 8  # batch parts of the weight gradient, each summed by itself: fixed, so bits are too
STEPS_PER_SPIKE = 12  # adding step by step costs as much as adding one spike per so many steps


def chunks(frames: int) -> int:
    """Work items per sample."""
    return (frames + CHUNK - 1) // CHUNK


@jit
def _rounded(steps):
    return (steps + WIDTH - 1) // WIDTH * WIDTH


@jit
def _gather(x, b, first, last, rows, place):
    """All channels of sample ``b`` in ``first .. last``, time contiguous, 0 outside ``x``.

    ``rows [C, steps]`` gets those whose ``place`` is not negative; ``place`` becomes where each
    row begins.
    """
    T, C = x.shape[0], x.shape[2]
    count = 0
    for c in range(C):
        if place[c] >= 0:
            place[c] = count * rows.shape[1]
            count += 1
    if count == 0:
        return
    rows[:count] = 0
    flat = rows.reshape(-1)
    for t in range(max(first, 0), min(last, T)):
        for c in range(C):
            if place[c] >= 0:
                flat[place[c] + t - first] = x[t, b, c]


@jit
def _find_spikes(x, b, first, last, found, place):
    """The nonzero steps of each channel, their values and their number.

    A channel with more than ``found`` has room for (but one) has number 0 and ``place`` 0; the
    others' place is -1.
    """
    spikes, values, counts = found
    T, C, most = x.shape[0], x.shape[2], spikes.shape[1] - 1
    counts[:] = 0
    for t in range(max(first, 0), min(last, T)):
        for c in range(C):
            value = x[t, b, c]
            if value != 0:
                n = counts[c]
                if n < most:
                    spikes[c, n], values[c, n] = t - first, value
                counts[c] = n + 1
    for c in range(C):
        place[c] = 0 if counts[c] > most else -1
        if counts[c] > most:
            counts[c] = 0


@jit
def _add_rows(sums, begin, flat, places, weights, count, steps):
    """``sums[begin + t] += sum_c weights[c] flat[places[c] + t]``, the sums in registers."""
    t = 0
    while t + 2 * WIDTH <= steps:
        first, second = load(sums, begin + t), load(sums, begin + t + WIDTH)
        for c in range(count):
            weight, place = weights[c], places[c] + t
            first = fma(weight, load(flat, place), first)
            second = fma(weight, load(flat, place + WIDTH), second)
        store(sums, begin + t, first)
        store(sums, begin + t + WIDTH, second)
        t += 2 * WIDTH
    if t < steps:
        value = load(sums, begin + t)
        for c in range(count):
            value = fma(weights[c], load(flat, places[c] + t), value)
        store(sums, begin + t, value)


@jit
def _add_dense(sums, layout, rows, flat, dense, count, matrices, steps):
    """Add the first ``count`` columns of ``dense`` to a block of rows, ``COLUMNS`` at a time.

    ``dense`` is which columns, and where the input of each begins in ``flat``; ``layout`` the
    length of a row of ``sums``, and what stands in front of its first step.
    """
    (stride, margin), (columns, starts) = layout, dense
    weight, offset = matrices.weight, matrices.offset
    places, weights = np.empty(COLUMNS, np.int64), np.empty(COLUMNS, flat.dtype)
    for first in range(0, count, COLUMNS):
        many = min(COLUMNS, count - first)
        for r in range(rows[0], rows[1]):
            for n in range(many):
                c = columns[first + n]
                places[n] = starts[first + n] + offset[r, c]
                weights[n] = weight[r, c]
            begin = (r - rows[0]) * stride + margin
            _add_rows(sums, begin, flat, places, weights, many, steps)


@jit
def _add_spikes(sums, base, weight, n, rows, found, c):
    """Add the spikes of channel ``c`` to a block of rows, through column ``n`` of the weights."""
    spikes, values, counts = found
    for s in range(np.uint64(counts[c])):
        t, value = spikes[c, s], values[c, s]
        for r in range(rows[0], rows[1]):
            sums[base[n, r] + t] += weight[n, r] * value


@jit
def accumulate(x, front, matrices, bias, reach, y, first, last):
    """Fill the work items ``first .. last`` (a sample's chunk of steps each) of ``y``.

    ``matrices`` are the :class:`snnsim.kernels.delay_conv.one_tap.Shifts`, offsets within
    ``0 .. reach - 1``; ``bias`` is per row, or of size 0.
    """
    weight_t, offset_t = matrices.weight_t, matrices.offset_t
    frames, columns, R = y.shape[0], weight_t.shape[0], weight_t.shape[1]
    C = x.shape[2]
    copies = columns // C
    per_sample = (frames + CHUNK - 1) // CHUNK
    span = min(CHUNK, _rounded(frames))
    rows = np.empty((C, span + reach - 1), x.dtype)
    flat = rows.reshape(-1)
    place, counts = np.empty(C, np.int64), np.empty(C, np.int64)
    dense, starts = np.empty(columns, np.int64), np.empty(columns, np.int64)
    few = span // STEPS_PER_SPIKE
    found = (np.empty((C, few + 1), np.uint64), np.empty((C, few + 1), x.dtype), counts)
    margin = reach - 1  # spikes that fall outside the steps are added here and forgotten
    stride = span + 2 * margin
    sums = np.empty(ROWS * stride, x.dtype)
    base = np.empty(offset_t.shape, np.uint64)
    for n in range(columns):
        for r in range(R):
            base[n, r] = (r % ROWS) * stride + margin - offset_t[n, r]
    for item in range(first, last):
        b, start = item // per_sample, item % per_sample * CHUNK
        steps = min(CHUNK, frames - start)
        vectors = _rounded(steps)
        in0 = start - front
        in1 = in0 + vectors + margin
        _find_spikes(x, b, in0, in1, found, place)
        _gather(x, b, in0, in1, rows, place)
        n_dense = 0
        for c in range(C):
            if place[c] >= 0:
                for k in range(copies):
                    dense[n_dense], starts[n_dense] = c * copies + k, place[c]
                    n_dense += 1
        for row0 in range(0, R, ROWS):
            block = (row0, min(row0 + ROWS, R))
            sums[:] = 0
            for r in range(bias.size and block[1] - row0):
                sums[r * stride + margin : r * stride + margin + steps] = bias[row0 + r]
            layout = (stride, margin)
            _add_dense(sums, layout, block, flat, (dense, starts), n_dense, matrices, vectors)
            places = (np.uint64(block[0]), np.uint64(block[1]))
            for c in range(C):
                for k in range(copies if counts[c] > 0 else 0):
                    column = np.uint64(c * copies + k)
                    _add_spikes(sums, base, weight_t, column, places, found, np.uint64(c))
            for t in range(steps):
                for r in range(block[1] - row0):
                    y[start + t, b, row0 + r] = sums[r * stride + margin + t]


@jit
def _inner(a, b, begin_a, begin_b, steps):
    value = zeros_like(a)
    for t in range(0, steps, WIDTH):
        value = multiply_add(load(a, begin_a + t), load(b, begin_b + t), value)
    return total(value)


@jit
def _gather_spikes(g, begin, offset, spikes, values, count):
    """Inner product of a row of ``g`` with the spikes of a channel, shifted."""
    value = g.dtype.type(0)
    base = np.uint64(begin - offset)
    for s in range(np.uint64(count)):
        value += values[s] * g[base + spikes[s]]
    return value


@jit
def correlate(x, front, offset_t, reach, g, partial, first, last):
    """Add to ``partial [groups, columns, rows]`` the weight gradients of groups of samples."""
    B, C, frames, R = x.shape[1], x.shape[2], g.shape[0], g.shape[2]
    columns = offset_t.shape[0]
    copies = columns // C
    span = min(CHUNK, _rounded(frames))
    margin = reach - 1
    rows_x = np.empty((C, span + margin), x.dtype)
    rows_g = np.empty((R, span + 2 * margin), x.dtype)
    flat_x, flat_g = rows_x.reshape(-1), rows_g.reshape(-1)
    place_x, place_g = np.empty(C, np.int64), np.zeros(R, np.int64)
    few = span // STEPS_PER_SPIKE
    counts = np.empty(C, np.int64)
    spikes, values = np.empty((C, few + 1), np.uint64), np.empty((C, few + 1), x.dtype)
    for group in range(first, last):
        for b in range(B * group // partial.shape[0], B * (group + 1) // partial.shape[0]):
            for start in range(0, frames, CHUNK):
                steps = min(CHUNK, frames - start)
                vectors = _rounded(steps)
                in0 = start - front
                in1 = in0 + vectors + margin
                _find_spikes(x, b, in0, in1, (spikes, values, counts), place_x)
                _gather(x, b, in0, in1, rows_x, place_x)
                _gather(g[: start + steps], b, start - margin, start + steps, rows_g, place_g)
                if start > 0:  # what belongs to the chunk before
                    rows_g[:, :margin] = 0
                for row0 in range(0, R, ROWS):
                    row1 = min(row0 + ROWS, R)
                    for a in range(columns):
                        c = a // copies
                        if place_x[c] >= 0:
                            for r in range(row0, row1):
                                partial[group, a, r] += _inner(
                                    flat_g, flat_x, place_g[r] + margin,
                                    place_x[c] + offset_t[a, r], vectors,
                                )  # fmt: skip
                        elif counts[c] > 0:
                            for r in range(row0, row1):
                                partial[group, a, r] += _gather_spikes(
                                    flat_g, place_g[r] + margin, offset_t[a, r], spikes[c],
                                    values[c], counts[c],
                                )  # fmt: skip
