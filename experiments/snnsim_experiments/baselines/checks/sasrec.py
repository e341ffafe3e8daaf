"""SASRec: the next item of a chain that looks k items back (1808.09781)."""

from __future__ import annotations

from itertools import count

import numpy as np
import torch
from torch import nn

from snnsim.baselines.models.sasrec import SASRec
from snnsim.training import set_seed
from snnsim_experiments.baselines.checks.outcome import Outcome, optimise

ITEMS, LAG, STEPS = 20, 3, 40
RATE, FAR = 3e-3, 20.0  # learning rate; percent by which too short a reach misses


def chains(samples: int, seed: int) -> torch.Tensor:
    """Draw items ``[T, B]``: each follows, in four of five cases, from the one ``LAG`` before."""
    follows = np.random.default_rng(5).permutation(ITEMS)
    random = np.random.default_rng(seed)
    items = random.integers(0, ITEMS, (STEPS, samples))
    for t in range(LAG, STEPS):
        sure = random.random(samples) < 0.8
        items[t] = np.where(sure, follows[items[t - LAG]], items[t])
    return torch.from_numpy(items)


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Measure the fraction of next items hit, and with too short a reach."""
    best = 100 * (0.8 + 0.2 / ITEMS)
    steps, test = 20 if short else 600, chains(1000, 10**6 + seed)
    nets = {reach: _train(reach, seed, steps) for reach in (10, 1)}
    with torch.no_grad():
        good, bad = (_loss(net, test)[1] for net in nets.values())
    shares = influence(nets[10], test)
    return Outcome(
        f"hits come within 3 % of the best possible, {best:.0f}, if the reach covers the lag, and "
        f"no other item says as much; too short a reach misses them by {FAR:.0f} %",
        good > best - 3 and bad < best - FAR and int(shares.argmax()) == LAG - 1,
        {
            "hits %, reach 10": good,
            "best possible": best,
            "influence %, the item that decides": 100 * float(shares[LAG - 1]),
        },
        {
            "hits %, reach 1": bad,
            "influence %, most of the others": 100 * float(np.delete(shares, LAG - 1).max()),
        },
        f"{steps} steps of 64 sequences at a rate of {RATE:g} for both",
    )


def influence(net: SASRec, items: torch.Tensor) -> np.ndarray:
    """Return the fractions of the next score that depend on the last item and those before it.

    By the gradient of the best score with respect to the items, as attention need not tell.
    """
    x = nn.functional.one_hot(items[:-1], ITEMS).float().requires_grad_()
    best = net.next_scores(net(x)[0])[-1].amax(-1)
    (slopes,) = torch.autograd.grad(best.sum(), x)
    sizes = slopes.norm(dim=-1).mean(1).flip(0)[:10]
    return (sizes / sizes.sum()).numpy()


def _train(reach: int, seed: int, steps: int) -> SASRec:
    set_seed(seed)
    net = SASRec(ITEMS, 48, reach=reach, blocks=1)
    seeds = count(1000 * seed + 1)

    def loss() -> torch.Tensor:
        return _loss(net, chains(64, next(seeds)))[0]

    optimise(net, loss, steps, RATE)
    return net.eval()


def _loss(net: SASRec, items: torch.Tensor) -> tuple[torch.Tensor, float]:
    x = nn.functional.one_hot(items, ITEMS).float()
    scores = net.next_scores(net(x)[0])[LAG:-1].flatten(0, 1)
    targets = items[LAG + 1 :].flatten()
    hits = (scores.argmax(-1) == targets).float().mean()
    return nn.functional.cross_entropy(scores, targets), 100 * float(hits)
