"""Subspaces of past activity, and weight updates kept out of them.

With rows ``H [k, N]`` (lateral weights of ``k`` subspace neurons) and activity ``x [N]``:

    y = H x                 subspace neurons
    x_ = -H^T y             lateral feedback
    x + x_ = x - H^T H x    what carries the weight update

An update ``dW = g (x + x_)^T`` leaves ``W h`` as it was for every ``h`` in the span of
orthonormal rows. Source: Xiao, Meng, Zhang, He & Lin 2024, Hebbian Learning based Orthogonal
Projection (ICLR, arXiv:2402.11984).
"""

from __future__ import annotations

import torch
from torch import Tensor

CLAMP = 10.0  # of an entry of a Hebbian update
SCALE = 20.0  # largest output of a spiking subspace neuron


def orthonormal_rows(count: int, size: int, like: Tensor) -> Tensor:
    """Return random rows ``[count, size]``, orthonormal if there are no more than ``size``."""
    rows = torch.empty(count, size, dtype=like.dtype, device=like.device)
    return torch.nn.init.orthogonal_(rows) if count else rows


def quantised(y: Tensor, levels: int) -> Tensor:
    """Return what spiking subspace neurons pass on in ``levels`` steps; 0 means the exact value.

    >>> quantised(torch.tensor([0.7, -30.0]), 40).tolist()
    [0.5, -20.0]
    """
    if levels == 0:
        return y
    step = SCALE / levels
    return (y.clamp(-SCALE, SCALE) / step).round() * step


def residual(x: Tensor, rows: Tensor, levels: int = 0) -> Tensor:
    """Return ``x - H^T H x`` along the last axis.

    Args:
        x: the activity, ``[..., N]``.
        rows: the rows ``H``, ``[k, N]``.
        levels: the number of levels of spiking subspace neurons, see :func:`quantised`.

    >>> residual(torch.tensor([3.0, 4.0]), torch.tensor([[1.0, 0.0]])).tolist()
    [0.0, 4.0]
    """
    return x - quantised(x @ rows.t(), levels) @ rows if len(rows) else x


def hebbian_update(rest: Tensor, x: Tensor, rows: Tensor, levels: int = 0) -> Tensor:
    """Return the summed Hebbian and anti-Hebbian change of new rows: ``y (x - H^T y)^T``.

    Args:
        rest: the activity minus what frozen rows explain of it, ``[R, N]``.
        x: the activity, ``[R, N]``.
        rows: the rows that learn, ``[k, N]``.
        levels: the number of levels of spiking subspace neurons, see :func:`quantised`.

    Returns:
        The change ``[k, N]``, a sum over the ``R`` rows of ``x``. With few rows the feedback's part
        is computed as ``(y y^T) H``, with ``2 R N k`` multiplications instead of ``3 R N k``.
    """
    y = quantised(x @ rows.t(), levels)
    (count, size), learn = x.shape, len(rows)
    if learn * (count + size) < count * size:
        return torch.addmm(y.t() @ rest, y.t() @ y, rows, alpha=-1.0)
    return y.t() @ torch.addmm(rest, y, rows, alpha=-1.0)


def subspace_iteration(rest: Tensor, rows: Tensor) -> Tensor:
    """Return the summed ``x x^T H^T`` of one step of the power method, ``[k, N]``.

    Args:
        rest: the activity minus what frozen rows explain of it, ``[R, N]``.
        rows: the rows that learn, ``[k, N]``.
    """
    return (rest @ rows.t()).t() @ rest


def scaled_axes(products: Tensor) -> tuple[Tensor, Tensor]:
    """Return orthonormal rows for products ``[k, N]``, and these rows scaled by their part in them.

    >>> rows, scaled = scaled_axes(torch.tensor([[3.0, 4.0]]))
    >>> [[round(v, 4) for v in axes.abs()[0].tolist()] for axes in (rows, scaled)]
    [[0.6, 0.8], [3.0, 4.0]]
    """
    axes, parts = torch.linalg.qr(products.t())
    return axes.t(), parts.diagonal().abs()[:, None] * axes.t()


def outside(rows: Tensor, frozen: Tensor, least: float = 0.01) -> Tensor:
    """Return orthonormal rows for the part of ``rows [k, N]`` outside orthonormal ``frozen`` ones.

    Directions of which less than ``least`` is left are dropped. (This is a singular value; those of
    orthonormal rows are 1.)

    >>> outside(torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0]])).abs().tolist()
    [[0.0, 1.0]]
    """
    if not len(rows):
        return rows
    rest = rows.double()
    for _ in range(2):  # once more for what rounding has left
        rest = residual(rest, frozen.double())
    _, values, vectors = torch.linalg.svd(rest, full_matrices=False)
    kept = vectors[values > least]
    return residual(kept, frozen.double()).to(rows.dtype)


def principal_rows(covariance: Tensor, share: float, most: int) -> Tensor:
    """Return the strongest eigenvectors, as many as leave at most ``share`` of the trace.

    Args:
        covariance: a symmetric matrix, ``[N, N]``.
        share: the fraction of the energy that may remain unexplained, from 0 to 1.
        most: the largest number of rows.

    Returns:
        Orthonormal rows ``[k, N]``, the strongest first.

    >>> principal_rows(torch.diag(torch.tensor([1.0, 0.0, 9.0])), 0.2, 3).abs().tolist()
    [[0.0, 0.0, 1.0]]
    """
    values, vectors = torch.linalg.eigh(covariance.double())
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    left = 1 - values.cumsum(0) / values.sum().clamp(min=1e-300)
    count = min(int((left > share).sum()) + 1, most)
    if float(values.sum()) == 0.0:
        count = 0
    return vectors[:, :count].t().contiguous().to(covariance.dtype)


def unexplained(x: Tensor, rows: Tensor) -> float:
    """Return the fraction of the energy of ``x [R, N]`` outside the span of the rows.

    >>> round(unexplained(torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]])), 4)
    0.64
    """
    total = float(x.double().square().sum())
    return float(residual(x.double(), rows.double()).square().sum()) / total if total else 0.0
