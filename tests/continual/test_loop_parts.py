"""The loop over tasks: orders, rates, what is told, stored and refused."""

import json
import math
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from small import learner, named_copy

import snnsim as sn
from snnsim.continual import ContinualRecipe, ContinualTrainer, ContinualWatcher, Method, methods
from snnsim.continual.loop import OPTIMIZERS, SCHEDULES, Place
from snnsim.errors import ConfigError, NonFiniteError
from snnsim.training import distributed

RECIPE = ContinualRecipe(epochs=2, batch_size=16, lr=0.1)  # 3 steps of 16, 16 and 10 samples


def trainer_of(scenario="class", method=None, recipe=RECIPE, kind="dense", options=None, **rest):
    torch.manual_seed(1)
    made = learner(scenario, kind, **(options or {}))
    return ContinualTrainer(made, method or Method(), recipe, **rest)


def test_defaults_are_those_of_the_documentation():
    assert asdict(ContinualRecipe()) == {
        "epochs": 1, "batch_size": 64, "lr": 0.1, "later_lr": 0.0, "optimizer": "sgd",
        "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant", "delay_lr": 0.0,
        "sigma_end": 0.23, "sigma_share": 0.25, "until": 0.0, "checkpoint_steps": 0,
        "check_finite": True,
    }  # fmt: skip
    assert asdict(Place()) == {
        "task": 0, "epoch": 0, "step": 0, "started": False, "seconds": 0.0,
    }  # fmt: skip
    assert (OPTIMIZERS, SCHEDULES) == (("sgd", "adam"), ("constant", "cosine"))
    trainer = ContinualTrainer(learner("task"), Method(), ContinualRecipe())
    assert (trainer.seed, trainer.out, trainer.device.type) == (0, None, "cpu")
    with pytest.raises(ConfigError, match="seed"):
        ContinualTrainer(learner("task"), Method(), RECIPE, seed=-1)


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 0}, {"sigma_end": -1}, {"sigma_share": 1.5}, {"sigma_share": -1},
     {"until": -0.5}, {"lr": -0.1}],
    ids=str,
)  # fmt: skip
def test_recipes_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        ContinualRecipe(**options)
    ContinualRecipe(sigma_share=1.0, until=1.0, sigma_end=0)


def test_only_sgd_without_decay_is_plain():
    assert ContinualRecipe().plain == "sgd"
    assert ContinualRecipe(momentum=0.9).plain == "sgd"
    assert ContinualRecipe(optimizer="adam").plain == "adam"
    assert ContinualRecipe(weight_decay=0.1).plain == "sgd with weight decay"
    seen = []

    class Spy(Method):
        def attach(self, learner, optimizer="sgd"):
            seen.append(optimizer)
            super().attach(learner, optimizer)

    trainer_of(method=Spy(), recipe=replace(RECIPE, weight_decay=0.1))
    assert seen == ["sgd with weight decay"]


# --- the order of things ---


class Diary(Method):
    """Writes down every call."""

    def __init__(self):
        self.calls, self.chosen, self.batches, self.modes = [], [], [], []

    def begin_task(self, task):
        self.calls.append(("begin_task", task))

    def enter(self, task):
        self.calls.append(("enter", task))
        self.modes.append(self.learner.training)

    def begin_step(self, task, step, steps):
        self.calls.append(("begin_step", task, step, steps))

    def before_step(self, batch, task):
        self.calls.append(("before_step", task))
        self.batches.append(batch)
        self.untouched = [p.detach().clone() for p in self.learner.parameters()]

    def loss(self, ce, batch, scores, task, chosen):
        self.calls.append(("loss", task))
        self.chosen.append(chosen)
        return ce

    def after_backward(self, task):
        self.calls.append(("after_backward", task))
        same = zip(self.untouched, self.learner.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in same)
        assert any(p.grad is not None for p in self.learner.parameters())

    def after_step(self, task):
        self.calls.append(("after_step", task))
        same = zip(self.untouched, self.learner.parameters(), strict=True)
        assert not all(torch.equal(a, b) for a, b in same)

    def end_task(self, task):
        self.calls.append(("end_task", task))


class Told(ContinualWatcher):
    def __init__(self):
        self.calls = []

    def task_started(self, task, steps):
        self.calls.append(("started", task, steps))

    def step_done(self, task, step, loss):
        self.calls.append(("step", task, step))

    def tested(self, task, row):
        self.calls.append(("tested", task, row))


