"""CPU kernels of the events rung: a list of spikes, and sums over it.

Spike ``(t, c)`` reaches output ``o`` at the ``NARROW`` steps from ``t + start[c, o]`` on: one
vector operation per spike and synapse, on rows of outputs whose time is contiguous.
"""

from __future__ import annotations

import numpy as np

from snnsim.kernels.compile import jit
from snnsim.kernels.delay_conv.profiles import BEFORE
from snnsim.kernels.vector import NARROW, fma, load_narrow, store

OUTPUTS = 16  # whose rows and windows are in the first-level cache together
SAMPLES = 8  # that share the windows of these outputs in the second-level cache
SEGMENT = 512  # output steps in the cache at a time
TILE = 16  # steps that are turned around together


@jit
def count(x, counts, first, last):
    """Nonzero values ``counts [B, C]`` over the steps of ``x [T, B, C]``."""
    for b in range(first, last):
        counts[b] = 0
        for t in range(x.shape[0]):
            for c in range(np.uint64(x.shape[2])):
                counts[b, c] += x[t, b, c] != 0


@jit
def collect(x, begin, step, value, first, last):
    """Their steps and values, by sample, channel, step; ``begin [B, C]`` is where each starts."""
    place = np.empty(x.shape[2], np.int64)
    for b in range(first, last):
        place[:] = begin[b]
        for t in range(x.shape[0]):
            for c in range(x.shape[2]):
                if x[t, b, c] != 0:
                    step[place[c]], value[place[c]] = t, x[t, b, c]
                    place[c] += 1


@jit
def _advance(place, end, step, until):
    """The first spike from ``place`` on that is not before step ``until``."""
    while place < end and step[place] < until:
        place += 1
    return place


@jit
def _add(rows, offsets, flat, synapses, spikes, span, segment):
    """Add the spikes of a channel, those in ``span``, to its outputs' rows."""
    for s in range(span[0], span[1]):
        t, height = np.int64(spikes.step[s]) - segment, spikes.value[s]
        for n in range(synapses[0], synapses[1]):
            place = np.int64(offsets[n]) + t
            store(rows, place, fma(height, load_narrow(flat, n * NARROW), load_narrow(rows, place)))


@jit
def _to_rows(g, b, steps, chosen, piece, rows, begin, stride):
    """The ``chosen`` outputs of a sample over a range of steps, time contiguous.

    ``TILE`` steps at a time: what is far apart in memory is first copied in long runs, so that
    many reads are under way together.
    """
    (first, last), (output, end) = steps, chosen
    outputs = end - output
    for t in range(first, last, TILE):
        many = min(TILE, last - t)
        for n in range(many):
            source = g[t + n, b, output:end]
            for j in range(np.uint64(outputs)):
                piece[n, j] = source[j]
        for j in range(outputs):
            place = begin + j * stride + t - first
            for n in range(many):
                rows[place + n] = piece[n, j]


@jit
def _from_rows(rows, stride, begin, y, b, steps, chosen, piece):
    """The opposite way."""
    (first, last), (output, end) = steps, chosen
    outputs = end - output
    for j in range(outputs):
        place = j * stride + begin
        for t in range(last - first):
            piece[t, j] = rows[place + t]
    for t in range(first, last):
        for j in range(outputs):
            y[t, b, output + j] = piece[t - first, j]


