"""Shared by the tests of the loop over tasks."""

import torch
from small import learner

from snnsim.continual import ContinualTrainer, ContinualWatcher, Method, task_recipe

RECIPE = task_recipe(epochs=2, batch_size=16, lr=0.1)  # 3 steps of 16, 16 and 10 samples


def trainer_of(scenario="class", method=None, recipe=RECIPE, kind="dense", options=None, **rest):
    torch.manual_seed(1)
    made = learner(scenario, kind, **(options or {}))
    return ContinualTrainer(made, method or Method(), recipe, **rest)


def step(trainer, data, chosen):
    """One step; returns the mean loss that the trainer tells."""
    return trainer._step(data, chosen)[0] / len(chosen)


class Told(ContinualWatcher):
    def __init__(self):
        self.calls = []

    def task_started(self, task, steps):
        self.calls.append(("started", task, steps))

    def step_done(self, task, step, loss):
        self.calls.append(("step", task, step))

    def tested(self, task, row):
        self.calls.append(("tested", task, row))
