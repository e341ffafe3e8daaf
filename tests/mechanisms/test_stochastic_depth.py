"""Deep residual spiking networks: skip connections and stochastic depth."""

from __future__ import annotations

import json

import pytest
import torch
from small_training import (
    CHANNELS,
    CLASSES,
    RECIPE,
    VALIDATION,
    Stop,
    StopAfter,
    changed,
    differences,
    everything,
    network,
    trainer,
)
from snnsim_experiments.build import build_network
from snnsim_experiments.configuration import resolve
from snnsim_experiments.experiment import Experiment
from toolbox import random, refusal

import snnsim as sn
from snnsim.errors import ConfigError
from snnsim.layer import map_state
from snnsim.networks import StochasticDepth
from snnsim.training import evaluate
from snnsim.training.evaluate import run_padded

SIZES = (CHANNELS, 8, 8, 8, CLASSES)


def deep(p=0.5, seed=0, padding="causal", **options):
    torch.manual_seed(seed)
    given = {"dt": 1.0, "tau_mem": 2.0, "max_delay_ms": 4, "dropout": 0.0, "delays": "fixed"}
    given |= {"skip": True, "stochastic_depth": p, "padding": padding} | options
    return sn.delay_network(SIZES, **given)


def spikes(steps=12, batch=4, seed=0):
    return (random(steps, batch, CHANNELS, seed=seed) < 0.4).double()


# --- reference ------------------------------------------------------------------------------------


def by_hand(net, x, gates, tau=2.0):
    """Fang et al. 2021: ``y = x + g block(x)``, each block of its equations step by step."""
    stages = [(list(net)[:3], False)]
    for each in list(net)[4:-2]:
        inner = each.layer.block if isinstance(each.layer, StochasticDepth) else each.layer
        stages.append((list(inner)[:3], True))
    for ((connection, norm, _), around), gate in zip(stages, [1.0, *gates], strict=True):
        weight, delay = connection.weight[..., 0], connection.delay[..., 0].round().long()
        current = torch.zeros(len(x), x.shape[1], len(weight), dtype=x.dtype)
        for t in range(len(x)):
            for o in range(weight.shape[0]):
                for i in range(weight.shape[1]):
                    if t >= delay[o, i]:
                        current[t, :, o] += weight[o, i] * x[t - delay[o, i], :, i]
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        current = (current - norm.running_mean) * scale + norm.bias
        v, out = torch.zeros_like(current[0]), []
        for now in current:
            v = v + (-v) / tau + now
            out.append((v >= 1).double())
            v = v * (1 - out[-1])
        x = (x if around else 0) + gate * torch.stack(out)
    return x


def hidden(net, x):
    return sn.Sequential(*net[:-2])(x)[0]


def prepared(**options):
    net = deep(**options).double().eval()
    for each in net.modules():
        if isinstance(each, sn.BatchNorm):
            torch.nn.init.uniform_(each.bias, 0.2, 0.6)
            torch.nn.init.uniform_(each.weight, 1.0, 2.0)
    return net


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_the_network_is_its_equations_in_evaluation(p):
    net, x = prepared(p=p), spikes()
    expected = by_hand(net, x, [1.0, 1.0])
    assert expected.max() > 1  # blocks add to what they pass on
    with torch.no_grad():
        torch.testing.assert_close(hidden(net, x), expected, rtol=0, atol=1e-12)


def test_in_training_each_block_has_a_gate_of_its_own_which_is_0_or_scaled():
    net, x, seen = prepared(p=0.25), spikes(), set()
    for each in net.modules():  # statistics as in evaluation, so that the equations are the same
        each.training = isinstance(each, StochasticDepth)
    with torch.no_grad():
        for seed in range(12):
            torch.manual_seed(seed)
            y, state = sn.Sequential(*net[:-2])(x)
            found = [float(each[0][1]) for each in state[4:]]
            seen.add(tuple(g > 0 for g in found))
            torch.testing.assert_close(y, by_hand(net, x, found), rtol=0, atol=1e-12)
            assert all(gate == 0 or gate == pytest.approx(1 / 0.75) for gate in found)
    assert len(seen) > 2


def test_the_probability_is_that_of_being_left_out():
    block = StochasticDepth(sn.Dense(3, 3), 0.2).train()
    torch.manual_seed(0)
    gates = torch.stack([block(torch.ones(1, 1, 3))[1][1] for _ in range(4000)])
    assert (gates == 0).double().mean() == pytest.approx(0.2, abs=0.02)
    assert gates.mean() == pytest.approx(1.0, abs=0.02)


# --- training, state, resumption ------------------------------------------------------------------


