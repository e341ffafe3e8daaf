"""SASRec on address events: which channel spikes next, without any bins (1808.09781)."""

from __future__ import annotations

import snnsim_datasets
import torch
from torch import Tensor, nn

from snnsim.baselines.models.sasrec import SASRec
from snnsim.training import set_seed
from snnsim_experiments.baselines.checks.outcome import Outcome, batches, optimise

RATE, MARGIN = 3e-3, 0.1  # learning rate; nats better than the control
POOL = 10


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Measure the likelihood of the next channel of voices that training does not have."""
    train, test = (
        snnsim_datasets.load("spoken-digits", part, binning="events", pool=POOL)
        for part in ("train", "test")
    )
    set_seed(seed)
    net = SASRec(train.channels, 48, reach=32)
    draw = batches(len(train), 16, seed)

    def loss() -> Tensor:
        items = train.batch(next(draw)).x
        return _loss(net, items[: 20 if short else 200])

    steps = 2 if short else 300
    optimise(net, loss, steps, RATE)
    with torch.no_grad():
        items = test.batch(range(4 if short else len(test))).x
        found = float(_loss(net.eval(), items))
        counts = train.batch(range(len(train))).x.sum((0, 1)) + 1
        alone = float(_entropy((counts / counts.sum()).log().expand_as(items[1:]), items))
        pairs = _pairs(train.batch(range(len(train))).x)
        before = float(_entropy((items[:-1] @ pairs.log()), items))
    return Outcome(
        "attention over past events predicts the next channel better than the last one alone "
        f"(nats, less is better) by {MARGIN}",
        found < before - MARGIN and before < alone,
        {"SASRec": found},
        {"the last channel alone": before, "how often each spikes": alone},
        f"{steps} steps of 16 recordings at a rate of {RATE:g}; the controls are counted on all",
    )


def _loss(net: SASRec, items: Tensor) -> Tensor:
    return _entropy(net.next_scores(net(items)[0])[:-1].log_softmax(-1), items)


def _entropy(log_probabilities: Tensor, items: Tensor) -> Tensor:
    """Mean negative log-likelihood of ``items [T, B, N]`` from the second one on."""
    there = items[1:].sum(-1) > 0
    picked = (log_probabilities * items[1:]).sum(-1)
    return -picked[there].mean()


def _pairs(items: Tensor) -> Tensor:
    """``[N, N]``: how often each channel follows each, as probabilities."""
    counts = items[:-1].flatten(0, 1).t() @ items[1:].flatten(0, 1) + 0.1
    return nn.functional.normalize(counts, p=1.0, dim=1)