def test_every_call_of_a_method_comes_at_its_time():
    method, told = Diary(), Told()
    trainer = trainer_of(method=method, watcher=told)
    trainer.run()
    expected, reports = [], []
    for task in range(3):
        expected.append(("begin_task", task))
        reports.append(("started", task, 6))
        for epoch in range(2):
            expected.append(("enter", task))
            for step in range(3):
                expected.append(("begin_step", task, 3 * epoch + step, 6))
                names = ("before_step", "loss", "after_backward", "after_step")
                expected += [(name, task) for name in names]
                reports.append(("step", task, 3 * epoch + step + 1))
        expected.append(("end_task", task))
        reports.append(("tested", task, trainer.matrix[task].tolist()))
    assert method.calls == expected
    assert told.calls == reports
    assert all(method.modes)


@pytest.mark.parametrize("seed", [0, 4])
def test_samples_come_in_the_order_of_seed_task_and_epoch(seed):
    method = Diary()
    trainer = trainer_of(method=method, seed=seed)
    trainer.run()
    found = iter(zip(method.chosen, method.batches, strict=True))
    for task in range(3):
        data = trainer.stream.tasks[task].train
        for epoch in range(2):
            order = np.random.default_rng([seed, task, epoch]).permutation(42)
            for part in (order[:16], order[16:32], order[32:]):
                chosen, batch = next(found)
                assert chosen.tolist() == part.tolist()
                assert batch.labels.tolist() == data.labels[part].tolist()
                assert torch.equal(batch.x, data.batch(part).x)
                assert len(batch.lengths) == len(part)
    assert next(found, None) is None


def test_a_method_may_choose_what_is_trained():
    class Fewer(Diary):
        def training_data(self, task):
            whole = super().training_data(task)
            return replace(whole, indices=whole.indices[:5])

    method, told = Fewer(), Told()
    trainer_of(method=method, watcher=told)._run_task()
    assert sorted(method.chosen[0].tolist()) == list(range(5))
    assert told.calls[0] == ("started", 0, 2)


# --- rates and optimisers ---


def rates_of(recipe, kind="dense", task=0, epoch=0):
    trainer = trainer_of(recipe=recipe, kind=kind)
    trainer.optimizer = trainer._optimizer(task)
    trainer._set_rates(task, epoch)
    return [group["lr"] for group in trainer.optimizer.param_groups]


def test_rates_are_those_of_the_task_the_epoch_and_the_kind_of_parameter():
    plain = replace(RECIPE, epochs=4, lr=0.2)
    assert rates_of(plain) == pytest.approx([0.2, 0.2])
    assert rates_of(plain, task=1, epoch=3) == pytest.approx([0.2, 0.2])
    later = replace(plain, later_lr=0.05)
    assert rates_of(later) == pytest.approx([0.2, 0.2])
    assert rates_of(later, task=2) == pytest.approx([0.05, 0.05])
    falling = replace(later, schedule="cosine")
    for task, lr in ((0, 0.2), (1, 0.05)):
        for epoch in range(4):
            expected = lr * (1 + math.cos(math.pi * epoch / 4)) / 2
            assert rates_of(falling, task=task, epoch=epoch) == pytest.approx([expected] * 2)
    assert rates_of(plain, "axonal") == pytest.approx([0.2, 0.2, 20.0])
    given = replace(later, delay_lr=3.0)
    assert rates_of(given, "axonal") == pytest.approx([0.2, 0.2, 3.0])
    assert rates_of(given, "axonal", task=1) == pytest.approx([0.05, 0.05, 0.75])


def test_rates_are_set_in_every_epoch():
    seen = []

    class Spy(Method):
        def after_step(self, task):
            seen.append(trainer.optimizer.param_groups[0]["lr"])

    recipe = replace(RECIPE, schedule="cosine", later_lr=0.04)
    trainer = trainer_of(method=Spy(), recipe=recipe)
    trainer._run_task()
    trainer._run_task()
    assert seen == pytest.approx([0.1] * 3 + [0.05] * 3 + [0.04] * 3 + [0.02] * 3)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_optimisers_have_their_options_and_start_afresh(optimizer):
    recipe = replace(RECIPE, optimizer=optimizer, momentum=0.7, weight_decay=0.02)
    found = []

    class Spy(Method):
        def begin_step(self, task, step, steps):
            if step == 0:
                found.append((trainer.optimizer, len(trainer.optimizer.state)))

    trainer = trainer_of(method=Spy(), recipe=recipe, kind="axonal")
    trainer.run()
    assert [state for _, state in found] == [0, 0, 0]
    assert len({id(o) for o, _ in found}) == 3
    made = found[0][0]
    assert type(made) is (torch.optim.Adam if optimizer == "adam" else torch.optim.SGD)
    if optimizer == "sgd":
        assert {group["momentum"] for group in made.param_groups} == {0.7}
    assert [group["weight_decay"] for group in made.param_groups] == [0.02, 0.0, 0.0]
    delays = [m.delay for m in trainer.learner.modules() if isinstance(m, sn.Delayed)]
    assert [id(p) for p in made.param_groups[2]["params"]] == [id(p) for p in delays]


