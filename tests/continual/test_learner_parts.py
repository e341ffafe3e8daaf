"""The learner: its heads, its classes, its answers."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small import CHANNELS, STEPS, body, dense, learner, lif, name_of, stream

import snnsim as sn
from snnsim.continual import Learner, Method, View, dense_head
from snnsim.continual.learner import joined
from snnsim.continual.wrapper import Wrapper
from snnsim.errors import ConfigError, NonFiniteError
from snnsim.functional.readouts import last
from snnsim.training.rules import PlasticConnection, connections
from snnsim.training.rules.dsr import RateLIF, weighted_mean


def test_heads_start_small_and_without_a_bias_unless_asked_for():
    torch.manual_seed(0)
    head = dense_head(400)(50)
    assert head.weight.shape == (50, 400) and head.bias is None
    assert float(head.weight.std()) == pytest.approx(0.01, rel=0.03)
    assert abs(float(head.weight.mean())) < 3e-4
    assert dense_head(4, bias=True)(3).bias.shape == (3,)


def test_batches_are_joined_with_zeros_behind_the_shorter():
    one = SimpleNamespace(x=torch.ones(2, 1, 3), lengths=torch.tensor([2]))
    two = SimpleNamespace(x=2 * torch.ones(4, 2, 3), lengths=torch.tensor([4, 3]))
    x, lengths = joined([one, two])
    assert x.shape == (4, 3, 3) and lengths.tolist() == [2, 4, 3]
    assert x[..., 0].tolist() == [[1, 2, 2], [1, 2, 2], [0, 2, 2], [0, 2, 2]]


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_a_task_has_its_head_and_its_classes(scenario):
    made = learner(scenario)
    own = scenario == "task"
    assert made.shares_head == (not own)
    assert [head.weight.shape[0] for head in made.heads] == ([2, 2, 2] if own else [6])
    assert [made.head(t) is made.heads[t if own else 0] for t in range(3)] == [True] * 3
    expected = {"task": [2, 2, 2], "domain": [6, 6, 6], "class": [2, 4, 6]}[scenario]
    assert [made.classes(t) for t in range(3)] == expected
    x = made.stream.tasks[0].test.batch(range(4)).x
    for task, count in enumerate(expected):
        outputs = made.outputs(x, task)
        whole = made.head(task)(made.body(x)[0])[0]
        assert torch.equal(outputs, whole[..., :count])
        assert torch.equal(made(x, task), made.scores(x, task))


def test_groups_of_different_sizes_have_heads_of_theirs():
    from snnsim.continual import split_by_class

    data = stream("class").tasks[0].train.data
    split = split_by_class("s", (data, None, data), [[0], [5, 1, 2]], "task")
    assert [len(h.weight) for h in Learner(body(), dense_head(10), split).heads] == [1, 3]


def test_every_connection_but_the_first_has_the_trace_under_online_training():
    made = learner("task", training="ottt", trace_decay=0.7)
    assert [m.trace_decay for m in connections(made.body).values()] == [None, 0.7]
    assert [m.trace_decay for m in connections(made.heads).values()] == [0.7] * 3
    assert made.learning == "ottt"
    usual = learner("class", training="ottt")
    assert [m.trace_decay for m in connections(usual.heads).values()] == [0.5]
    plain = learner("task")
    assert [m.trace_decay for m in connections(plain).values()] == [None] * 5
    assert plain.learning == "bptt"


def test_the_rule_is_put_under_body_and_heads_alike():
    for feedback in ("backprop", "random", "sign"):
        made = learner("task", feedback=feedback)
        found = list(connections(made).values())
        assert len(found) == 5 and {m.feedback for m in found} == {feedback}
        assert {m.rate_decay for m in found} == {None}
    assert all(isinstance(h, PlasticConnection) for h in made.heads)


def test_a_head_works_by_rates_where_the_read_out_does():
    def readout(v, lengths=None):
        return weighted_mean(v, 0.8)

    def layers():
        return sn.Sequential(dense(CHANNELS, 10), RateLIF(10))

    options = {"training": "dsr"}
    made = Learner(layers(), dense_head(10), stream("task"), readout=readout, **options)
    assert [h.rate_decay for h in made.heads] == [None] * 3
    readout.decay = 0.8
    made = Learner(layers(), dense_head(10), stream("task"), readout=readout, **options)
    assert [h.rate_decay for h in made.heads] == [0.8] * 3
    assert made.body[0].rate_decay == RateLIF(1).decay
    assert made.readout is readout


def test_the_read_out_is_used_within_lengths_unless_the_input_is_still():
    x = stream("class").tasks[0].test.batch(range(3)).x
    lengths = torch.tensor([2, 6, 1])
    for readout in (last, sn.functional.readouts.mean):
        made = learner("class", readout=readout)
        expected = readout(made.outputs(x, 1), lengths)
        assert torch.equal(made.scores(x, 1, lengths), expected)
        assert not torch.equal(expected, made.scores(x, 1))
    assert Learner.within(x, lengths) is lengths
    assert Learner.within(x[:1], lengths) is None and Learner.within(x, None) is None


def test_a_batch_is_only_tried_until_the_outermost_trial_ends():
    inner = Method()
    made = Wrapper(inner)
    assert made.observes and inner.observes
    with made.unobserved():
        assert not made.observes and not inner.observes
        with made.unobserved():
            assert not made.observes and not inner.observes
        assert not made.observes and not inner.observes
    assert made.observes and inner.observes
    with pytest.raises(ZeroDivisionError), made.unobserved():
        raise ZeroDivisionError
    assert made.observes and inner.observes


def test_a_task_trains_what_is_shared_and_its_own_head():
    made = learner("task")
    frozen = name_of(made, made.body[0].weight)
    made.body[0].weight.requires_grad_(False)
    for task in range(3):
        found = {id(p) for p in made.trained_parameters(task)}
        names = {n for n, p in made.named_parameters() if id(p) in found}
        assert {n.split(".")[1] for n in names if n.startswith("heads")} == {str(task)}
        assert len(names) == 2 and frozen not in names
    made.heads[1].weight.requires_grad_(False)
    assert not any(p.requires_grad is False for p in made.trained_parameters(1))
    made.extra = torch.nn.Linear(2, 2)  # a method's own part is shared, too
    assert any(p is made.extra.bias for p in made.trained_parameters(2))


# --- answers ---


def by_label(made, wrong=()):
    """Have the learner answer a sample's label, but for the numbers in ``wrong``."""
    calls = []

    def answer(x, task, lengths):
        calls.append((x.shape[1], task, made.training, torch.is_grad_enabled(), lengths))
        labels = torch.arange(sum(n for n, *_ in calls) - x.shape[1], 1000)[: x.shape[1]]
        right = torch.nn.functional.one_hot(made.labels[labels], 6).float()
        flip = torch.tensor([int(i) in wrong for i in labels])[:, None]
        return torch.where(flip, right.roll(1, 1), right)

    made.answer = answer
    return calls


