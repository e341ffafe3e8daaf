"""Small finished runs of all kinds for the tests of reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from small_runs import ON_PARITY, TINY
from snnsim_experiments import Place, resolve
from snnsim_experiments import run as run_experiment

from snnsim.data import Arrays

QUICK = {"network.hidden": [16], "data.pool": 10, "network.max_delay_ms": 60}
NAMES = ("<b>one</b>", "two & 'a'", "</script><script>alert(1)</script>")


def digits(out: Path, delays: str, seed: int, epochs: int = 3, **changes) -> Path:
    """A run on the spoken digits."""
    chosen = {**QUICK, "network.delays": delays, **changes}
    experiment = resolve("spoken-digits", changes=chosen, seed=seed, epochs=epochs)
    run_experiment(experiment, Place(out=out, quiet=True))
    return out


def _inputs(random):
    x = (random.random((60, 12, 6)) < 0.2).astype(np.float32)
    return x, np.arange(60) % 3


def classes():
    x, labels = _inputs(np.random.default_rng(0))
    return Arrays(x, labels, classes=NAMES, dt=5.0)


def labels():
    random = np.random.default_rng(1)
    x, _ = _inputs(random)
    return Arrays(x, (random.random((60, 3)) < 0.5).astype(np.float32), classes=NAMES, dt=5.0)


def values():
    random = np.random.default_rng(2)
    x, _ = _inputs(random)
    return Arrays(x, random.random((60, 2)).astype(np.float32), dt=5.0)


def classes_per_step():
    random = np.random.default_rng(3)
    x, _ = _inputs(random)
    return Arrays(x, random.integers(0, 3, (60, 12)), classes=NAMES, dt=5.0, per_step=True)


def analog():
    random = np.random.default_rng(4)
    return Arrays(random.normal(size=(60, 12, 6)), np.arange(60) % 3, classes=NAMES, dt=5.0)


FUNCTIONS = ("classes", "labels", "values", "classes_per_step", "analog")


def of_function(snnsim, name: str, out: Path) -> Path:
    """A run on data of a function in this file."""
    done = snnsim("train", f"reported_runs:{name}", *TINY, "--epochs", 2, "--out", out)
    assert done.code == 0, done.err
    return out


def on_stream(snnsim, out: Path) -> Path:
    """A run on a stream of tasks."""
    done = snnsim("continual", "run", "--method", "fine-tuning", *ON_PARITY, "--out", out)
    assert done.code == 0, done.err
    return out


def of_baseline(snnsim, out: Path) -> Path:
    """A run of a model that has no spikes."""
    done = snnsim(
        "baselines", "train", "--model", "gru", "--data", "spoken-digits", "--width", 4,
        "--epochs", 1, "--set", "data.pool=50", "-q", "--out", out,
    )  # fmt: skip
    assert done.code == 0, done.err
    return out
