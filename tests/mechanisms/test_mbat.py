"""The orthogonal reservoir: a recurrence made of MBAT's matrix binding, and each of its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised

from snnsim.baselines.models.mbat import MBAT

pytestmark = pytest.mark.usefixtures("float64")


def test_what_is_held_is_a_sum_of_inputs_bound_as_often_as_they_are_old():
    net, x = randomised(MBAT(3, 4, states=6, seed=1)), normal(9, 2, 3)
    m, e, p = net.transition.numpy(), net.entry.numpy(), arrays(net)
    y, after = net(x)
    for b in range(2):
        for t in range(9):
            h = sum(np.linalg.matrix_power(m, t - s) @ e @ x[s, b].numpy() for s in range(t + 1))
            close(y[t, b], p["out.weight"] @ h + p["out.bias"], 1e-12)
        close(after[b], h, 1e-12)


def test_the_matrix_is_orthogonal_so_nothing_decays():
    net = MBAT(3, 4, states=32, seed=1)
    m = net.transition.numpy()
    close(m @ m.T, np.eye(32), 1e-12)
    state = normal(2, 32, seed=2)
    _, after = net(torch.zeros(500, 2, 3), state)
    close(after.norm(dim=1), state.norm(dim=1).numpy(), 1e-11)
    close(after[0] @ after[1], float(state[0] @ state[1]), 1e-11)


def test_the_transpose_unbinds_a_step():
    net, x = MBAT(3, 4, seed=1), normal(2, 1, 3)
    _, first = net(x[:1])
    _, second = net(x[1:], first)
    back = (second - x[1] @ net.entry.t()) @ net.transition
    close(back, first.numpy(), 1e-12)


def test_the_order_of_the_inputs_matters():
    net, x = MBAT(3, 4, seed=1), normal(2, 1, 3)
    assert float((net(x)[1] - net(x.flip(0))[1]).detach().abs().max()) > 0.05


def test_only_the_readout_learns():
    net = MBAT(3, 4, seed=1)
    net(normal(5, 2, 3))[0].square().sum().backward()
    assert {name for name, p in net.named_parameters() if p.grad is not None} == {
        "out.weight",
        "out.bias",
    }
    assert not net.transition.requires_grad and not net.entry.requires_grad


def test_the_matrix_has_no_preferred_signs():
    """Drawn evenly from all orthogonal ones, its first number is positive in half of the draws."""
    firsts = [float(MBAT(1, 1, states=3, seed=seed).transition[0, 0]) for seed in range(60)]
    assert 15 < sum(first > 0 for first in firsts) < 45
