"""Counting, and what merging symbols into tokens costs (2410.19730).

Each network has 2000 strings for 25 epochs at a rate of 5e-3, attention (the control of counting
at other lengths) four times as many epochs, so that it counts at the lengths it is trained on. The
control of tokenisation are the same strings with spaces, which keep the letters apart: they are
longer, and only the merging is missing. Strings of one letter per step are no control of it: they
are four times as long, which costs an Elman network more than the merging does. That rarer letters
are counted better is not checked: it comes from what language models have read before, and letters
of a network that is trained here from scratch are one-hot vectors, which have no frequency but
their own.
"""

from __future__ import annotations

from typing import Any

from snnsim_datasets.synthetic import counting

from snnsim.training import evaluate
from snnsim_experiments.baselines.checks.outcome import Outcome, accuracy

COUNTING = ("gru", "elman")  # at lengths that were not trained
MODELS = (*COUNTING, "sasrec")
# letters that the tokeniser merges, and how the string is written
CASES = ((1, "plain"), (2, "plain"), (4, "plain"), (4, "spaces"))
CONTROL = ("sasrec", 1)  # trained four times as long, until it counts at trained lengths
LEARNED = 80.0  # percent at trained lengths, without which its failure at others says nothing
LENGTHS = 10.0  # percent that recurrence is better by at other lengths
COST = 5.0  # percent that merging costs at least, beside separators


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Measure the accuracy of counts from 0 to 9 at trained lengths (10 to 20) and twice them."""
    samples, epochs = (200, 2) if short else (2000, 25)
    figures: dict[str, float] = {}
    for chunk, rendering in CASES[: 1 if short else None]:
        options: dict[str, Any] = {"chunk": chunk, "rendering": rendering}
        train = counting(samples, seed=3 * seed, **options)
        test = counting(500, seed=3 * seed + 1, **options)
        longer = counting(500, shortest=30, longest=40, seed=3 * seed + 2, **options)
        for model in MODELS:
            key = _key(model, chunk, rendering)
            passes = 4 * epochs if (model, chunk) == CONTROL else epochs
            figures[key], net = accuracy(model, train, test, epochs=passes, seed=seed)
            scores = evaluate(net, longer, readout="last", mask_padding=True)
            figures[f"{key}, longer"] = 100 * scores.accuracy
    keeps = figures["gru, 1 per step, longer"]
    merged, apart = (
        sum(figures.get(f"{_key(model, *case)}, longer", 0.0) for model in COUNTING) / len(COUNTING)
        for case in CASES[2:]
    )
    return Outcome(
        f"a recurrent network that counts goes on at lengths it has not seen, {LENGTHS:.0f} % "
        f"better than attention of fixed depth, which counts at trained lengths in {LEARNED:.0f} "
        f"%; of the same strings, those with letters merged into tokens are counted {COST:.0f} % "
        "worse than those with separators (mean of gru and elman)",
        keeps > figures["sasrec, 1 per step, longer"] + LENGTHS
        and figures["sasrec, 1 per step"] > LEARNED
        and apart > merged + COST,
        {k: v for k, v in figures.items() if not k.startswith("sasrec")},
        {k: v for k, v in figures.items() if k.startswith("sasrec")},
        f"{epochs} epochs of {samples} strings at a rate of 5e-3, for sasrec with 1 letter per "
        f"step {4 * epochs}",
    )


def _key(model: str, chunk: int, rendering: str) -> str:
    written = "" if rendering == "plain" else f", {rendering}"
    return f"{model}, {chunk} per step{written}"
