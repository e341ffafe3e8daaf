"""SASRec: the next item of a chain that looks k items back (1808.09781)."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from snnsim.baselines.models.sasrec import SASRec
from snnsim.training import set_seed
from snnsim_experiments.baselines.checks.outcome import Outcome, optimise

ITEMS, LAG, STEPS = 20, 3, 40


def chains(samples: int, seed: int) -> torch.Tensor:
    """Items ``[T, B]``: each follows, four times of five, from the one ``LAG`` before it."""
    follows = np.random.default_rng(5).permutation(ITEMS)
    random = np.random.default_rng(seed)
    items = random.integers(0, ITEMS, (STEPS, samples))
    for t in range(LAG, STEPS):
        sure = random.random(samples) < 0.8
        items[t] = np.where(sure, follows[items[t - LAG]], items[t])
    return torch.from_numpy(items)


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Share of next items hit, against the best possible, and with too short a reach."""
    best = 100 * (0.8 + 0.2 / ITEMS)
    figures = {
        f"hits %, reach {reach}": _hits(reach, seed, 20 if short else 600) for reach in (10, 1)
    }
    good, bad = figures.values()
    return Outcome(
        f"hits come within 3 % of the best possible, {best:.0f}, if the reach covers the lag",
        good > best - 3 and bad < best - 20,
        {"hits %, reach 10": good, "best possible": best},
        {"hits %, reach 1": bad},
    )


def _hits(reach: int, seed: int, steps: int) -> float:
    set_seed(seed)
    net = SASRec(ITEMS, 48, reach=reach, blocks=1)
    state = {"batch": 0}

    def loss() -> torch.Tensor:
        state["batch"] += 1
        return _loss(net, chains(64, 1000 * seed + state["batch"]))[0]

    optimise(net, loss, steps, 3e-3)
    with torch.no_grad():
        return _loss(net.eval(), chains(1000, 10**6 + seed))[1]


def _loss(net: SASRec, items: torch.Tensor) -> tuple[torch.Tensor, float]:
    x = nn.functional.one_hot(items, ITEMS).float()
    scores = net.next_scores(net(x)[0])[LAG:-1].flatten(0, 1)
    targets = items[LAG + 1 :].flatten()
    hits = (scores.argmax(-1) == targets).float().mean()
    return nn.functional.cross_entropy(scores, targets), 100 * float(hits)