def test_delays_are_in_range_after_every_step():
    found = []

    class Spy(Method):
        def after_step(self, task):
            delay = trainer.learner.body[0].delay
            found.append((float(delay.detach().min()), float(delay.detach().max())))

    recipe = replace(RECIPE, epochs=1, delay_lr=1e4)
    trainer = trainer_of(method=Spy(), recipe=recipe, kind="axonal")
    trainer._run_task()
    assert len(found) == 3
    assert all(low >= 0 and high <= trainer.learner.body[0].length - 1 for low, high in found)
    assert any(low == 0 or high == trainer.learner.body[0].length - 1 for low, high in found)


# --- ends, and what they need ---


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
    trainer.recipe = replace(recipe, until=1 / 3)
    made.correct = lambda *_: 7
    assert len(tasks[1].validation) == 21
    assert trainer._reached(1)  # exactly reached
    trainer.recipe = RECIPE
    assert not trainer._reached(1)


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
    says = "the input in task 1" if check else "in task 1, epoch 0, step 0; try a smaller learning"
    with pytest.raises(NonFiniteError, match=says):
        trainer._run_task()


@pytest.mark.parametrize("training", ["bptt", "ottt"])
def test_a_loss_or_gradient_that_is_not_finite_stops_before_the_weights_move(training):
    class Late(Method):
        def begin_step(self, task, step, steps):
            if step == 4:
                with torch.no_grad():
                    self.learner.heads[0].weight.fill_(math.inf)
                self.kept = named_copy(self.learner.body)

    trainer = trainer_of(method=Late(), options={"training": training})
    with pytest.raises(NonFiniteError, match="in task 0, epoch 1, step 1; try a smaller"):
        trainer._run_task()
    for name, value in trainer.learner.body.named_parameters():
        assert torch.equal(value, trainer.method.kept[name])


def test_weights_that_are_not_finite_are_neither_tested_nor_stored(tmp_path):
    class Last(Method):
        def after_step(self, task):
            self.steps = getattr(self, "steps", 0) + 1
            if self.steps == 6:
                self.learner.body[0].weight.data[0, 0] = math.nan

    told = Told()
    trainer = trainer_of(method=Last(), watcher=told)
    with pytest.raises(NonFiniteError, match="weight is not finite in task 0"):
        trainer._run_task()
    assert told.calls[-1] == ("step", 0, 6)


# --- shares of a joint batch ---


@pytest.mark.parametrize("training", ["bptt", "ottt"])
def test_shares_of_a_batch_add_up_to_its_gradient_and_loss(training, monkeypatch):
    """With a method's further loss, which each process weighs by its share."""

    class Further(Method):
        def loss(self, ce, batch, scores, task, chosen):
            return ce + 0.3 * sum(p.square().sum() for p in self.learner.body.parameters())

    def step(of):
        monkeypatch.setattr(distributed, "share", of)
        trainer = trainer_of(method=Further(), options={"training": training})
        trainer.optimizer = trainer._optimizer(0)
        for group in trainer.optimizer.param_groups:
            group["lr"] = 0.0
        loss = trainer._step(trainer.stream.tasks[0].train, np.array([3, 9, 1, 12, 30]))
        return loss, {
            n: p.grad for n, p in trainer.learner.named_parameters() if p.grad is not None
        }

    whole, expected = step(lambda chosen: chosen)
    parts = [step(lambda c: c[:2]), step(lambda c: c[2:]), step(lambda c: c[:0])]
    assert sum(loss for loss, _ in parts) == pytest.approx(whole, rel=1e-5)
    for name, gradient in expected.items():
        total = sum(found[name] for _, found in parts if name in found)
        torch.testing.assert_close(total, gradient, rtol=1e-4, atol=1e-7)
    assert parts[2][0] == 0.0


@pytest.mark.parametrize("training", ["bptt", "ottt"])
def test_the_loss_told_is_the_mean_entropy_of_the_batch(training):
    trainer = trainer_of(options={"training": training})
    trainer.optimizer = trainer._optimizer(0)
    chosen = np.array([3, 9, 1, 12, 30])
    batch = trainer.stream.tasks[0].train.batch(chosen)
    outputs = trainer.learner.outputs(batch.x, 0).detach()
    scores = outputs.mean(0) if training == "bptt" else outputs
    entropy = -scores.log_softmax(-1)[..., range(5), batch.labels].mean()
    found = trainer._step(trainer.stream.tasks[0].train, chosen)
    assert found == pytest.approx(float(entropy), rel=1e-5)


