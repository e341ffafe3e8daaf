"""Training: the loop, its recipe, checkpoints and evaluation."""

import sys

from snnsim import checkpoint
from snnsim.training.calibration import calibrate, calibrated, calibration_error
from snnsim.training.evaluate import Answer, Scores, answers, evaluate, predict
from snnsim.training.latency import Latency, accuracy_over_time
from snnsim.training.loop import set_seed
from snnsim.training.next_step import NextEvent, NextStep, objective_of
from snnsim.training.objectives import (
    Classification,
    Custom,
    MultiLabel,
    Objective,
    PerStep,
    Regression,
)
from snnsim.training.optimizers import Optimizers, parameter_groups, split_parameters
from snnsim.training.recipe import Recipe, task_recipe
from snnsim.training.repeated import repeated
from snnsim.training.start import start_from
from snnsim.training.trainer import Trainer, Watcher

# where these were before; understood for one more release
sys.modules[f"{__name__}.checkpoint"] = checkpoint
sys.modules[f"{__name__}.fit"] = sys.modules[Trainer.__module__]

__all__ = [
    "Answer",
    "Classification",
    "Custom",
    "Latency",
    "MultiLabel",
    "NextEvent",
    "NextStep",
    "Objective",
    "Optimizers",
    "PerStep",
    "Recipe",
    "Regression",
    "Scores",
    "Trainer",
    "Watcher",
    "accuracy_over_time",
    "answers",
    "calibrate",
    "calibrated",
    "calibration_error",
    "checkpoint",
    "evaluate",
    "objective_of",
    "parameter_groups",
    "predict",
    "repeated",
    "set_seed",
    "split_parameters",
    "start_from",
    "task_recipe",
]
