"""Convolutional networks with delays: layers, shapes, options, saving, and configurations."""

from __future__ import annotations

import math

import pytest
import torch
from snnsim_experiments import resolve
from snnsim_experiments.build import Facts, build_network
from snnsim_experiments.experiment import Experiment
from torch import nn

import snnsim as sn
from snnsim.baselines import cost_of
from snnsim.data import Arrays
from snnsim.errors import ConfigError
from snnsim.networks import conv_delay_network, delay_network
from snnsim.synapses import Delayed, DelayedConv2d, Dense, OverTime

COMMON = {"dt": 10.0, "tau_mem": 20.0, "max_delay_ms": 40.0, "dropout": 0.25}


def network(shape=(2, 9, 12), channels=(3, 4), classes=5, **changes):
    torch.manual_seed(0)
    return conv_delay_network(shape, channels, classes, **COMMON | changes)


def kinds(net):
    return [type(m.module if isinstance(m, OverTime) else m).__name__ for m in net]


def test_its_layers_are_these():
    block = ["DelayedConv2d", "BatchNorm", "LIF", "Dropout", "MaxPool2d"]
    net = network(hidden=(7,))
    assert kinds(net) == [
        "Flatten", "Unflatten", *block, *block, "Flatten",
        "Delayed", "BatchNorm", "LIF", "Dropout", "Delayed", "LI",
    ]  # fmt: skip
    first, second = (m for m in net if isinstance(m, DelayedConv2d))
    assert first.weight.shape == (3, 2, 3, 3) and second.weight.shape == (4, 3, 3, 3)
    assert [m.shape for m in net if isinstance(m, sn.LIF)] == [(3, 9, 12), (4, 4, 6), (7,)]
    dense = [m for m in net if isinstance(m, Delayed)]
    assert [(m.n_in, m.n_out) for m in dense] == [(4 * 2 * 3, 7), (7, 5)]
    for m in (first, second, *dense):
        assert (m.length, m.padding, m.learn_delay) == (5, "lengthen", True)
    neuron = net[4]
    assert float(neuron.tau_mem) == 20.0 and neuron.reset.mode == "zero"
    assert [m.p for m in net if isinstance(m, sn.Dropout)] == [0.25] * 3


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("pool", [1, 2, 3])
@pytest.mark.parametrize("padding", ["causal", "lengthen"])
def test_a_step_may_be_an_image_or_a_row(kernel_size, pool, padding):
    net = network(kernel_size=kernel_size, pool=pool, padding=padding).eval()
    sn.narrow_delays(net, 1, 1)
    x = (torch.rand(6, 2, 2, 9, 12) < 0.2).float()
    y, _ = net(x)
    assert y.shape == (6 + 3 * 2 * (padding == "lengthen"), 2, 5)
    assert torch.equal(net(x.flatten(2))[0], y)


def test_a_causal_network_streams():
    net = network(padding="causal").eval()
    sn.narrow_delays(net, 1, 1)
    x = (torch.rand(9, 2, 2, 9, 12) < 0.3).float()
    whole, _ = net(x)
    first, state = net(x[:4])
    second, _ = net(x[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-5, atol=1e-5)


def test_delays_may_be_fixed_or_absent_and_weights_start_alike():
    fixed = network(delays="fixed")
    assert all(not m.delay.requires_grad for m in fixed if isinstance(m, DelayedConv2d | Delayed))
    none = network(delays="none", hidden=(7,))
    assert not any(isinstance(m, DelayedConv2d | Delayed) for m in none)
    assert kinds(none).count("Conv2d") == kinds(none).count("Dense") == 2
    y, _ = none(torch.zeros(3, 1, 2, 9, 12))
    assert y.shape == (3, 1, 5)
    wide = network((4, 9, 9), (64,), delays="none")
    weight = wide[2].module.weight
    bound = math.sqrt(6 / (4 * 9))
    assert 0.99 * bound < float(weight.detach().abs().max()) <= bound


def test_options_of_the_fully_connected_part_reach_it():
    net = network(
        hidden=(6, 6), neuron="adlif", tau_adapt=77.0, recurrent=True, skip=True, kernel_count=2,
        granularity="axonal", backend="reference",
    )  # fmt: skip
    cell = net[4]
    assert isinstance(cell, sn.AdLIF) and cell.shape == (3, 9, 12)
    assert cell.backend == "reference" and float(cell.tau_adapt.detach().mean()) == pytest.approx(
        77
    )
    delayed = [m for m in net.modules() if isinstance(m, Delayed)]
    assert {m.granularity for m in delayed} == {"axonal"}
    assert {m.weight.shape[2] for m in delayed} == {2}
    assert sum(isinstance(m, sn.Recurrent) for m in net.modules()) == 2
    assert sum(isinstance(m, sn.Skip) for m in net.modules()) == 1
    plain = network(hidden=(6,), delays="none")
    alike = delay_network((24, 6, 5), **COMMON, delays="none")
    mine = [type(m) for m in plain][-6:]
    assert mine == [type(m) for m in alike]


def test_it_can_be_saved_and_trained(tmp_path):
    net = network()
    x = (torch.rand(8, 6, 2, 9, 12) < 0.2).float()
    labels = torch.arange(8) % 2
    recipe = sn.training.Recipe(epochs=1, batch_size=4)
    data = Arrays(x, labels, classes=("a", "b", "c", "d", "e"), dt=10.0)
    sn.training.Trainer(net, data, data, recipe, out=tmp_path / "run").run()
    sn.save(net, tmp_path / "net.safetensors")
    again = sn.load(tmp_path / "net.safetensors")
    assert torch.equal(again(x[:, :2])[0], net.eval()(x[:, :2])[0])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"shape": (140,)}, r"the shape \(140,\) but convolutions need images"),
        ({"shape": ()}, "convolutions need images"),
        ({"shape": (2, 0, 9)}, "convolutions need images"),
        ({"channels": ()}, "channels is empty"),
        ({"channels": (2, 0)}, "number of channels of a convolution is 0"),
        ({"channels": (2, 2.5)}, "number of channels of a convolution is 2.5"),
        ({"kernel_size": 4}, "kernel_size is 4 but must be odd.* use 3 or 5"),
        ({"kernel_size": 0}, "kernel_size is 0"),
        ({"pool": 0}, "pool is 0"),
        ({"pool": 4}, "2 convolutions, each with windows of 4 x 4 pixels .* 9 x 12"),
        ({"channels": (1,) * 4}, "4 convolutions, each with windows of 2 x 2"),
        ({"delays": "learnt"}, "delays is 'learnt'.*did you mean 'learned'"),
        ({"neuron": "lyf"}, "neuron is 'lyf'"),
        ({"hidden": (0,)}, "must be input, hidden"),
        ({"classes": 0}, "must be input, hidden"),
    ],
)
def test_what_makes_no_network_is_refused(changes, text):
    with pytest.raises(ConfigError, match=text):
        network(**changes)


