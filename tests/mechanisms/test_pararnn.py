"""Newton's method on all steps at once: Danieli et al. 2025, sections 3 and 4, and its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import close, normal

from snnsim.baselines import newton
from snnsim.baselines.models.paragru import ParaGRU
from snnsim.baselines.models.paralstm import ParaLSTM
from snnsim.baselines.newton import run_diagonal, solve

pytestmark = pytest.mark.usefixtures("float64")


def f(p, h):
    return torch.tanh(p + 0.6 * h)


def iterated(p, h0, count):
    """One channel: guess ``f(p, 0)``, then solve the linearised recurrence step by step."""
    states = [np.tanh(p[0] + 0.6 * h0), *np.tanh(p[1:])]
    for _ in range(count):
        before, change, new = [h0, *states[:-1]], 0.0, []
        for t, old in enumerate(before):
            applied = np.tanh(p[t] + 0.6 * old)
            slope = 0.6 * (1 - applied**2)
            change = slope * change + applied - states[t]
            new.append(states[t] + change)
        states = new
    return states


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_an_iteration_is_newtons(count):
    p, h = normal(20, 1), normal(1, seed=2)
    found = solve(f, p, h, count).states[:, 0]
    close(found, iterated(p[:, 0].numpy(), float(h), count), 1e-12)


def test_residuals_shrink_faster_than_linearly():
    residuals = solve(f, normal(200, 4), normal(4, seed=2)).residuals
    assert len(residuals) <= 8 and residuals[-1] < 1e-11
    assert residuals[2] < residuals[1] ** 1.5 and residuals[3] < residuals[2] ** 1.5


def test_gradients_are_those_of_the_loop_although_no_iteration_is_unrolled():
    found = []
    for parallel in (True, False):
        p, h = normal(30, 3).requires_grad_(), normal(3, seed=2).requires_grad_()
        scale = torch.tensor(0.6, requires_grad=True)

        def step(p, h, scale=scale):
            return torch.tanh(p + scale * h)

        if parallel:
            states = run_diagonal(step, p, h)
        else:
            states, state = [], h
            for each in p:
                state = step(each, state)
                states.append(state)
            states = torch.stack(states)
        found.append(torch.autograd.grad((states * normal(30, 3, seed=3)).sum(), (p, h, scale)))
    for one, two in zip(*found, strict=True):
        close(one, two.numpy(), 1e-9)


def test_where_newton_does_not_converge_the_loop_takes_over():
    """A step with a threshold has no slope, so after eight iterations it is not solved."""
    p, h = normal(60, 3), torch.zeros(3)

    def threshold(p, h):
        return (p + 2 * (h > 0.5).to(p) > 0.5).to(p) + 0 * h

    assert not solve(threshold, p, h).converged
    state, expected = h, []
    for each in p:
        state = threshold(each, state)
        expected.append(state)
    assert torch.equal(run_diagonal(threshold, p, h), torch.stack(expected))


@pytest.mark.parametrize("cls", [ParaGRU, ParaLSTM])
def test_cells_take_the_parallel_way(cls, monkeypatch):
    """They give the same where no loop is left, neither in the base class nor as a way out."""
    torch.manual_seed(0)
    net, x = cls(3, 4), normal(20, 2, 3)
    expected = net(x)[0].detach().numpy()
    net.parallel = True
    monkeypatch.setattr(net, "cell", None)
    monkeypatch.setattr(newton, "_loop", None)
    close(net(x)[0], expected, 1e-10)
