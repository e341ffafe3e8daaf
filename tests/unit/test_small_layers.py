"""Layers without equations of their own: what goes around, and what windows make of their input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import snnsim as sn
from snnsim.errors import ShapeError


@pytest.mark.parametrize("project", [False, True])
def test_a_skip_adds_what_goes_around_to_what_goes_through(project):
    torch.manual_seed(0)
    inner, around = sn.Dense(3, 4 if project else 3), sn.Dense(3, 4)
    layer = sn.Skip(inner, around if project else None).double()
    x = torch.rand(5, 2, 3).double()
    expected = inner(x)[0] + (around(x)[0] if project else x)
    torch.testing.assert_close(layer(x)[0], expected, rtol=1e-12, atol=1e-12)


def test_a_skip_carries_the_states_of_both_its_ways():
    torch.manual_seed(0)
    ways = [sn.Sequential(sn.Dense(3, 4), sn.LI(4, dt=1.0, tau_mem=tau)) for tau in (3.0, 9.0)]
    layer = sn.Skip(*ways).double()
    x = torch.rand(8, 2, 3).double()
    whole, _ = layer(x)
    first, state = layer(x[:3])
    second, _ = layer(x[3:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(layer(x[3:])[0], whole[3:])


MEANS = {"avg": np.mean, "max": np.max, "sum": np.sum}


@pytest.mark.parametrize(
    ("make", "kind", "axes"),
    [
        (sn.AvgPool1d, "avg", 1), (sn.MaxPool1d, "max", 1), (sn.AvgPool2d, "avg", 2),
        (sn.MaxPool2d, "max", 2), (sn.SumPool2d, "sum", 2),
    ],
)  # fmt: skip
def test_pooling_takes_the_mean_largest_or_sum_of_windows_at_every_step(make, kind, axes):
    x = np.random.default_rng(1).random((4, 2, 3, *[6] * axes))
    y, state = make(2)(torch.from_numpy(x))
    expected = np.zeros((4, 2, 3, *[3] * axes))
    for place in np.ndindex(*[3] * axes):
        window = tuple(slice(2 * at, 2 * at + 2) for at in place)
        cut = x[(..., *window)].reshape(4, 2, 3, -1)
        expected[(..., *place)] = MEANS[kind](cut, axis=-1)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    assert state is None


def test_a_still_input_is_shown_at_every_step_and_a_moving_one_is_refused():
    x = torch.rand(1, 2, 3)
    y, _ = sn.Repeat(5)(x)
    assert y.shape == (5, 2, 3) and bool((y == x).all())
    with pytest.raises(ShapeError, match="still input"):
        sn.Repeat(5)(torch.rand(2, 2, 3))


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int64])
@pytest.mark.parametrize(
    "make",
    [
        lambda: sn.Conv1d(2, 3, 2), lambda: sn.AvgPool1d(2), lambda: sn.MaxPool1d(2),
        lambda: sn.OverTime(torch.nn.Linear(4, 3)), lambda: sn.OverTime(torch.nn.Flatten()),
    ],
)  # fmt: skip
def test_spikes_of_any_kind_go_through_what_works_on_every_step(make, kind):
    torch.manual_seed(0)
    layer, x = make(), torch.rand(5, 3, 2, 4) < 0.5
    assert torch.equal(layer(x.to(kind))[0].float(), layer(x.float())[0])


def test_a_convolution_of_another_precision_is_refused_as_a_dense_layer_is():
    for layer in (sn.Conv1d(2, 3, 2), sn.Dense(4, 3)):
        with pytest.raises(ShapeError, match="x is torch.float64 but the weights of"):
            layer(torch.rand(5, 3, 2, 4).double())
