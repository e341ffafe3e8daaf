"""A task trained alone and the same task as a stream of one: the same weights, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small import learner
from torch import nn

from snnsim.continual import ContinualRecipe, ContinualTrainer, Method
from snnsim.training import Recipe, Trainer, fit

PLAIN = {"epochs": 3, "batch_size": 16, "schedule": "constant"}


class AsNetwork(nn.Module):
    """A learner's first task as a network of its own."""

    def __init__(self, made):
        super().__init__()
        self.made = made

    def forward(self, x):
        return self.made.outputs(x, 0), None


def stream_of_one(scenario, kind):
    torch.manual_seed(3)
    made = learner(scenario, kind)
    made.stream = replace(made.stream, tasks=made.stream.tasks[:1])
    return made


def alone(made, monkeypatch, decay):
    monkeypatch.setattr(fit, "epoch_order", of_first_task)
    task = made.stream.tasks[0]
    recipe = Recipe(
        **PLAIN, max_lr=0.02, weight_decay=decay, readout="mean", mask_padding=True,
        lr_delay=0.0, precision="float32",
    )  # fmt: skip
    Trainer(AsNetwork(made), task.train, task.test, recipe, seed=5).run()


of_epoch = fit.epoch_order


def of_first_task(samples, seed, epoch):
    return of_epoch(samples, seed, 0, epoch)


@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("scenario", ["task", "class", "domain"])
@pytest.mark.parametrize("kind", ["dense", "recurrent"])
def test_one_task_alone_and_as_a_stream_ends_at_the_same_weights(
    scenario, kind, decay, monkeypatch
):
    one, other = stream_of_one(scenario, kind), stream_of_one(scenario, kind)
    before = [p.detach().clone() for p in one.parameters()]
    recipe = ContinualRecipe(**PLAIN, lr=0.02, optimizer="adam", weight_decay=decay)
    ContinualTrainer(one, Method(), recipe, seed=5).run()
    alone(other, monkeypatch, decay)
    for (name, a), (_, b), first in zip(
        one.named_parameters(), other.named_parameters(), before, strict=True
    ):
        assert torch.equal(a, b), name
        untouched = name.startswith(("made.heads.1", "heads.1", "heads.2"))  # of other tasks
        assert torch.equal(a, first) == untouched, name


def test_another_order_ends_elsewhere(monkeypatch):
    one, other = stream_of_one("task", "dense"), stream_of_one("task", "dense")
    recipe = ContinualRecipe(**PLAIN, lr=0.02, optimizer="adam")
    ContinualTrainer(one, Method(), recipe, seed=6).run()
    alone(other, monkeypatch, 0.0)
    assert not all(map(torch.equal, one.parameters(), other.parameters()))