# --- configurations -------------------------------------------------------------------------------


def test_a_configuration_builds_it_for_data_whose_steps_are_images():
    chosen = resolve("nmnist", changes=["network.conv=[3,4]", "network.hidden=[7]"])
    net = build_network(chosen, *Facts(2312, 10, 10.0, (2, 34, 34)))
    assert [m.channels_out for m in net if isinstance(m, DelayedConv2d)] == [3, 4]
    assert net(torch.zeros(2, 1, 2312))[0].shape[1:] == (1, 10)
    shipped = resolve("nmnist", config="conv").network
    assert (shipped["conv"], shipped["hidden"]) == ([8, 16], [])
    for other in ("cameras", "nmnist"):
        for name in ("fixed", "none"):
            assert resolve(other, config=name).network["delays"] == name
    with pytest.raises(ConfigError, match="convolutions need images"):
        build_network(resolve("shd", changes=["network.conv=[2]"]), 140, 20, 10.0)


def test_without_convolutions_the_network_is_what_it_was():
    chosen = resolve("nmnist", changes=["network.hidden=[7]"])
    one, other = (build_network(chosen, 2312, 10, 10.0, shape) for shape in ((), (2, 34, 34)))
    assert kinds(one) == kinds(other) == kinds(delay_network((3, 7, 2), **COMMON))
    assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


@pytest.mark.parametrize("name", ["kernel_size", "pool"])
def test_options_of_convolutions_need_them(name):
    with pytest.raises(ConfigError, match=f"network.{name} has no effect without convolutions"):
        resolve("nmnist", changes=[f"network.{name}=3"])
    found = resolve("nmnist", changes=[f"network.{name}=3", "network.conv=[2]"])
    assert found.network[name] == 3


def test_runs_of_earlier_versions_have_no_convolutions():
    stored = resolve("nmnist").as_json()
    for name in ("conv", "kernel_size", "pool"):
        del stored["network"][name]
    assert Experiment.from_json(stored) == resolve("nmnist")


def test_a_module_of_torch_that_makes_images_of_rows_can_be_saved(tmp_path):
    net = sn.Sequential(nn.Unflatten(2, (1, 2, 2)), sn.Conv2d(1, 1, 2), nn.Flatten(2), Dense(1, 1))
    sn.save(net, tmp_path / "net.safetensors")
    x = torch.rand(3, 1, 4)
    assert torch.equal(sn.load(tmp_path / "net.safetensors")(x)[0], net(x)[0])


# --- cost -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("delays", ["learned", "none"])
def test_a_weight_of_a_convolution_is_used_for_every_pixel(delays):
    cost = cost_of(network(hidden=(7,), delays=delays), 2 * 9 * 12)
    pixels = 3 * 2 * 9 * (9 * 12) + 4 * 3 * 9 * (4 * 6)
    assert cost.operations == pixels + 24 * 7 + 7 * 5


def test_the_state_has_the_images_under_way():
    costs = [cost_of(network(padding=padding), 2 * 9 * 12) for padding in ("causal", "lengthen")]
    membranes = 3 * 9 * 12 + 4 * 4 * 6 + 5
    assert [cost.state for cost in costs] == [4 * (2 * 9 * 12 + 3 * 4 * 6 + 24) + membranes] * 2
