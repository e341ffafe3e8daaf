"""What training on a data set minimises, and how good forecasts and regressions are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snnsim.data import Sequences, describe, fetch, kind_of
from snnsim.data.targets import CLASS, CLASS_PER_STEP, LABELS, VALUES, VALUES_PER_STEP
from snnsim.errors import DataError
from snnsim.functional.metrics import average_precision
from snnsim.training import MultiLabel, Objective, PerStep, Recipe, Regression, objective_of
from snnsim.training.objectives import weights_of_steps
from snnsim_experiments.continual.run import Refused

ROUNDING = 1e-24  # of squares in float64
NRMSE, PERSISTENCE, R2 = "nrmse", "persistence_nrmse", "r2"


def objective_on(
    data: Any, target: str = CLASS, readout: str = "mean", mask_padding: bool = True
) -> Objective | None:
    """Return what training on a data set minimises if its targets say so; else ``None``.

    Data with a class for every step are classified step by step, and values, of a sample or of
    every step, are regressed; several labels of a sample are found one by one. A class for each
    sample, and what comes next in the input, are objectives that the recipe names.

    Args:
        data: a data set, see :func:`snnsim.data.kind_of`.
        target: that of the recipe; other than ``"class"``, the targets of the data do not matter.
        readout, mask_padding: those of the recipe, for answers of a sample. In ``"sum_softmax"``,
            which is for classes that exclude one another, ``"mean"`` is taken instead.
    """
    kind = kind_of(data) if target == CLASS else CLASS
    read = "mean" if readout == "sum_softmax" else readout
    made: dict[str, Objective] = {
        CLASS_PER_STEP: PerStep(),
        VALUES_PER_STEP: PerStep("mse"),
        LABELS: MultiLabel(read, mask_padding),
        VALUES: Regression(read, mask_padding),
    }
    return made.get(kind)


def objective_for(data: Any, recipe: Recipe) -> Objective:
    """Return what training on a data set by a recipe minimises."""
    found = objective_on(data, recipe.target, recipe.readout, recipe.mask_padding)
    return found or objective_of(recipe)


def is_forecast(data: Any) -> bool:
    """Return whether the targets of a data set are the values of later steps.

    They have the form of the input then; other values for every step are a regression.
    """
    if describe(data).classes or kind_of(data) != VALUES_PER_STEP:
        return False
    batch = fetch(data, [0])
    return batch.x.shape[2:] == batch.target.shape[2:]


def check_causal(net: Any, model: str, data: Any) -> None:
    """Refuse to forecast with a network that sees what it is to forecast."""
    if is_forecast(data) and not getattr(net, "causal", True):
        raise Refused(
            f"{model} sees later steps, which are what it would have to forecast; take a causal "
            "model (see: snnsim baselines list)"
        )


def figures_of(metric: str, score: float, data: Any) -> dict[str, float]:
    """Return how good a network is on data, by name.

    Args:
        metric, score: those of the network's :class:`snnsim.training.Scores`.
        data: what it was evaluated on.

    Returns:
        The score, or in place of a mean squared error that of forecasts beside persistence, or of
        a regression in units of the spread of the targets, and the fraction of their variance that
        is explained.
    """
    if metric != "mse":
        return {metric: score}
    if is_forecast(data):
        return beside_persistence(score, data)
    error = score / variance_of(data)
    return {NRMSE: error**0.5, R2: 1 - error}


def of_labels(objective: MultiLabel, logits: Tensor, true: Tensor) -> dict[str, float]:
    """Return how good answers with several labels are, beside their F1.

    Args:
        objective: says from which probability a label is found.
        logits: the answers, ``[n, C]``.
        true: the labels of the samples, truth values ``[n, C]``.

    Returns:
        ``exact_match``, the fraction of the samples whose labels are all right, and
        ``average_precision``, the mean over the labels that a sample has; absent if none has any.
    """
    exact = (objective.found(logits) == true).all(1).double().mean()
    ranked = average_precision(logits, true)
    known = ranked[~ranked.isnan()]
    mean = {"average_precision": float(known.mean())} if len(known) else {}
    return {"exact_match": float(exact), **mean}


def variance_of(data: Sequences) -> float:
    """Return the variance of the targets of a data set about the mean of each value.

    As in the error that it is compared with, every sample counts alike, however many steps it has.

    Raises:
        DataError: the targets do not vary.
    """
    batch = fetch(data, range(len(data)))
    values = batch.target.double()
    if batch.per_step:
        weights = weights_of_steps(len(values), batch.lengths.double()) / len(data)
        values, weights = values.flatten(0, 1), weights.flatten()
    else:
        weights = torch.full((len(data),), 1 / len(data), dtype=torch.float64)
    values = values.reshape(len(weights), -1)
    mean = weights @ values
    variance = float((weights @ (values - mean).square()).mean())
    if variance <= ROUNDING * float((weights @ values.square()).mean()):
        raise DataError("the values to be found do not vary; there is nothing to learn")
    return variance


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
