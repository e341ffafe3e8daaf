"""What layers did in a run, as values: of neurons, recurrent layers and rate-coded models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_training import CHANNELS, TRAIN
from torch import nn

import snnsim as sn
from snnsim.baselines import RateNetwork, names
from snnsim.data import Arrays, from_events
from snnsim.errors import ConfigError

T, B, N = 9, 3, 5
STEPS = torch.arange(T)


def chain(recurrent=False, **options):
    torch.manual_seed(0)
    lif = sn.LIF(N, dt=1.0, tau_mem=4.0, **options)
    layer = sn.Recurrent(lif) if recurrent else lif
    return sn.Sequential(sn.Dense(CHANNELS, N), layer, sn.Dense(N, 2), sn.LI(2, dt=1.0))


def by_hand(net, x, reset="subtract"):
    """Current, membrane before and after the reset, and spikes, in a plain loop in numbers."""
    neuron = net[1].neuron if isinstance(net[1], sn.Recurrent) else net[1]
    decay = float(torch.exp(torch.tensor(-1 / 4.0, dtype=x.dtype)))
    v, z = torch.zeros(B, N, dtype=x.dtype), torch.zeros(B, N, dtype=x.dtype)
    found = {"input": [], "voltage": [], "v": [], "output": []}
    for x_t in x:
        current = x_t @ net[0].weight.t()
        u = decay * v + current
        if neuron is not net[1]:
            u = u + z @ net[1].w_rec.t()
        z = (u >= 1.0).to(x.dtype)
        v = u - z if reset == "subtract" else u * (1 - z)
        for name, value in zip(found, (current, u, v, z), strict=True):
            found[name].append(value)
    return {name: torch.stack(values) for name, values in found.items()}


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("what", ["input", "voltage", "v", "output"])
def test_neurons_are_recorded_as_a_plain_loop_has_them(recurrent, what, reset):
    net = chain(recurrent, reset=reset).double()
    x = (torch.rand(T, B, CHANNELS, dtype=torch.float64) < 0.5).double() * 2
    name = "layers.1.neuron" if recurrent else "layers.1"
    found = sn.record(net, x, name, what)
    assert list(found) == [name]
    expected = by_hand(net, x, reset)[what]
    assert expected.abs().sum() > 1 and (what != "output" or expected.sum() > 3)
    torch.testing.assert_close(found[name].values, expected, rtol=1e-12, atol=1e-12)
    kinds = {"input": "current", "output": "spikes"}
    assert (found[name].what, found[name].kind) == (what, kinds.get(what, "state"))


def test_a_membrane_before_and_after_its_reset_differ_where_it_spikes_and_nowhere_else():
    net, x = chain(), 2 * torch.rand(T, B, CHANNELS)
    recorded = (sn.record(net, x, "layers.1", what) for what in ("voltage", "v", "output"))
    u, v, z = (each["layers.1"].values for each in recorded)
    assert torch.equal(u != v, z > 0) and z.any()


def test_all_neurons_are_recorded_unless_layers_are_named():
    net, x = chain(recurrent=True), torch.rand(T, B, CHANNELS)
    found = sn.record(net, x)
    assert {name: each.kind for name, each in found.items()} == {
        "layers.1.neuron": "spikes", "layers.3": "state",
    }  # fmt: skip
    with evaluating(net):
        assert torch.equal(found["layers.3"].values, net(x)[0])
    dense = sn.record(net, x, ["layers.2"])["layers.2"]
    assert dense.kind == "rate" and dense.values.shape == (T, B, 2)


def evaluating(net):
    from snnsim.layer import evaluating as layers_evaluating

    return layers_evaluating(net)


def test_recording_leaves_nothing_and_changes_nothing_also_after_an_error():
    net, x = chain(), torch.rand(T, B, CHANNELS)
    net.train()
    before = net(x)[0]
    sn.record(net, x, what="voltage")
    with pytest.raises(ZeroDivisionError), sn.recording(net):
        raise ZeroDivisionError
    assert all(not m._forward_hooks for m in net.modules()) and net.training
    assert torch.equal(net(x)[0], before)


def test_values_of_ones_own_loop_have_gradients_and_are_those_of_the_last_run():
    net = chain()
    with sn.recording(net) as activity:
        net(torch.zeros(T, B, CHANNELS))
        net(torch.rand(4, B, CHANNELS))
        rate = activity["layers.1"].means().mean()
    rate.backward()
    assert net[0].weight.grad.abs().sum() > 0
    assert activity["layers.1"].values.shape == (4, B, N)
    with torch.no_grad(), sn.recording(net, what="v") as activity:
        net(torch.rand(T, B, CHANNELS))
    assert list(activity) == ["layers.1", "layers.3"]


@pytest.mark.parametrize("batch_size", [4, 100])
def test_samples_of_a_data_set_come_in_its_order_with_their_lengths_and_targets(batch_size):
    net = chain()
    found = sn.record(net, TRAIN, batch_size=batch_size)["layers.1"]
    assert found.lengths.tolist() == TRAIN.lengths.tolist()
    assert found.target.tolist() == TRAIN.labels.tolist()
    for sample in (0, 7, len(TRAIN) - 1):
        alone = TRAIN.batch([sample]).x
        expected = sn.record(net, alone)["layers.1"].values[:, 0]
        assert torch.equal(found.of(sample), expected)
        assert torch.allclose(found.means()[sample], expected.mean(0))
        steps, units = found.events(sample)
        assert torch.equal(expected.nonzero(), torch.stack([steps, units], 1))
    assert found.inside().sum() == TRAIN.lengths.sum()


def test_padding_counts_in_no_mean():
    net = sn.Sequential(sn.LIF(CHANNELS, dt=1.0))
    data = from_events([([0.0, 1.0], [0, 0]), ([0.0], [1])], [0, 1], channels=CHANNELS, dt=1.0)
    found = sn.record(net, data, what="input")["layers.0"]
    assert found.lengths.tolist() == data.lengths.tolist() and found.dt == 1.0
    rates = [float(data.batch([i]).x.sum()) / int(data.lengths[i]) for i in range(2)]
    assert found.means().sum(1).tolist() == pytest.approx(rates)


def test_delays_that_lengthen_a_sequence_lengthen_the_samples():
    torch.manual_seed(0)
    net = sn.Sequential(sn.Delayed(CHANNELS, N, dt=1.0, max_delay_ms=4), sn.LIF(N, dt=1.0))
    found = sn.record(net, TRAIN)["layers.1"]
    assert found.lengths.tolist() == (TRAIN.lengths + net[0].tail).tolist()


@pytest.mark.parametrize("model", names())
def test_every_rate_coded_model_is_recorded_with_its_outputs(model):
    torch.manual_seed(0)
    width = 24 if model in ("plstm2d", "lightnet2d", "rrn", "regenn", "lrcn", "workspace") else 12
    net = RateNetwork(CHANNELS * 2, 3, model, width=width, encoder={}).eval()
    x = torch.rand(T, B, CHANNELS * 2)
    found = sn.record(net, x)
    assert found and all(each.kind == "rate" for each in found.values())
    assert all(torch.isfinite(each.values).all() for each in found.values())


@pytest.mark.parametrize("model", ["gru", "lstm", "leaky", "elman", "s6", "linear-attention"])
def test_the_states_of_rate_coded_models_are_those_of_a_loop_of_single_steps(model):
    torch.manual_seed(0)
    net = RateNetwork(CHANNELS, 3, model, width=8).eval()
    x = torch.rand(T, B, CHANNELS)
    (name,) = sn.record(net, x)
    found = sn.record(net, x, what="state")[name]
    assert found.kind == "state" and found.values.shape[:2] == (T, B)
    longer = sn.record(net, x[: T - 2], what="state")[name].values
    torch.testing.assert_close(found.values[: T - 2], longer)
    assert (found.values[1:] != found.values[:-1]).any()


@pytest.mark.parametrize(("layers", "what", "says"), [
    ("layers.9", "output", "no layer 'layers.9'; did you mean"),
    ("layers.1", "w", r"LIF \(layers.1\) has no 'w'"),
    ("layers.1", "voltag", "did you mean 'voltage'"),
    ("layers.0", "voltage", "layers.0 is a Dense"),
])  # fmt: skip
def test_what_cannot_be_recorded_is_refused_before_anything_runs(layers, what, says):
    net = chain()
    ran = []
    net[0].register_forward_hook(lambda *_: ran.append(1))
    with pytest.raises(ConfigError, match=says):
        sn.record(net, torch.rand(T, B, CHANNELS), layers, what)
    assert not ran


def test_a_network_without_neurons_says_what_can_be_named():
    with pytest.raises(ConfigError, match="no neurons to record; name layers, some of .*0"):
        sn.record(sn.Sequential(nn.Linear(2, 3)), torch.rand(T, B, 2))


def test_neurons_that_reset_their_membrane_themselves_say_so():
    class Own(sn.Neuron):
        state = ("v",)
        v_threshold = 1.0

        @staticmethod
        def step(x, v, *, v_threshold):
            z = sn.spike(v + x - v_threshold)
            return z, (v + x - z,)

    with pytest.raises(ConfigError, match="record one of its states instead: v"):
        sn.record(sn.Sequential(Own(2, dt=1.0)), torch.rand(T, B, 2), what="voltage")


def test_a_target_for_every_step_is_told_from_one_for_every_sample():
    """Also where there are as many steps as samples, in batches that are put together again."""
    x = np.random.default_rng(0).random((8, 4, 3))
    states = np.arange(32).reshape(8, 4)
    net = sn.Sequential(sn.Dense(3, 2), sn.LIF(2, dt=1.0))
    found = sn.record(net, Arrays(x, states, per_step=True), batch_size=4)["layers.1"]
    np.testing.assert_array_equal(found.target.numpy(), states.T)
    found = sn.record(net, Arrays(x, np.arange(8)), batch_size=4)["layers.1"]
    np.testing.assert_array_equal(found.target.numpy(), np.arange(8))
