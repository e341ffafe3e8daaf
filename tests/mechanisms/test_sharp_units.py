"""SHARP against a reference in plain loops: which units learn, age and settle, in every layer."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from small import CHANNELS, dense, lif, stream
from snnsim_experiments import resolve
from snnsim_experiments.experiment import Experiment

import snnsim as sn
from snnsim.continual import ContinualTrainer, ContinualWatcher, Learner, dense_head, task_recipe
from snnsim.continual.methods.sharp import SHARP
from snnsim.continual.presynaptic import weight_of
from snnsim.errors import SnnsimError

RECIPE = task_recipe(epochs=4, batch_size=21, lr=0.005, optimizer="adam")


def made():
    torch.manual_seed(0)
    sizes = pairwise((CHANNELS, 40, 30, 24))
    layers = [layer for n_in, n_out in sizes for layer in (dense(n_in, n_out), lif(n_out))]
    return Learner(sn.Sequential(*layers), dense_head(24), stream("class"))


def learners_of_a_task(activity, age, horizon, phases, floor):
    """The learners of the last phase: the fewest units of the largest activity."""
    tau = max(0.5 * (1 + math.cos(math.pi * (phases - 1) / phases)), floor)
    free = [i for i in range(len(age)) if age[i] <= horizon]
    order = sorted(free, key=lambda i: -activity[i])
    chosen, held = set(), 0.0
    for unit in order:
        if held >= tau * sum(activity[i] for i in free):
            break
        chosen.add(unit)
        held += activity[unit]
    return chosen


def ages_after(activities, horizon, phases, floor):
    """The age of every unit of a layer after tasks with known activities."""
    age = [0] * len(activities[0])
    for activity in activities:
        chosen = learners_of_a_task(activity, age, horizon, phases, floor)
        age = [a + (i in chosen or a > 0) for i, a in enumerate(age)]
    return age


@pytest.mark.parametrize("horizon", [0, 1, 2])
def test_units_of_every_layer_learn_age_and_settle_as_the_reference(horizon, monkeypatch):
    method = SHARP(phases=4, floor=0.2, horizon=horizon, per_class=2)
    method.attach(made())
    sizes, rng = method.units.sizes, np.random.default_rng(horizon)
    activities = [[rng.random(size) ** 3 for size in sizes] for _ in range(3)]
    for task, given in enumerate(activities):
        as_found = [torch.from_numpy(each) for each in given]
        monkeypatch.setattr(method, "_activity", lambda _, found=as_found: found)
        method.on_task_start(task)
        for step in range(8):
            method.on_step_start(task, step, 8)
        method.on_task_end(task)
    for layer in range(len(sizes)):
        expected = ages_after([given[layer] for given in activities], horizon, 4, 0.2)
        assert method.age[layer].tolist() == expected
        assert method.settled(layer).tolist() == [age > horizon for age in expected]
        assert 0 in expected and max(expected) > 1  # some plastic, some old


class First(ContinualWatcher):
    """The first layer's weights and the ages of its units, after every task."""

    def __init__(self, method):
        self.method, self.taken = method, []

    def tested(self, task, row):
        weight = weight_of(self.method.units.blocks[0].module).detach().clone()
        self.taken.append((weight, self.method.age[0].clone()))


def first_layer(**options):
    method = SHARP(**options)
    watcher = First(method)
    torch.manual_seed(3)
    recipe = task_recipe(epochs=10, batch_size=21, lr=0.005, optimizer="adam")
    ContinualTrainer(made(), method, recipe, watcher=watcher).run()
    return watcher.taken


def test_the_first_layer_goes_on_learning_where_it_has_not_settled():
    _, (before, age), (after, _) = first_layer(horizon=1, floor=0.5)
    settled, learned = age > 1, age == 1  # those of age 0 start afresh in any case
    assert settled.any() and learned.any()
    assert torch.equal(before[settled], after[settled])
    change = (after - before)[learned].norm() / before[learned].norm()
    assert float(change) > 0.05


def test_the_first_layer_stays_after_the_first_task_where_this_is_asked_for():
    taken = first_layer(settle_first=True)
    assert all(bool((age > 1).all()) for _, age in taken)
    assert all(torch.equal(weight, taken[0][0]) for weight, _ in taken)


def test_a_checkpoint_from_before_the_option_goes_on_by_the_rule_of_its_time(tmp_path, monkeypatch):
    """The file does not say ``settle_first``; to go on by the other rule is refused."""
    torch.manual_seed(1)
    trainer = ContinualTrainer(made(), SHARP(settle_first=True), RECIPE, out=tmp_path)
    identity = trainer._identity()
    del identity["method's options"]["settle_first"]
    monkeypatch.setattr(trainer, "_identity", lambda: identity)
    trainer._run_task()
    before = weight_of(trainer.method.units.blocks[0].module).detach().clone()
    with pytest.raises(SnnsimError, match="method's options"):
        ContinualTrainer(made(), SHARP(), RECIPE, out=tmp_path).resume()
    again = ContinualTrainer(made(), SHARP(settle_first=True), RECIPE, out=tmp_path)
    assert again.resume()
    again._run_task()
    assert torch.equal(before, weight_of(again.method.units.blocks[0].module).detach())


def test_a_run_from_before_the_options_has_what_was_in_effect():
    now = resolve("parity", method="sharp", changes=["method.settle_first=true"])
    stored = copy.deepcopy(now.as_json())
    del stored["method_options"]["settle_first"], stored["data"]["blur"]
    assert Experiment.from_json(stored) == now
    assert not now.differences(Experiment.from_json(stored))
