"""Continual learning: streams of tasks, methods against forgetting, and what is measured."""

import sys

from snnsim.continual import methods
from snnsim.continual.connectivity import accuracy_between, barrier
from snnsim.continual.learned import LearnedTasks, TaskSubject
from snnsim.continual.learner import Learner, dense_head
from snnsim.continual.method import Method
from snnsim.continual.methods.hlop import HLOP
from snnsim.continual.stream import (
    Stream,
    Task,
    View,
    blurry,
    permuted,
    rotated,
    split_by_class,
    split_by_speaker,
    transformed,
)
from snnsim.continual.subspace import Subspace
from snnsim.continual.trainer import ContinualRecipe, ContinualTrainer
from snnsim.continual.watcher import ContinualWatcher, WeightsOfTasks, weights_of
from snnsim.training import task_recipe

# where it was before; understood for one more release
sys.modules[f"{__name__}.loop"] = sys.modules[ContinualTrainer.__module__]

__all__ = [
    "HLOP",
    "ContinualRecipe",
    "ContinualTrainer",
    "ContinualWatcher",
    "LearnedTasks",
    "Learner",
    "Method",
    "Stream",
    "Subspace",
    "Task",
    "TaskSubject",
    "View",
    "WeightsOfTasks",
    "accuracy_between",
    "barrier",
    "blurry",
    "dense_head",
    "methods",
    "permuted",
    "rotated",
    "split_by_class",
    "split_by_speaker",
    "task_recipe",
    "transformed",
    "weights_of",
]
