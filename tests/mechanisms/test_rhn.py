"""The recurrent highway network: equations 6 to 8 of Zilly et al. 2017, and each of its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised, sigmoid

from snnsim.baselines.models.rhn import RHN

pytestmark = pytest.mark.usefixtures("float64")


def by_hand(p, x, s, depth):
    """One sample. Rows of the weights: first the candidate, then the transform gate."""
    n, outputs = len(s), []
    for now in x:
        for level in range(depth):
            r, b = p[f"w_rec.{level}.weight"], p[f"w_rec.{level}.bias"]
            candidate, gate = r[:n] @ s + b[:n], r[n:] @ s + b[n:]
            if level == 0:
                candidate = candidate + p["w_in.weight"][:n] @ now
                gate = gate + p["w_in.weight"][n:] @ now
            t = sigmoid(gate)
            s = np.tanh(candidate) * t + s * (1 - t)
        outputs.append(s)
    return np.stack(outputs)


@pytest.mark.parametrize("depth", [1, 3])
def test_an_rhn_is_its_equations(depth):
    net, x, s = randomised(RHN(3, 4, depth=depth)), normal(9, 2, 3), normal(2, 4, seed=2)
    y, _ = net(x, s)
    for b in range(2):
        close(y[:, b], by_hand(arrays(net), x[:, b].numpy(), s[b].numpy(), depth), 1e-12)


def open_gates(depth):
    """One unit whose state is ``tanh`` of its input alone at every level: all gates are open."""
    net = RHN(1, 1, depth=depth)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        net.w_in.weight[0] = 1.0
        for w_rec in net.w_rec:
            w_rec.bias[1] = 50.0
    return net


def test_the_input_enters_at_the_first_level_only():
    """A second level without recurrent weights then forgets it."""
    x = torch.ones(1, 1, 1)
    assert float(open_gates(1)(x)[0]) == pytest.approx(np.tanh(1.0), abs=1e-12)
    assert float(open_gates(2)(x)[0]) == pytest.approx(0.0, abs=1e-12)


def test_what_is_not_transformed_is_carried():
    net = open_gates(2)
    with torch.no_grad():
        for w_rec in net.w_rec:
            w_rec.bias[1] = 0.0  # half open, twice
    state = torch.full((1, 1), 8.0)
    assert float(net(torch.zeros(1, 1, 1), state)[0]) == pytest.approx(2.0, abs=1e-12)


def test_every_level_has_weights_of_its_own():
    net = open_gates(2)
    with torch.no_grad():
        net.w_rec[1].weight[0] = 2.0
    expected = np.tanh(2 * np.tanh(1.0))
    assert float(net(torch.ones(1, 1, 1))[0]) == pytest.approx(expected, abs=1e-12)
