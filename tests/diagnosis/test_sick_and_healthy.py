"""Twelve sick networks and more are diagnosed right, and healthy ones are left in peace."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from patients import CHANNELS, CLASSES, RECIPE, delayed, network, recurrent, shd, spikes, trained
from snnsim_datasets import load

import snnsim as sn
from snnsim.baselines import RateNetwork, models
from snnsim.data import Arrays
from snnsim.layer import Layer
from snnsim.surrogate import Boxcar
from snnsim.training import Classification, PerStep, Recipe, Regression, Trainer, set_seed

# --- sick -----------------------------------------------------------------------------------------


def sick_dead():
    return network(v_threshold=100.0), spikes(), {}


def sick_saturated():
    net = network()
    net.layers[0].weight.data.abs_().mul_(30)
    return net, spikes(), {}


def sick_too_small():
    return network(), spikes(scale=1e-3), {}


def sick_too_large():
    return network(), spikes(scale=1e4), {}


def sick_shuffled():
    labels = np.random.default_rng(5).permutation(np.arange(96) % CLASSES)
    data, net = spikes(labels=labels), network(16)
    before = trained(net, data, epochs=1)
    return net, data, {"before": before}


def sick_no_learning_rate():
    return network(), spikes(), {"recipe": Recipe(epochs=3, lr=0.0, readout="mean")}


def sick_small_learning_rate():
    return network(), spikes(), {"recipe": Recipe(epochs=3, lr=1e-9, readout="mean")}


def sick_large_learning_rate():
    recipe = Recipe(epochs=3, lr=30.0, optimizer="sgd", readout="spike_count")
    return network(), spikes(), {"recipe": recipe}


def sick_exploding():
    """A recurrent network in which what comes back grows over 300 steps, until it overflows."""
    return recurrent(), spikes(n=64, steps=300), {}


def sick_padding():
    lengths = np.full(96, 6)
    lengths[0] = 200
    return network(), spikes(steps=200, lengths=lengths), {}


def sick_delays():
    net = delayed()
    net.layers[0].delay.data.fill_(10.0)
    return net, spikes(), {}


def sick_surrogate():
    return network(surrogate=Boxcar(width=1e-5), gain=0.937), spikes(), {}


def sick_frozen():
    return network().requires_grad_(False), spikes(), {}


def sick_nan():
    net = network()
    net.layers[2].weight.data[0, 0] = torch.nan
    return net, spikes(), {}


def sick_one_class():
    return network(), spikes(labels=(np.arange(96) == 0).astype(int)), {}


class Cut(Layer):
    """A layer through which no gradient flows."""

    def forward(self, x, state=None):
        return x.detach(), None


def sick_detached():
    net = network(32, 32)
    net.layers.insert(2, Cut())
    return net, spikes(), {}


SICK = {
    "dead": (sick_dead, "dead layer", "layers.1"),
    "saturated": (sick_saturated, "saturated layer", "layers.1"),
    "too small": (sick_too_small, "input too small", "input"),
    "too large": (sick_too_large, "input too large", "input"),
    "shuffled labels": (sick_shuffled, "labels unlike input", "labels"),
    "learning rate zero": (sick_no_learning_rate, "learning rate zero", "training"),
    "small learning rate": (sick_small_learning_rate, "learning rate too small", "training"),
    "large learning rate": (sick_large_learning_rate, "learning rate too large", "training"),
    "exploding": (sick_exploding, "exploding gradient", "layers.1.neuron"),
    "padding": (sick_padding, "padding read out", "read-out"),
    "delays": (sick_delays, "delays at border", "layers.0"),
    "surrogate": (sick_surrogate, "surrogate too narrow", "layers.1"),
    "frozen": (sick_frozen, "frozen", "layers.0.weight"),
    "NaN": (sick_nan, "weights not finite", "layers.2.weight"),
    "one class": (sick_one_class, "one class", "labels"),
    "detached": (sick_detached, "no gradient", "layers.0.weight"),
}


@pytest.mark.parametrize("name", SICK)
def test_the_worst_finding_of_a_sick_network_is_its_illness(name):
    make, what, where = SICK[name]
    net, data, options = make()
    diagnosis = sn.diagnose(net, data, **{"recipe": RECIPE, **options})
    worst = diagnosis.worst
    assert worst is not None
    assert not diagnosis.healthy
    assert (worst.what, worst.where, worst.severity) == (what, where, "problem"), str(diagnosis)
    assert worst.sentence.endswith(".")
    assert worst.advice.endswith(".")


# --- healthy --------------------------------------------------------------------------------------


def steps_to_class():
    """A class for every step: which third of the channels is busy."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, (64, 20))
    x = rng.random((64, 20, CHANNELS)) * 0.1
    for c in range(3):
        x[..., 4 * c : 4 * c + 4] += 0.8 * (y == c)[..., None]
    return Arrays(x.astype(np.float32), y, per_step=True)


