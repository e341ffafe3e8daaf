"""The diagonal GRU: Danieli et al. 2025, section 4, and each of its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised, sigmoid

from snnsim.baselines.models.paragru import ParaGRU

pytestmark = pytest.mark.usefixtures("float64")


def by_hand(p, x, h):
    """One sample, unit by unit."""
    n, outputs = len(h), []
    for now in x:
        drive = p["w_in.weight"] @ now + p["w_in.bias"]
        for i in range(n):
            a_z, a_r, a_h = p["diagonal"][:, i]
            z = sigmoid(a_z * h[i] + drive[i])
            r = sigmoid(a_r * h[i] + drive[n + i])
            h[i] = (1 - z) * h[i] + z * np.tanh(a_h * (h[i] * r) + drive[2 * n + i])
        outputs.append(h.copy())
    return np.stack(outputs)


@pytest.mark.parametrize("parallel", [False, True])
def test_a_paragru_is_its_equations(parallel):
    net = randomised(ParaGRU(3, 4, parallel=parallel))
    x, h = normal(9, 2, 3), normal(2, 4, seed=2)
    y, _ = net(x, h)
    for b in range(2):
        close(y[:, b], by_hand(arrays(net), x[:, b].numpy(), h[b].numpy().copy()), 1e-12)


def after_one_step(diagonal, bias, h):
    """One unit without input."""
    net = ParaGRU(1, 1)
    with torch.no_grad():
        net.w_in.weight.zero_()
        net.w_in.bias.copy_(torch.tensor(bias))
        net.diagonal[:, 0] = torch.tensor(diagonal)
    return float(net(torch.zeros(1, 1, 1), torch.full((1, 1), h))[0])


def test_a_closed_reset_gate_hides_the_state_from_the_candidate():
    for reset, expected in ((-50.0, 0.0), (50.0, np.tanh(2 * 0.7)), (0.0, np.tanh(0.7))):
        found = after_one_step([0.0, 0.0, 2.0], [50.0, reset, 0.0], 0.7)
        assert found == pytest.approx(expected, abs=1e-12)


def test_the_update_gate_says_what_is_replaced():
    for update, kept in ((-50.0, 1.0), (0.0, 0.5), (50.0, 0.0)):
        found = after_one_step([0.0, 0.0, 0.0], [update, 0.0, 0.0], 0.7)
        assert found == pytest.approx(0.7 * kept, abs=1e-12)


def test_both_gates_see_the_state():
    update = after_one_step([3.0, 0.0, 0.0], [0.0, 0.0, 0.0], 0.7)
    assert update == pytest.approx(0.7 * (1 - sigmoid(2.1)), abs=1e-12)
    reset = after_one_step([0.0, 3.0, 2.0], [50.0, 0.0, 0.0], 0.7)
    assert reset == pytest.approx(np.tanh(1.4 * sigmoid(2.1)), abs=1e-12)
