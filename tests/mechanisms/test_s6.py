"""The selective state space: algorithm 2 of Gu & Dao 2023, and each of its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised, silu, softplus

from snnsim.baselines.models.s6 import S6

pytestmark = pytest.mark.usefixtures("float64")


def by_hand(p, x, h, states, gated):
    """One sample, channel by channel and state by state, ``A = -exp(log_decay)``."""
    rank, outputs = p["rate.weight"].shape[1], []
    for now in x:
        u = p["enter.weight"] @ now
        selected = p["select.weight"] @ u
        low, b, c = selected[:rank], selected[rank : rank + states], selected[rank + states :]
        y = np.zeros(len(u))
        for i in range(len(u)):
            step = softplus(p["rate.weight"][i] @ low + p["rate.bias"][i])
            for n in range(states):
                a = -np.exp(p["log_decay"][i, n])
                h[i, n] = np.exp(step * a) * h[i, n] + step * b[n] * u[i]
                y[i] += c[n] * h[i, n]
            y[i] += p["skip"][i] * u[i]
        outputs.append(y * silu(p["gate.weight"] @ now) if gated else y)
    return np.stack(outputs)


@pytest.mark.parametrize("gated", [True, False])
def test_s6_is_its_algorithm(gated):
    net = randomised(S6(3, 5, states=4, gated=gated))
    x, h = normal(9, 2, 3), normal(2, 5, 4, seed=2)
    y, _ = net(x, h)
    for b in range(2):
        expected = by_hand(arrays(net), x[:, b].numpy(), h[b].numpy().copy(), 4, gated)
        close(y[:, b], expected, 1e-12)


def one_channel():
    """``u = x``, step ``softplus(10 u - 10)``, decay 1, ``B = C = u``, no direct path."""
    net = S6(1, 1, states=1, gated=False)
    with torch.no_grad():
        net.enter.weight.fill_(1.0)
        net.select.weight.fill_(1.0)
        net.rate.weight.fill_(10.0)
        net.rate.bias.fill_(-10.0)
        net.log_decay.zero_()
        net.skip.zero_()
    return net


def run(net, x, h):
    y, after = net(torch.full((1, 1, 1), x), torch.full((1, 1, 1), h))
    return float(y), float(after)


def test_the_input_selects_what_is_forgotten():
    """A large input erases what a small one leaves alone."""
    step = softplus(10 * 0.01 - 10)
    kept = run(one_channel(), 0.01, 1.0)[1] - run(one_channel(), 0.01, 0.0)[1]
    assert kept == pytest.approx(np.exp(-step), abs=1e-12) and kept > 0.999
    gone = run(one_channel(), 4.0, 1.0)[1] - run(one_channel(), 4.0, 0.0)[1]
    assert abs(gone) < 1e-12


def test_the_input_selects_what_is_written_and_by_the_same_step():
    """Twice the input writes four times as much, per step."""
    for x in (1.0, 2.0):
        written = run(one_channel(), x, 0.0)[1]
        assert written == pytest.approx(softplus(10 * x - 10) * x * x, abs=1e-12)


def test_the_input_selects_what_is_read():
    for x in (0.5, 1.0):
        y, after = run(one_channel(), x, 1.0)
        assert y == pytest.approx(x * after, abs=1e-12)
