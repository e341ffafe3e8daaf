"""Constants of the published systems on SHD, SSC and GSC (Hammouamri et al. 2024,
arXiv:2306.17670): networks, starts of weights and delays, recipes and their schedules."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from snnsim_experiments.build import build_network
from snnsim_experiments.candidates import ADAPTIVE, ON_DATA
from snnsim_experiments.configuration import config_names, resolve

import snnsim as sn
from snnsim.networks import delay_network
from snnsim.surrogate import ATan
from snnsim.training import Optimizers, Recipe

# hidden layers, width, classes, tau in ms, dropout, taps, epochs, samples per batch
SYSTEMS = {
    "shd": (2, 256, 20, 10.05, 0.4, 25, 150, 256),
    "ssc": (3, 512, 35, 15.0, 0.25, 31, 60, 128),
    "gsc": (3, 512, 35, 15.0, 0.25, 31, 100, 128),
}
BUILDERS = {"shd": sn.shd_network, "ssc": sn.ssc_network, "gsc": sn.gsc_network}
each_system = pytest.mark.parametrize("name", SYSTEMS)


def of_kind(net, kind):
    return [module for module in net if isinstance(module, kind)]


@each_system
@pytest.mark.parametrize("source", ["builder", "configuration"])
def test_a_published_network_has_the_published_parts(name, source):
    layers, width, classes, tau, dropout, taps, _, _ = SYSTEMS[name]
    if source == "builder":
        net = BUILDERS[name]()
    else:
        net = build_network(resolve(name), 140, classes, 10.0)
    block = [sn.Delayed, sn.BatchNorm, sn.LIF, sn.Dropout]
    assert [type(layer) for layer in net] == [*block * layers, sn.Delayed, sn.LI]
    sizes = [140, *[width] * layers, classes]
    assert [(c.n_in, c.n_out) for c in of_kind(net, sn.Delayed)] == list(itertools.pairwise(sizes))
    for connection in of_kind(net, sn.Delayed):
        assert (connection.length, connection.dt) == (taps, 10.0)
        assert (connection.granularity, connection.padding) == ("synaptic", "lengthen")
        assert connection.weight.shape == (connection.n_out, connection.n_in, 1)
        assert (connection.profile, float(connection.sigma)) == ("gauss", taps // 2)
        assert connection.learn_delay and connection.delay.requires_grad
        assert not connection.sigma.requires_grad and not hasattr(connection, "bias")
    for lif in of_kind(net, sn.LIF):
        assert (lif.reset.mode, lif.reset.detach) == ("zero", True)
        assert (lif.discretization, lif.options["scale_input"]) == ("euler", False)
        assert lif.surrogate == ATan(alpha=5.0)
        assert (float(lif.v_threshold), float(lif.v_reset)) == (1.0, 0.0)
    for neurons in of_kind(net, (sn.LIF, sn.LI)):
        assert float(neurons.tau_mem) == pytest.approx(tau, rel=1e-6)
        assert neurons.dt == 10.0
    assert [drop.p for drop in of_kind(net, sn.Dropout)] == [dropout] * layers
    readout = of_kind(net, sn.LI)[0]
    assert (readout.discretization, readout.options["scale_input"]) == ("euler", False)


@pytest.mark.parametrize(("name", "kept"), [("shd", 1 - 1 / 1.005), ("ssc", 1 / 3), ("gsc", 1 / 3)])
def test_a_membrane_keeps_the_published_share_per_step(name, kept):
    net = BUILDERS[name]().double()
    x = torch.zeros(3, 1, of_kind(net, sn.LI)[0].n).double()
    x[0] = 1.0
    y, _ = of_kind(net, sn.LI)[0](x)
    assert y[:, 0, 0].tolist() == pytest.approx([1, kept, kept**2], rel=1e-12)


@pytest.mark.parametrize("hidden", [2, 3])
def test_networks_of_ssc_and_gsc_have_as_many_layers_as_asked_for(hidden):
    for build in (sn.ssc_network, sn.gsc_network):
        connections = of_kind(build(hidden_layers=hidden), sn.Delayed)
        assert [c.n_out for c in connections] == [512] * hidden + [35]
    assert of_kind(sn.shd_network(classes=7), sn.LI)[0].n == 7


# --- how weights and delays start -----------------------------------------------------------------


@pytest.mark.parametrize("granularity", ["synaptic", "axonal", "dendritic"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_weights_start_uniformly_for_all_kernels_of_all_inputs(count, granularity):
    torch.manual_seed(0)
    layer = sn.Delayed(
        150, 100, dt=10.0, max_delay_ms=240, kernel_count=count, granularity=granularity
    )
    bound = math.sqrt(6 / (150 * count))  # not of the number of taps
    weight = layer.weight.detach()
    assert weight.shape == (100, 150, count)
    assert 0.998 * bound < float(weight.abs().max()) <= bound
    assert float(weight.var()) == pytest.approx(bound**2 / 3, rel=0.03)
    assert abs(float(weight.mean())) < 0.02 * bound


WITHOUT = {"dt": 1.0, "tau_mem": 5.0, "max_delay_ms": 4, "dropout": 0.0, "delays": "none"}


def test_dense_weights_start_as_those_of_one_kernel():
    torch.manual_seed(0)
    net = sn.delay_network((150, 100), **WITHOUT)
    weight = net[0].weight.detach()
    bound = math.sqrt(6 / 150)
    assert 0.998 * bound < float(weight.abs().max()) <= bound
    assert float(weight.var()) == pytest.approx(bound**2 / 3, rel=0.03)


@pytest.mark.parametrize(("ms", "taps", "at_most"), [(240, 25, 0.04), (300, 31, 0.032)])
def test_delays_start_uniformly_with_one_part_in_the_number_of_taps_at_the_largest(
    ms, taps, at_most
):
    torch.manual_seed(0)
    delay = sn.Delayed(300, 200, dt=10.0, max_delay_ms=ms).delay.detach()
    assert 0 <= float(delay.min()) < 0.01 and float(delay.max()) == taps - 1
    share = float((delay == taps - 1).double().mean())
    assert share == pytest.approx(at_most, abs=0.002)
    inner = delay[delay < taps - 1]
    assert float(inner.mean()) == pytest.approx((taps - 1) / 2, rel=0.01)
    counts = torch.histc(inner, taps - 1, 0, taps - 1) / delay.numel()
    torch.testing.assert_close(counts, torch.full_like(counts, 1 / taps), rtol=0.1, atol=0)


def test_fixed_delays_are_whole_steps_that_are_not_learnt():
    for connection in of_kind(sn.shd_network(delays="fixed"), sn.Delayed):
        delay = connection.delay
        assert not delay.requires_grad and torch.equal(delay, delay.round())
        assert len(delay.unique()) == 25
        assert connection.profile == "one_tap"


# --- recipes ------------------------------------------------------------------------------------


@each_system
def test_the_configuration_of_a_data_set_is_the_published_recipe(name):
    *_, epochs, batch = SYSTEMS[name]
    recipe = resolve(name).recipe
    assert (recipe.epochs, recipe.batch_size) == (epochs, batch)
    assert (recipe.lr, recipe.lr_delay, recipe.weight_decay) == (5e-3, 0.1, 1e-5)
    assert (recipe.sigma_end, recipe.sigma_fraction) == (0.23, 0.25)
    assert (recipe.schedule, recipe.readout, recipe.mask_padding) == (
        "one_cycle", "sum_softmax", False,
    )  # fmt: skip
    assert (recipe.accumulate, recipe.patience) == (1, 0)


def test_the_defaults_of_a_recipe_are_those_of_shd():
    assert resolve("shd").recipe == Recipe()


@pytest.mark.parametrize("name", ["shd", "ssc"])
def test_spikes_are_binned_to_10_ms_and_140_channels(name):
    data = resolve(name).data
    assert (data["dt"], data["pool"]) == (10.0, 5)
    assert resolve(name, config="event_anchored").data["binning"] == "event_anchored"


@each_system
def test_rates_and_widths_follow_the_published_schedules(name):
    _, _, _, _, _, taps, epochs, _ = SYSTEMS[name]
    net = delay_network(
        (4, 3, 2), dt=10.0, tau_mem=15.0, max_delay_ms=10.0 * (taps - 1), dropout=0.0
    )
    optimizers = Optimizers(net, resolve(name).recipe)

    def at(epoch):
        optimizers.start_epoch(epoch)
        main, delays = (o.param_groups[0] for o in optimizers.each)
        sigma = {float(c.sigma) for c in optimizers.connections}
        return main["lr"], main["betas"], delays["lr"], delays["betas"], sigma.pop()

    first, last, decayed = at(0), at(epochs - 1), epochs // 4
    peak = round(0.3 * epochs) - 1
    assert first == (
        pytest.approx(2e-4),
        (pytest.approx(0.95), 0.999),
        0.1,
        (0.9, 0.999),
        taps // 2,
    )
    assert at(peak)[:2] == (pytest.approx(5e-3), (pytest.approx(0.85), 0.999))
    assert last[:2] == (pytest.approx(2e-8), (pytest.approx(0.95), 0.999))
    assert last[2] == pytest.approx(0.05 * (1 + math.cos(math.pi * (epochs - 1) / epochs)))
    assert at(decayed)[4] == last[4] == pytest.approx(0.23, rel=1e-6)
    factor = {"shd": 0.89863, "ssc": 0.75691, "gsc": 0.84611}[name]
    assert at(1)[4] / first[4] == pytest.approx(factor, abs=5e-6)
    assert at(decayed - 1)[4] == pytest.approx(0.23 / factor, rel=1e-4)
    decays = [group["weight_decay"] for group in optimizers.main.param_groups]
    assert decays == [1e-5, 0.0]
    assert [group["weight_decay"] for group in optimizers.delays.param_groups] == [0.0]


@each_system
def test_variations_of_a_configuration_change_what_they_say_and_nothing_else(name):
    usual = resolve(name)
    for config, changed in {
        "none": {"delays": "none"},
        "fixed": {"delays": "fixed"},
        "none_tau55": {"delays": "none", "tau_mem": 55.0},
    }.items():
        if config in config_names(name):
            found = resolve(name, config=config)
            assert found.network == usual.network | changed
            assert (found.training, found.data) == (usual.training, usual.data)
    if name == "gsc":
        assert resolve(name, config="published_mel").data == usual.data | {"f_max": 14_000.0}


# --- adaptive neurons --------------------------------------------------------------------------


@pytest.mark.parametrize("recurrent", [False, True])
def test_adaptive_neurons_start_with_the_time_constants_they_are_given(recurrent):
    torch.manual_seed(0)
    net = delay_network(
        (6, 400, 3), dt=10.0, tau_mem=30.0, max_delay_ms=40, dropout=0.0, delays="none",
        neuron="adlif", tau_adapt=270.0, recurrent=recurrent,
    )  # fmt: skip
    cell = net[2].neuron if recurrent else net[2]
    assert cell.discretization == "exponential" and cell.surrogate == ATan(alpha=5.0)
    for key, value in (("tau_mem", 30.0), ("tau_adapt", 270.0)):
        found = getattr(cell, key).detach()
        torch.testing.assert_close(found, torch.full((400,), value), rtol=1e-5, atol=0)
    for key, high in (("a", 1.0), ("b", 2.0)):
        drawn = getattr(cell, key).detach()
        assert 0 <= float(drawn.min()) < 0.02 * high < 0.98 * high < float(drawn.max()) <= high
    names = {f"raw_{key}" for key in ("tau_mem", "tau_adapt", "a", "b")}
    assert {n for n, p in cell.named_parameters() if p.requires_grad} == names


def test_adaptive_neurons_adapt_over_150_ms_unless_told_otherwise():
    net = delay_network(
        (6, 5, 3), dt=10.0, tau_mem=30.0, max_delay_ms=40, dropout=0.0, neuron="adlif"
    )
    assert net[2].tau_adapt.tolist() == pytest.approx([150.0] * 5, rel=1e-5)


def test_adaptive_networks_of_a_comparison_are_the_slow_ones():
    for name, recurrent in (("snn-adlif", False), ("snn-radlif", True)):
        assert list(ON_DATA[name].items())[: len(ADAPTIVE)] == list(ADAPTIVE.items())
        network = resolve("shd", changes=ON_DATA[name]).network
        assert (network["tau_mem"], network["tau_adapt"]) == (100.0, 500.0)
        assert (network["delays"], network["neuron"]) == ("none", "adlif")
        assert network["recurrent"] == recurrent
