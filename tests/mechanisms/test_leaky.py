"""The leaky network: equation 1 of Khajehabdollahi et al. 2023, and each of its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised

from snnsim.baselines.models.leaky import Leaky

pytestmark = pytest.mark.usefixtures("float64")


def leaky_relu(a):
    return a if a > 0 else 0.01 * a


def by_hand(p, x, h):
    """One sample, unit by unit."""
    outputs = []
    for now in x:
        new = np.zeros(len(h))
        for i in range(len(h)):
            tau = max(p["time_constant"][i], 1.0)
            drive = p["w_in.bias"][i] + p["w_in.weight"][i] @ now
            drive += sum(p["w_rec.weight"][i, j] * h[j] for j in range(len(h)) if j != i)
            new[i] = leaky_relu((1 - 1 / tau) * h[i] + drive / tau)
        h = new
        outputs.append(h)
    return np.stack(outputs)


def test_a_leaky_network_is_its_equation():
    net, x, h = randomised(Leaky(3, 4)), normal(9, 2, 3), normal(2, 4, seed=2)
    with torch.no_grad():
        net.time_constant.copy_(torch.tensor([0.5, 1.0, 1.7, 6.0]))
    y, _ = net(x, {"h": h})
    for b in range(2):
        close(y[:, b], by_hand(arrays(net), x[:, b].numpy(), h[b].numpy()), 1e-12)


def silent(tau):
    """One unit whose weights are 0."""
    net = Leaky(1, 1)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        net.time_constant.fill_(tau)
    return net


def after_one_step(net, h, x=0.0):
    return float(net(torch.full((1, 1, 1), x), {"h": torch.full((1, 1), h)})[0])


def test_the_nonlinearity_wraps_the_leak():
    """Outside of it, the half that stays of a negative state would not be made smaller."""
    assert after_one_step(silent(2.0), -1.0) == pytest.approx(-0.005, abs=1e-12)
    assert after_one_step(silent(2.0), 1.0) == pytest.approx(0.5, abs=1e-12)


def test_no_unit_drives_itself():
    net = silent(1.0)
    with torch.no_grad():
        net.w_rec.weight.fill_(5.0)
    assert after_one_step(net, 1.0) == 0.0


def test_a_time_constant_is_never_less_than_a_step():
    assert after_one_step(silent(0.25), 1.0) == 0.0


def test_a_longer_time_constant_also_takes_less_of_the_input():
    net = silent(4.0)
    with torch.no_grad():
        net.w_in.weight.fill_(1.0)
    assert after_one_step(net, 0.0, x=1.0) == pytest.approx(0.25, abs=1e-12)
