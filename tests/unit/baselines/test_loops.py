"""Recurrent baselines against loops over the equations of their docstrings, and the joins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import sigmoid

from snnsim.baselines.models.leaky import Leaky
from snnsim.baselines.models.mbat import MBAT
from snnsim.baselines.models.paralstm import ParaLSTM
from snnsim.baselines.models.peephole_lstm import PeepholeLSTM
from snnsim.baselines.models.quasi_lstm import QuasiLSTM
from snnsim.baselines.options.join import Join

N = 4


def arrays(net):
    return {name: value.detach().numpy() for name, value in net.named_parameters()}


def assert_equal(found, expected, tolerance=1e-12):
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("parallel", [False, True])
def test_a_paralstm_couples_its_gates_and_looks_at_the_new_cell_on_the_way_out(parallel):
    net = ParaLSTM(3, N, parallel=parallel)
    p, x = arrays(net), torch.randn(11, 2, 3)
    a_f, a_c, a_o, p_f, p_o = p["diagonal"]
    h, c, expected = np.full((2, N), 0.3), np.full((2, N), -0.6), []
    start = torch.from_numpy(np.stack([h, c]))
    for now in x.numpy():
        of_f, of_c, of_o = np.split(now @ p["w_in.weight"].T + p["w_in.bias"], 3, axis=1)
        f = sigmoid(of_f + a_f * h + p_f * c)
        c = f * c + (1 - f) * np.tanh(of_c + a_c * h)
        h = sigmoid(of_o + a_o * h + p_o * c) * np.tanh(c)
        expected.append(h)
    y, end = net(x, start)
    assert_equal(y, np.stack(expected), 1e-10)
    assert_equal(end, np.stack([h, c]), 1e-10)


@pytest.mark.parametrize("sharpness", [0.0, 2.5])
def test_a_quasi_lstm_mixes_what_it_holds_with_what_comes_in(sharpness):
    net = QuasiLSTM(3, N, sharpness=sharpness)
    p, x = arrays(net), torch.randn(9, 2, 3)
    h, expected = np.full((2, N), 0.4), []
    for now in x.numpy():
        gate, out = np.split(sigmoid(now @ p["gates.weight"].T + p["gates.bias"]), 2, axis=1)
        keep = 1 - gate**sharpness if sharpness else gate
        h = keep * h + (1 - keep) * (now @ p["value.weight"].T)
        expected.append(out * h)
    assert_equal(net(x, torch.full((2, N), 0.4))[0], np.stack(expected))


def test_a_leaky_network_leaks_by_its_time_constants_within_the_nonlinearity():
    net = Leaky(3, N)
    with torch.no_grad():
        net.time_constant.copy_(torch.tensor([0.2, 1.5, 4.0, 20.0]))
    p, x = arrays(net), torch.randn(9, 2, 3)
    tau, w = np.array([1.0, 1.5, 4.0, 20.0]), p["w_rec.weight"] * (1 - np.eye(N))
    h, expected = np.full((2, N), 0.4), []
    for now in x.numpy():
        drive = h @ w.T + now @ p["w_in.weight"].T + p["w_in.bias"]
        u = (1 - 1 / tau) * h + drive / tau
        h = np.where(u > 0, u, 0.01 * u)
        expected.append(h)
    assert_equal(net(x, {"h": torch.full((2, N), 0.4)})[0], np.stack(expected))


@pytest.mark.parametrize("peepholes", [True, False])
@pytest.mark.parametrize("forget", [True, False])
def test_an_lstm_with_peepholes_looks_at_the_old_cell_on_the_way_in_and_the_new_one_out(
    peepholes, forget
):
    net = PeepholeLSTM(3, N, peepholes=peepholes, forget_gate=forget)
    if peepholes:
        torch.nn.init.normal_(net.peephole)
    p, x = arrays(net), torch.randn(9, 2, 3)
    of_i, of_o, of_f = (*p.get("peephole", np.zeros((3, N))), np.zeros(N))[:3]
    h, c, expected = np.full((2, N), 0.3), np.full((2, N), -0.7), []
    start = {"h": torch.from_numpy(h), "c": torch.from_numpy(c)}
    for now in x.numpy():
        drive = now @ p["w_in.weight"].T + p["w_in.bias"] + h @ p["w_rec.weight"].T
        g, i, o, *f = np.split(drive, 3 + forget, axis=1)
        kept = sigmoid(f[0] + of_f * c) * c if forget else c
        c = kept + sigmoid(i + of_i * c) * np.tanh(g)
        h = sigmoid(o + of_o * c) * np.tanh(c)
        expected.append(h)
    y, end = net(x, start)
    assert_equal(y, np.stack(expected))
    assert_equal(end["c"], c)


def test_a_reservoir_turns_what_it_holds_and_adds_what_comes_in():
    net = MBAT(3, N, states=6, seed=2)
    p, x = arrays(net), torch.randn(7, 2, 3)
    turn, entry = net.transition.double().numpy(), net.entry.double().numpy()
    np.testing.assert_allclose(turn @ turn.T, np.eye(6), rtol=0, atol=1e-6)
    h, expected = np.full((2, 6), 0.1), []
    for now in x.numpy():
        h = h @ turn.T + now @ entry.T
        expected.append(h @ p["out.weight"].T + p["out.bias"])
    assert_equal(net.double()(x, torch.full((2, 6), 0.1))[0], np.stack(expected), 1e-10)


def test_joins_add_scale_what_is_new_or_choose_by_what_goes_around():
    x, f = torch.randn(5, 3), torch.randn(5, 3)
    assert_equal(Join(3)(x, f), (x + f).numpy())
    rate = Join(3, "rate")
    torch.nn.init.normal_(rate.rate)
    assert_equal(rate(x, f), x.numpy() + rate.rate.detach().numpy() * f.numpy())
    gated = Join(3, "input")
    p = arrays(gated)
    g = sigmoid(x.numpy() @ p["gate.weight"].T + p["gate.bias"])
    assert_equal(gated(x, f), g * x.numpy() + (1 - g) * f.numpy())
