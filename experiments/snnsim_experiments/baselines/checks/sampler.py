"""Recurrent depth: many positions at once give the same tokens in fewer passes (2510.14961)."""

from __future__ import annotations

from itertools import count

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.baselines.models.recurrent_depth import RecurrentDepth
from snnsim.baselines.sampler import generate, generate_in_parallel
from snnsim.training import set_seed
from snnsim_experiments.baselines.checks.outcome import Outcome, optimise

MODULUS, STEPS, COUNT = 7, 24, 40
RATE = 2e-3


def sequences(samples: int, seed: int) -> Tensor:
    """Draw Fibonacci numbers modulo 7 from random starts, ``[T, B]``."""
    random = np.random.default_rng(seed)
    found = [*random.integers(0, MODULUS, (2, samples))]
    while len(found) < STEPS:
        found.append((found[-1] + found[-2]) % MODULUS)
    return torch.from_numpy(np.stack(found))


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = RecurrentDepth(MODULUS, 64, iterations=8, reach=8)
        self.head = nn.Linear(64, MODULUS)


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Count core passes, and tokens that agree, for 4, 2 and 1 iterations per round."""
    set_seed(seed)
    model, seeds = _Model(), count(10**6 * seed + 1)

    def loss() -> Tensor:
        items = sequences(64, next(seeds))
        y, _ = model.body(nn.functional.one_hot(items[:-1], MODULUS).float())
        scores = model.head(y[1:]).flatten(0, 1)  # from the second number on it is determined
        return nn.functional.cross_entropy(scores, items[2:].flatten())

    steps = 3 if short else 500
    optimise(model, loss, steps, RATE)
    prompt = sequences(1, 10**9 + seed)[:8, 0].tolist()
    plain = generate(model.body, model.head, prompt, COUNT)
    figures: dict[str, float] = {}
    same = []
    for inner in (4, 2, 1):
        wave = generate_in_parallel(
            model.body, model.head, prompt, COUNT, inner=inner, widest=8, longest=16
        )
        equal = np.mean(np.asarray(wave.tokens) == plain.tokens)
        figures[f"passes, {inner} per round"] = float(wave.passes)
        figures[f"same tokens %, {inner} per round"] = 100 * float(equal)
        same.append(equal == 1 and wave.passes < plain.passes)
    truth = prompt[:]
    while len(truth) < len(prompt) + COUNT:
        truth.append((truth[-1] + truth[-2]) % MODULUS)
    right = np.mean(np.asarray(plain.tokens) == truth[len(prompt) :])
    return Outcome(
        "a wave of positions gives the same tokens as one position after another, in fewer passes",
        all(same),
        figures,
        {
            "passes, one by one": float(plain.passes),
            "right tokens %, one by one": 100 * float(right),
        },
        f"{steps} steps of 64 sequences at a rate of {RATE:g}; all samplers have the same network",
    )
