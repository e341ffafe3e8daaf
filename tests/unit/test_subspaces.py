"""Subspaces of activity and what is kept out of them, against their equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toolbox import normal

from snnsim.functional import subspace
from snnsim.functional.subspace import (
    hebbian_update,
    orthonormal_rows,
    outside,
    principal_rows,
    quantised,
    residual,
    scaled_axes,
    subspace_iteration,
    unexplained,
)


def orthonormal(count, size, seed=0):
    return torch.linalg.qr(normal(size, count, seed=seed))[0].t()


def test_random_rows_are_orthonormal_and_of_the_kind_asked_for():
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.float64):
        rows = orthonormal_rows(3, 7, torch.zeros(1, dtype=dtype))
        assert rows.shape == (3, 7) and rows.dtype == dtype
        assert torch.allclose(rows @ rows.t(), torch.eye(3, dtype=dtype), atol=1e-5)
    assert orthonormal_rows(0, 7, torch.zeros(1)).shape == (0, 7)
    assert orthonormal_rows(9, 4, torch.zeros(1)).shape == (9, 4)


def test_spiking_neurons_say_whole_steps_up_to_the_largest():
    y = torch.tensor([0.0, 0.24, 0.26, -0.26, 0.75, 19.9, 20.4, -31.0])
    assert quantised(y, 40).tolist() == [0.0, 0.0, 0.5, -0.5, 1.0, 20.0, 20.0, -20.0]
    assert quantised(y, 4).tolist() == [0.0, 0.0, 0.0, 0.0, 0.0, 20.0, 20.0, -20.0]
    assert quantised(torch.tensor([3.0]), 5).tolist() == [4.0]
    assert quantised(y, 0) is y
    assert (subspace.SCALE, subspace.CLAMP) == (20.0, 10.0)


@pytest.mark.parametrize("levels", [0, 40])
def test_the_residual_is_what_feedback_leaves(levels):
    x, rows = 3 * normal(5, 4, 6), orthonormal(2, 6)
    expected = np.empty(x.shape)
    for place in np.ndindex(5, 4):
        y = rows.numpy() @ x[place].numpy()
        if levels:
            y = np.round(np.clip(y, -20, 20) / 0.5) * 0.5
        expected[place] = x[place].numpy() - rows.numpy().T @ y
    np.testing.assert_allclose(residual(x, rows, levels), expected, atol=1e-12)
    assert residual(x, rows[:0], levels) is x


@pytest.mark.parametrize("levels", [0, 20])
@pytest.mark.parametrize(("count", "size", "learn"), [(40, 30, 3), (5, 6, 4), (2, 3, 3)])
def test_the_hebbian_change_is_the_sum_over_samples(count, size, learn, levels):
    """Both ways to compute it: with few rows and with many."""
    rest, x, rows = normal(count, size), normal(count, size, seed=1), normal(learn, size, seed=2)
    expected = np.zeros((learn, size))
    for r in range(count):
        y = rows.numpy() @ x[r].numpy()
        y = np.round(np.clip(y, -20, 20)) if levels else y
        expected += np.outer(y, rest[r].numpy() - rows.numpy().T @ y)
    np.testing.assert_allclose(hebbian_update(rest, x, rows, levels), expected, atol=1e-10)


def test_a_step_of_the_power_method_multiplies_by_the_covariance():
    rest, rows = normal(9, 5), normal(2, 5, seed=1)
    expected = rows.numpy() @ (rest.numpy().T @ rest.numpy())
    np.testing.assert_allclose(subspace_iteration(rest, rows), expected, atol=1e-12)


def test_axes_are_orthonormal_and_scaled_by_their_part_without_a_sign():
    products = torch.tensor([[0.0, -3.0, 0.0], [5.0, 4.0, 0.0]]).double()
    axes, scaled = scaled_axes(products)
    assert torch.allclose(axes @ axes.t(), torch.eye(2).double(), atol=1e-12)
    assert torch.allclose(axes.abs(), torch.tensor([[0, 1, 0], [1, 0, 0.0]]).double(), atol=1e-12)
    assert torch.allclose(scaled, torch.tensor([[3.0], [5.0]]).double() * axes, atol=1e-12)


def test_what_lies_outside_is_orthonormal_and_spans_the_rest():
    frozen, rows = orthonormal(2, 7), normal(3, 7, seed=1)
    found = outside(rows, frozen)
    assert found.shape == (3, 7)
    assert torch.allclose(found @ found.t(), torch.eye(3).double(), atol=1e-12)
    assert (found @ frozen.t()).abs().max() < 1e-14
    both = torch.cat([frozen, found])
    assert (rows - rows @ both.t() @ both).abs().max() < 1e-12


def test_directions_of_which_little_is_left_are_dropped():
    frozen = torch.eye(4)[:1]
    rows = torch.tensor([[1.0, 0.05, 0, 0], [1.0, 0, 0.005, 0], [0.3, 0, 0, 0.0]])
    found = outside(rows, frozen)
    assert found.dtype == torch.float32
    assert torch.allclose(found.abs(), torch.eye(4)[1:2], atol=1e-6)
    assert outside(rows, frozen, least=0.001).shape == (2, 4)
    assert outside(rows, frozen, least=0.06).shape == (0, 4)
    assert outside(rows[:0], frozen).shape == (0, 4)
    assert outside(torch.eye(4)[:3], frozen[:0]).shape == (3, 4)


@pytest.mark.parametrize(
    ("share", "most", "count"),
    [(0.45, 4, 1), (0.35, 4, 2), (0.15, 4, 3), (0.01, 4, 4), (0.0, 2, 2), (1.0, 4, 1), (0.0, 0, 0)],
)
def test_principal_rows_are_the_strongest_that_leave_no_more_than_the_share(share, most, count):
    values = torch.tensor([0.2, 0.6, 0.0, 0.15, 0.05])  # left: 0.4, 0.2, 0.05, 0
    axes = orthonormal(5, 5)
    covariance = (axes.t() * values.double()) @ axes
    found = principal_rows(covariance, share, most)
    assert found.shape == (count, 5) and found.is_contiguous()
    strongest = axes[[1, 0, 3, 4][:count]]
    assert torch.allclose((found * strongest).sum(1).abs(), torch.ones(count).double())


def test_silence_has_no_principal_rows_and_nothing_unexplained():
    assert principal_rows(torch.zeros(3, 3), 0.1, 3).shape == (0, 3)
    assert principal_rows(torch.eye(3), 0.1, 1).dtype == torch.float32
    assert unexplained(torch.zeros(4, 3), torch.eye(3)[:1]) == 0.0


def test_the_unexplained_share_is_of_all_the_energy():
    x = torch.tensor([[3.0, 4.0, 0.0], [0.0, 1.0, 2.0]])
    assert unexplained(x, torch.eye(3)[1:2]) == pytest.approx((9 + 4) / 30, rel=1e-12)
    assert unexplained(x, torch.eye(3)[:0]) == 1.0
