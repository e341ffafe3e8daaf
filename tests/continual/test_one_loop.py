"""A task trained alone and the same task as a stream of one: the same weights, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small import learner
from torch import nn

from snnsim.continual import ContinualTrainer, Method, task_recipe
from snnsim.errors import ConfigError
from snnsim.training import Recipe, Trainer, loop
from snnsim.training.recipe import GENERATING, OF_ONE_TASK

PLAIN = {"epochs": 5, "batch_size": 16, "lr": 0.02, "readout": "mean", "mask_padding": True}
RECIPES = {
    "published": {},
    "decay": {"weight_decay": 0.01, "schedule": "constant"},
    "cosine": {"schedule": "cosine", "schedule_delay": "same", "lr_delay": None},
    "few epochs": {"epochs": 2},
    "sgd": {"optimizer": "sgd", "momentum": 0.9, "clip": 0.5},
    "own schedule": {"schedule": lambda done: 1 - done / 2},
    "parts": {"accumulate": 3},
}


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


def as_one_network(made, recipe, monkeypatch):
    monkeypatch.setattr(loop, "epoch_order", of_first_task)
    task = made.stream.tasks[0]
    Trainer(AsNetwork(made), task.train, task.test, recipe, seed=5).run()


of_epoch = loop.epoch_order


def of_first_task(samples, seed, epoch):
    return of_epoch(samples, seed, 0, epoch)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("scenario", ["task", "class", "domain"])
@pytest.mark.parametrize("kind", ["dense", "recurrent", "axonal"])
def test_one_task_alone_and_as_a_stream_ends_at_the_same_weights(scenario, kind, name, monkeypatch):
    one, other = stream_of_one(scenario, kind), stream_of_one(scenario, kind)
    before = {name: p.detach().clone() for name, p in one.named_parameters()}
    recipe = Recipe(**(PLAIN | RECIPES[name]), precision="float32")
    of_stream = recipe if kind == "axonal" else replace(recipe, lr_delay=None)
    ContinualTrainer(one, Method(), of_stream, seed=5).run()
    as_one_network(other, recipe, monkeypatch)
    moved = set()
    for (name, a), (_, b) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(a, b), name
        if not torch.equal(a, before[name]):
            moved.add(name)
    of_others = {n for n in before if n.startswith(("heads.1", "heads.2"))}
    assert moved == {n for n, p in one.named_parameters() if p.requires_grad} - of_others
    delays = {n for n in before if n.endswith("delay")}
    assert delays <= moved and bool(delays) == (kind == "axonal")


def test_another_order_ends_elsewhere(monkeypatch):
    one, other = stream_of_one("task", "dense"), stream_of_one("task", "dense")
    recipe = Recipe(**PLAIN, lr_delay=None)
    ContinualTrainer(one, Method(), recipe, seed=6).run()
    as_one_network(other, recipe, monkeypatch)
    assert not all(map(torch.equal, one.parameters(), other.parameters()))


OF_DATA = {
    "repeat": {"repeat": 3}, "repeat_fraction": {"repeat_fraction": 0.2},
    "density": {"density": 0.5}, "prune_at": {"prune_at": 1}, "prune_way": {"prune_way": "random"},
    "target": {"target": "next-step"},
    "repetition": {"target": "next-step", "repetition": 1.0},
    "repetition_steps": {"repetition_steps": 4}, "repetition_scale": {"repetition_scale": 0.2},
}  # fmt: skip


def test_what_only_data_sets_have_is_listed_here():
    assert set(OF_DATA) == {*OF_ONE_TASK, *GENERATING}


@pytest.mark.parametrize("name", OF_DATA)
def test_what_only_data_sets_have_is_refused_on_a_stream(name):
    with pytest.raises(ConfigError, match="is for training on one data set"):
        ContinualTrainer(learner("task"), Method(), task_recipe(**OF_DATA[name]))
