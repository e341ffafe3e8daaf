"""Causal convolution along time as a product of spectra, in plain torch.

The real discrete Fourier transform of a time-major tensor is one matrix product over
contiguous lanes; at each frequency the connection is then an ordinary matrix product.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


@lru_cache(maxsize=64)
def _analysis(frames: int, period: int) -> np.ndarray:
    """``[2 * F, frames]``: cosine rows, then minus-sine rows, of a transform over ``period``."""
    angle = _angles(frames, period)
    return np.concatenate([np.cos(angle), -np.sin(angle)])


@lru_cache(maxsize=64)
def _synthesis(frames: int, period: int) -> np.ndarray:
    """``[frames, 2 * F]``: the inverse transform, evaluated at the first ``frames`` times."""
    angle = _angles(frames, period)
    share = np.full((len(angle), 1), 2.0 / period)
    share[0] = 1.0 / period
    if period % 2 == 0:
        share[-1] = 1.0 / period
    return np.concatenate([np.cos(angle) * share, -np.sin(angle) * share]).T.copy()


def _angles(frames: int, period: int) -> np.ndarray:
    # the product is reduced modulo the period so that long transforms keep their accuracy
    turns = np.outer(np.arange(period // 2 + 1), np.arange(frames)) % period
    return (2 * np.pi / period) * turns


def _matrix(make, frames: int, period: int, like: Tensor) -> Tensor:
    """A transform as a tensor like ``like``; what is cached is numpy's, not a tensor."""
    return torch.from_numpy(make(frames, period)).to(like)


def _transform(matrix: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary spectrum ``[F, *x.shape[1:]]``."""
    spectrum = (matrix @ x.reshape(x.shape[0], -1)).view(2, -1, *x.shape[1:])
    return spectrum[0], spectrum[1]


def _product(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
    """Batched complex matrix product with three real ones; ``[2, F, rows, columns]``."""
    (a_re, a_im), (b_re, b_im) = a, b
    result = a_re.new_empty((2, a_re.shape[0], a_re.shape[1], b_re.shape[2]))
    torch.bmm(a_im, b_re + b_im, out=result[0])
    torch.bmm(a_re, b_im - b_re, out=result[1])
    both = torch.bmm(a_re + a_im, b_re)
    torch.sub(both, result[0], out=result[0])
    result[1] += both
    return result


def _conjugate_transpose(a: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return a[0].transpose(1, 2), -a[1].transpose(1, 2)


class _CausalConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, kernel, frames):
        length = kernel.shape[0]
        period = x.shape[0] + length - 1
        ctx.frames, ctx.period, ctx.length = frames, period, length
        x_spectrum = _transform(_matrix(_analysis, x.shape[0], period, x), x)
        k_spectrum = _transform(_matrix(_analysis, length, period, x), kernel)
        product = _product(x_spectrum, k_spectrum)
        ctx.save_for_backward(x, kernel, *x_spectrum, *k_spectrum)
        inverse = _matrix(_synthesis, frames, period, x)
        return (inverse @ product.view(inverse.shape[1], -1)).view(frames, *product.shape[2:])

    @staticmethod
    def backward(ctx, *grad_outputs):
        (g,) = grad_outputs
        x, kernel, x_re, x_im, k_re, k_im = ctx.saved_tensors
        inverse = _matrix(_synthesis, ctx.frames, ctx.period, g)
        g_spectrum = _transform(inverse.t(), g)
        of_x = _matrix(_analysis, x.shape[0], ctx.period, g)
        of_kernel = _matrix(_analysis, ctx.length, ctx.period, g)
        g_x = g_kernel = None
        if ctx.needs_input_grad[0]:
            spectrum = _conjugate_transpose((k_re, k_im))
            g_x = _untransform(_product(g_spectrum, spectrum), of_x, x)
        if ctx.needs_input_grad[1]:
            spectrum = _conjugate_transpose((x_re, x_im))
            g_kernel = _untransform(_product(spectrum, g_spectrum), of_kernel, kernel)
        return g_x, g_kernel, None


def _untransform(g_spectrum: Tensor, matrix: Tensor, like: Tensor) -> Tensor:
    """Gradient at the input of :func:`_transform` from that at its output."""
    return (matrix.t() @ g_spectrum.view(matrix.shape[0], -1)).view(like.shape)


def causal_convolution(x: Tensor, kernel: Tensor, frames: int) -> Tensor:
    """``y[t] = sum_d x[t - d] @ kernel[d]`` for the first ``frames`` steps.

    Args:
        x: ``[T, B, I]``, taken as 0 before the first and after the last step.
        kernel: ``[D, I, O]``.
        frames: number of steps of the result, at most ``T + D - 1``.

    Returns:
        ``[frames, B, O]``. Gradients flow to ``x`` and ``kernel``; their spectra are saved. About
        ``1.5 (T + D) B I O`` multiply-adds, nearly independent of ``D``.

    >>> x = torch.zeros(5, 1, 1); x[1] = 1.0
    >>> kernel = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    >>> [round(v, 4) + 0.0 for v in causal_convolution(x, kernel, 6).flatten().tolist()]
    [0.0, 1.0, 2.0, 3.0, 0.0, 0.0]
    """
    return _CausalConvolution.apply(x, kernel, frames)
