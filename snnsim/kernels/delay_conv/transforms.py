"""The Fourier transforms of the spectral rung, on whatever device the tensors are.

On the CPU they are the kernels of ``fourier.py``; elsewhere, and for the few steps of a short
kernel, matrix products. A spectrum is ``[3 F, rows, channels]``: the planes of ``fourier.py``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnsim.kernels.delay_conv.radices import radices
from snnsim.kernels.threads import run_chunked


class Span(NamedTuple):
    """Steps ``first .. last`` of a tensor, which stand from ``place`` on in the transformed signal.

    What is synthesised is added to the steps before ``covered``, and written to the others.
    """

    first: int
    last: int
    place: int
    covered: int = 0

    @property
    def steps(self) -> int:
        """How many steps these are."""
        return self.last - self.first


FEW_STEPS = 48  # of a signal that fills its rows, up to which a matrix product is faster


def good_period(least: int) -> int:
    """The smallest even period of at least ``least`` steps whose half has no factor above 5."""
    period = max(least + least % 2, 2)
    while radices(period // 2) is None:
        period += 2
    return period


def analyse(x: Tensor, span: Span, sign: int, out: Tensor, row: int, period: int) -> None:
    """Spectra of steps of ``x [T, B, C]``.

    Written to rows ``row ..`` of ``out [3 F, rows, C]``; ``sign`` is that of the third plane.
    """
    on_cpu = x.device.type == "cpu" and not _few(x, span, out)
    (_analyse_cpu if on_cpu else _analyse_matrix)(x, span, sign, out, row, period)


def synthesise(products: Tensor, row: int, sign: int, y: Tensor, span: Span, period: int) -> None:
    """Steps of the signal that three planes of products make, into ``y [T, B, C]``.

    They stand in rows ``row ..`` of ``products [3 F, rows, C]``; ``sign`` is +1 for a product,
    -1 for a correlation.
    """
    on_cpu = y.device.type == "cpu" and not _few(y, span, products)
    (_synthesise_cpu if on_cpu else _synthesise_matrix)(products, row, sign, y, span, period)


def _lanes(x: Tensor):
    """``[T, B, C]`` with contiguous samples as ``[T, lanes]`` of numpy, without a copy."""
    T, B, C = x.shape
    return x.detach().as_strided((T, B * C), (x.stride(0), 1)).numpy()


def _analyse_cpu(x, span, sign, out, row, period):
    from snnsim.kernels.delay_conv import fourier

    lanes = _lanes(x)
    planes = out.view(3, period // 2 + 1, -1).numpy()
    tables = fourier.tables(period, lanes.dtype)
    args = (lanes, span, lanes.dtype.type(sign), planes, row * x.shape[2], tables)
    run_chunked(fourier.analyse, args, fourier.blocks(lanes.shape[1]), out.numel())


def _synthesise_cpu(products, row, sign, y, span, period):
    from snnsim.kernels.delay_conv import fourier

    lanes = _lanes(y)
    planes = products.view(3, period // 2 + 1, -1).numpy()
    tables = fourier.tables(period, lanes.dtype)
    args = (planes, row * y.shape[2], lanes.dtype.type(sign), lanes, span, tables)
    run_chunked(fourier.synthesise, args, fourier.blocks(lanes.shape[1]), products.numel())


def _few(x: Tensor, span: Span, spectrum: Tensor) -> bool:
    return span.steps <= FEW_STEPS and x.shape[1] == spectrum.shape[1] and x.is_contiguous()


@lru_cache(maxsize=32)
def _angles(steps: int, place: int, period: int) -> np.ndarray:
    """``[F, steps]`` of steps that stand from ``place`` on."""
    # the product is reduced modulo the period so that long transforms keep their accuracy
    turns = np.outer(np.arange(period // 2 + 1), place + np.arange(steps)) % period
    return (2 * np.pi / period) * turns


@lru_cache(maxsize=32)
def _analysis(steps: int, place: int, period: int, sign: int) -> np.ndarray:
    """``[3 F, steps]``: from a signal to the three planes."""
    angle = _angles(steps, place, period)
    re, im = np.cos(angle), -np.sin(angle)
    return np.concatenate([re, im, im + sign * re])


@lru_cache(maxsize=32)
def _synthesis(steps: int, place: int, period: int, sign: int) -> np.ndarray:
    """``[steps, 3 F]``: from three planes of products to the signal."""
    angle = _angles(steps, place, period)
    share = np.full((len(angle), 1), 2.0 / period)
    share[0] = share[-1] = 1.0 / period
    of_re, of_im = share * np.cos(angle), -share * np.sin(angle)
    return np.concatenate([of_re - sign * of_im, -sign * of_re - of_im, of_im]).T.copy()


def _analyse_matrix(x, span, sign, out, row, period):
    matrix = torch.from_numpy(_analysis(span.steps, span.place, period, sign)).to(x)
    signal = x[span.first : span.last].flatten(1)
    if x.shape[1] == out.shape[1]:
        torch.mm(matrix, signal, out=out.flatten(1))
    else:
        out[:, row : row + x.shape[1]] = (matrix @ signal).view(-1, *x.shape[1:])


def _synthesise_matrix(products, row, sign, y, span, period):
    matrix = torch.from_numpy(_synthesis(span.steps, span.place, period, sign)).to(y)
    steps = matrix @ products[:, row : row + y.shape[1]].flatten(1)
    steps = steps.view(-1, *y.shape[1:])
    added = min(max(span.covered - span.first, 0), span.steps)
    y[span.first : span.first + added] += steps[:added]
    y[span.first + added : span.last] = steps[added:]
