"""The loop over tasks: ends and what they need, shares of joint batches, results."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from loop_cases import RECIPE, Told, step, trainer_of
from small import learner, named_copy

from snnsim.continual import ContinualTrainer, ContinualWatcher, Method, methods
from snnsim.data import Augmentation
from snnsim.errors import ConfigError, NonFiniteError
from snnsim.training import distributed
from snnsim.training.loop import Position

# --- ends, and what they need --------------------------------------------------------------------


def test_a_task_ends_with_the_epoch_that_reaches_the_accuracy():
    told = Told()
    recipe = replace(RECIPE, epochs=4, until=0.5)
    torch.manual_seed(1)
    made = learner("class")
    tasks = tuple(replace(t, validation=t.test) for t in made.stream.tasks)
    made.stream = replace(made.stream, tasks=tasks)
    trainer = ContinualTrainer(made, Method(), recipe, watcher=told)
    counts = {0: [3, 11], 1: [10, 10, 10, 10], 2: [20]}  # of 22, 21 and 20
    calls = {task: iter(right) for task, right in counts.items()}

    def correct(data, task, *_, seen=None, **__):
        if seen is not None:
            return 0  # a test
        assert data is tasks[task].validation
        return next(calls[task])

    made.correct = correct
    trainer.run()
    steps = [sum(c[:2] == ("step", task) for c in told.calls) for task in range(3)]
    assert steps == [6, 12, 3]
    assert all(next(each, None) is None for each in calls.values())
    trainer.recipe, trainer.position = replace(recipe, until=1 / 3), Position(task=1)
    made.correct = lambda *_: 7
    assert len(tasks[1].validation) == 21
    assert trainer._validated()["stopped"]  # exactly reached
    trainer.recipe = RECIPE
    assert trainer._validated() == {}


def test_ending_early_needs_validation_data_of_every_task():
    torch.manual_seed(1)
    made = learner("class")
    tasks = list(made.stream.tasks)
    tasks[:2] = [replace(t, validation=t.test) for t in tasks[:2]]
    made.stream = replace(made.stream, tasks=tuple(tasks))
    with pytest.raises(ConfigError, match=r"until=0.9 compares accuracy on validation data"):
        ContinualTrainer(made, Method(), replace(RECIPE, until=0.9))
    ContinualTrainer(made, Method(), RECIPE)


@pytest.mark.parametrize("check", [True, False])
def test_an_input_that_is_not_finite_is_named_with_its_task(check):
    class Broken(Method):
        def training_data(self, task):
            data = super().training_data(task)
            spoilt = [data.transform, lambda x: x * math.nan][task]
            return replace(data, transform=spoilt)

    trainer = trainer_of(method=Broken(), recipe=replace(RECIPE, check_finite=check))
    trainer._run_task()
    says = (
        "the input is not finite in task 1, epoch 0, step 0; first not finite: the input of"
        if check
        else "the loss is not finite in task 1, epoch 0, step 0; .* Try a smaller lr"
    )
    with pytest.raises(NonFiniteError, match=says):
        trainer._run_task()


@pytest.mark.parametrize("training", ["bptt", "ottt"])
def test_a_loss_or_gradient_that_is_not_finite_stops_before_the_weights_move(training):
    class Late(Method):
        def on_step_start(self, task, step, steps):
            if step == 4:
                with torch.no_grad():
                    self.learner.heads[0].weight.fill_(math.inf)
                self.kept = named_copy(self.learner.body)

    trainer = trainer_of(method=Late(), options={"training": training})
    with pytest.raises(NonFiniteError, match="in task 0, epoch 1, step 1; .* Try a smaller lr"):
        trainer._run_task()
    for name, value in trainer.learner.body.named_parameters():
        assert torch.equal(value, trainer.method.kept[name])


def test_weights_that_are_not_finite_are_neither_tested_nor_stored(tmp_path):
    class Last(Method):
        def on_step_end(self, task):
            self.steps = getattr(self, "steps", 0) + 1
            if self.steps == 6:
                self.learner.body[0].weight.data[0, 0] = math.nan

    told = Told()
    trainer = trainer_of(method=Last(), watcher=told)
    with pytest.raises(NonFiniteError, match="weight is not finite in task 0"):
        trainer._run_task()
    assert told.calls[-1] == ("step", 0, 6)


# --- shares of a joint batch ---------------------------------------------------------------------


@pytest.mark.parametrize("training", ["bptt", "ottt"])
def test_shares_of_a_batch_add_up_to_its_gradient_and_loss(training, monkeypatch):
    """With a method's further loss, which each process weighs by its share."""

    class Further(Method):
        def loss(self, ce, batch, scores, task, chosen):
            return ce + 0.3 * sum(p.square().sum() for p in self.learner.body.parameters())

    def step_of(of):
        monkeypatch.setattr(distributed, "share", of)
        trainer = trainer_of(method=Further(), options={"training": training})
        trainer._ready()
        for group in trainer.optimizers.main.param_groups:
            group["lr"] = 0.0
        loss = step(trainer, trainer.stream.tasks[0].train, np.array([3, 9, 1, 12, 30]))
        return loss, {
            n: p.grad for n, p in trainer.learner.named_parameters() if p.grad is not None
        }

    whole, expected = step_of(lambda chosen: chosen)
    parts = [step_of(lambda c: c[:2]), step_of(lambda c: c[2:]), step_of(lambda c: c[:0])]
    assert sum(loss for loss, _ in parts) == pytest.approx(whole, rel=1e-5)
    for name, gradient in expected.items():
        total = sum(found[name] for _, found in parts if name in found)
        torch.testing.assert_close(total, gradient, rtol=1e-4, atol=1e-7)
    assert parts[2][0] == 0.0