def test_what_is_left_out_is_not_computed_and_learns_nothing():
    block = StochasticDepth(sn.Sequential(sn.Dense(3, 3), sn.BatchNorm(3)), 0.999).train()
    torch.manual_seed(0)
    x = torch.rand(5, 2, 3, requires_grad=True)
    y, _ = sn.Skip(block)(x)
    assert torch.equal(y, x)
    y.sum().backward()
    assert all(p.grad is None for p in block.parameters())
    assert not block.block[1].running_mean.any()


def test_evaluation_draws_nothing():
    net, x = deep(p=0.5).eval(), spikes().float()
    before = torch.get_rng_state()
    assert torch.equal(net(x)[0], net(x)[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_pieces_of_a_sequence_keep_the_gate_and_give_the_whole():
    net, x = deep(p=0.5), spikes(20).float()
    for each in net.modules():
        each.training = isinstance(each, StochasticDepth)
    for seed in range(6):
        torch.manual_seed(seed)
        whole, _ = net(x)
        torch.manual_seed(seed)
        pieces, state = [], None
        for piece in x.split(3):
            y, state = net(piece, state)
            pieces.append(y)
            state = map_state(torch.clone, state)
        torch.testing.assert_close(torch.cat(pieces), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("p", "stop"), [(0.4, (1, 2)), (0.95, (0, 1))])
def test_an_interrupted_run_ends_with_the_bits_of_one_that_was_not(tmp_path, p, stop):
    recipe = changed(checkpoint_steps=1)
    whole = trainer(recipe, net=deep(p))
    whole.run()
    expected = everything(whole)
    with pytest.raises(Stop):
        trainer(recipe, net=deep(p), out=tmp_path, watcher=StopAfter(*stop)).run()
    again = trainer(recipe, net=deep(p, seed=9), out=tmp_path)
    assert again.resume()
    again.run()
    assert differences(everything(again), expected) == []


def test_delays_that_lengthen_are_joined_and_every_gate_gives_as_many_steps():
    net = deep(p=0.5, padding="lengthen")
    x = spikes().float()
    lengths = set()
    for seed in range(8):
        torch.manual_seed(seed)
        lengths.add(len(net.train()(x)[0]))
    assert lengths == {len(net.eval()(x)[0])}
    assert len(run_padded(net, x, torch.full((4,), 12))[0]) in lengths
    trained = trainer(RECIPE, net=net)
    trained.run()
    assert evaluate(trained.net, VALIDATION).samples == len(VALIDATION)


# --- saving, compiling, refusals ------------------------------------------------------------------


def test_it_is_saved_and_loaded(tmp_path):
    net, x = deep(p=0.3), spikes().float()
    sn.save(net, tmp_path / "net.safetensors")
    again = sn.load(tmp_path / "net.safetensors")
    assert torch.equal(again(x)[0], net.eval()(x)[0])
    assert [m.p for m in again.modules() if isinstance(m, StochasticDepth)] == [0.3, 0.3]


def test_compile_refuses_it_in_a_sentence():
    message = refusal(ConfigError, sn.compile, deep().eval())
    assert "(Skip)" in message and "net.eval()" in message


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"skip": False}, "skip is off"), ({"p": 1.0}, "excluded"), ({"p": -0.1}, "at least 0"),
        ({"p": float("nan")}, "finite"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(options, reason):
    with pytest.raises(ConfigError, match=reason):
        deep(**options)


def test_a_skip_that_no_block_could_use_is_refused():
    with pytest.raises(ConfigError, match="two hidden layers"):
        network(skip=True)


def test_without_the_options_the_network_is_that_of_before():
    assert not any(isinstance(each, sn.Skip) for each in network().modules())
    assert sum(isinstance(each, sn.Skip) for each in deep(p=0.0).modules()) == 2


# --- configuration --------------------------------------------------------------------------------


def resolved(**network):
    return resolve("spoken-digits", changes={f"network.{k}": v for k, v in network.items()})


def test_layers_are_short_for_equal_widths():
    short = resolved(layers=4, hidden=[16], skip=True, stochastic_depth=0.2, padding="causal")
    assert short.network["hidden"] == [16] * 4 and "layers" not in short.network
    net = build_network(short, 20, 10, 10.0)
    assert sum(isinstance(each, StochasticDepth) for each in net.modules()) == 3
    assert resolved(layers=3) == resolved(hidden=[256] * 3)


def test_layers_of_several_widths_or_none_are_refused():
    with pytest.raises(ConfigError, match="equal layers"):
        resolved(layers=3, hidden=[16, 32])
    with pytest.raises(ConfigError, match="at least 1"):
        resolved(layers=0)


def test_a_run_of_before_the_options_is_the_same_experiment_as_one_with_their_defaults():
    now = resolved()
    stored = json.loads(json.dumps(now.as_json()))
    del stored["network"]["skip"], stored["network"]["stochastic_depth"]
    assert Experiment.from_json(stored).differences(now) == []
