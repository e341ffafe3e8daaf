"""Newton's iteration and its implicit gradients, against iterations and sums written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import close, normal, randomised
from toolbox import assert_same, named

from snnsim.baselines import newton
from snnsim.baselines.models.paragru import ParaGRU
from snnsim.baselines.models.paralstm import ParaLSTM

T, B, N = 12, 2, 3


def elementwise(p, h):
    return torch.tanh(0.6 * h + p)


def mixing(p, state):
    """Two numbers per channel that see each other, differently."""
    a, b = state.unbind(-3)
    return torch.stack([torch.tanh(0.3 * a - 0.8 * b + p), 0.5 * torch.sin(a) + 0.2 * b * p], -3)


def looped(f, p, h):
    states = []
    for now in p:
        h = f(now, h)
        states.append(h)
    return torch.stack(states)


def newton_by_hand(p, h0, iterations):
    """States and largest residuals of ``tanh(0.6 h + p)``, channel by channel."""
    first = np.tanh(p)
    first[0] = np.tanh(0.6 * h0 + p[0])
    states, residuals = first, []
    for _ in range(iterations + 1):
        before = np.concatenate([h0[None], states[:-1]])
        value = np.tanh(0.6 * before + p)
        residual = value - states
        residuals.append(np.abs(residual).max())
        if residuals[-1] <= 1e-11 or len(residuals) > iterations:
            break
        slope, d, steps = 0.6 * (1 - value**2), np.zeros_like(h0), []
        for t in range(len(p)):
            d = slope[t] * d + residual[t]
            steps.append(d)
        states = states + np.stack(steps)
    return states, residuals


@pytest.mark.parametrize("iterations", [0, 1, 2, 20])
def test_an_iteration_adds_the_solution_of_the_linearised_recurrence(iterations):
    p, h = normal(T, B, N), normal(B, N, seed=2)
    found = newton.solve(elementwise, p, h, iterations)
    states, residuals = newton_by_hand(p.numpy(), h.numpy(), iterations)
    close(found.states, states)
    assert found.residuals == pytest.approx(residuals, rel=1e-6, abs=1e-14)
    assert found.converged == (iterations == 20) and len(found.residuals) <= iterations + 1


def test_as_many_iterations_are_made_as_said_and_to_the_precision_of_the_type():
    assert newton.ITERATIONS == 8 and newton.OTHER_TOLERANCE == 1e-6
    assert {torch.float64: 1e-11} == newton.TOLERANCE
    p, h = 0.1 * normal(T, B, N), torch.zeros(B, N)

    def far(p, h):  # never settles
        return 4 * torch.cos(3 * h + p)

    assert len(newton.solve(far, normal(40, 1, 1), torch.zeros(1, 1)).residuals) == 9
    single = newton.solve(elementwise, p.float(), h.float())
    double = newton.solve(elementwise, p, h)
    assert single.converged and double.converged
    assert 1e-11 < single.residuals[-1] <= 1e-6 < 1e-5 < single.residuals[0]
    assert double.residuals[-1] <= 1e-11 and len(double.residuals) >= len(single.residuals)


def test_what_is_not_a_number_stops_and_is_left_to_the_loop():
    p = normal(T, B, N)
    p[5, 0, 1] = torch.nan
    found = newton.solve(elementwise, p, torch.zeros(B, N))
    assert len(found.residuals) == 1 and not found.converged
    states = newton.run_diagonal(elementwise, p, torch.zeros(B, N))
    torch.testing.assert_close(
        states, looped(elementwise, p, torch.zeros(B, N)), equal_nan=True, rtol=0, atol=0
    )
    assert newton.run_diagonal(elementwise, p[:, :0], torch.zeros(0, N)).shape == (T, 0, N)


@pytest.mark.parametrize(
    ("run", "f", "shape"),
    [(newton.run_diagonal, elementwise, (B, N)), (newton.run_blocks, mixing, (2, B, N))],
    ids=["diagonal", "blocks"],
)
def test_states_and_gradients_are_those_of_the_loop(run, f, shape, monkeypatch):
    scale = torch.tensor(0.7, requires_grad=True)
    p, h = normal(T, B, N).requires_grad_(), normal(*shape, seed=2).requires_grad_()

    def scaled(p, h):
        return f(scale * p, h)

    weights, found = normal(T, *shape, seed=3), []
    expected = looped(scaled, p, h)
    monkeypatch.setattr(newton, "_loop", None)  # it converges
    for states in (run(scaled, p, h), expected):
        gradients = torch.autograd.grad((states * weights).sum(), (p, h, scale))
        found.append(named("states p h scale", (states, *gradients)))
    assert_same(*found, rtol=1e-9, atol=1e-10)
    with torch.no_grad():
        states = run(scaled, p, h)
    assert not states.requires_grad
    torch.testing.assert_close(states, expected, rtol=1e-9, atol=1e-10)


def test_jacobians_have_outputs_in_their_rows():
    p, state = normal(4, B, N), normal(4, 2, B, N, seed=2)
    J = newton._block_jacobian(mixing, p, state)
    assert J.shape == (4, 2, 2, B, N)
    for j in range(2):
        eps = torch.zeros_like(state)
        eps[:, j] = 1e-6
        slope = (mixing(p, state + eps) - mixing(p, state - eps)) / 2e-6
        torch.testing.assert_close(J[:, :, j], slope, rtol=1e-6, atol=1e-8)
    h = normal(4, B, N, seed=3)
    slope = newton._diagonal_jacobian(elementwise, p, h)
    close(slope, 0.6 * (1 - np.tanh(0.6 * h.numpy() + p.numpy()) ** 2))


@pytest.mark.parametrize("transposed", [False, True])
def test_blocks_are_scanned_as_matrices(transposed):
    J, b = normal(7, 2, 2, B, N), normal(7, 2, B, N, seed=2)
    d, expected = np.zeros((2, B, N)), []
    for t in range(7):
        form = "jibn,jbn->ibn" if transposed else "ijbn,jbn->ibn"
        d = np.einsum(form, J[t].numpy(), d) + b[t].numpy()
        expected.append(d)
    close(newton._scan_blocks(J, b, transposed), np.stack(expected))


@pytest.mark.parametrize("cls", [ParaGRU, ParaLSTM])
def test_cells_run_either_way_from_any_state_and_start_small(cls, monkeypatch):
    net = randomised(cls(3, 4), 0.3)
    x, state = normal(T, B, 3), normal(*net.initial_state(B).shape, seed=4)
    y, end = net(x, state)
    monkeypatch.setattr(newton, "_loop", None)
    net.parallel = True
    z, last = net(x, state)
    torch.testing.assert_close(z, y, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(last, end, rtol=1e-8, atol=1e-9)
    assert cls(3, 4, parallel=True).parallel and not cls(3, 4).parallel
    rows = {ParaGRU: 3, ParaLSTM: 5}[cls]
    wide = cls(3, 3000)
    assert wide.diagonal.shape == (rows, 3000) and wide.w_in.weight.shape == (9000, 3)
    assert float(wide.diagonal.std()) == pytest.approx((4 / 15000) ** 0.5, rel=0.05)
    assert bool((net.initial_state(2) == 0).all())
