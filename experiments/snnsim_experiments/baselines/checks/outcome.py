"""What a check reports, and the little training that checks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.baselines import RateNetwork
from snnsim.training import Recipe, Trainer, evaluate, set_seed


@dataclass(frozen=True)
class Outcome:
    """An outcome says whether a mechanism does what its paper claims.

    Attributes:
        claim: in words.
        passed: whether it was met.
        figures: what was measured, by name.
        control: the same of what should not succeed.
        budget: what claim and control were given alike, such as steps and learning rates.
    """

    claim: str
    passed: bool
    figures: dict[str, float]
    control: dict[str, float]
    budget: str


def accuracy(
    model: str,
    train: Any,
    test: Any,
    *,
    epochs: int,
    readout: str = "last",
    seed: int = 0,
    lr: float = 5e-3,
    **network: Any,
) -> tuple[float, RateNetwork]:
    """Train a small network; return its test accuracy in percent, and the network.

    Args:
        model: the name of a baseline.
        train: the data it is trained on.
        test: the data it is tested on.
        epochs: passes over the training data, at least 1.
        readout: the name of the read-out, in training and in testing.
        seed: the seed of weights and order.
        lr: the learning rate.
        network: further arguments of :class:`snnsim.baselines.RateNetwork`; the width is 32 unless
            given.
    """
    set_seed(seed)
    net = RateNetwork(train.channels, len(train.classes), model, **{"width": 32} | network)
    recipe = Recipe(epochs=epochs, batch_size=50, lr=lr, readout=readout, mask_padding=True)
    Trainer(net, train, test, recipe, seed=seed).run()
    scores = evaluate(net, test, readout=readout, mask_padding=True)
    return 100 * scores.accuracy, net


def optimise(
    net: nn.Module,
    loss: Callable[[], Tensor],
    steps: int,
    lr: float,
    clip: float = 1.0,
    each: Callable[[int], None] | None = None,
    betas: tuple[float, float] = (0.9, 0.999),
) -> None:
    """Train a network by Adam with a learning rate that falls to 0 as a cosine.

    Args:
        net: the network.
        loss: makes the loss of the next batch.
        steps: the number of steps.
        lr: the learning rate of the first step.
        clip: the largest norm of the gradients.
        each: is called before each step, with its number.
        betas: how much Adam keeps of the means of gradients and of their squares.
    """
    optimizer = torch.optim.Adam(net.parameters(), lr=lr, betas=betas)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        if each is not None:
            each(step)
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimizer.step()
        schedule.step()


def batches(size: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """Draw batches of ``count`` random indices below ``size`` without end."""
    random = np.random.default_rng(seed)
    while True:
        yield random.integers(0, size, count)
