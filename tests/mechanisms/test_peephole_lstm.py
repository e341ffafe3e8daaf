"""LSTMs of 1997 and 2000, with and without peepholes and forget gate, and each of their parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised, sigmoid

from snnsim.baselines.models.peephole_lstm import PeepholeLSTM

pytestmark = pytest.mark.usefixtures("float64")


def by_hand(p, x, h, c, forget_gate):
    """One sample, unit by unit; rows are the candidate, then the gates i, o and f."""
    n, outputs = len(h), []
    peephole = p.get("peephole", np.zeros((3, n)))
    for now in x:
        drive = p["w_in.weight"] @ now + p["w_in.bias"] + p["w_rec.weight"] @ h
        for j in range(n):
            i = sigmoid(drive[n + j] + peephole[0, j] * c[j])
            f = sigmoid(drive[3 * n + j] + peephole[2, j] * c[j]) if forget_gate else 1.0
            c[j] = f * c[j] + i * np.tanh(drive[j])
            h[j] = sigmoid(drive[2 * n + j] + peephole[1, j] * c[j]) * np.tanh(c[j])
        outputs.append(h.copy())
    return np.stack(outputs), c


@pytest.mark.parametrize("peepholes", [True, False])
@pytest.mark.parametrize("forget_gate", [True, False])
def test_an_lstm_of_any_form_is_its_equations(peepholes, forget_gate):
    net = randomised(PeepholeLSTM(3, 4, peepholes=peepholes, forget_gate=forget_gate))
    x, h, c = normal(9, 2, 3), normal(2, 4, seed=2), normal(2, 4, seed=3)
    y, after = net(x, {"h": h, "c": c})
    for b in range(2):
        start = h[b].numpy().copy(), c[b].numpy().copy()
        expected, cell = by_hand(arrays(net), x[:, b].numpy(), *start, forget_gate)
        close(y[:, b], expected, 1e-12)
        close(after["c"][b], cell, 1e-12)


def after_one_step(peephole, c, candidate=0.0):
    """One unit without input: its ``h`` and ``c``."""
    net = PeepholeLSTM(1, 1)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        net.w_in.bias[0] = candidate
        net.peephole[:, 0] = torch.tensor(peephole)
    state = {"h": torch.zeros(1, 1), "c": torch.full((1, 1), c)}
    after = net(torch.zeros(1, 1, 1), state)[1]
    return float(after["h"]), float(after["c"])


def test_the_input_gate_sees_the_old_cell():
    _, c = after_one_step([2.0, 0.0, 0.0], 0.6, candidate=1.0)
    assert c == pytest.approx(0.3 + sigmoid(1.2) * np.tanh(1.0), abs=1e-12)


def test_the_forget_gate_sees_the_old_cell():
    _, c = after_one_step([0.0, 0.0, 2.0], 0.6)
    assert c == pytest.approx(sigmoid(1.2) * 0.6, abs=1e-12)


def test_the_output_gate_sees_the_new_cell():
    h, c = after_one_step([0.0, 2.0, 0.0], 0.0, candidate=1.0)
    assert c == pytest.approx(0.5 * np.tanh(1.0), abs=1e-12)
    assert h == pytest.approx(sigmoid(2 * c) * np.tanh(c), abs=1e-12)


def test_the_original_cell_never_forgets():
    net = PeepholeLSTM(1, 1, peepholes=False, forget_gate=False)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    state = {"h": torch.zeros(1, 1), "c": torch.full((1, 1), 0.6)}
    assert float(net(torch.zeros(50, 1, 1), state)[1]["c"]) == 0.6


def test_the_forget_gate_starts_open():
    net = PeepholeLSTM(1, 1)
    with torch.no_grad():
        net.w_rec.weight.zero_()
        net.w_in.bias[0] = 0.0  # no candidate
    state = {"h": torch.zeros(1, 1), "c": torch.full((1, 1), 0.6)}
    kept = float(net(torch.zeros(1, 1, 1), state)[1]["c"])
    assert kept == pytest.approx(0.6 * sigmoid(1.0), abs=1e-12)
