"""Recurrences solved for all steps at once (ParaRNN)."""

from __future__ import annotations

import pytest
import torch
from toolbox import assert_same, named

from snnsim.baselines.models.paragru import ParaGRU
from snnsim.baselines.models.paralstm import ParaLSTM
from snnsim.baselines.newton import run_diagonal, solve


@pytest.mark.parametrize(("scale", "steps", "most"), [(0.1, 1000, 4), (0.5, 1000, 6)])
def test_newton_finds_the_loops_states_in_a_few_iterations(scale, steps, most):
    net = ParaGRU(5, 16)
    with torch.no_grad():
        net.diagonal.copy_(scale * torch.randn(3, 16))
    p = net.project(torch.randn(steps, 2, 5))
    found = solve(net.transition, p, torch.zeros(2, 16))
    assert found.converged and len(found.residuals) - 1 <= most + 1
    h, states = torch.zeros(2, 16), []
    for each in p:
        h = net.transition(each, h)
        states.append(h)
    torch.testing.assert_close(found.states, torch.stack(states), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("cls", [ParaGRU, ParaLSTM])
def test_the_implicit_gradient_is_that_of_backpropagation_through_time(cls):
    one, two = cls(5, 8), cls(5, 8, parallel=True)
    two.load_state_dict(one.state_dict())
    x = torch.randn(50, 2, 5, requires_grad=True)
    state = 0.1 * torch.randn(one.initial_state(2).shape)
    weights = torch.randn(50, 2, 8)
    results = []
    for net in (one, two):
        first = state.clone().requires_grad_()
        y, end = net(x, first)
        loss = (y * weights).sum() + end.square().sum()
        names = " ".join(["y", "x", "state", *dict(net.named_parameters())])
        found = torch.autograd.grad(loss, (x, first, *net.parameters()))
        results.append(named(names, (y, *found)))
    assert_same(*results, rtol=1e-7, atol=1e-9)


def test_where_newton_does_not_converge_the_loop_takes_over():
    net = ParaGRU(5, 16, parallel=True)
    with torch.no_grad():
        net.diagonal.copy_(8.0 * torch.randn(3, 16))
        net.w_in.weight.mul_(5)
    x = torch.randn(200, 2, 5)
    p = net.project(x)
    assert not solve(net.transition, p, torch.zeros(2, 16)).converged
    net.parallel = False
    expected, _ = net(x)
    net.parallel = True
    assert torch.equal(net(x)[0], expected)


def test_a_threshold_has_no_slope_for_newton_to_use():
    def lif(p, v):
        u = 0.9 * v + p
        return torch.where(u > 1.0, torch.zeros_like(u), u)

    p = torch.rand(100, 4)
    assert not solve(lif, p, torch.zeros(4), iterations=5).converged
    expected, h = [], torch.zeros(4)
    for each in p:
        h = lif(each, h)
        expected.append(h)
    torch.testing.assert_close(run_diagonal(lif, p, torch.zeros(4)), torch.stack(expected))
