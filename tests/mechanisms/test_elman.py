"""The Elman network: Elman 1990, and each of its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised

from snnsim.baselines.models.elman import Elman

pytestmark = pytest.mark.usefixtures("float64")


def by_hand(p, x, h, f):
    """One sample, unit by unit; torch divides the bias in two."""
    outputs = []
    for now in x:
        new = np.zeros(len(h))
        for i in range(len(h)):
            bias = p["module.bias_ih_l0"][i] + p["module.bias_hh_l0"][i]
            drive = sum(w * a for w, a in zip(p["module.weight_ih_l0"][i], now, strict=True))
            context = sum(w * a for w, a in zip(p["module.weight_hh_l0"][i], h, strict=True))
            new[i] = f(drive + context + bias)
        h = new
        outputs.append(h)
    return np.stack(outputs)


@pytest.mark.parametrize(("name", "f"), [("tanh", np.tanh), ("relu", lambda a: max(a, 0.0))])
def test_an_elman_network_is_its_equation(name, f):
    net = randomised(Elman(3, 4, nonlinearity=name))
    x, h = normal(9, 2, 3), normal(2, 4, seed=2)
    y, after = net(x, {"h": h})
    for b in range(2):
        expected = by_hand(arrays(net), x[:, b].numpy(), h[b].numpy(), f)
        close(y[:, b], expected, 1e-12)
        close(after["h"][b], expected[-1], 1e-12)


def test_hidden_units_are_fed_back():
    """A pulse is remembered by the recurrent weights, and not without them."""
    net, x = randomised(Elman(1, 3)), torch.zeros(4, 1, 1)
    pulse = x.clone()
    pulse[0] = 1.0
    assert bool(((net(pulse)[0] - net(x)[0]).abs().amax((1, 2)) > 1e-3).all())
    with torch.no_grad():
        net.module.weight_hh_l0.zero_()
    assert torch.equal(net(pulse)[0][1:], net(x)[0][1:])
