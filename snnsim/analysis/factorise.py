"""A non-negative factorisation of the affinities of all pairs, never made in memory.

The affinity of units ``i`` and ``j`` at time ``t`` of sample ``s`` is

    x_ij(t, s) = sqrt(max(0, r_i'(t, s) r_j'(t, s))) = u_i u_j + v_i v_j,
    u = sqrt(max(0, r')),  v = sqrt(max(0, -r')),

where ``r'`` is the change of a smoothed rate: for each ``(t, s)`` a matrix of rank two. So the
products that a factorisation ``x_ij(t, s) ~ sum_k a_k[i, j] b_k[t] c_k[s]`` needs are products of
matrices with as many rows as there are time steps of samples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FLOOR = 1e-9  # of a factor while it is improved: one that is 0 would never grow again


class Factors(NamedTuple):
    """The factors of ``K`` components, the strongest first.

    Attributes:
        pairs: ``[K, N, N]``, symmetric, without diagonal, each of norm 1.
        time: ``[K, T]``, each of norm 1.
        trials: ``[K, S]``; these carry the size of the component.
        explained: the fraction of the sum of squares that is explained, at most 1.
    """

    pairs: np.ndarray
    time: np.ndarray
    trials: np.ndarray
    explained: float


def factorise(
    change: np.ndarray,
    rank: int,
    *,
    starts: int = 3,
    sweeps: int = 200,
    tolerance: float = 1e-5,
    seed: int = 0,
) -> Factors:
    """Return the non-negative factors of the affinities of all pairs of units.

    Args:
        change: the change of rate ``r'``, ``[T, S, N]``.
        rank: the number of components, 1 or more.
        starts: the number of random starts, of which the best result is returned.
        sweeps: the largest number of sweeps over the three kinds of factors.
        tolerance: sweeps end where the explained fraction grows by less than this.
        seed: of the starting values.

    The components are found by hierarchical alternating least squares (Cichocki & Phan 2009, IEICE
    Trans. E92-A, algorithm 2), which never increases the residual.
    """
    flat = change.reshape(-1, change.shape[2]).astype(np.float32)  # products take half the time
    halves = np.sqrt(np.maximum(flat, 0)), np.sqrt(np.maximum(-flat, 0))
    random = np.random.default_rng(seed)
    found = [
        _from_start(halves, change.shape, rank, random, (sweeps, tolerance))
        for _ in range(starts if rank > 1 else 1)
    ]
    a, b, c, explained = max(found, key=lambda each: each[3])
    order = np.argsort(-np.linalg.norm(c, axis=1), kind="stable")
    return Factors(a[order], b[order], c[order], float(explained))


def _from_start(halves, shape, rank, random, until):
    """Factors from one random start, and what they explain."""
    (up, down), (T, S, N), (sweeps, tolerance) = halves, shape, until
    total = _sum_of_squares(up, down)
    a = random.random((rank, N, N))
    a = a + a.transpose(0, 2, 1)
    a[:, np.arange(N), np.arange(N)] = 0
    b, c = random.exponential(size=(rank, T)) ** 2, random.random((rank, S))
    a, b, c = _balanced(a, b, c)
    explained = 0.0
    for _ in range(sweeps):
        _improve_pairs(a, b, c, up, down)
        product = np.stack([_along(each, up, down).reshape(T, S) for each in a])
        of_a = np.einsum("kij,lij->kl", a, a)
        _improve(b, np.einsum("kts,ks->kt", product, c), of_a * (c @ c.T))
        numerator = np.einsum("kts,kt->ks", product, b)
        gram = of_a * (b @ b.T)
        _improve(c, numerator, gram)
        fit = 2 * (numerator * c).sum() - (gram * (c @ c.T)).sum()
        before, explained = explained, fit / total if total else 0.0
        a, b, c = _balanced(a, b, c)
        if abs(explained - before) < tolerance:
            break
    return a, b, c, explained


def _sum_of_squares(up: np.ndarray, down: np.ndarray) -> float:
    """Of all affinities of two different units."""
    up, down = up.astype(np.float64) ** 2, down.astype(np.float64) ** 2
    return float((up.sum(1) ** 2 + down.sum(1) ** 2).sum() - (up**2 + down**2).sum())


def _along(pairs: np.ndarray, up: np.ndarray, down: np.ndarray) -> np.ndarray:
    """``sum_ij pairs_ij x_ij`` at every time of every sample."""
    pairs = pairs.astype(up.dtype)
    return ((up @ pairs) * up).sum(1) + ((down @ pairs) * down).sum(1)


def _improve_pairs(a, b, c, up, down) -> None:
    gram = (b @ b.T) * (c @ c.T)
    for k in range(len(a)):
        weight = np.outer(b[k], c[k]).reshape(-1, 1).astype(up.dtype)
        wanted = up.T @ (weight * up) + down.T @ (weight * down)
        rest = np.tensordot(gram[k], a, 1)
        a[k] = np.maximum(a[k] + (wanted - rest) / max(gram[k, k], 1e-300), FLOOR)
        np.fill_diagonal(a[k], 0)


def _improve(factor: np.ndarray, wanted: np.ndarray, gram: np.ndarray) -> None:
    for k in range(len(factor)):
        step = (wanted[k] - gram[k] @ factor) / max(gram[k, k], 1e-300)
        factor[k] = np.maximum(factor[k] + step, FLOOR)


def _balanced(a, b, c):
    """The same components with pairs and times of norm 1."""
    of_a = np.linalg.norm(a, axis=(1, 2)).clip(1e-300)
    of_b = np.linalg.norm(b, axis=1).clip(1e-300)
    return a / of_a[:, None, None], b / of_b[:, None], c * (of_a * of_b)[:, None]
