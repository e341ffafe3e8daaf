"""Accuracy on the straight line between two sets of weights."""

import copy

import pytest
import torch
from small import body, learner, stream

from snnsim.continual import (
    ContinualTrainer,
    Learner,
    WeightsOfTasks,
    accuracy_between,
    barrier,
    dense_head,
    methods,
    task_recipe,
    weights_of,
)
from snnsim.errors import ConfigError

RECIPE = task_recipe(epochs=6, batch_size=21, lr=0.2)


def trained(method, scenario="task", recipe=RECIPE):
    torch.manual_seed(1)
    made = Learner(body(), dense_head(10), stream(scenario))
    watcher = WeightsOfTasks(made)
    trainer = ContinualTrainer(made, method, recipe, watcher=watcher)
    return trainer.run(), made, watcher.taken


def by_hand(made, start, end, fraction, task):
    """Accuracy of a copy with every parameter set by itself."""
    other = copy.deepcopy(made)
    with torch.no_grad():
        for name, p in other.named_parameters():
            p.copy_(start[name] + fraction * (end[name] - start[name]))
    data = other.eval().stream.tasks[task].test
    batch = data.batch(range(len(data)))
    found = other.scores(batch.x, task, batch.lengths).argmax(1)
    return float((found == batch.target).double().mean())


def test_points_of_the_line_have_the_accuracy_of_networks_set_by_hand():
    summary, made, (first, _, last) = trained(methods.get("fine-tuning")())
    before = weights_of(made)
    found = accuracy_between(made, first, last, points=5)
    assert found.shape == (5, 3) and found.dtype == torch.float64
    for point in range(5):
        expected = [by_hand(made, first, last, point / 4, task) for task in range(3)]
        assert found[point].tolist() == pytest.approx(expected, abs=1e-9)
    for end, row in ((0, 0), (-1, 2)):
        assert (100 * found[end]).tolist() == pytest.approx(summary["matrix"][row])
    assert float((found[0] - found[-1]).abs().max()) > 0.1
    accuracy_between(made, last, first, points=2)  # whose end is not where the learner was
    after = weights_of(made)
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("name", methods.names())
def test_it_works_with_every_method(name):
    if name == "sharp":
        recipe = task_recipe(epochs=2, batch_size=21, lr=0.005, optimizer="adam")
    else:
        recipe = task_recipe(batch_size=21, lr=0.01)
    method = methods.get(name)(**{"ewc": {"strength": 1.0}}.get(name, {}))
    summary, made, (_, second, last) = trained(method, recipe=recipe)
    found = accuracy_between(made, second, last, points=3, tasks=[0, 1, 2])
    assert (100 * found[-1]).tolist() == pytest.approx(summary["matrix"][-1])


def test_a_barrier_is_the_depth_below_the_straight_line():
    line = torch.tensor([[0.75, 1.0], [0.5, 0.9], [0.875, 0.5], [0.75, 0.25]]).double()
    assert barrier(line).tolist() == pytest.approx([0.25, 0.0])


def test_weights_of_two_networks_and_a_single_point_are_refused():
    made = learner("task")
    other = learner("task", "recurrent")
    with pytest.raises(ConfigError, match="not of the same network"):
        accuracy_between(made, weights_of(made), weights_of(other))
    with pytest.raises(ConfigError, match="points is 1"):
        accuracy_between(made, weights_of(made), weights_of(made), points=1)
