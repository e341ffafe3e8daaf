"""LRCN: the direction of a moving bar, at places it was not trained on (1411.4389)."""

from __future__ import annotations

from typing import Any

from snnsim_datasets.synthetic import moving_bar

from snnsim_experiments.baselines.checks.outcome import Outcome, accuracy

MARGIN = 20.0  # percent at other places


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Measure the accuracy of LRCN and LSTM on bars at places they know, and at others."""
    samples, epochs = (200, 2) if short else (1000, 15)
    train = moving_bar(samples, first=(0.0, 0.5), steps=8, seed=3 * seed)
    known = moving_bar(500, first=(0.0, 0.5), steps=8, seed=3 * seed + 1)
    other = moving_bar(500, first=(0.55, 0.95), steps=8, seed=3 * seed + 2)
    frame = moving_bar(samples, first=(0.0, 0.5), steps=1, seed=3 * seed)
    frames = moving_bar(500, first=(0.0, 0.5), steps=1, seed=3 * seed + 1)
    figures: dict[str, float] = {}
    control: dict[str, float] = {}
    same: dict[str, Any] = {"epochs": epochs, "seed": seed}
    own: dict[str, dict[str, Any]] = {"lrcn": {"pool": 0, "frames": 2}, "lstm": {}}
    for model, options in own.items():
        figures[f"{model}, known places"], net = accuracy(
            model, train, known, options=options, **same
        )
        figures[f"{model}, other places"] = _score(net, other)
    control["lrcn on one frame"], _ = accuracy("lrcn", frame, frames, **same, options={"pool": 2})
    return Outcome(
        f"LRCN tells the direction (95 %), and {MARGIN:.0f} % better than an LSTM at places it has "
        "not seen; one frame does not tell it (60 %)",
        figures["lrcn, known places"] > 95
        and control["lrcn on one frame"] < 60
        and figures["lrcn, other places"] > figures["lstm, other places"] + MARGIN,
        figures,
        control,
        f"{epochs} epochs of {samples} samples at a rate of 5e-3 for each network",
    )


def _score(net, data) -> float:
    from snnsim.training import evaluate

    return 100 * evaluate(net, data, readout="last", mask_padding=True).accuracy
