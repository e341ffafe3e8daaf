"""Training: the loop, its recipe, checkpoints and evaluation."""

from snnsim.training.evaluate import Scores, evaluate, predict
from snnsim.training.fit import Trainer, Watcher, set_seed
from snnsim.training.latency import Latency, accuracy_over_time
from snnsim.training.objectives import Classification, Custom, Objective, PerStep, Regression
from snnsim.training.recipe import Optimizers, Recipe, parameter_groups, split_parameters

__all__ = [
    "Classification",
    "Custom",
    "Latency",
    "Objective",
    "Optimizers",
    "PerStep",
    "Recipe",
    "Regression",
    "Scores",
    "Trainer",
    "Watcher",
    "accuracy_over_time",
    "evaluate",
    "parameter_groups",
    "predict",
    "set_seed",
    "split_parameters",
]
