"""Classical recurrent networks and FSMN, against their equations in their plainest form."""

from __future__ import annotations

import torch

from snnsim.baselines.models.bidirectional import Bidirectional
from snnsim.baselines.models.elman import Elman
from snnsim.baselines.models.fsmn import FSMN
from snnsim.baselines.models.leaky import Leaky
from snnsim.baselines.models.lstm import LSTM
from snnsim.baselines.models.peephole_lstm import PeepholeLSTM


def test_the_original_lstm_carries_its_cell_without_loss():
    net = PeepholeLSTM(3, 4, peepholes=False, forget_gate=False)
    with torch.no_grad():  # gates that do not see h, so the carousel is all there is
        net.w_rec.weight.zero_()
    state = net.initial_state(1)
    c = state["c"].clone().requires_grad_()
    _, end = net(torch.rand(60, 1, 3), {**state, "c": c})
    (g,) = torch.autograd.grad(end["c"].sum(), c)
    assert torch.equal(g, torch.ones_like(g))


def gradient_at_lag(net, lag: int) -> float:
    x = torch.rand(lag + 1, 1, 3, requires_grad=True)
    y, _ = net(x)
    (g,) = torch.autograd.grad(y[-1].sum(), x)
    return float(g[0].abs().max())


def test_gradients_of_elman_vanish_with_the_lag_and_those_of_lstm_last_longer():
    elman, lstm = Elman(3, 20), LSTM(3, 20)
    with torch.no_grad():
        lstm.module.bias_ih_l0[20:40] = 5.0  # a forget gate that is open
    falls = [gradient_at_lag(net, 60) / gradient_at_lag(net, 5) for net in (elman, lstm)]
    assert falls[0] < 1e-6 < 1e-2 < falls[1]


def test_peepholes_see_the_cell():
    net = PeepholeLSTM(3, 4)
    x, zero = torch.rand(1, 2, 3), {k: torch.zeros(2, 4) for k in "hc"}
    seen = [net(x, {**zero, "c": c * torch.ones(2, 4)})[0] for c in (0.0, 1.0)]
    with torch.no_grad():
        net.peephole.fill_(3.0)
    other = [net(x, {**zero, "c": c * torch.ones(2, 4)})[0] for c in (0.0, 1.0)]
    assert not torch.allclose(other[0] - seen[0], other[1] - seen[1])


def test_the_way_back_starts_at_each_samples_own_end():
    net = Bidirectional(3, 4, cell="gru")
    x = torch.rand(6, 2, 3)
    y, _ = net(x, lengths=torch.tensor([6, 4]))
    back, _ = net.back(x[:4, 1:].flip(0))
    torch.testing.assert_close(y[:4, 1, 2:], back.flip(0)[:, 0])


def test_the_leaky_network_has_no_self_connections_and_its_taus_stay_above_one():
    net = Leaky(3, 5)
    x, before = torch.rand(1, 1, 3), {"h": torch.rand(1, 5)}
    first, _ = net(x, before)
    with torch.no_grad():
        net.w_rec.weight.diagonal().sub_(7.0)
    torch.testing.assert_close(net(x, before)[0], first)
    with torch.no_grad():
        net.time_constant.fill_(-3.0)
    assert bool((net.tau == 1).all())


# ---- FSMN


def test_the_impulse_response_of_an_fsmn_layer_is_its_taps_and_ends_with_its_reach():
    net = FSMN(2, 4, order=5, layers=2)
    first = net.layers[0]
    impulse = torch.zeros(12, 1, 4)
    impulse[0] = 1
    y, _ = first([impulse], torch.zeros(first.reach, 1, 4), None)
    expected = torch.zeros(12, 1, 4)
    expected[:5, 0] = first.taps
    expected[0] += 1
    torch.testing.assert_close(y, expected * first.mix[0])
    assert net.reach == (5 - 1) * (2**2 - 1)
    x = torch.rand(30, 1, 2, requires_grad=True)
    (g,) = torch.autograd.grad(net(x)[0][-1].sum(), x)
    assert bool((g[: -net.reach - 1] == 0).all()) and bool((g[-net.reach - 1] != 0).any())


def test_an_fsmn_layer_that_looks_ahead_has_taps_on_both_sides():
    net = FSMN(2, 4, order=3, layers=2, look_ahead=True)
    second = net.layers[1]
    impulse = torch.zeros(13, 1, 4)
    impulse[6] = 1
    y, _ = second([impulse, impulse], torch.zeros(second.reach, 1, 4), None)
    expected = torch.zeros(13, 1, 4)
    expected[2:11:2, 0] = second.taps  # lags -2 to 2, two steps each
    expected[6] += 1
    torch.testing.assert_close(y, expected * second.mix.sum(0))
