"""What a check reports, and the little training that checks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.baselines import RateNetwork
from snnsim.training import Recipe, Trainer, evaluate, set_seed


@dataclass(frozen=True)
class Outcome:
    """Of a check.

    Attributes:
        figures: what was measured, by name.
        control: the same of what should not succeed.
        passed: whether the claim was met.
        claim: in words.
    """

    claim: str
    passed: bool
    figures: dict[str, float] = field(default_factory=dict)
    control: dict[str, float] = field(default_factory=dict)


def accuracy(
    model: str,
    train: Any,
    test: Any,
    *,
    epochs: int,
    width: int = 32,
    depth: int = 1,
    lr: float = 5e-3,
    readout: str = "last",
    batch_size: int = 50,
    seed: int = 0,
    **options: Any,
) -> tuple[float, RateNetwork]:
    """Test accuracy in percent of a small network after training, and the network."""
    set_seed(seed)
    net = RateNetwork(
        train.channels, len(train.classes), model, width=width, depth=depth, options=options
    )
    recipe = Recipe(epochs=epochs, batch_size=batch_size, lr=lr, readout=readout, mask_padding=True)
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
) -> None:
    """So many steps of Adam with a rate that falls to 0 as a cosine."""
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
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
    """Endless random indices."""
    random = np.random.default_rng(seed)
    while True:
        yield random.integers(0, size, count)
