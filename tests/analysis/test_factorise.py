"""The factorisation against one that holds the whole tensor."""

from __future__ import annotations

import numpy as np
import pytest

from snnsim.analysis import factorise as module
from snnsim.analysis.factorise import factorise

T, S, N = 12, 5, 6


def change(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((T, S, N)).astype(np.float32)


def affinities(r: np.ndarray) -> np.ndarray:
    """``sqrt(max(0, r_i r_j))`` of all pairs of different units, ``[N, N, T, S]``."""
    x = np.sqrt(np.maximum(np.einsum("tsi,tsj->ijts", r, r), 0))
    x[np.arange(N), np.arange(N)] = 0
    return x.astype(np.float64)


def rebuilt(found) -> np.ndarray:
    return np.einsum("kij,kt,ks->ijts", found.pairs, found.time, found.trials)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_what_is_explained_is_what_the_whole_tensor_says(rank):
    r = change()
    x, found = affinities(r), factorise(r, rank, sweeps=60)
    left = ((x - rebuilt(found)) ** 2).sum() / (x**2).sum()
    assert found.explained == pytest.approx(1 - left, abs=1e-5)
    assert (found.pairs >= 0).all() and (found.time >= 0).all() and (found.trials >= 0).all()
    assert np.allclose(found.pairs, found.pairs.transpose(0, 2, 1), atol=1e-9)
    assert np.allclose(np.linalg.norm(found.time, axis=1), 1)


def test_the_products_are_those_of_the_whole_tensor():
    r = change(1)
    x, flat = affinities(r), r.reshape(T * S, N)
    up, down = np.sqrt(np.maximum(flat, 0)), np.sqrt(np.maximum(-flat, 0))
    a = np.random.default_rng(2).random((N, N))
    np.fill_diagonal(a, 0)
    expected = np.einsum("ijts,ij->ts", x, a).ravel()
    assert np.allclose(module._along(a, up, down), expected, rtol=1e-5)
    assert module._sum_of_squares(up, down) == pytest.approx((x**2).sum(), rel=1e-6)


def test_pairs_become_the_best_for_what_the_other_components_leave():
    r, random = change(4), np.random.default_rng(5)
    a, b, c = random.random((3, N, N)), random.random((3, T)), random.random((3, S))
    a[:, np.arange(N), np.arange(N)] = 0
    best, x = a.copy(), affinities(r)
    for k in range(3):
        others = [each for each in range(3) if each != k]
        rest = x - np.einsum("kij,kt,ks->ijts", best[others], b[others], c[others])
        along = np.outer(b[k], c[k])
        best[k] = np.maximum((rest * along).sum((2, 3)) / (along**2).sum(), 0)
    flat = r.reshape(T * S, N)
    up, down = np.sqrt(np.maximum(flat, 0)), np.sqrt(np.maximum(-flat, 0))
    module._improve_pairs(a, b, c, up, down)
    np.testing.assert_allclose(a, best, atol=1e-5)


def test_each_sweep_improves_and_the_components_come_largest_first():
    r = change(3)
    explained = [factorise(r, 3, sweeps=n, tolerance=0).explained for n in (1, 2, 5, 20, 60)]
    assert (np.diff(explained) >= -1e-7).all()
    sizes = np.linalg.norm(factorise(r, 3).trials, axis=1)
    assert (np.diff(sizes) <= 0).all()


def test_units_that_never_change_together_have_no_affinity():
    r = np.zeros((T, S, 2))
    r[::2, :, 0], r[1::2, :, 1] = 1.0, 1.0
    assert factorise(r, 1).explained == 0.0
    r[:, :, 1] = -r[:, :, 0]  # nor those that change in opposite directions
    assert factorise(r, 1).explained == 0.0


def test_two_groups_with_times_of_their_own_are_two_components():
    r = np.zeros((T, S, 4))
    r[:6, :, :2], r[6:, :, 2:] = 1.0, 1.0
    found = factorise(r, 2)
    assert found.explained == pytest.approx(1.0, abs=1e-4)
    assert sorted((found.time > 0.1).sum(1).tolist()) == [6, 6]
    peaks = {tuple(np.argwhere(pairs > 0.5)[0]) for pairs in found.pairs}
    assert peaks == {(0, 1), (2, 3)}
