"""Operators of linear layers, their rank, and how far gradients reach."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import snnsim as sn
from snnsim.analysis.operators import gradient_reach, lag_operators, rank_curve, shuffled_delays
from snnsim.errors import ConfigError


def test_operators_of_a_delayed_connection_are_its_weights_at_their_delays():
    layer = sn.Delayed(3, 2, dt=1.0, max_delay_ms=4).eval()
    found = lag_operators(layer, 3, 6)
    expected = torch.zeros(6, 2, 3)
    for o in range(2):
        for i in range(3):
            lag = int(layer.delay[o, i, 0].detach().round())
            expected[lag, o, i] = layer.weight[o, i, 0].detach()
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_bias_is_no_operator_and_a_neuron_has_none():
    dense = sn.Dense(3, 2, bias=True)
    with torch.no_grad():
        dense.bias.fill_(0.7)
    assert torch.allclose(lag_operators(dense, 3, 1)[0], dense.weight, atol=1e-6)
    with pytest.raises(ConfigError, match="not linear"):
        lag_operators(torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU()), 3, 2)


def state_space(p=8, eigenvalues=5, n=32):
    """``K_l = C A^l B`` of a stable system with so many distinct eigenvalues."""
    random = np.random.default_rng(0)
    values = np.linspace(0.2, 0.95, eigenvalues)
    states = np.diag(np.repeat(values, 2))
    b, c = random.standard_normal((len(states), p)), random.standard_normal((p, len(states)))
    return torch.from_numpy(
        np.stack([c @ np.linalg.matrix_power(states, lag) @ b for lag in range(n)])
    )


def test_a_state_space_model_needs_as_many_lines_as_it_has_eigenvalues():
    curve = rank_curve(state_space())
    assert curve[0] == pytest.approx(1.0) and (np.diff(curve) <= 1e-12).all()
    assert curve[4] > 1e-4 and curve[5] < 1e-7


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_the_residual_is_that_of_the_best_span_and_no_other_is_better(heads):
    k = state_space()
    rows = k.flatten(1).numpy()
    u, _, _ = np.linalg.svd(rows, full_matrices=False)
    for basis, best in ((u[:, :heads], True), (np.linalg.qr(rows[:, :heads])[0], False)):
        left = np.linalg.norm(rows - basis @ (basis.T @ rows)) / np.linalg.norm(rows)
        assert left >= rank_curve(k)[heads] - 1e-9
        if best:
            assert left == pytest.approx(rank_curve(k)[heads], rel=1e-6)


def test_a_channel_that_is_silent_counts_for_nothing():
    k = torch.zeros(4, 1, 3)
    k[0, 0, 0], k[1, 0, 1], k[2, 0, 2] = 1.0, 1.0, 1.0
    assert (rank_curve(k) > 1e-9).sum() == 3
    assert (rank_curve(k, torch.diag(torch.tensor([1.0, 1.0, 0.0]))) > 1e-9).sum() == 2


def test_random_delays_of_one_tap_have_full_rank():
    layer = sn.Delayed(40, 40, dt=1.0, max_delay_ms=24).eval()
    curve = rank_curve(lag_operators(layer, 40, 25))
    assert (curve > 1e-6).sum() == 25


def test_gradients_of_a_filter_fall_as_its_decay():
    net = sn.LI(2, dt=1.0, tau_mem=10.0)
    reach = gradient_reach(net, torch.zeros(60, 3, 2), range(50))
    assert np.allclose(reach[1:] / reach[:-1], np.exp(-0.1), rtol=1e-4)


def test_gradients_do_not_reach_beyond_the_largest_delay():
    net = sn.Sequential(sn.Delayed(4, 4, dt=1.0, max_delay_ms=6))
    reach = gradient_reach(net, torch.rand(20, 2, 4), range(20))
    assert (reach[7:] == 0).all() and reach[:7].sum() > 0
    with pytest.raises(ConfigError, match="lags are"):
        gradient_reach(net, torch.rand(5, 2, 4), [5])


def test_shuffling_keeps_all_delays():
    layer = sn.Delayed(5, 4, dt=1.0, max_delay_ms=8)
    before = layer.delay.detach().clone()
    shuffled_delays(layer, 0)
    assert not torch.equal(layer.delay, before)
    assert torch.equal(layer.delay.flatten().sort().values, before.flatten().sort().values)
