"""Repeated data: subsets of a middle size do more harm than small and large ones (2205.10487)."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from snnsim.baselines import RateNetwork
from snnsim.data import Arrays, View
from snnsim.training import PerStep, Recipe, Trainer, evaluate, set_seed
from snnsim_experiments.baselines.checks.outcome import Outcome

SYMBOLS, LENGTH, WIDTH = 24, 32, 96
STEPS, BATCH = 1200, 32
SIZES = (256, 64, 16)  # shown 75, 300 and 1200 times
CONCENTRATION = 0.13  # of the rows of the source, whose entropy is then about 1.65 nats
MARGIN, RATE = 0.1, 2e-3


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Measure the loss (nats) on new sequences of a GRU that predicts a Markov source.

    Half of its training data are from a subset that is repeated; the control has new ones only.
    All start with the same weights.
    """
    steps = 4 if short else STEPS
    table = np.random.default_rng(seed).dirichlet(np.full(SYMBOLS, CONCENTRATION), SYMBOLS)
    train = sequences(table, steps * BATCH, 2 * seed + 1)
    test = sequences(table, 50 if short else 1000, 2 * seed + 2)
    sizes = (16, 4, 1) if short else SIZES
    repeats = [steps * BATCH // 2 // size for size in sizes]
    losses = [_loss(train, test, size, seed) for size in sizes]
    none = _loss(train, test, 0, seed)
    named = zip(sizes, repeats, losses, strict=True)
    return Outcome(
        f"the loss has a maximum at a middle number of repeats, above both ends by {MARGIN} nats",
        max(losses[:-1]) > max(none, losses[-1]) + MARGIN,
        {f"{size} sequences, {times} times each": loss for size, times, loss in named},
        {"none repeated": none, "the source itself": entropy(table)},
        f"{steps} steps of {BATCH} sequences at a rate of {RATE:g} for each",
    )


def sequences(table: np.ndarray, samples: int, seed: int) -> View:
    """Draw sequences of symbols, one-hot, each with the next one as its target.

    Args:
        table: ``[from, to]``, the probabilities of the next symbol.
        samples: the number of sequences.
        seed: the seed of the sequences.
    """
    random = np.random.default_rng((seed, 1))  # not the stream that the table was drawn from
    sums = table.cumsum(1)
    items = np.empty((samples, LENGTH + 1), np.int64)
    items[:, 0] = random.integers(0, len(table), samples)
    for step in range(LENGTH):
        above = random.random((samples, 1)) > sums[items[:, step]]
        items[:, step + 1] = above.sum(1).clip(max=len(table) - 1)
    return View(Arrays(items[:, :-1, None], items[:, 1:], per_step=True), transform=_one_hot)


def entropy(table: np.ndarray) -> float:
    """Return the entropy rate (nats) of a source in its stationary distribution."""
    often = np.linalg.matrix_power(table, 10_000)[0]
    logs = np.log(table, where=table > 0, out=np.zeros_like(table))
    return float(-(often[:, None] * table * logs).sum())


def _one_hot(x: Tensor) -> Tensor:
    return nn.functional.one_hot(x[..., 0].long(), SYMBOLS).float()


def _loss(train: View, test: View, size: int, seed: int) -> float:
    set_seed(seed)
    net = RateNetwork(SYMBOLS, SYMBOLS, "gru", width=WIDTH)
    recipe = Recipe(
        epochs=1, batch_size=BATCH, lr=RATE, weight_decay=0.0, schedule="constant",
        precision="float32", check_finite=False, repeat=size,
    )  # fmt: skip
    few = View(test, range(10))
    Trainer(net, train, few, recipe, objective=PerStep(), seed=seed).run()
    return evaluate(net, test, objective=PerStep()).loss