@pytest.mark.parametrize("training", ["bptt", "ottt"])
def test_the_loss_told_is_the_mean_entropy_of_the_batch(training):
    trainer = trainer_of(options={"training": training})
    trainer._ready()
    chosen = np.array([3, 9, 1, 12, 30])
    batch = trainer.stream.tasks[0].train.batch(chosen)
    outputs = trainer.learner.outputs(batch.x, 0).detach()
    scores = outputs.mean(0) if training == "bptt" else outputs
    entropy = -scores.log_softmax(-1)[..., range(5), batch.labels].mean()
    found = step(trainer, trainer.stream.tasks[0].train, chosen)
    assert found == pytest.approx(float(entropy), rel=1e-5)


@pytest.mark.parametrize("training", ["bptt", "ottt"])
def test_the_loss_told_holds_what_a_method_adds(training):
    class Further(Method):
        def loss(self, ce, batch, scores, task, chosen):
            return ce + 0.3 * sum(p.square().sum() for p in self.learner.body.parameters())

    told, added = [], 0.0
    for method in (Method(), Further()):
        trainer = trainer_of(method=method, options={"training": training})
        trainer._ready()
        added = 0.3 * sum(float(p.square().sum()) for p in trainer.learner.body.parameters())
        told.append(step(trainer, trainer.stream.tasks[0].train, np.array([3, 9, 1, 12, 30])))
    assert added > 1
    assert told[1] - told[0] == pytest.approx(added, rel=1e-4)


# --- results -------------------------------------------------------------------------------------


def test_a_summary_is_in_percent_of_the_tasks_done(tmp_path):
    trainer = trainer_of("domain", seed=5)
    assert trainer.summary()["acc"] is None and trainer.summary()["matrix"] == []
    trainer.matrix = np.array([[0.9, 0.3, 0.2], [0.95, 0.8, 0.4], [0.6, 0.7, 0.85]])
    trainer.untrained = np.array([0.0, 0.1, 0.15])
    trainer.seconds = [1.5, 2.5, 3.5]
    trainer.position = Position(task=3)
    found = trainer.summary()
    assert found["acc"] == pytest.approx(215 / 3)
    assert found["bwt"] == pytest.approx(-20) and found["forgetting"] == pytest.approx(22.5)
    assert found["fwt"] == pytest.approx((20 + 25) / 2)
    assert np.allclose(found["matrix"], 100 * trainer.matrix)
    assert found["seconds_per_task"] == [1.5, 2.5, 3.5]
    assert (found["seed"], found["scenario"]) == (5, "domain")
    assert found["tasks"] == ["blobs 1", "blobs 2", "blobs 3"]
    assert found["parameters"] == 12 * 16 + 16 * 10 + 10 * 6
    assert found["memory_bytes"] == 0
    trainer.position = Position(task=2)
    part = trainer.summary()
    assert part["acc"] == pytest.approx(87.5) and part["bwt"] == pytest.approx(5)
    assert part["fwt"] == pytest.approx(20) and part["seconds_per_task"] == [1.5, 2.5]
    assert np.shape(part["matrix"]) == (2, 3)
    json.dumps(part)


class StopError(Exception):
    pass


def stopped(out, at, scenario="domain", **rest):
    """A trainer that was stopped after so many steps of a task, and what it told before."""

    class Stopper(Told):
        def step_done(self, task, step, loss):
            super().step_done(task, step, loss)
            if (task, step) == at:
                trainer.save()
                raise StopError

    trainer = trainer_of(scenario, out=out, watcher=Stopper(), **rest)
    with pytest.raises(StopError):
        trainer.run()
    return trainer


ALL = [*methods.names(), "refresh on hlop", "refresh on hypernetwork"]


def method_of(name):
    kind, _, inner = name.partition(" on ")
    strong = {"size": 0.01, "noise": 0.1, "damping": 1e3}  # what it measures changes the weights
    return methods.get(kind)(**({"on": inner, **strong} if inner else {}))


@pytest.mark.parametrize("name", [n for n in ALL if n not in ("sharp", "rehearsal")])
def test_a_run_that_was_stopped_before_the_end_of_a_task_goes_on_the_same(name, tmp_path):
    """All epochs are done, but what the method makes of the task is not."""

    def made(out=None):
        options = {"scenario": "task", "kind": "axonal", "recipe": RECIPE, "out": out}
        return trainer_of(method=method_of(name), **options)

    whole, first = made(), made(tmp_path)
    torch.manual_seed(2)
    whole.run()
    end = first.method.on_task_end

    def stop(task):
        if task == 1:
            raise StopError
        end(task)

    first.method.on_task_end = stop
    torch.manual_seed(2)
    with pytest.raises(StopError):
        first.run()
    again = made(tmp_path)
    assert again.resume() and (again.position.task, again.position.epoch) == (1, RECIPE.epochs)
    again.run()
    for key, tensor in again.learner.state_dict().items():
        assert torch.equal(tensor, whole.learner.state_dict()[key]), key


