"""CPU kernels of the one-tap rung for spikes: sums of the weights whose inputs spike.

The spikes of 16 samples at one step are one word of 16 bits, with time contiguous. For one output
and 16 steps the sums of all 16 samples, 256 numbers, stay in registers, and each synapse adds its
weight where the bits of its input, shifted by its delay, are set: on a processor with AVX-512 one
masked addition per step, whatever the number of spikes. Inputs are added in their order, so that a
sample's result depends neither on the others nor on how many there are.
"""

from __future__ import annotations

import numpy as np

from snnsim.kernels.compile import jit
from snnsim.kernels.vector import LANES, add_where, spread, store_steps


@jit
def _pack_row(values, unit, bit, row):
    """Set a bit of the words ``row`` of those channels whose value is ``unit``.

    Returns whether a value is neither 0 nor ``unit``.
    """
    odd = False
    for c in range(len(row)):
        value = values[c]
        spikes = value != 0
        row[c] |= bit if spikes else np.uint16(0)
        odd |= spikes & (value != unit)
    return odd


@jit
def _pack_multiples(values, unit, bit, row):
    """Set a bit of the words ``row [planes, C]`` for each bit of a value as multiple of ``unit``.

    Returns all these bits together, or -1 if a value is no whole multiple.
    """
    seen, inverse = 0, 1 / unit
    for c in range(len(values)):
        whole = np.int64(values[c] * inverse + values.dtype.type(0.5))
        if whole < 0 or whole * unit != values[c]:
            return -1
        seen |= whole
        for p in range(len(row)):
            if (whole >> p) & 1:
                row[p, c] |= bit
    return seen


@jit
def _pack_steps(x, samples, steps, unit, row):
    """Write some steps of up to 16 samples to ``row [planes, steps, C]``; returns as above."""
    row[:] = 0
    seen = 0
    for t in range(steps[0], steps[1]):
        for j in range(samples[1] - samples[0]):
            values, bit = x[t, samples[0] + j], np.uint16(1 << j)
            if len(row) > 1 or _pack_row(values, unit, bit, row[0, t - steps[0]]):
                seen |= _pack_multiples(values, unit, bit, row[:, t - steps[0]])
    return seen


@jit
def pack(x, front, unit, words, used, seen, first, last):
    """Write the inputs of groups ``first .. last`` of 16 samples as words.

    Args:
        x: the inputs, ``[T, B, C]``.
        front: the number of empty words before the first step.
        unit: what inputs are whole multiples of.
        words: ``[groups, planes, C, steps]``, which must be 0; so many bits of these are written.
        used: ``[groups, steps]``, 1 where any input of a group spikes.
        seen: ``[groups]``, all bits that inputs have, -1 where one is no whole multiple.
    """
    T, B, C = x.shape
    planes = words.shape[1]
    row = np.empty((planes, LANES, C), np.uint16)
    for group in range(first, last):
        samples = (group * LANES, min((group + 1) * LANES, B))
        for begin in range(0, T, LANES):
            end = min(begin + LANES, T)
            seen[group] |= _pack_steps(x, samples, (begin, end), unit, row)
            for p in range(planes):
                for t in range(end - begin):
                    some = np.uint16(0)
                    for c in range(C):
                        some |= row[p, t, c]
                    if some:
                        used[group, front + begin + t] = 1
                for c in range(C):
                    for t in range(end - begin):
                        words[group, p, c, front + begin + t] = row[p, t, c]


@jit
def _silent(used, begin, reach):
    """Whether no input spikes in what a block of steps looks at."""
    return not used[begin : begin + LANES + reach - 1].any()


@jit
def _add_block(words, begin, synapses, r, sums):
    """Add to a block of sums all synapses of output ``r``, whose words are in ``words``."""
    weight, offset, base = synapses
    for n in range(len(base)):
        place = np.int64(base[n] + offset[r, n] + begin)
        sums = add_where(words, place, weight[r, n], sums)
    return sums


@jit
def accumulate(words, used, synapses, bias, reach, y, first, last):
    """Fill ``y [frames, B, R]`` for groups ``first .. last`` of 16 samples.

    Args:
        words, used: as :func:`pack` leaves them.
        synapses: weights and offsets ``[R, columns]``, and where the words of each column begin in
            those of a group, ``[columns]``.
        bias: per output, or of size 0.
        reach: the number of words that a delay may skip, and one.
    """
    frames, B, R = y.shape
    block = np.empty(LANES * R * LANES, y.dtype)
    for group in range(first, last):
        samples = min(LANES, B - group * LANES)
        flat = words[group].reshape(-1)
        for begin in range(0, frames, LANES):
            silent = _silent(used[group], begin, reach)
            for r in range(R):
                sums = spread(bias[r] if bias.size else y.dtype.type(0))
                if not silent:
                    sums = _add_block(flat, begin, synapses, r, sums)
                store_steps(block, np.int64(r * LANES), np.int64(R * LANES), sums)
            for t in range(min(LANES, frames - begin)):
                for j in range(samples):
                    for r in range(R):
                        y[begin + t, group * LANES + j, r] = block[(t * R + r) * LANES + j]
