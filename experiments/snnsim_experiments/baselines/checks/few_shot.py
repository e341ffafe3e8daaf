"""Neural process: a new speaker's classes from a few labelled utterances (2208.04600)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.baselines.models.neural_process import NeuralProcess
from snnsim.layer import auxiliary_losses
from snnsim.training import set_seed
from snnsim_experiments.baselines.checks.outcome import Outcome, optimise

CHANNELS, STEPS, CLASSES, CONTEXT = 16, 8, 4, 8


def utterances(count: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw utterances of one speaker, who shifts all channels alike: ``x [T, count, 16]``.

    Classes are bumps four channels apart, so a shift turns one class into another: without
    knowing the speaker there is no telling.
    """
    shift = random.integers(0, CHANNELS)
    labels = random.integers(0, CLASSES, count)
    centre = 4 * labels + shift
    distance = (np.arange(CHANNELS) - centre[:, None] + CHANNELS // 2) % CHANNELS - CHANNELS // 2
    rates = 1.5 * np.exp(-0.5 * (distance / 1.0) ** 2)
    x = random.poisson(np.broadcast_to(rates, (STEPS, *rates.shape)))
    return torch.from_numpy(x).float(), torch.from_numpy(labels)


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = NeuralProcess(CHANNELS, 48, classes=CLASSES, slots=CONTEXT)
        self.head = nn.Linear(48, CLASSES)

    def forward(self, context: tuple[Tensor, Tensor], query: Tensor) -> Tensor:
        state = self.body.initial_state(1)
        if len(context[1]):
            state = self.body.observe(state, *context)
        many = {k: v.expand(query.shape[1], *v.shape[1:]) for k, v in state.items()}
        return self.head(self.body(query, many)[0][-1])


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Measure the accuracy on new speakers with 0, 2 and 8 context utterances; chance is 25 %."""
    set_seed(seed)
    model, random = _Model(), np.random.default_rng(seed)

    def loss() -> Tensor:
        losses = []
        for _ in range(8):
            size = int(random.integers(0, CONTEXT + 1))
            x, labels = utterances(CONTEXT + 24, random)
            with auxiliary_losses() as extra:
                scores = model((x[:, :size], labels[:size]), x[:, CONTEXT:])
            losses.append(nn.functional.cross_entropy(scores, labels[CONTEXT:]))
            losses[-1] = losses[-1] + sum(extra.values())
        return torch.stack(losses).mean()

    optimise(model, loss, 3 if short else 1000, 3e-3)
    model.eval()
    figures = {}
    for size in (0, 2, 8):
        right, test = [], np.random.default_rng([seed, 10**6])
        for _ in range(10 if short else 150):
            x, labels = utterances(CONTEXT + 24, test)
            with torch.no_grad():
                scores = model((x[:, :size], labels[:size]), x[:, CONTEXT:])
            right.append(float((scores.argmax(1) == labels[CONTEXT:]).float().mean()))
        figures[f"accuracy %, {size} utterances"] = 100 * float(np.mean(right))
    none, two, eight = figures.values()
    return Outcome(
        "accuracy on a new speaker grows with the utterances known of him, without training",
        eight > two + 3 and two > none + 10,
        {k: v for k, v in figures.items() if " 0 " not in k},
        {"accuracy %, 0 utterances": none},
    )
