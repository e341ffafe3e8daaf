"""Small moves make the answer surer in every sample; how soon garden paths are revised."""

from __future__ import annotations

from typing import Any

from snnsim_datasets.synthetic import garden_path

import snnsim as sn
from snnsim.analysis import Subject, analyse
from snnsim.baselines import RateNetwork
from snnsim.training import Recipe, Trainer, set_seed
from snnsim_experiments.baselines.checks.outcome import Outcome

SMALL, LARGE = 0.05, 1.0
KINDS = ("spiking", "gru")


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Recode two networks that answer at every step, on beginnings that mislead.

    ``surer`` are the fractions of the samples whose answer a small move down the entropy makes
    surer, beside those of a move up; ``steps`` those from a wrong answer just before the cue until
    it is right for good, beside those with the moves of the units exchanged.
    """
    figures: dict[str, float] = {}
    control: dict[str, float] = {}
    for kind in KINDS:
        found = _probed(kind, seed, short).figures
        figures[f"{kind}, surer"] = found[f"entropy falls at {SMALL:g}"].value
        control[f"{kind}, surer"] = found[f"entropy falls at {-SMALL:g}"].value
        for level in (0.0, SMALL, LARGE, -LARGE):
            steps = found[f"steps to recover at {level:g}"]
            figures[f"{kind}, steps at {level:g}"] = steps.value
            control[f"{kind}, steps at {level:g}"] = steps.null or 0.0
    return Outcome(
        "a small move down the entropy makes the answer of every sample surer, and one up of none; "
        "how soon a wrong answer is revised is measured, and not claimed",
        all(figures[f"{kind}, surer"] == 1 and control[f"{kind}, surer"] == 0 for kind in KINDS),
        figures,
        control,
        f"{1 if short else 10} epochs of {60 if short else 600} samples at a rate of 5e-3",
    )


def _probed(kind: str, seed: int, short: bool) -> Any:
    train = garden_path(60 if short else 600, seed=2 * seed)
    test = garden_path(20 if short else 200, seed=2 * seed + 1)
    set_seed(seed)
    if kind == "spiking":
        sizes: dict[str, Any] = {"dt": 1.0, "tau_mem": 5.0, "max_delay_ms": 4, "dropout": 0.0}
        net: Any = sn.delay_network((train.channels, 32, 2), delays="none", **sizes)
    else:
        net = RateNetwork(train.channels, 2, kind, width=32)
    recipe = Recipe(epochs=1 if short else 10, batch_size=50, lr=5e-3, mask_padding=True)
    Trainer(net, train, test, recipe, seed=seed).run()
    subject = Subject(net, test, nulls=1 if short else 3, readout="last", mask_padding=True)
    return analyse(subject, "recode", alpha=[SMALL, LARGE, -SMALL], early=0.6)
