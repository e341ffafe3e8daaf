"""Small networks and data that are diagnosed, and how a finding is looked up."""

from __future__ import annotations

import copy
import itertools

import numpy as np

import snnsim as sn
from snnsim.data import Arrays
from snnsim.training import Recipe, Trainer, set_seed

RECIPE = Recipe(epochs=10, batch_size=32, lr=2e-3, readout="mean")
CLASSES, CHANNELS, STEPS = 4, 12, 30


def spikes(n=96, steps=STEPS, scale=1.0, seed=0, lengths=None, labels=None):
    """Poisson spikes in which each class has three busy channels."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % CLASSES
    rate = np.full((n, 1, CHANNELS), 0.08)
    for i, c in enumerate(y):
        rate[i, :, 3 * c : 3 * c + 3] = 0.5
    x = (rng.random((n, steps, CHANNELS)) < rate).astype(np.float32) * scale
    if lengths is not None:
        for i, length in enumerate(lengths):
            x[i, length:] = 0
    return Arrays(x, y if labels is None else labels, lengths=lengths)


def network(*hidden, gain=1.0, neuron=sn.LIF, norm=False, before=(), **options):
    """Dense layers of spiking neurons and a leaky read-out."""
    set_seed(1)
    sizes = [CHANNELS, *(hidden or (32,))]
    layers = list(before)
    for n_in, n_out in itertools.pairwise(sizes):
        dense = sn.Dense(n_in, n_out, init="he")
        dense.weight.data *= gain
        layers.append(dense)
        if norm:
            layers.append(sn.BatchNorm(n_out))
        layers.append(neuron(n_out, dt=1.0, **options))
    layers += [sn.Dense(sizes[-1], CLASSES), sn.LI(CLASSES, dt=1.0)]
    return sn.Sequential(*layers)


def found(diagnosis, what):
    """The finding of a kind, which must be there."""
    kinds = {each.what: each for each in diagnosis.findings}
    assert what in kinds, f"{what} is not among {list(kinds)}"
    return kinds[what]


def trained(net, data, epochs=6, **changes):
    """The weights before a training, after which the network has other ones."""
    before = copy.deepcopy(net.state_dict())
    recipe = Recipe(epochs=epochs, batch_size=32, lr=5e-3, readout="mean", **changes)
    Trainer(net, data, data, recipe).run()
    return before


def delayed(**options):
    set_seed(1)
    return sn.Sequential(
        sn.Delayed(CHANNELS, 32, dt=1.0, max_delay_ms=10, **options),
        sn.BatchNorm(32),
        sn.LIF(32, dt=1.0),
        sn.Dense(32, CLASSES),
        sn.LI(CLASSES, dt=1.0),
    )


def recurrent():
    set_seed(1)
    return sn.Sequential(
        sn.Dense(CHANNELS, 32, init="he"),
        sn.Recurrent(sn.LIF(32, dt=1.0)),
        sn.Dense(32, CLASSES),
        sn.LI(CLASSES, dt=1.0),
    )


def shd(**options):
    set_seed(0)
    return sn.delay_network(
        (140, 32, 32, 20), dt=10.0, tau_mem=10.05, max_delay_ms=80, dropout=0.4, **options
    )
