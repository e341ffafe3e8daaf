"""The diagonal LSTM: Danieli et al. 2025, section 4, and each of its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised, sigmoid

from snnsim.baselines.models.paralstm import ParaLSTM

pytestmark = pytest.mark.usefixtures("float64")


def by_hand(p, x, h, c):
    """One sample, unit by unit."""
    n, outputs = len(h), []
    for now in x:
        drive = p["w_in.weight"] @ now + p["w_in.bias"]
        for i in range(n):
            a_f, a_c, a_o, p_f, p_o = p["diagonal"][:, i]
            f = sigmoid(a_f * h[i] + drive[i] + p_f * c[i])
            c[i] = f * c[i] + (1 - f) * np.tanh(a_c * h[i] + drive[n + i])
            o = sigmoid(a_o * h[i] + drive[2 * n + i] + p_o * c[i])
            h[i] = o * np.tanh(c[i])
        outputs.append(h.copy())
    return np.stack(outputs), c


@pytest.mark.parametrize("parallel", [False, True])
def test_a_paralstm_is_its_equations(parallel):
    net = randomised(ParaLSTM(3, 4, parallel=parallel))
    x, state = normal(9, 2, 3), normal(2, 2, 4, seed=2)
    y, after = net(x, state)
    for b in range(2):
        h, c = (a[b].numpy().copy() for a in state)
        expected, c = by_hand(arrays(net), x[:, b].numpy(), h, c)
        close(y[:, b], expected, 1e-12)
        close(after[1, b], c, 1e-12)


def after_one_step(diagonal, bias, h=0.0, c=0.0):
    """One unit without input: its ``h`` and ``c``."""
    net = ParaLSTM(1, 1)
    with torch.no_grad():
        net.w_in.weight.zero_()
        net.w_in.bias.copy_(torch.tensor(bias))
        net.diagonal[:, 0] = torch.tensor(diagonal)
    return net(torch.zeros(1, 1, 1), torch.tensor([h, c]).reshape(2, 1, 1))[1].flatten().tolist()


def test_the_output_gate_sees_the_new_cell():
    """The old cell is 0, the new one is tanh(1): half of it was written."""
    h, c = after_one_step([0.0, 0.0, 0.0, 0.0, 3.0], [0.0, 1.0, 0.0])
    assert c == pytest.approx(0.5 * np.tanh(1.0), abs=1e-12)
    assert h == pytest.approx(sigmoid(3 * c) * np.tanh(c), abs=1e-12)


def test_the_forget_gate_sees_the_old_cell():
    _, c = after_one_step([0.0, 0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0], c=1.5)
    assert c == pytest.approx(1.5 * sigmoid(3.0), abs=1e-12)


def test_what_is_not_kept_is_written():
    """Input and forget gate are one: they sum to 1."""
    for bias in (-1.0, 0.0, 2.0):
        _, kept = after_one_step([0.0] * 5, [bias, 0.0, 0.0], c=1.0)
        _, written = after_one_step([0.0] * 5, [bias, 50.0, 0.0], c=0.0)
        assert kept == pytest.approx(sigmoid(bias), abs=1e-12)
        assert kept + written == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("row", [0, 1, 2])
def test_gates_and_candidate_see_the_output_before(row):
    diagonal = [0.0] * 5
    diagonal[row] = 1.0
    with_it = after_one_step(diagonal, [0.0, 0.5, 0.0], h=1.0, c=1.0)
    without = after_one_step([0.0] * 5, [0.0, 0.5, 0.0], h=1.0, c=1.0)
    assert abs(with_it[0] - without[0]) > 0.01
