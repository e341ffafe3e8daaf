"""What training on a data set minimises, and how good forecasts are."""

from __future__ import annotations

from typing import Any

import torch

from snnsim.data import Sequences, fetch
from snnsim.errors import DataError
from snnsim.training import Objective, PerStep
from snnsim.training.recipe import CLASS
from snnsim_experiments.continual.run import Refused

NRMSE, PERSISTENCE = "nrmse", "persistence_nrmse"


def objective_on(data: Any, target: str = CLASS) -> Objective | None:
    """Return what training on a data set minimises if its targets say so; else ``None``.

    Data with a class for every step are classified step by step; data with values for every step
    are forecast. A class for each sample, and what comes next in the input, are objectives that
    the recipe names.

    Args:
        data: a data set.
        target: that of the recipe; other than ``"class"``, the targets of the data do not matter.
    """
    if target != CLASS or not getattr(data, "per_step", False):
        return None
    return PerStep("cross_entropy" if data.classes else "mse")


def is_forecast(data: Any) -> bool:
    """Return whether the targets of a data set are the values of later steps."""
    return getattr(objective_on(data), "metric", "") == "mse"


def check_causal(net: Any, model: str, data: Any) -> None:
    """Refuse to forecast with a network that sees what it is to forecast."""
    if is_forecast(data) and not getattr(net, "causal", True):
        raise Refused(
            f"{model} sees later steps, which are what it would have to forecast; take a causal "
            "model (see: snnsim baselines list)"
        )


def beside_persistence(mse: float, data: Sequences) -> dict[str, float]:
    """Return the error of forecasts in units of the spread, and that of persistence.

        nrmse = sqrt(mse / variance of the targets)

    Persistence says that nothing changes: its forecast is the input of the same step.

    Args:
        mse: the mean squared error of the forecasts on ``data``.
        data: data with the values of later steps as targets.

    Raises:
        DataError: the targets do not vary.
    """
    batch = fetch(data, range(len(data)))
    steps = torch.arange(len(batch.x))[:, None] < batch.lengths
    wanted = batch.target.double()[steps]
    variance = float((wanted - wanted.mean(0)).square().mean())
    if variance <= 0:
        raise DataError("the values to be forecast do not vary; there is nothing to forecast")
    still = float((batch.x.double()[steps] - wanted).square().mean())
    return {NRMSE: (mse / variance) ** 0.5, PERSISTENCE: (still / variance) ** 0.5}
