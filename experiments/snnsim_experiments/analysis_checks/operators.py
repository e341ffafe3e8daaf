"""A state space model of five eigenvalues needs five lines of delay, random delays need them all.

The system ``y_t = sum_l C A^l B x_{t-l}`` has 8 channels, 32 states and the eigenvalues .1, .3, .5,
.7 and .9; its operators of 32 lags span five dimensions, so five filters of time and no fewer do
(2512.15115). The control is a delayed connection of the same size with random delays, one for each
synapse: each lag has an operator of its own. How much a filter too few leaves depends on the random
``B`` and ``C``. A sixth eigenvalue, or operators of the wrong lag, fail the check.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.analysis.operators import gradient_reach, lag_operators, rank_curve
from snnsim.synapses import Delayed
from snnsim.training import set_seed
from snnsim_experiments.baselines.checks.outcome import Outcome

CHANNELS, STATES, LAGS = 8, 32, 32
EIGENVALUES = (0.1, 0.3, 0.5, 0.7, 0.9)
NONE, SOME, MOST = 1e-6, 1e-3, 0.5  # residuals: with enough filters, one too few, and the control's
LATE = 20  # lags from which on the largest eigenvalue alone is left


class StateSpace(nn.Module):
    """A linear state space model whose states decay by ``eigenvalues``, each by one of them."""

    def __init__(self, eigenvalues: tuple[float, ...]):
        super().__init__()
        self.decay = torch.tensor(eigenvalues).double()[torch.arange(STATES) % len(eigenvalues)]
        self.enter = nn.Parameter(torch.randn(STATES, CHANNELS).double())
        self.leave = nn.Parameter(torch.randn(CHANNELS, STATES).double())

    def forward(self, x: Tensor) -> Tensor:
        """Return the output ``[T, B, 8]`` for an input of the same shape."""
        h, found = x.new_zeros(x.shape[1], STATES), []
        for each in x:
            h = self.decay * h + each @ self.enter.t()
            found.append(h @ self.leave.t())
        return torch.stack(found)


def run(seed: int = 0, short: bool = False) -> Outcome:
    """Measure what 1 to 6 filters of time leave, and how gradients fall with the lag."""
    set_seed(seed)
    steps = LAGS if short else 2 * LAGS
    system = StateSpace(EIGENVALUES)
    delays = Delayed(CHANNELS, CHANNELS, dt=1.0, max_delay_ms=LAGS - 2, learn_delay=False).double()
    figures, control = (_measured(layer, steps) for layer in (system, delays.eval()))
    count, largest = len(EIGENVALUES), max(EIGENVALUES)
    return Outcome(
        f"{count} filters leave less than {NONE:g} of a system of {count} eigenvalues, one fewer "
        f"more than {SOME:g}, and of random delays {count} leave more than {MOST:g}; gradients "
        "fall as the largest eigenvalue, within 1 %",
        figures[f"left by {count}"] < NONE
        and figures[f"left by {count - 1}"] > SOME
        and control[f"left by {count}"] > MOST
        and abs(figures["gradient per lag"] / largest - 1) < 0.01,
        figures,
        control,
        f"{CHANNELS} channels, {STATES} states, {LAGS} lags; nothing is trained",
    )


def _measured(layer: nn.Module, steps: int) -> dict[str, float]:
    curve = rank_curve(lag_operators(layer, CHANNELS, LAGS))
    figures = {f"left by {count}": float(curve[count]) for count in range(1, 7)}
    reach = gradient_reach(layer, torch.zeros(steps, 1, CHANNELS).double(), (LATE, LAGS - 2))
    falls = (reach[1] / reach[0]) ** (1 / (LAGS - 2 - LATE)) if reach[0] else np.nan
    return {**figures, "filters needed": float((curve > NONE).sum()), "gradient per lag": falls}