@pytest.mark.parametrize("training", ["bptt", "ottt"])
def test_the_loss_told_holds_what_a_method_adds(training):
    class Further(Method):
        def loss(self, ce, batch, scores, task, chosen):
            return ce + 0.3 * sum(p.square().sum() for p in self.learner.body.parameters())

    told, added = [], 0.0
    for method in (Method(), Further()):
        trainer = trainer_of(method=method, options={"training": training})
        trainer.optimizer = trainer._optimizer(0)
        added = 0.3 * sum(float(p.square().sum()) for p in trainer.learner.body.parameters())
        told.append(trainer._step(trainer.stream.tasks[0].train, np.array([3, 9, 1, 12, 30])))
    assert added > 1
    assert told[1] - told[0] == pytest.approx(added, rel=1e-4)


# --- results ---


def test_a_summary_is_in_percent_of_the_tasks_done(tmp_path):
    trainer = trainer_of("domain", seed=5)
    assert trainer.summary()["acc"] is None and trainer.summary()["matrix"] == []
    trainer.matrix = np.array([[0.9, 0.3, 0.2], [0.95, 0.8, 0.4], [0.6, 0.7, 0.85]])
    trainer.untrained = np.array([0.0, 0.1, 0.15])
    trainer.seconds = [1.5, 2.5, 3.5]
    trainer.place = Place(task=3)
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
    trainer.place = Place(task=2)
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
    assert again.place.task == at[0] and again.place.seconds == first.place.seconds
    found = again.run()
    for name in expected:
        if name != "seconds_per_task":
            assert found[name] == expected[name], name
    assert again.seconds[: at[0]] == first.seconds[: at[0]]
    steps = [call[1:] for call in told.calls if call[0] == "step"]
    assert steps[0] == (at[0], at[1] + 1)
    assert again.seconds[at[0]] > first.place.seconds


def test_a_finished_run_is_read_and_not_trained_again(tmp_path):
    expected = trainer_of("domain", out=tmp_path).run()
    told = Told()
    again = trainer_of("domain", out=tmp_path, watcher=told)
    assert again.resume()
    assert again.run() == expected
    assert told.calls == []


def test_nothing_is_stored_without_a_folder_and_nothing_resumed_without_a_file(tmp_path):
    trainer = trainer_of(out=tmp_path)
    assert trainer.resume() is False and trainer.place == Place()
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
            places.append((self.place.task, self.place.epoch, self.place.step))

    torch.manual_seed(1)
    recipe = replace(RECIPE, checkpoint_steps=every)
    Keeps(learner("class"), Method(), recipe)._run_task()
    within = {0: [], 1: [1, 2, 3], 2: [2]}[every]
    epochs = [[*((0, e, step) for step in within), (0, e + 1, 0)] for e in (0, 1)]
    assert places == [*epochs[0], *epochs[1], (1, 0, 0)]


@pytest.mark.parametrize("place", [
    Place(task=4), Place(task=-1), Place(epoch=3), Place(epoch=-1), Place(step=-1),
    Place(seconds=-1.0), Place(seconds=math.inf), Place(seconds=math.nan),
])  # fmt: skip
def test_places_where_no_training_stands_are_refused(place):
    trainer = trainer_of()
    trainer._check_place()
    for fine in (Place(task=3), Place(epoch=2), Place(step=5, seconds=7.0)):
        trainer.place = fine
        trainer._check_place()
    trainer.place = place
    with pytest.raises(ValueError, match="no training stands"):
        trainer._check_place()


@pytest.mark.parametrize("name", ["matrix", "untrained", "seconds"])
def test_results_of_another_number_of_tasks_are_refused(name):
    trainer = trainer_of()
    setattr(trainer, name, {"matrix": np.zeros((3, 2)), "untrained": np.zeros(2)}.get(name, [0.0]))
    with pytest.raises(ValueError, match="and not 3"):
        trainer._check_place()


def test_what_is_stored_names_method_options_and_stream(tmp_path):
    trainer = trainer_of("task", methods.get("ewc")(strength=3.0, samples=7))
    assert trainer._identity() == {
        "method": "EWC",
        "method's options": {"strength": 3.0, "online": True, "decay": 1.0, "samples": 7},
        "stream": ["blobs", "task", "a, b", "c, d", "e, f"],
    }
