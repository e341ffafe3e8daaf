"""In a network trained with stochastic depth, most samples are right with one block fewer.

Six blocks with skip connections are trained on ten patterns of spikes, each block being left out of
half of the steps. Of a sample that is right as trained, it is asked whether it stays right when one
block is skipped; of one that is wrong, whether skipping or repeating one block puts it right
(2507.07996). The control of both is a random label in the place of the right one. Only paths that
differ in one block are taken: of all 729 paths some reach nearly any of ten labels (of seed 0, 77
and 91 % of random ones), and little is measured.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import nn

import snnsim as sn
from snnsim.analysis.paths import paths
from snnsim.data import Arrays
from snnsim.training import Recipe, Trainer, set_seed
from snnsim_experiments.baselines.checks.outcome import Outcome

CLASSES, STEPS, CHANNELS, PARTS = 10, 20, 16, 4
WIDTH, BLOCKS, LEFT_OUT = 32, 6, 0.5
MORE = 20.0  # percent above a random label


class Trained(NamedTuple):
    """A ``Trained`` holds a network in evaluation mode, and the data of training and test."""

    net: nn.Module
    train: Arrays
    test: Arrays


def patterns(samples: int, seed: int) -> Arrays:
    """Draw Poisson spikes of ten patterns, whose rates change three times, ``[S, 20, 16]``."""
    high = np.random.default_rng(7).random((CLASSES, PARTS, CHANNELS)) < 0.3
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, samples)
    rates = np.where(high[labels].repeat(STEPS // PARTS, axis=1), 0.5, 0.05)
    names = tuple(map(str, range(CLASSES)))
    return Arrays(random.poisson(rates).astype(np.float32), labels, classes=names, dt=1.0)


def deep(blocks: int, seed: int, epochs: int, samples: int, left_out: float = LEFT_OUT) -> Trained:
    """Train a network of equal blocks with skip connections and stochastic depth."""
    train, test = patterns(samples, 2 * seed), patterns(300, 2 * seed + 1)
    set_seed(seed)
    sizes = (CHANNELS, *[WIDTH] * (blocks + 1), CLASSES)
    net = sn.delay_network(
        sizes,
        dt=1.0,
        tau_mem=2.0,
        max_delay_ms=4,
        dropout=0.0,
        delays="fixed",
        skip=True,
        stochastic_depth=left_out,
    )
    Trainer(net, train, test, Recipe(epochs=epochs, batch_size=50, lr=5e-3), seed=seed).run()
    return Trained(net.eval(), train, test)


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Measure how often one block more or fewer is right where the network is, and is not."""
    epochs, samples, blocks = (1, 100, 3) if short else (12, 800, BLOCKS)
    made = deep(blocks, seed, epochs, samples)
    found = paths(made.net, made.test, changes=1)
    figures, control = {"accuracy % as trained": 100 * float(found.right[found.trained].mean())}, {}
    for name, figure in (("shorter", found.shorter()), ("corrected", found.corrected())):
        figures[f"{name} %"] = 100 * figure.value
        control[f"{name} %, random label"] = 100 * (figure.null or 0.0)
    above = [
        figures[f"{name} %"] - control[f"{name} %, random label"]
        for name in ("shorter", "corrected")
    ]
    return Outcome(
        "one block fewer leaves samples right, and one fewer or more puts others right, "
        f"{MORE:.0f} % more often than a random label is reached",
        min(above) > MORE and figures["accuracy % as trained"] > 2 * 100 / CLASSES,
        figures,
        control,
        f"{epochs} epochs of {samples} samples at a rate of 5e-3, {blocks} blocks of {WIDTH} units",
    )
