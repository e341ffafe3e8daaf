"""The LSTM: Gers, Schmidhuber & Cummins 2000, and each of its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised, sigmoid

from snnsim.baselines.models.lstm import LSTM

pytestmark = pytest.mark.usefixtures("float64")


def by_hand(p, x, h, c):
    """One sample; torch holds the gates i, f, the candidate, and o, in this order."""
    w, u = p["module.weight_ih_l0"], p["module.weight_hh_l0"]
    bias, outputs = p["module.bias_ih_l0"] + p["module.bias_hh_l0"], []
    for now in x:
        i, f, g, o = np.split(w @ now + u @ h + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs), c


def test_an_lstm_is_its_equations():
    net, x = randomised(LSTM(3, 4)), normal(9, 2, 3)
    h, c = normal(2, 4, seed=2), normal(2, 4, seed=3)
    y, after = net(x, {"h": h, "c": c})
    for b in range(2):
        expected, cell = by_hand(arrays(net), x[:, b].numpy(), h[b].numpy(), c[b].numpy())
        close(y[:, b], expected, 1e-12)
        close(after["c"][b], cell, 1e-12)


def one_unit(**drives):
    """One unit without input whose gates have the given drives, else are half open."""
    net = LSTM(1, 1)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        net.module.bias_ih_l0.copy_(torch.tensor([drives.get(gate, 0.0) for gate in "ifgo"]))
    return net


def after_one_step(net, c):
    state = {"h": torch.zeros(1, 1), "c": torch.full((1, 1), c)}
    after = net(torch.zeros(1, 1, 1), state)[1]
    return float(after["h"]), float(after["c"])


def test_each_gate_does_what_it_is_called_after():
    for drive in (-50.0, 0.0, 50.0):
        gate = sigmoid(drive)
        forgotten = after_one_step(one_unit(f=drive), 0.8)[1]
        assert forgotten == pytest.approx(gate * 0.8, abs=1e-12)
        written = after_one_step(one_unit(i=drive, g=1.0), 0.0)[1]
        assert written == pytest.approx(gate * np.tanh(1.0), abs=1e-12)
        shown = after_one_step(one_unit(o=drive), 0.8)[0]
        assert shown == pytest.approx(gate * np.tanh(0.4), abs=1e-12)


def test_the_forget_gate_starts_open():
    """At first a cell without input keeps ``s(1)`` of what it holds at every step."""
    net = LSTM(1, 1)
    with torch.no_grad():
        net.module.weight_hh_l0.zero_()
        net.module.bias_ih_l0[2] = net.module.bias_hh_l0[2] = 0.0  # no candidate
    assert after_one_step(net, 0.8)[1] == pytest.approx(0.8 * sigmoid(1.0), abs=1e-12)
