"""Linear attention: recall grows with the state, and a mean over the past costs it (2405.15731).

All networks have two layers, four heads and the same 800 steps at a rate of 3e-3; only keys per
head and normaliser differ. The control of the state's size is a network with half the keys. Of a
small state, two keys per head, dividing by the sum over the past (Katharopoulos et al.) recalls
less than not normalising. The published claim that a weight of the step alone recalls more than the
sum holds too, but it is no merit of that weight: without any normaliser recall is as good. So the
weight is reported, and nothing is claimed of it.
"""

from __future__ import annotations

from itertools import count

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.baselines import RateNetwork
from snnsim.training import set_seed
from snnsim_experiments.baselines.checks.outcome import Outcome, optimise

KEYS, VALUES, PAIRS = 16, 8, 6
TRIED = ((1, "sum"), (2, "sum"), (4, "sum"), (16, "sum"), (2, "exp"), (2, "none"))
CONTROL = ("keys 1, sum", "keys 2, sum")
STATE, COST, WHOLE = 10.0, 10.0, 95.0  # percent: that keys add, that the mean costs, of 16 keys


def queries(samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw steps of a key with its value, then steps of keys alone, whose values are asked for.

    Returns:
        ``x [2 PAIRS, B, KEYS + VALUES]`` and the values of the second half, ``[PAIRS, B]``.
    """
    random = np.random.default_rng(seed)
    keys = np.argsort(random.random((samples, KEYS)), axis=1)[:, :PAIRS]
    values = random.integers(0, VALUES, (samples, PAIRS))
    order = np.argsort(random.random((samples, PAIRS)), axis=1)
    asked = np.take_along_axis(keys, order, 1)
    answers = np.take_along_axis(values, order, 1)
    k, v = np.eye(KEYS, dtype=np.float32), np.eye(VALUES, dtype=np.float32)
    write = np.concatenate([k[keys], v[values]], axis=2)
    read = np.concatenate([k[asked], np.zeros((samples, PAIRS, VALUES), np.float32)], axis=2)
    x = torch.from_numpy(np.concatenate([write, read], axis=1)).transpose(0, 1).contiguous()
    return x, torch.from_numpy(answers.T.copy())


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Measure the accuracy of recall by keys per head, and by normaliser; chance is 12.5 %."""
    steps = 3 if short else 800
    figures = {
        f"keys {keys}, {normaliser}": _accuracy(seed, steps, keys, normaliser)
        for keys, normaliser in TRIED
    }
    one, two, four, many = (figures[f"keys {keys}, sum"] for keys in (1, 2, 4, 16))
    return Outcome(
        f"twice the keys, from 1 to 2 and 4, recall at least {STATE:.0f} % more, and 16 recall "
        f"{WHOLE:.0f} %; of two keys, a mean over the past recalls at least {COST:.0f} % less than "
        "no normaliser",
        two > one + STATE
        and four > two + STATE
        and many > WHOLE
        and figures["keys 2, none"] > two + COST,
        {k: v for k, v in figures.items() if k not in CONTROL},
        {k: v for k, v in figures.items() if k in CONTROL},
        f"{steps} steps of 64 samples at a rate of 3e-3 for each",
    )


def _accuracy(seed: int, steps: int, keys: int, normaliser: str) -> float:
    set_seed(seed)
    options = {"heads": 4, "keys": keys, "normaliser": normaliser}
    net = RateNetwork(KEYS + VALUES, VALUES, "linear-attention", width=32, depth=2, options=options)
    seeds = count(10**6 * seed + 1)

    def loss() -> Tensor:
        x, answers = queries(64, next(seeds))
        y, _ = net(x)
        return nn.functional.cross_entropy(y[PAIRS:].flatten(0, 1), answers.flatten())

    optimise(net, loss, steps, 3e-3)
    x, answers = queries(1000, 10**9 + seed)
    with torch.no_grad():
        return 100 * float((net.eval()(x)[0][PAIRS:].argmax(-1) == answers).float().mean())
