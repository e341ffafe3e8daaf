"""The bidirectional network: Schuster & Paliwal 1997, and each of its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised, sigmoid

from snnsim.baselines.models.bidirectional import Bidirectional

pytestmark = pytest.mark.usefixtures("float64")


def elman(p, name, x):
    """Run one direction over one sample."""
    bias = p[f"{name}.module.bias_ih_l0"] + p[f"{name}.module.bias_hh_l0"]
    w, u = p[f"{name}.module.weight_ih_l0"], p[f"{name}.module.weight_hh_l0"]
    h, outputs = np.zeros(len(u)), []
    for now in x:
        h = np.tanh(w @ now + u @ h + bias)
        outputs.append(h)
    return outputs


def lstm(p, name, x):
    """Run one direction over one sample."""
    bias = p[f"{name}.module.bias_ih_l0"] + p[f"{name}.module.bias_hh_l0"]
    w, u = p[f"{name}.module.weight_ih_l0"], p[f"{name}.module.weight_hh_l0"]
    h, c, outputs = np.zeros(len(u) // 4), np.zeros(len(u) // 4), []
    for now in x:
        i, f, g, o = np.split(w @ now + u @ h + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return outputs


@pytest.mark.parametrize(("cell", "run"), [("elman", elman), ("lstm", lstm)])
def test_each_sample_is_read_from_both_of_its_ends(cell, run):
    net, x, lengths = randomised(Bidirectional(3, 6, cell=cell)), normal(9, 2, 3), [9, 4]
    p = arrays(net)
    y, _ = net(x, lengths=torch.tensor(lengths))
    for b, length in enumerate(lengths):
        one = list(x[:length, b].numpy())
        ahead, back = run(p, "ahead", one), run(p, "back", one[::-1])[::-1]
        expected = [np.concatenate(both) for both in zip(ahead, back, strict=True)]
        close(y[:length, b], np.stack(expected), 1e-12)


def test_one_half_sees_the_past_alone_and_the_other_the_future_alone():
    net, x = randomised(Bidirectional(3, 6, cell="gru")), normal(9, 1, 3)
    changed = x.clone()
    changed[4] += 1.0
    moved = (net(changed)[0] - net(x)[0]).abs()[:, 0]
    assert not moved[:4, :3].any() and bool((moved[4:, :3].amax(1) > 1e-4).all())
    assert not moved[5:, 3:].any() and bool((moved[:5, 3:].amax(1) > 1e-4).all())


def test_the_directions_have_weights_of_their_own():
    """Otherwise a sequence that reads the same from both ends would give two equal halves."""
    net = randomised(Bidirectional(3, 6))
    same = net(normal(1, 1, 3))[0][0, 0]
    assert float((same[:3] - same[3:]).detach().abs().max()) > 0.01
