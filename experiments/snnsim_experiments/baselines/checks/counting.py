"""Counting, and what merging symbols into tokens costs (2410.19730)."""

from __future__ import annotations

from typing import Any

from snnsim_datasets.synthetic import counting

from snnsim.training import evaluate
from snnsim_experiments.baselines.checks.outcome import Outcome, accuracy

MODELS = ("gru", "elman", "sasrec")
CHUNKS = (1, 2, 4)


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Measure the accuracy of counts from 0 to 9 at trained lengths (10 to 20) and twice them."""
    samples, epochs = (200, 2) if short else (2000, 25)
    figures: dict[str, float] = {}
    for chunk in CHUNKS[: 1 if short else None]:
        options: dict[str, Any] = {"chunk": chunk}
        train = counting(samples, seed=3 * seed, **options)
        test = counting(500, seed=3 * seed + 1, **options)
        longer = counting(500, shortest=30, longest=40, seed=3 * seed + 2, **options)
        for model in MODELS:
            key = f"{model}, {chunk} per step"
            figures[key], net = accuracy(model, train, test, epochs=epochs, seed=seed)
            scores = evaluate(net, longer, readout="last", mask_padding=True)
            figures[f"{key}, longer"] = 100 * scores.accuracy
    keeps = figures["gru, 1 per step, longer"]
    return Outcome(
        "a recurrent network that counts goes on at lengths it has not seen, attention of fixed "
        "depth does not",
        keeps > figures["sasrec, 1 per step, longer"] + 10,
        {k: v for k, v in figures.items() if not k.startswith("sasrec")},
        {k: v for k, v in figures.items() if k.startswith("sasrec")},
    )
