"""The loop over tasks: orders, rates, what is told."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from loop_cases import RECIPE, Told, trainer_of
from small import learner

import snnsim as sn
from snnsim.continual import ContinualTrainer, Method, task_recipe
from snnsim.errors import ConfigError
from snnsim.training import Recipe
from snnsim.training.loop import Position


def test_defaults_are_those_of_the_documentation():
    assert task_recipe() == Recipe(
        epochs=1, batch_size=64, lr=0.1, lr_delay=None, optimizer="sgd", weight_decay=0.0,
        schedule="constant", schedule_delay="same", precision="float32",
    )  # fmt: skip
    trainer = ContinualTrainer(learner("task"), Method(), task_recipe())
    assert (trainer.seed, trainer.out, trainer.device.type) == (0, None, "cpu")
    with pytest.raises(ConfigError, match="seed"):
        ContinualTrainer(learner("task"), Method(), RECIPE, seed=-1)


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 0}, {"sigma_end": -1}, {"sigma_fraction": 1.5}, {"sigma_fraction": -1},
     {"until": -0.5}, {"lr": -0.1}],
    ids=str,
)  # fmt: skip
def test_recipes_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        task_recipe(**options)
    task_recipe(sigma_fraction=1.0, until=1.0, sigma_end=0)


def test_only_sgd_without_decay_is_plain():
    assert task_recipe().plain == "sgd"
    assert task_recipe(momentum=0.9).plain == "sgd"
    assert task_recipe(optimizer="adam").plain == "adam"
    assert task_recipe(weight_decay=0.1).plain == "sgd with weight decay"
    seen = []

    class Spy(Method):
        def attach(self, learner, optimizer="sgd"):
            seen.append(optimizer)
            super().attach(learner, optimizer)

    trainer_of(method=Spy(), recipe=replace(RECIPE, weight_decay=0.1))
    assert seen == ["sgd with weight decay"]


# --- the order of things -------------------------------------------------------------------------


class Diary(Method):
    """Writes down every call."""

    def __init__(self):
        self.calls, self.chosen, self.batches, self.modes = [], [], [], []

    def on_task_start(self, task):
        self.calls.append(("on_task_start", task))

    def on_epoch_start(self, task):
        self.calls.append(("on_epoch_start", task))
        self.modes.append(self.learner.training)

    def on_step_start(self, task, step, steps):
        self.calls.append(("on_step_start", task, step, steps))

    def on_batch(self, batch, task):
        self.calls.append(("on_batch", task))
        self.batches.append(batch)
        self.untouched = [p.detach().clone() for p in self.learner.parameters()]

    def loss(self, ce, batch, scores, task, chosen):
        self.calls.append(("loss", task))
        self.chosen.append(chosen)
        return ce

    def on_gradients(self, task):
        self.calls.append(("on_gradients", task))
        same = zip(self.untouched, self.learner.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in same)
        assert any(p.grad is not None for p in self.learner.parameters())

    def on_step_end(self, task):
        self.calls.append(("on_step_end", task))
        same = zip(self.untouched, self.learner.parameters(), strict=True)
        assert not all(torch.equal(a, b) for a, b in same)

    def on_task_end(self, task):
        self.calls.append(("on_task_end", task))


def test_every_call_of_a_method_comes_at_its_time():
    method, told = Diary(), Told()
    trainer = trainer_of(method=method, watcher=told)
    trainer.run()
    expected, reports = [], []
    for task in range(3):
        expected.append(("on_task_start", task))
        reports.append(("started", task, 6))
        for epoch in range(2):
            expected.append(("on_epoch_start", task))
            for step in range(3):
                expected.append(("on_step_start", task, 3 * epoch + step, 6))
                names = ("on_batch", "loss", "on_gradients", "on_step_end")
                expected += [(name, task) for name in names]
                reports.append(("step", task, 3 * epoch + step + 1))
        expected.append(("on_task_end", task))
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


# --- rates and optimisers ------------------------------------------------------------------------


def rates_of(recipe, kind="dense", task=0, epoch=0):
    trainer = trainer_of(recipe=recipe, kind=kind)
    trainer.position = Position(task=task)
    optimizers = trainer._ready()
    optimizers.start_epoch(epoch)
    return [group["lr"] for each in optimizers.each for group in each.param_groups]


def test_rates_are_those_of_the_task_the_epoch_and_the_kind_of_parameter():
    plain = replace(RECIPE, epochs=4, lr=0.2)
    assert rates_of(plain) == pytest.approx([0.2])
    assert rates_of(plain, task=1, epoch=3) == pytest.approx([0.2])
    later = replace(plain, later_lr=0.05)
    assert rates_of(later) == pytest.approx([0.2])
    assert rates_of(later, task=2) == pytest.approx([0.05])
    falling = replace(later, schedule="cosine")
    for task, lr in ((0, 0.2), (1, 0.05)):
        for epoch in range(4):
            expected = lr * (1 + math.cos(math.pi * epoch / 4)) / 2
            assert rates_of(falling, task=task, epoch=epoch) == pytest.approx([expected])
    assert rates_of(plain, "axonal") == pytest.approx([0.2, 0.2, 20.0])
    given = replace(later, lr_delay=3.0)
    assert rates_of(given, "axonal") == pytest.approx([0.2, 0.2, 3.0])
    assert rates_of(given, "axonal", task=1) == pytest.approx([0.05, 0.05, 0.75])


def test_rates_of_few_epochs_are_set_in_every_step():
    seen = []

    class Spy(Method):
        def on_step_end(self, task):
            seen.append(trainer.optimizers.main.param_groups[0]["lr"])

    recipe = replace(RECIPE, schedule="cosine", later_lr=0.04)
    trainer = trainer_of(method=Spy(), recipe=recipe)
    trainer._run_task()
    trainer._run_task()
    falling = [(1 + math.cos(math.pi * step / 6)) / 2 for step in range(6)]
    assert seen == pytest.approx([lr * part for lr in (0.1, 0.04) for part in falling])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_optimisers_have_their_options_and_start_afresh(optimizer):
    recipe = replace(RECIPE, optimizer=optimizer, momentum=0.7, weight_decay=0.02)
    found = []

    class Spy(Method):
        def on_step_start(self, task, step, steps):
            if step == 0:
                each = trainer.optimizers.each
                found.append((trainer.optimizers, sum(len(o.state) for o in each)))

    trainer = trainer_of(method=Spy(), recipe=recipe, kind="axonal")
    trainer.run()
    assert [state for _, state in found] == [0, 0, 0]
    assert len({id(o) for o, _ in found}) == 3
    made, of_delays = found[0][0].each
    assert type(of_delays) is type(made)
    assert type(made) is (torch.optim.Adam if optimizer == "adam" else torch.optim.SGD)
    if optimizer == "sgd":
        assert {group["momentum"] for group in made.param_groups} == {0.7}
    assert [group["weight_decay"] for group in made.param_groups] == [0.02, 0.0]
    (group,) = of_delays.param_groups
    assert group["weight_decay"] == 0.0
    delays = [m.delay for m in trainer.learner.modules() if isinstance(m, sn.Delayed)]
    assert [id(p) for p in group["params"]] == [id(p) for p in delays]


def test_delays_are_in_range_after_every_step():
    found = []

    class Spy(Method):
        def on_step_end(self, task):
            delay = trainer.learner.body[0].delay
            found.append((float(delay.detach().min()), float(delay.detach().max())))

    recipe = replace(RECIPE, epochs=1, lr_delay=1e4)
    trainer = trainer_of(method=Spy(), recipe=recipe, kind="axonal")
    trainer._run_task()
    assert len(found) == 3
    assert all(low >= 0 and high <= trainer.learner.body[0].length - 1 for low, high in found)
    assert any(low == 0 or high == trainer.learner.body[0].length - 1 for low, high in found)
