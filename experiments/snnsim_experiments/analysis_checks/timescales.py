"""Time constants of Poisson units whose rates are slow processes are found, and not if shuffled.

The rate of a unit follows ``exp(z_t)``, where ``z`` is an autoregressive process of a known time
constant (``exp`` makes that of the rate a little shorter). The control are the same spikes with the
time steps of every sample in another order, in which nothing is left to be found.
"""

from __future__ import annotations

import numpy as np
import torch

from snnsim.activity import Recording
from snnsim.analysis import shuffled
from snnsim.analysis.timescales import timescales
from snnsim_experiments.baselines.checks.outcome import Outcome

DT = 10.0  # ms
TRUE = (30.0, 60.0, 120.0)  # time constants in ms, of a third of the units each
UNITS, RATE, SPREAD = 24, 0.3, 0.7  # rate in spikes per step; standard deviation of its logarithm
WITHIN = 0.25  # of the true time constant


def spikes(steps: int, samples: int, random: np.random.Generator) -> np.ndarray:
    """Draw spike counts ``[T, S, 24]``; the units have the time constants in turn."""
    keep = np.exp(-DT / np.resize(TRUE, UNITS))
    z = random.standard_normal((samples, UNITS))
    found = []
    for _ in range(steps):
        z = keep * z + np.sqrt(1 - keep**2) * random.standard_normal(z.shape)
        found.append(random.poisson(RATE * np.exp(SPREAD * z)))
    return np.stack(found).astype(np.float32)


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Compare the median time constant of units with that of the rates they were drawn from."""
    steps, samples = (500, 4) if short else (2000, 10)
    values = torch.from_numpy(spikes(steps, samples, np.random.default_rng(seed)))
    lengths = torch.full((samples,), steps)
    rec = Recording(values, "spikes", "units", "output", lengths, dt=DT)
    figures, control = (_measured(each) for each in (rec, shuffled(rec, "steps", seed)))
    found = np.array([figures[_name(tau)] for tau in TRUE])
    return Outcome(
        f"median time constants are within {WITHIN:.0%} of the true ones, and at most a tenth of "
        "shuffled units has one",
        bool(np.all(np.abs(found / TRUE - 1) < WITHIN) and control["fitted"] <= 0.1),
        figures,
        control,
        f"{samples} samples of {steps} steps of {DT:g} ms, {UNITS} units of about "
        f"{1000 * RATE / DT:.0f} Hz; nothing is trained",
    )


def _measured(rec: Recording) -> dict[str, float]:
    found = timescales(rec, lags_ms=6 * max(TRUE)).tau
    taus = {_name(tau): float(np.median(found[i :: len(TRUE)])) for i, tau in enumerate(TRUE)}
    return {**taus, "fitted": float((found > 0).mean())}


def _name(tau: float) -> str:
    return f"ms found of {tau:g}"
