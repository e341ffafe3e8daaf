"""Universal Transformer: more thinking for what is harder, and a tied block (1807.03819).

Sums since the last mark: each depth sees one step back, so the lag of the mark is how many depths
the sum needs. After training on short lags come longer ones, in longer sequences.
"""

from __future__ import annotations

from itertools import count

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.baselines import RateNetwork
from snnsim.baselines.baseline import linear
from snnsim.baselines.window import TransformerBlock
from snnsim.layer import auxiliary_losses
from snnsim.training import set_seed
from snnsim_experiments.baselines.checks.outcome import Outcome, optimise

DIGITS, TRAINED, LONGEST, DEPTHS, WIDTH = 4, 5, 8, 11, 32
RATE = 3e-3


class Untied(nn.Module):
    """The control has as many blocks of the same width, each with its own weights."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.head = linear(DIGITS + 1, WIDTH), linear(WIDTH, DIGITS)
        self.blocks = nn.ModuleList(TransformerBlock(WIDTH, 4, 1) for _ in range(DEPTHS))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        x = self.enter(x)[0]
        block: nn.Module
        for block in self.blocks:
            x, _ = block(x, block.attention.empty(x.shape[1]))  # type: ignore[operator, union-attr]
        return self.head(x)[0], None


def sums(samples: int, steps: int, furthest: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw digits with marks ``[T, B, 5]``, with sums mod 4 since the last mark, and its lag.

    After a mark come 0 to ``furthest`` steps without one.
    """
    random = np.random.default_rng(seed)
    digits = random.integers(0, DIGITS, (steps, samples))
    totals, lags, left = digits.copy(), np.zeros_like(digits), np.zeros(samples, int)
    for t in range(steps):
        marked = left == 0
        left = np.where(marked, random.integers(0, furthest + 1, samples), left - 1)
        if t:
            lags[t] = np.where(marked, 0, lags[t - 1] + 1)
            totals[t] = np.where(marked, 0, totals[t - 1]) + digits[t]
    x = np.concatenate([np.eye(DIGITS)[digits], lags[..., None] == 0], -1)
    return torch.from_numpy(x).float(), torch.from_numpy(totals % DIGITS), torch.from_numpy(lags)


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Measure the depths that are used per lag, and the accuracy at lags that were not trained."""
    test = sums(50 if short else 2000, 24, LONGEST, 10**9 + seed)
    figures: dict[str, float] = {}
    control: dict[str, float] = {}
    for name, ponder in (("tied", 0.03), ("tied, no halting", 0.0), ("untied", None)):
        net = _train(ponder, seed, 3 if short else 600)
        x, totals, lags = test
        with torch.no_grad():
            right = 100 * (net(x)[0].argmax(-1) == totals).float()
        rows = _rows(right, lags, f"accuracy %, {name}")
        (control if ponder is None else figures).update(rows)
        if ponder:
            with torch.no_grad():
                used = net.layers[0].think(x).ponder  # type: ignore[index, union-attr]
            figures.update(_rows(used, lags, "ponder"))
    unseen = f"lags {TRAINED + 1} to {LONGEST}"
    return Outcome(
        "longer lags are thought about longer, by a depth at least, and a tied block's accuracy "
        "at lags it has not seen is 5 points above that of as many blocks that are not tied",
        figures["accuracy %, tied, lags 0 to 1"] > 95
        and figures[f"accuracy %, tied, lags 4 to {TRAINED}"] > 95
        and figures[f"ponder, lags 4 to {TRAINED}"] > figures["ponder, lags 0 to 1"] + 1
        and figures[f"accuracy %, tied, {unseen}"] > control[f"accuracy %, untied, {unseen}"] + 5,
        figures,
        control,
        f"{3 if short else 600} steps of 64 sequences at a rate of {RATE:g} for each network",
    )


def _train(ponder: float | None, seed: int, steps: int) -> nn.Module:
    set_seed(seed)
    options = {"depths": DEPTHS, "reach": 1, "ponder": ponder}
    net: nn.Module = Untied()
    if ponder is not None:
        net = RateNetwork(DIGITS + 1, DIGITS, "universal", width=WIDTH, options=options)
    seeds = count(10**6 * seed + 1)

    def loss() -> Tensor:
        x, totals, _ = sums(64, 16, TRAINED, next(seeds))
        with auxiliary_losses() as extra:
            y, _ = net(x)
        cost = nn.functional.cross_entropy(y.flatten(0, 1), totals.flatten())
        return cost + sum(extra.values())

    optimise(net, loss, steps, RATE)
    return net.eval()


def _rows(values: Tensor, lags: Tensor, name: str) -> dict[str, float]:
    """Means over groups of lags, each lag counted alike."""
    groups = ((0, 1), (2, 3), (4, TRAINED), (TRAINED + 1, LONGEST))
    means = [values[lags == lag].mean() for lag in range(LONGEST + 1)]
    return {
        f"{name}, lags {low} to {high}": float(torch.stack(means[low : high + 1]).mean())
        for low, high in groups
    }
