"""Weights that a stream's trainer keeps after every task, and what can be looked at with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small import CHANNELS, body, dense, stream

import snnsim as sn
from snnsim import checkpoint
from snnsim.continual import (
    ContinualTrainer,
    ContinualWatcher,
    LearnedTasks,
    Learner,
    WeightsOfTasks,
    dense_head,
    methods,
    task_recipe,
    weights_of,
)
from snnsim.continual.learned import Outputs
from snnsim.errors import CheckpointError, ConfigError
from snnsim.training.rules.dsr import RateLIF, weighted_mean

RECIPE = task_recipe(batch_size=21, lr=0.05, keep_weights=True)
OPTIONS = {"ewc": {"strength": 1.0}}


def made(name, scenario="task"):
    torch.manual_seed(1)
    return Learner(body(), dense_head(10), stream(scenario)), methods.get(name)(
        **OPTIONS.get(name, {})
    )


def trained(name, folder, scenario="task", watcher=None):
    recipe = RECIPE
    if name == "sharp":
        recipe = task_recipe(epochs=2, batch_size=21, lr=0.005, optimizer="adam", keep_weights=True)
    learner, method = made(name, scenario)
    trainer = ContinualTrainer(learner, method, recipe, out=folder, watcher=watcher)
    return trainer, trainer.run()


def learned(name, folder, scenario="task", **options):
    """The same as a later process finds it."""

    def make():
        learner, method = made(name, scenario)
        method.attach(learner, "sgd")
        return WeightsOfTasks(learner, method, folder)

    return LearnedTasks(make, **options)


@pytest.mark.parametrize("name", methods.names())
def test_every_method_answers_as_it_did_after_each_task(name, tmp_path):
    _, summary = trained(name, tmp_path)
    tasks = learned(name, tmp_path / "weights")
    assert sorted(p.name for p in (tmp_path / "weights").iterdir()) == [
        f"task{n}.safetensors" for n in (1, 2, 3)
    ]
    for after in (2, 0, 1):
        kept = tasks.make()
        kept.restore(after)
        row = [100 * kept.learner.accuracy(task, after) for task in range(3)]
        assert row == summary["matrix"][after]
        for task in range(3):
            subject = learned(name, tmp_path / "weights", after=after).subject(task)
            if name == "sharp":
                with pytest.raises(ConfigError, match="answers otherwise"):
                    subject.accuracy(subject.net)
            else:
                assert 100 * subject.accuracy(subject.net) == pytest.approx(row[task])
    line = tasks.line(0, 2, 3)
    assert (100 * line[-1]).tolist() == pytest.approx(summary["matrix"][2])


@pytest.mark.parametrize("scenario", ["class", "domain"])
def test_networks_tell_the_classes_apart_that_the_run_did(scenario, tmp_path):
    _, summary = trained("fine-tuning", tmp_path, scenario)
    for after in range(3):
        tasks = learned("fine-tuning", tmp_path / "weights", scenario, after=after)
        row = [100 * (found := tasks.subject(task)).accuracy(found.net) for task in range(3)]
        assert row == pytest.approx(summary["matrix"][after])
    first = learned("fine-tuning", tmp_path / "weights", scenario).subject(0).net[-1]
    assert isinstance(first, Outputs) == (scenario == "class")


KINDS = {
    "recurrent": (lambda: body("recurrent"), {}),
    "axonal delays and normalisation": (lambda: body("axonal"), {}),
    "online": (body, {"training": "ottt"}),
    "rates": (
        lambda: sn.Sequential(dense(CHANNELS, 10), RateLIF(10)),
        {"training": "dsr", "readout": lambda y, lengths: weighted_mean(y, RateLIF(1).decay)},
    ),
    "random feedback": (body, {"feedback": "random"}),
    "rate-coded": (lambda: sn.Sequential(sn.baselines.get("gru")(CHANNELS, 10)), {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_every_kind_answer_as_their_learner(kind, tmp_path):
    make_body, options = KINDS[kind]

    def kept():
        torch.manual_seed(2)
        learner = Learner(make_body(), dense_head(10), stream("task"), **options)
        method = methods.get("fine-tuning")()
        method.attach(learner)
        return WeightsOfTasks(learner, method, tmp_path / "weights")

    fresh = kept()
    summary = ContinualTrainer(fresh.learner, fresh.method, RECIPE, out=tmp_path).run()
    for after in range(3):
        tasks = LearnedTasks(kept, after)
        row = [100 * (found := tasks.subject(task)).accuracy(found.net) for task in range(3)]
        assert row == pytest.approx(summary["matrix"][after])
    assert np.ptp(summary["matrix"]) > 0


def test_a_subject_is_a_plain_network_on_the_data_of_its_task(tmp_path):
    trainer, _ = trained("hlop", tmp_path)
    tasks = learned("hlop", tmp_path / "weights")
    subject = tasks.subject(2)
    own = weights_of(trainer.learner)
    assert torch.equal(subject.net[0].weight, own["body.layers.0.connection.weight"])
    assert torch.equal(subject.net[-1].weight, own["heads.2.connection.weight"])
    assert len(subject.data) == len(stream("task").tasks[2].test)
    assert [type(layer).__name__ for layer in subject.net] == ["Dense", "LIF"] * 2 + ["Dense"]
    assert not any(module._forward_hooks for module in subject.net.modules())
    other = tasks.subject(0)
    assert not torch.equal(other.net[0].weight, subject.net[0].weight)
    with pytest.raises(ConfigError, match="task is 3"):
        tasks.subject(3)


class Stops(ContinualWatcher):
    """Interrupts before the weights of a task are kept, or just after them."""

    def __init__(self, before):
        self.before, self.row = before, False

    def tested(self, task, row):
        self.row = task == 1
        if self.row and self.before:
            raise KeyboardInterrupt

    def writing(self):  # first of the weights, then of the position
        if self.row and not self.before:
            self.before = True
        elif self.row:
            raise KeyboardInterrupt


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("name", ["hlop", "replay"])
def test_a_resumed_run_keeps_the_same_weights(name, before, tmp_path):
    trained(name, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(name, tmp_path / "parts", watcher=Stops(before))
    files = sorted(p.name for p in (tmp_path / "parts" / "weights").iterdir())
    assert files == ["task1.safetensors", "task2.safetensors"][: 1 if before else 2]
    learner, method = made(name)
    trainer = ContinualTrainer(learner, method, RECIPE, out=tmp_path / "parts")
    assert trainer.resume() and trainer.position.task == 1
    trainer.run()
    for task in (1, 2, 3):
        one, two = (
            checkpoint.load(tmp_path / part / "weights" / f"task{task}.safetensors")[0]
            for part in ("whole", "parts")
        )
        assert one.keys() == two.keys()
        assert all(torch.equal(value, two[key]) for key, value in one.items())


def test_keeping_weights_changes_no_result(tmp_path):
    _, kept = trained("hlop", tmp_path)
    learner, method = made("hlop")
    plain = ContinualTrainer(learner, method, task_recipe(batch_size=21, lr=0.05)).run()
    assert plain["matrix"] == kept["matrix"] and plain["memory_bytes"] == kept["memory_bytes"]


def test_without_a_folder_they_are_in_memory():
    learner, method = made("sharp")
    recipe = task_recipe(batch_size=21, lr=0.005, optimizer="adam", keep_weights=True)
    trainer = ContinualTrainer(learner, method, recipe)
    summary = trainer.run()
    assert len(trainer.kept.taken) == 3
    trainer.kept.restore(1)
    assert 100 * np.mean([learner.accuracy(0, 1)]) == summary["matrix"][1][0]
    with pytest.raises(ConfigError, match="task is 3"):
        trainer.kept.restore(3)


def test_files_that_are_absent_damaged_or_of_another_network_are_refused(tmp_path):
    trained("fine-tuning", tmp_path)
    folder = tmp_path / "weights"
    with pytest.raises(ConfigError, match="no weights after task 9"):
        WeightsOfTasks(*made("fine-tuning"), folder).restore(8)
    torch.manual_seed(0)
    other = Learner(body("recurrent"), dense_head(10), stream("task"))
    with pytest.raises(CheckpointError, match=r"task1.* does not fit"):
        WeightsOfTasks(other, None, folder).restore(0)
    file = folder / "task1.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        WeightsOfTasks(*made("fine-tuning"), folder).restore(0)
