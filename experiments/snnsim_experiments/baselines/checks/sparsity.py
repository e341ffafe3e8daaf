"""Sparsity: a network with a fifth of its weights learns again what it could (2407.20601)."""

from __future__ import annotations

import copy
from typing import Any

from snnsim_datasets.synthetic import reber

from snnsim.baselines import RateNetwork
from snnsim.sparsity import sparsify
from snnsim.training import Recipe, Trainer, evaluate, set_seed
from snnsim_experiments.baselines.checks.outcome import Outcome, accuracy

DENSITIES = (0.5, 0.2, 0.05)
NEEDED, AGAIN = 0.2, 3  # density of the claim, and epochs of training after the cut
BATCH, RATE = 20, 0.01  # of that training, chosen on seed 5 by the accuracy of what size chose
READOUT: dict[str, Any] = {"readout": "last", "mask_padding": True}


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Measure the accuracy of a GRU of 50 units on embedded Reber strings, cut and trained again.

    Chance is 50 %.
    """
    samples, epochs = (200, 1) if short else (4000, 20)
    train = reber(samples, seed=2 * seed)
    test = reber(min(samples, 1000), seed=2 * seed + 1)
    whole, net = accuracy("gru", train, test, epochs=epochs, seed=seed, width=50)
    figures = {"all weights": whole}
    control: dict[str, float] = {}
    for density in DENSITIES:
        for way, found in (("magnitude", figures), ("random", control)):
            name = f"{way}, {density:.0%} of the weights"
            cut = copy.deepcopy(net)
            sparsify(cut.layers, density, way, seed)  # the read-out keeps its weights
            found[f"{name}, at once"] = _percent(cut, test)
            found[name] = _again(cut, train, test, seed)
    name = f"{NEEDED:.0%} of the weights"
    regained, by_chance = figures[f"magnitude, {name}"], control[f"random, {name}"]
    return Outcome(
        "a fifth of the weights, chosen by size, regains 95 % of the accuracy in three epochs, and "
        "more than a random fifth does",
        regained >= 0.95 * whole and whole > 80 and regained > by_chance,
        figures,
        control,
        f"{epochs} epochs of {samples} strings in batches of 50 at a rate of 5e-3; after the cut "
        f"{AGAIN} in batches of {BATCH} at a rate of {RATE:g}",
    )


def _again(net: RateNetwork, train: Any, test: Any, seed: int) -> float:
    set_seed(seed)
    recipe = Recipe(epochs=AGAIN, batch_size=BATCH, lr=RATE, **READOUT)
    Trainer(net, train, test, recipe, seed=seed).run()
    return _percent(net, test)


def _percent(net: RateNetwork, test: Any) -> float:
    return 100 * evaluate(net, test, **READOUT).accuracy
