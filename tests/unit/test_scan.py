"""The general scan and the linear recurrence against loops."""

from __future__ import annotations

import pytest
import torch
from toolbox import assert_same, named

from snnsim.errors import ShapeError
from snnsim.functional.scan import linear, linear_recurrence, scan


def case(steps: int, *shape: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    sizes = ((steps, *shape), (steps, *shape), shape)
    return [
        torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in sizes
    ]


def matrices(earlier, later):
    """Products of matrices: associative, not commutative."""
    return (later[0] @ earlier[0],)


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 7, 16, 33, 100])
def test_a_scan_equals_the_loop_for_an_operator_that_does_not_commute(steps):
    torch.manual_seed(1)
    x = 0.5 * torch.randn(steps, 4, 3, 3, dtype=torch.float64)
    (found,) = scan(matrices, (x,))
    so_far = torch.eye(3, dtype=torch.float64)
    for t in range(steps):
        so_far = x[t] @ so_far
        torch.testing.assert_close(found[t], so_far, rtol=1e-12, atol=1e-14)
    (other,) = scan(matrices, (x.movedim(0, 1),), dim=1)
    assert torch.equal(other.movedim(1, 0), found)


def test_the_scan_agrees_with_torchs_own():
    scans = pytest.importorskip("torch._higher_order_ops.associative_scan")
    a, b, _ = case(37, 5)
    ours = scan(linear, (a, b))[1]
    theirs = scans.associative_scan(linear, (a, b), 0, combine_mode="generic")[1]
    torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-13)
    cotangent = torch.randn_like(ours)
    results = [named("a b", torch.autograd.grad(r, (a, b), cotangent)) for r in (ours, theirs)]
    assert_same(*results, rtol=1e-12, atol=1e-12)


def test_elements_of_different_lengths_are_refused():
    with pytest.raises(ShapeError, match=r"\[2, 3\]"):
        scan(linear, (torch.zeros(2), torch.zeros(3)))


@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 3, 4)])
@pytest.mark.parametrize("steps", [0, 1, 2, 31])
def test_in_parallel_and_step_by_step_agree_in_values_and_gradients(steps, shape):
    a, b, h = case(steps, *shape)
    results = [linear_recurrence(a, b, h, parallel) for parallel in (False, True)]
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)
    if steps:
        cotangent = torch.randn(steps, *shape, dtype=torch.float64)
        gradients = [torch.autograd.grad(r, (a, b, h), cotangent) for r in results]
        assert_same(*(named("a b h", each) for each in gradients), rtol=1e-11, atol=1e-11)


def test_a_constant_decay_is_broadcast():
    _, b, h = case(4, 2, 3)
    decay = torch.tensor(0.9, dtype=torch.float64)
    expected = decay**4 * h + decay**3 * b[0] + decay**2 * b[1] + decay * b[2] + b[3]
    torch.testing.assert_close(linear_recurrence(decay, b, h)[-1], expected)


def test_a_state_of_another_shape_is_refused():
    a, b, _ = case(4, 3)
    with pytest.raises(ShapeError, match=r"\(2,\).*\(3,\)"):
        linear_recurrence(a, b, torch.zeros(2))
