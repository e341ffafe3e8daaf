"""Elman, Jordan, leaky, GRU, LSTM: how long a pattern is remembered (1506.00019)."""

from __future__ import annotations

from snnsim_datasets.synthetic import delayed_recall

from snnsim_experiments.baselines.checks.outcome import Outcome, accuracy

MODELS = ("elman", "jordan", "leaky", "gru", "lstm")
LAGS = (5, 20, 60)


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Measure the accuracy on delayed recall at several lags; chance is 25 %."""
    figures: dict[str, float] = {}
    for lag in LAGS[: 1 if short else None]:
        train = delayed_recall(lag, 200 if short else 1000, seed=2 * seed)
        test = delayed_recall(lag, 300, seed=2 * seed + 1)
        for model in MODELS:
            epochs = 2 if short else 15
            figures[f"{model}, lag {lag}"], _ = accuracy(
                model, train, test, epochs=epochs, seed=seed
            )
    longest = LAGS[0] if short else LAGS[-1]
    gated = figures[f"lstm, lag {longest}"]
    plain = figures[f"elman, lag {longest}"]
    return Outcome(
        "an LSTM remembers over lags at which the Elman network fails",
        gated > plain + 10,
        figures,
    )
