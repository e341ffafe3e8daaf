"""Hidden assemblies of Poisson units are found, with their times, and not in shuffled spikes."""

from __future__ import annotations

import numpy as np
import torch
from snnsim_datasets.synthetic import assemblies as hidden

from snnsim.activity import Recording
from snnsim.analysis import shuffled
from snnsim.analysis.assemblies import assemblies
from snnsim.analysis.communities import agreement
from snnsim_experiments.baselines.checks.outcome import Outcome

SMOOTH_MS = 15.0  # chosen on seeds 5 to 7 by the correlation of times
ALIKE, MORE = 0.8, {"agreement of groups": 0.5, "correlation of times": 0.2}  # than the control


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Compare groups and times that are found with those that spikes were drawn from."""
    made = hidden(8 if short else 20, units=30 if short else 60, seed=seed)
    values = torch.from_numpy(made.data.x).permute(1, 0, 2)
    lengths = torch.full((values.shape[1],), len(values))
    rec = Recording(values, "spikes", "units", "output", lengths, None, 10.0)
    found = assemblies(rec, smooth_ms=SMOOTH_MS, seed=seed)
    rank = len(found.factors.pairs)
    null = assemblies(shuffled(rec, "shift", seed), rank, smooth_ms=SMOOTH_MS, seed=seed)
    figures, control = (
        {
            "agreement of groups": agreement(each.groups, made.groups),
            "correlation of times": correlation(each.factors.time, made.epochs),
            "components": len(each.factors.pairs),
        }
        for each in (found, null)
    )
    return Outcome(
        f"groups agree and times correlate by more than {ALIKE}, and by "
        f"{' and '.join(map(str, MORE.values()))} more than the control's",
        all(figures[name] > max(ALIKE, control[name] + more) for name, more in MORE.items()),
        figures,
        control,
        f"nothing is trained; {values.shape[1]} samples, and as many components for the control",
    )


def correlation(time: np.ndarray, epochs: np.ndarray) -> float:
    """Return the mean over assemblies of the best correlation with any component."""
    return float(np.corrcoef(np.vstack([time, epochs]))[: len(time), len(time) :].max(0).mean())
