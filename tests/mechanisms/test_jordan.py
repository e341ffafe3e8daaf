"""The Jordan network: Jordan 1986, and each of its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised

from snnsim.baselines.models.jordan import Jordan

pytestmark = pytest.mark.usefixtures("float64")


def by_hand(p, x, a, n_out):
    """One sample. The context is the sum of all outputs before, each decayed by its age."""
    past, outputs = [], []
    for now in x:
        context = sum((a**age * y for age, y in enumerate(reversed(past))), np.zeros(n_out))
        h = np.tanh(p["w_in.weight"] @ now + p["w_in.bias"] + p["w_context.weight"] @ context)
        past.append(np.tanh(p["w_out.weight"] @ h + p["w_out.bias"]))
        outputs.append(past[-1])
    return np.stack(outputs)


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("hidden", [0, 6])
def test_a_jordan_network_is_its_equations(decay, hidden):
    net, x = randomised(Jordan(3, 4, decay=decay, hidden=hidden)), normal(9, 2, 3)
    y, _ = net(x)
    for b in range(2):
        close(y[:, b], by_hand(arrays(net), x[:, b].numpy(), decay, 4), 1e-12)


def test_the_context_decays():
    """Without new outputs it is halved at every step, and with a decay of 1 it stays."""
    for decay in (0.5, 1.0):
        net = Jordan(1, 1, decay=decay)
        with torch.no_grad():
            for p in net.parameters():
                p.zero_()
        state = {"context": torch.ones(1, 1), "y": torch.zeros(1, 1)}
        for step in range(1, 5):
            _, state = net(torch.zeros(1, 1, 1), state)
            assert float(state["context"]) == pytest.approx(decay**step, abs=1e-12)


def test_outputs_and_not_hidden_units_are_fed_back():
    """An output layer of zeros leaves nothing to remember."""
    net, x = randomised(Jordan(3, 4, hidden=4)), normal(9, 1, 3)
    with torch.no_grad():
        net.w_out.weight.zero_()
        net.w_out.bias.zero_()
    _, state = net(x)
    assert not state["context"].any()


def test_the_context_holds_the_output_of_the_step_before():
    net = randomised(Jordan(3, 4))
    y, state = net(normal(1, 1, 3))
    assert not state["context"].any() and torch.equal(state["y"], y[0])
    _, state = net(normal(1, 1, 3, seed=3), state)
    assert torch.equal(state["context"], y[0])