@pytest.mark.parametrize("at", [(0, 2), (1, 3), (2, 5)])
def test_a_resumed_run_has_the_results_of_one_that_was_not_stopped(at, tmp_path):
    """The transfer forward, too: what an untrained network scores is measured once."""
    whole = trainer_of("domain")
    expected = whole.run()
    assert np.array_equal(
        whole.untrained, [trainer_of("domain").learner.accuracy(t, 0) for t in range(3)]
    )
    first = stopped(tmp_path, at)
    told = Told()
    again = trainer_of("domain", out=tmp_path, watcher=told)
    with torch.no_grad():  # what is stored decides
        for p in again.learner.parameters():
            p.mul_(-1)
    assert again.resume()
    assert again.position.task == at[0] and again.position.seconds == first.position.seconds
    found = again.run()
    for name in expected:
        if name != "seconds_per_task":
            assert found[name] == expected[name], name
    assert again.seconds[: at[0]] == first.seconds[: at[0]]
    steps = [call[1:] for call in told.calls if call[0] == "step"]
    assert steps[0] == (at[0], at[1] + 1)
    assert again.seconds[at[0]] > first.position.seconds


def test_a_finished_run_is_read_and_not_trained_again(tmp_path):
    expected = trainer_of("domain", out=tmp_path).run()
    told = Told()
    again = trainer_of("domain", out=tmp_path, watcher=told)
    assert again.resume()
    assert again.run() == expected
    assert told.calls == []


def test_nothing_is_stored_without_a_folder_and_nothing_resumed_without_a_file(tmp_path):
    trainer = trainer_of(out=tmp_path)
    assert trainer.resume() is False and trainer.position == Position()
    trainer.out = None
    trainer.save()
    assert list(tmp_path.iterdir()) == []


def test_one_process_writes_and_says_so_before(tmp_path, monkeypatch):
    said = []

    class Writing(ContinualWatcher):
        def writing(self):
            said.append((tmp_path / "last.safetensors").exists())

    trainer = trainer_of(out=tmp_path, watcher=Writing())
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    trainer.save()
    assert said == [] and list(tmp_path.iterdir()) == []
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    trainer.save()
    assert said == [False] and (tmp_path / "last.safetensors").is_file()


@pytest.mark.parametrize("every", [0, 1, 2])
def test_checkpoints_come_after_so_many_steps_every_epoch_and_every_task(every):
    places = []

    class Keeps(ContinualTrainer):
        def save(self):
            places.append((self.position.task, self.position.epoch, self.position.step))

    torch.manual_seed(1)
    recipe = replace(RECIPE, checkpoint_steps=every)
    Keeps(learner("class"), Method(), recipe)._run_task()
    within = {0: [], 1: [1, 2, 3], 2: [2]}[every]
    epochs = [[*((0, e, step) for step in within), (0, e + 1, 0)] for e in (0, 1)]
    assert places == [*epochs[0], *epochs[1], (1, 0, 0)]


@pytest.mark.parametrize("place", [
    Position(task=4), Position(task=-1), Position(epoch=3), Position(epoch=-1), Position(step=-1),
    Position(seconds=-1.0), Position(seconds=math.inf), Position(seconds=math.nan),
    Position(seconds=1.0), Position(step=4), Position(loss=math.nan),
    Position(task=3, step=1),
])  # fmt: skip
def test_places_where_no_training_stands_are_refused(place):
    trainer = trainer_of()
    trainer._check_restored()
    for fine in (
        Position(task=3), Position(epoch=2), Position(step=3, seconds=7.0)
    ):  # fmt: skip
        trainer.position = fine
        trainer._check_restored()
    trainer.position = place
    with pytest.raises(ValueError, match="no training stands|are no numbers"):
        trainer._check_restored()


@pytest.mark.parametrize("name", ["matrix", "untrained", "seconds"])
def test_results_of_another_number_of_tasks_are_refused(name):
    trainer = trainer_of()
    setattr(trainer, name, {"matrix": np.zeros((3, 2)), "untrained": np.zeros(2)}.get(name, [0.0]))
    with pytest.raises(ValueError, match="and not 3"):
        trainer._check_restored()


def test_what_is_stored_names_method_options_and_stream(tmp_path):
    trainer = trainer_of("task", methods.get("ewc")(strength=3.0, samples=7))
    assert trainer._identity() == {
        "method": "EWC",
        "method's options": {"strength": 3.0, "online": True, "decay": 1.0, "samples": 7},
        "stream": ["blobs", "task", "a, b", "c, d", "e, f"],
        "augmentation": Augmentation().as_json(),
    }