def test_right_answers_are_counted_over_all_batches_in_evaluation():
    made = learner("domain")
    data = made.stream.tasks[1].test
    made.labels = torch.from_numpy(data.labels)
    calls = by_label(made, wrong=(0, 9, 10, 62))
    assert made.correct(data, 1, batch_size=10) == 63 - 4
    assert [count for count, *_ in calls] == [10] * 6 + [3]
    assert {task for _, task, *_ in calls} == {1}
    assert {(training, grad) for _, _, training, grad, _ in calls} == {(False, False)}
    assert all(lengths.tolist() == [STEPS] * count for count, *_, lengths in calls)
    assert made.training
    calls.clear()
    assert made.correct(data, 1, seen=2) == 59
    assert [(count, task) for count, task, *_ in calls] == [(63, 2)]


@pytest.mark.parametrize(("scenario", "expected"), [
    ("class", [[0, 1, 2], [1, 1, 2], [2, 2, 2]]),
    ("task", [[0, 1, 2]] * 3),
    ("domain", [[0, 1, 2]] * 3),
])  # fmt: skip
def test_classes_seen_so_far_are_told_apart_and_never_fewer_than_the_tasks_own(scenario, expected):
    made, asked = learner(scenario), []
    made.answer = lambda x, task, lengths: (asked.append(task), torch.zeros(x.shape[1], 6))[1]
    for after in range(3):
        asked.clear()
        for task in range(3):
            share = (made.stream.tasks[task].test.labels == 0).mean()
            assert made.accuracy(task, after) == pytest.approx(share)  # all answers are 0
        assert asked == expected[after]


def test_accuracy_needs_test_data():
    made = learner("task")
    empty = View(made.stream.tasks[1].test.data, np.arange(0))
    tasks = list(made.stream.tasks)
    tasks[1] = replace(tasks[1], test=empty)
    made.stream = replace(made.stream, tasks=tuple(tasks))
    with pytest.raises(ConfigError, match="task 1 of blobs has no test data"):
        made.accuracy(1, 2)


def test_test_data_that_are_not_finite_are_not_scored():
    made = learner("task")
    data = View(made.stream.tasks[0].test.data, np.arange(4), lambda x: x * float("nan"))
    with pytest.raises(NonFiniteError):
        made.correct(data, 0)
    assert made.training


def test_generated_weights_answer_for_their_task():
    made = learner("task")
    name = name_of(made.body, made.body[0].weight)
    made.generate = lambda task: {name: weights[task]}
    weights = [torch.randn(16, CHANNELS) * 3 for _ in range(3)]
    batches = [made.stream.tasks[t].test.batch(range(3)) for t in (2, 0)]
    found = made.scores_of(batches, [2, 0], 1)
    for batch, task, scores in zip(batches, (2, 0), found, strict=True):
        own = learner("task")
        own.load_state_dict(made.state_dict())
        own.body[0].weight.data.copy_(weights[task])
        torch.testing.assert_close(scores, own.scores(batch.x, task, batch.lengths))
    assert made.scores_of([], [], 1) == []


def test_online_training_takes_the_mean_and_other_training_any_read_out():
    Learner(body(), dense_head(10), stream("task"), training="dsr", readout=last)
    with pytest.raises(ConfigError, match="use it, or training='bptt'"):
        Learner(body(), dense_head(10), stream("task"), training="ottt", readout=last)


def test_a_model_that_looks_ahead_has_no_place_on_a_stream():
    ahead = next(
        name for name in sn.baselines.names() if not getattr(sn.baselines.get(name), "causal", True)
    )
    model = sn.baselines.get(ahead)(CHANNELS, 6)
    with pytest.raises(ConfigError, match="looks ahead"):
        Learner(sn.Sequential(model, lif(6)), dense_head(6), stream("task"))