@jit
def accumulate(spikes, starts, windows, reach, y, first, last):
    """Fill ``y [frames, B, O]`` for groups ``first .. last`` of ``SAMPLES`` samples.

    ``reach`` steps after a spike nothing of it arrives any more.
    """
    frames, B, n_out = y.shape
    begin, step, _ = spikes
    columns = starts.shape[1]
    channels = begin.shape[0] // B
    copies = columns // channels
    long = frames > SEGMENT
    before = reach + BEFORE + 1 if long else BEFORE + 1  # what arrives earlier is forgotten
    stride = before + min(SEGMENT, frames) + reach
    rows = np.empty(OUTPUTS * stride, y.dtype)
    piece = np.empty((min(SEGMENT, frames), OUTPUTS), y.dtype)
    offsets, flat = np.empty(starts.size, np.int32), windows.reshape(-1)
    ordered = starts.reshape(-1)
    for n in range(starts.size):
        offsets[n] = (n % OUTPUTS) * stride + before + ordered[n]
    low, high = np.empty(SAMPLES * channels, np.int64), np.empty(SAMPLES * channels, np.int64)
    for group in range(first, last):
        sample0 = group * SAMPLES
        sample1 = min(sample0 + SAMPLES, B)
        many = (sample1 - sample0) * channels
        low[:many] = begin[sample0 * channels : sample1 * channels]
        high[:many] = low[:many]
        for segment in range(0, frames, SEGMENT):
            length = min(SEGMENT, frames - segment)
            for n in range(many):
                key = sample0 * channels + n
                end = begin[key + 1] if key + 1 < begin.shape[0] else step.shape[0]
                low[n] = _advance(low[n], end, step, segment - reach)
                high[n] = _advance(high[n], end, step, segment + length)
            for block in range(starts.shape[0]):
                chosen = (block * OUTPUTS, min((block + 1) * OUTPUTS, n_out))
                for b in range(sample0, sample1):
                    rows[:] = 0
                    for c in range(channels):
                        key = (b - sample0) * channels + c
                        for k in range(copies if high[key] > low[key] else 0):
                            synapse = (block * columns + c * copies + k) * OUTPUTS
                            synapses = (synapse, synapse + chosen[1] - chosen[0])
                            span = (low[key], high[key])
                            _add(rows, offsets, flat, synapses, spikes, span, segment)
                    steps = (segment, segment + length)
                    _from_rows(rows, stride, before, y, b, steps, chosen, piece)


@jit
def correlate(spikes, starts, reach, g, out, first, last):
    """Gradient ``out [blocks, columns, OUTPUTS, NARROW]`` of the windows of some blocks."""
    frames, B, n_out = g.shape
    begin, step, _ = spikes
    columns = starts.shape[1]
    channels = begin.shape[0] // B
    copies = columns // channels
    before = BEFORE + 1
    stride = before + min(SEGMENT, frames) + reach
    chosen = (first * OUTPUTS, min(last * OUTPUTS, n_out))
    outputs = chosen[1] - chosen[0]
    piece = np.empty((TILE, outputs + 1), g.dtype)
    rows = np.empty(SAMPLES * outputs * stride, g.dtype)
    flat = out[first:last].reshape(-1)
    flat[:] = 0
    offsets, ordered = np.empty(flat.size // NARROW, np.int32), starts[first:last].reshape(-1)
    for n in range(offsets.size):
        offsets[n] = (n % OUTPUTS) * stride + before + ordered[n]
    low, high = begin.copy(), begin.copy()
    for segment in range(0, frames, SEGMENT):
        for key in range(begin.size):
            end = begin[key + 1] if key + 1 < begin.size else step.size
            low[key] = high[key]
            high[key] = _advance(low[key], end, step, segment + SEGMENT)
        steps = (max(segment - before, 0), min(segment + SEGMENT + reach, frames))
        for sample0 in range(0, B, SAMPLES):
            sample1 = min(sample0 + SAMPLES, B)
            rows[:] = 0
            for b in range(sample0, sample1):
                place = (b - sample0) * outputs * stride + before + steps[0] - segment
                _to_rows(g, b, steps, chosen, piece, rows, place, stride)
            for block in range(last - first):
                many = min(OUTPUTS, outputs - block * OUTPUTS)
                for b in range(sample0, sample1):
                    row = ((b - sample0) * outputs + block * OUTPUTS) * stride - segment
                    for c in range(channels):
                        key = b * channels + c
                        for k in range(copies if high[key] > low[key] else 0):
                            synapse = (block * columns + c * copies + k) * OUTPUTS
                            synapses, span = (synapse, synapse + many), (low[key], high[key])
                            _correlate_spikes(rows, row, offsets, flat, synapses, spikes, span)


@jit
def _correlate_spikes(rows, row, offsets, flat, synapses, spikes, span):
    """Add the rows at the spikes of a channel to its windows, two at a time."""
    (_, step, value), (s, stop), (first, last) = spikes, span, synapses
    while s + 1 < stop:
        t0, t1 = row + step[s], row + step[s + 1]
        for n in range(first, last):
            place = np.int64(offsets[n])
            total = fma(value[s], load_narrow(rows, place + t0), load_narrow(flat, n * NARROW))
            store(flat, n * NARROW, fma(value[s + 1], load_narrow(rows, place + t1), total))
        s += 2
    if s < stop:
        t0 = row + step[s]
        for n in range(first, last):
            place = np.int64(offsets[n]) + t0
            total = fma(value[s], load_narrow(rows, place), load_narrow(flat, n * NARROW))
            store(flat, n * NARROW, total)