def values():
    data = spikes()
    return Arrays(data.x, data.x.mean(1)[:, :CLASSES].astype(np.float32) * 5)


def images():
    rng = np.random.default_rng(0)
    y = np.arange(48) % CLASSES
    x = rng.random((48, 12, 2, 8, 8)) < 0.1
    for i, c in enumerate(y):
        x[i, :, 0, 2 * c : 2 * c + 2] |= rng.random((12, 2, 8)) < 0.6
    return Arrays(x.astype(np.float32), y)


def convolution():
    set_seed(1)
    return sn.conv_delay_network(
        (2, 8, 8), [4], CLASSES, hidden=[], dt=1.0, tau_mem=10.05, max_delay_ms=4, dropout=0.1
    )


def gru():
    set_seed(0)
    return RateNetwork(CHANNELS, CLASSES, "gru", width=16)


def spoken():
    return load("spoken-digits", "train")


HEALTHY = {
    "LIF": (network, spikes, {}),
    "ALIF": (lambda: network(neuron=sn.ALIF), spikes, {}),
    "IF": (lambda: network(neuron=sn.IF), spikes, {}),
    "PLIF": (lambda: network(neuron=sn.PLIF, norm=True, v_threshold=0.5), spikes, {}),
    "CubaLIF": (lambda: network(neuron=sn.CubaLIF, norm=True), spikes, {}),
    "adlif": (lambda: shd(neuron="adlif"), spoken, {"recipe": Recipe(epochs=20)}),
    "five layers": (lambda: network(*[32] * 5, norm=True), spikes, {}),
    "ten layers": (lambda: network(*[32] * 10, norm=True), spikes, {}),
    "delays": (delayed, spikes, {}),
    "fixed delays": (lambda: delayed(learn_delay=False), spikes, {}),
    "recurrent": (recurrent, spikes, {}),
    "convolution": (convolution, images, {}),
    "GRU": (gru, spikes, {}),
    "short": (network, lambda: spikes(steps=5), {}),
    "long": (network, lambda: spikes(n=48, steps=400), {}),
    "spoken digits": (shd, spoken, {"recipe": Recipe(epochs=20)}),
    "values": (network, values, {"objective": Regression("mean")}),
    "classes per step": (network, steps_to_class, {"objective": PerStep()}),
    "spiking read-out": (
        lambda: sn.Sequential(*network().layers[:-1], sn.LIF(CLASSES, dt=1.0)),
        spikes,
        {"objective": Classification("spike_count")},
    ),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_network_is_left_in_peace(name):
    make, data, options = HEALTHY[name]
    diagnosis = sn.diagnose(make(), data(), **{"recipe": RECIPE, **options})
    assert diagnosis.healthy, str(diagnosis)


@pytest.mark.parametrize("make", [network, delayed, recurrent, gru])
def test_a_network_that_has_learnt_is_left_in_peace(make):
    net, data = make(), spikes()
    before = trained(net, data)
    diagnosis = sn.diagnose(net, data, recipe=RECIPE, before=before)
    assert diagnosis.healthy, str(diagnosis)
    assert diagnosis.loss < 0.95 * diagnosis.chance


@pytest.mark.parametrize("model", models.names())
def test_every_rate_coded_model_is_left_in_peace(model):
    set_seed(0)
    net = RateNetwork(CHANNELS, CLASSES, model, width=16)
    data = spikes()
    net.prepare(data.batch(range(96)).x)
    diagnosis = sn.diagnose(net, data, recipe=RECIPE)
    assert diagnosis.healthy, str(diagnosis)


# --- what is said before a training is borne out by it --------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("neuron", "gain", "sick"),
    [
        (sn.AdLIF, 1.0, True),
        (sn.AdLIF, 20.0, False),
        (sn.SEAdLIF, 1.0, True),
        (sn.SEAdLIF, 20.0, False),
        (sn.BRF, 1.0, True),
        (sn.LIF, 0.05, False),
        (sn.LIF, 1.0, False),
        (sn.ALIF, 1.0, False),
        (sn.CubaLIF, 1.0, False),
    ],
)
def test_what_is_called_sick_does_not_learn_and_what_is_called_healthy_does(
    neuron, gain, sick, seed
):
    net, data, unseen = network(gain=gain, neuron=neuron), spikes(seed=seed), spikes(seed=seed + 9)
    recipe = Recipe(epochs=10, batch_size=32, lr=5e-3, readout="mean")
    assert sn.diagnose(net, data, recipe=recipe).healthy != sick
    rows = Trainer(net, data, unseen, recipe, seed=seed).run()
    reached = rows[-1]["validation_accuracy"]
    assert reached < 0.4 if sick else reached > 0.6
