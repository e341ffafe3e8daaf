"""Gating of residual joins and attention over past outputs (arXiv:2410.02654), around any model."""

from __future__ import annotations

import pytest
import torch
from models_by_hand import arrays, attention, close, normal, randomised, sigmoid

from snnsim.baselines.models.mbat import MBAT
from snnsim.baselines.network import RateNetwork
from snnsim.baselines.options.attend import Attend
from snnsim.baselines.options.join import JOINS, Join

pytestmark = pytest.mark.usefixtures("float64")


def joined(p, kind, x, f, prefix=""):
    """Join one vector with another."""
    if kind == "add":
        return x + f
    if kind == "rate":
        return x + p[f"{prefix}rate"] * f
    g = sigmoid(p[f"{prefix}gate.weight"] @ x + p[f"{prefix}gate.bias"])
    return g * x + (1 - g) * f


@pytest.mark.parametrize("kind", JOINS)
def test_a_join_is_its_equation(kind):
    join = randomised(Join(4, kind))
    x, f = normal(5, 4), normal(5, 4, seed=2)
    for i in range(5):
        close(join(x, f)[i], joined(arrays(join), kind, x[i].numpy(), f[i].numpy()), 1e-12)


@pytest.mark.parametrize("kind", JOINS)
def test_layers_of_a_network_are_joined_to_what_goes_around_them(kind):
    """The layer is a reservoir whose read-out is a constant, so the join is all that is left."""
    added, options = {"join": kind}, {"states": 4, "seed": 1}
    net = randomised(RateNetwork(3, 0, "mbat", width=4, options=options, **added))
    with torch.no_grad():
        net.layers[0].out.weight.zero_()
    p, x = arrays(net), normal(6, 2, 3)
    constant = p["layers.0.out.bias"]
    y = net(x)[0]
    for t in range(6):
        for b in range(2):
            around = p["enter.weight"] @ x[t, b].numpy() + p["enter.bias"]
            close(y[t, b], joined(p, kind, around, constant, "joins.0."), 1e-12)


def test_joins_start_as_they_are_said_to():
    x, f = normal(5, 4), normal(5, 4, seed=2)
    close(Join(4, "rate")(x, f), (x + f).numpy(), 1e-12)
    gated = Join(4, "input")
    with torch.no_grad():
        gated.gate.weight.zero_()
        gated.gate.bias.fill_(50.0)
    close(gated(x, f), x.numpy(), 1e-12)  # an open gate carries
    with torch.no_grad():
        gated.gate.bias.fill_(-50.0)
    close(gated(x, f), f.numpy(), 1e-12)


def attended(p, y, count, reach):
    """What one sample's outputs read of those before, added to them."""
    return y + attention(p, "attention", y[:, None], count, reach)[:, 0]


def test_attention_is_over_the_models_own_outputs_and_added_to_them():
    net = randomised(Attend(MBAT(3, 4, states=5, seed=1), reach=3, heads=2))
    x = normal(9, 2, 3)
    own, found = net.inner(x)[0].detach().numpy(), net(x)[0]
    for b in range(2):
        close(found[:, b], attended(arrays(net), own[:, b], 2, 3), 1e-12)
