"""Memory as an analysis: its figures, their null, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import snnsim as sn
from snnsim.analysis import Subject, analyse
from snnsim.analysis.memory import linear_models
from snnsim.baselines import RateNetwork, get, names
from snnsim.data import Arrays
from snnsim.errors import ConfigError
from snnsim.plotting.analysis import report
from snnsim.saving import Spec


def subject(model="quasi-lstm", **options):
    torch.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((6, 20, 3))
    data = Arrays(x, np.zeros(6, int), np.array([20, 20, 9, 20, 12, 20]), classes=("a", "b"))
    net = RateNetwork(3, 2, model, width=8, depth=2)
    return Subject(net, data, **({"nulls": 3} | options))


def test_a_network_that_forgets_later_has_more_memory_than_its_null():
    """The forget gates of the first layer are opened by hand; those of the second are as drawn."""
    looked_at = subject()
    with torch.no_grad():
        looked_at.net.layers[0].gates.bias[:8] += 3.0
    found = analyse(looked_at, "memory", samples=6).figures
    for what in ("memory", "reach"):
        opened, drawn = (found[f"{what} of layers.{i}"] for i in (0, 1))
        assert opened.value > opened.null + 5 * opened.spread
        assert opened.value - opened.null > 10 * abs(drawn.value - drawn.null)


def test_the_figures_are_means_over_samples_within_their_own_steps():
    """With the gate at one value, every state remembers 1 / (1 - L) steps."""
    looked_at = subject(nulls=0)
    with torch.no_grad():
        looked_at.net.layers[0].gates.weight.zero_()
        looked_at.net.layers[0].gates.bias.fill_(float(np.log(9)))  # sigmoid of it is 0.9
    found = analyse(looked_at, "memory", samples=6)
    assert found.figures["memory of layers.0"].value == pytest.approx(10, rel=1e-4)
    assert found.figures["memory of layers.0"].null is None
    curve = found.arrays["reach of layers.0"]
    lags = np.arange(20)
    longer = np.array([(np.array([20, 20, 9, 20, 12, 20]) > lag).mean() for lag in lags])
    assert curve == pytest.approx(curve[0] * 0.9**lags * longer, rel=1e-3)


def test_one_layer_may_be_named_and_the_network_is_left_as_it_was():
    looked_at = subject(layer="layers.1")
    before = {k: v.clone() for k, v in looked_at.net.state_dict().items()}
    found = analyse(looked_at, "memory")
    assert set(found.figures) == {"memory of layers.1", "reach of layers.1"}
    assert all(torch.equal(before[k], v) for k, v in looked_at.net.state_dict().items())
    again = analyse(looked_at, "memory")
    assert found.figures == again.figures


@pytest.mark.parametrize("model", linear_models())
def test_it_looks_at_every_linear_model_and_is_drawn(model):
    found = analyse(subject(model, nulls=1), "memory", samples=2)
    assert all(np.isfinite(f.value) and f.value >= 0 for f in found.figures.values())
    json.dumps(found.as_json(), allow_nan=False)
    assert len(report(found).axes) == 2
    assert len(found.text) == 2


def test_others_are_refused_and_the_linear_ones_are_named():
    with pytest.raises(ConfigError, match=r"no linear time-varying layer.*mbat.*s6"):
        analyse(subject("gru"), "memory")
    with pytest.raises(ConfigError, match=r"layers\.7 has no linear"):
        analyse(subject(layer="layers.7"), "memory")
    spiking = sn.Sequential(sn.Dense(3, 4), sn.LIF(4, dt=1.0), sn.Dense(4, 2))
    with pytest.raises(ConfigError, match="no linear time-varying layer"):
        analyse(Subject(spiking, subject().data), "memory")
    with pytest.raises(ConfigError, match="samples"):
        analyse(subject(), "memory", samples=0)
    assert set(linear_models()) == {n for n in names() if "ltv" in dir(get(n))}


def test_weights_drawn_anew_depend_on_the_seed_alone():
    net = subject().net
    one, same, other = (Spec(net).again(seed).state_dict() for seed in (1, 1, 2))
    name = "layers.0.gates.weight"
    assert torch.equal(one[name], same[name])
    assert not torch.equal(one[name], other[name])
    assert not torch.equal(one[name], net.state_dict()[name])
