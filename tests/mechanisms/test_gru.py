"""The GRU: Cho et al. 2014 with the reset gate behind the matrix, and each of its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised, sigmoid

from snnsim.baselines.models.gru import GRU

pytestmark = pytest.mark.usefixtures("float64")


def by_hand(p, x, h):
    """One sample; torch holds reset gate, update gate and candidate, in this order."""
    w_r, w_z, w_n = np.split(p["module.weight_ih_l0"], 3)
    u_r, u_z, u_n = np.split(p["module.weight_hh_l0"], 3)
    b_r, b_z, b_n = np.split(p["module.bias_ih_l0"], 3)
    c_r, c_z, c_n = np.split(p["module.bias_hh_l0"], 3)
    outputs = []
    for now in x:
        r = sigmoid(w_r @ now + u_r @ h + b_r + c_r)
        z = sigmoid(w_z @ now + u_z @ h + b_z + c_z)
        n = np.tanh(w_n @ now + b_n + r * (u_n @ h + c_n))
        h = (1 - z) * n + z * h
        outputs.append(h)
    return np.stack(outputs)


def test_a_gru_is_its_equations():
    net, x, h = randomised(GRU(3, 4)), normal(9, 2, 3), normal(2, 4, seed=2)
    y, after = net(x, {"h": h})
    for b in range(2):
        expected = by_hand(arrays(net), x[:, b].numpy(), h[b].numpy())
        close(y[:, b], expected, 1e-12)
        close(after["h"][b], expected[-1], 1e-12)


def after_one_step(reset, update, h):
    """One unit whose candidate is ``tanh(r * 2 h)``; gates have the given drives."""
    net = GRU(1, 1)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        net.module.weight_hh_l0[2] = 2.0
        net.module.bias_ih_l0.copy_(torch.tensor([reset, update, 0.0]))
    return float(net(torch.zeros(1, 1, 1), {"h": torch.full((1, 1), h)})[0])


def test_a_closed_reset_gate_hides_the_state_from_the_candidate():
    for reset, expected in ((-50.0, 0.0), (0.0, np.tanh(0.7)), (50.0, np.tanh(1.4))):
        assert after_one_step(reset, -50.0, 0.7) == pytest.approx(expected, abs=1e-12)


def test_an_open_update_gate_keeps_the_state():
    for update, kept in ((50.0, 1.0), (0.0, 0.5), (-50.0, 0.0)):
        assert after_one_step(-50.0, update, 0.7) == pytest.approx(0.7 * kept, abs=1e-12)
