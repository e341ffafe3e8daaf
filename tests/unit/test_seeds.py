"""Seeds that no generator takes, and tasks that would give values that are not finite."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from snnsim_datasets import load, synthetic
from snnsim_datasets.tools.splits import held_out_speakers

from snnsim import continual
from snnsim.errors import ConfigError
from snnsim.training import Trainer, set_seed

WRONG = [-1, 2**64, 10**30, 0.5, None, "1", float("nan")]


def parts():
    return tuple(load("spoken-digits", s) for s in ("train", "validation", "test"))


def seeded() -> dict:
    """What takes a seed, as a function of it."""
    lag = {
        "over": 2,
        "memory": 2,
        "samples": 3,
        "lag": 2,
        "steps": 3,
        "givens": 3,
        "clues": 3,
        "pairs": 3,
    }
    made = {}
    for name in synthetic.__all__:
        function = getattr(synthetic, name)
        known = inspect.signature(function).parameters
        if "seed" not in known:
            continue
        required = [p for p in known.values() if p.default is p.empty and p.kind != p.VAR_KEYWORD]
        values = [load("spoken-digits", "test") if p.name == "data" else lag[p.name]
                  for p in required]  # fmt: skip
        made[name] = lambda seed, f=function, v=values: f(*v, seed=seed)
    made["set_seed"] = set_seed
    made["held_out_speakers"] = lambda seed: held_out_speakers(np.arange(9) % 3, 0.3, seed)
    made["permuted"] = lambda seed: continual.permuted("p", parts(), 2, seed)
    return made


SEEDED = seeded()


@pytest.mark.parametrize("name", SEEDED)
def test_a_seed_that_is_none_is_refused_by_its_name(name):
    SEEDED[name](3)
    for wrong in WRONG:
        with pytest.raises(ConfigError, match="seed"):
            SEEDED[name](wrong)


def test_generated_tasks_are_among_them():
    assert len(SEEDED) > 6


def test_a_trainer_refuses_it_before_it_trains():
    train, validation, _ = parts()
    from snnsim.networks import shd_network
    from snnsim.training import Recipe

    with pytest.raises(ConfigError, match="seed"):
        Trainer(shd_network(delays="none"), train, validation, Recipe(epochs=1), seed=-1)


@pytest.mark.parametrize("options", [{"dt": 0.02, "fast": 2}, {"dt": 1.0}, {"forcing": 1e9}])
def test_a_system_that_cannot_be_integrated_is_refused(options):
    with pytest.raises(ConfigError, match="smaller dt"):
        synthetic.lorenz96(2, 5, **options)
