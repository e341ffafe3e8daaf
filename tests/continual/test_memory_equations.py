"""Replay, DER++ and rehearsal against closed forms: what is kept, drawn, and weighed."""

import copy
import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from small import attached, named_copy, precise
from torch.nn import functional

from snnsim.continual.buffer import Buffer
from snnsim.continual.methods.der import DER
from snnsim.continual.methods.fine_tuning import FineTuning
from snnsim.continual.methods.rehearsal import Rehearsal
from snnsim.continual.methods.replay import Replay

ZERO = torch.zeros((), dtype=torch.float64)


def batch_of(made, task, numbers):
    return made.stream.tasks[task].train.batch(np.asarray(numbers))


def entropies(made, task, numbers, present):
    """Cross-entropy of each of a task's samples, by the definition."""
    batch = batch_of(made, task, numbers)
    scores = made.scores(batch.x, present if made.shares_head else task, batch.lengths)
    return -scores.log_softmax(1)[torch.arange(len(numbers)), batch.labels]


# --- the reservoir ---


def fill(made, draws, monkeypatch, size=2):
    """A buffer after two samples of task 0, then two of task 1, at the given random places."""
    highs, left = [], iter(draws)

    def randint(high, shape):
        highs.append(high)
        return torch.tensor(next(left))

    monkeypatch.setattr(torch, "randint", randint)
    buffer = Buffer(size, made)
    for task, numbers in ((0, [4, 9]), (1, [4, 2])):
        buffer.add(task, np.array(numbers), batch_of(made, task, numbers).x)
    return list(zip(buffer.tasks.tolist(), buffer.numbers.tolist(), strict=True)), highs


def test_a_reservoir_is_exactly_uniform_over_all_samples_of_all_tasks(monkeypatch):
    made, counts = precise("class"), Counter()
    for draws in itertools.product(range(3), range(4)):  # all that can be drawn, equally likely
        kept, highs = fill(made, draws, monkeypatch)
        assert highs == [3, 4]  # places among all samples so far
        assert len(set(kept)) == 2
        counts.update(kept)
    assert counts == {(0, 4): 6, (0, 9): 6, (1, 4): 6, (1, 2): 6}


def test_a_reservoir_keeps_everything_until_it_is_full(monkeypatch):
    kept, highs = fill(precise("class"), [], monkeypatch, size=4)
    assert kept == [(0, 4), (0, 9), (1, 4), (1, 2)]
    assert highs == []


def test_what_is_drawn_are_the_samples_that_were_offered_each_once():
    torch.manual_seed(1)
    made = precise("class")
    buffer = Buffer(8, made)
    buffer.add(0, np.array([5, 3, 8]), batch_of(made, 0, [5, 3, 8]).x)
    buffer.add(2, np.array([1, 7]), batch_of(made, 2, [1, 7]).x)
    drawn = buffer.draw(100)
    assert {past.task: sorted(buffer.numbers[past.places].tolist()) for past in drawn} == {
        0: [3, 5, 8],
        2: [1, 7],
    }
    for past in drawn:
        expected = batch_of(made, past.task, buffer.numbers[past.places])
        assert torch.equal(past.batch.x, expected.x)
        assert torch.equal(past.batch.labels, expected.labels)
    assert sum(len(past.places) for past in buffer.draw(4)) == 4
    assert Buffer(8, made).draw(4) == []


def test_every_sample_of_a_buffer_is_drawn_equally_often():
    torch.manual_seed(2)
    made = precise("class")
    buffer = Buffer(6, made)
    buffer.add(0, np.arange(6), batch_of(made, 0, range(6)).x)
    seen = Counter(int(p) for _ in range(600) for past in buffer.draw(2) for p in past.places)
    assert sum(seen.values()) == 1200
    assert all(abs(count - 200) < 60 for count in seen.values())  # five standard deviations
    assert len(seen) == 6


def test_scores_are_kept_in_the_place_of_their_sample(monkeypatch):
    made = precise("class")
    buffer = Buffer(2, made, scores=True)
    x = batch_of(made, 0, [0, 1]).x
    buffer.add(0, np.array([0, 1]), x, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    monkeypatch.setattr(torch, "randint", lambda high, shape: torch.tensor(1))
    wide = torch.arange(6.0)[None]
    buffer.add(2, np.array([7]), x[:, :1], wide)
    assert buffer.numbers.tolist() == [0, 7]
    assert buffer.scores.tolist() == [[1, 2, 0, 0, 0, 0], wide[0].tolist()]
    buffer.add(0, np.array([5]), x[:, :1], torch.tensor([[8.0, 9.0]]))
    assert buffer.scores.tolist()[1] == [8, 9, 0, 0, 0, 0]  # nothing of the sample before


# --- replay ---


@pytest.mark.parametrize("scenario", ["class", "task"])
def test_replay_adds_the_mean_over_the_samples_drawn(scenario):
    method = Replay(size=20, batch_size=20)
    made = attached(method, scenario)
    offered = {0: [5, 3, 8, 11, 2], 1: [1, 7]}
    for task, numbers in offered.items():
        batch = batch_of(made, task, numbers)
        method.loss(ZERO, batch, None, task, np.array(numbers))
    found = method.loss(ZERO + 0.25, batch_of(made, 2, [0]), None, 2, np.array([0]))
    parts = torch.cat([entropies(made, task, numbers, 2) for task, numbers in offered.items()])
    assert found.item() == pytest.approx(0.25 + parts.mean().item(), rel=1e-12)
    assert len(method.buffer) == 8


def test_a_batch_is_not_replayed_in_its_own_step():
    method = Replay(size=20, batch_size=20)
    made = attached(method)
    found = method.loss(ZERO + 0.25, batch_of(made, 0, [5, 3]), None, 0, np.array([5, 3]))
    assert float(found) == 0.25
    assert method.buffer.numbers.tolist() == [5, 3]


# --- DER++ ---


def der(alpha, beta):
    """DER++ whose buffer holds samples of two tasks, with what was said of them."""
    method = DER(size=20, batch_size=20, alpha=alpha, beta=beta)
    made = attached(method)
    generator = torch.Generator().manual_seed(3)
    then = {}
    for task, numbers in {0: [5, 3, 8], 1: [1, 7]}.items():
        count = made.classes(task)
        then[task] = torch.randn(len(numbers), count, generator=generator, dtype=torch.float64)
        batch = batch_of(made, task, numbers)
        method.buffer.add(task, np.array(numbers), batch.x, then[task])
    return made, method, then


def distances(made, then, task, numbers, present):
    """Squared distances to what was said, for the classes there were at the time."""
    batch = batch_of(made, task, numbers)
    now = made.scores(batch.x, present, batch.lengths)[:, : then.shape[1]]
    return (now - then.to(now)).square().flatten()


@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 0.0), (0.0, 0.7), (0.3, 0.7)])
def test_der_weighs_its_two_terms_apart(alpha, beta):
    made, method, then = der(alpha, beta)
    numbers = {0: [5, 3, 8], 1: [1, 7]}
    of_scores = torch.cat([distances(made, then[t].float(), t, n, 2) for t, n in numbers.items()])
    of_labels = torch.cat([entropies(made, t, n, 2) for t, n in numbers.items()])
    expected = 0.25 + alpha * of_scores.mean() + beta * of_labels.mean()
    batch = batch_of(made, 2, [0, 1])
    scores = made.scores(batch.x, 2, batch.lengths)
    found = method.loss(ZERO + 0.25, batch, scores, 2, np.array([0, 1]))
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)
    assert min(of_scores.mean().item(), of_labels.mean().item()) > 0.1
    kept = method.buffer.scores[method.buffer.tasks == 2]
    torch.testing.assert_close(kept.double(), scores.detach(), rtol=1e-6, atol=1e-6)


def test_ders_two_terms_are_of_samples_drawn_apart(monkeypatch):
    made, method, then = der(0.3, 0.7)
    first, second = (method.buffer._of(task, torch.tensor(p)) for task, p in ((0, [2]), (1, [3])))
    draws = iter([[first], [second]])
    monkeypatch.setattr(method.buffer, "draw", lambda count: next(draws))
    batch = batch_of(made, 2, [0])
    found = method.loss(ZERO, batch, made.scores(batch.x, 2), 2, np.array([0]))
    of_scores = distances(made, then[0][2:].float(), 0, [8], 2).mean()
    of_labels = entropies(made, 1, [1], 2).mean()
    assert found.item() == pytest.approx((0.3 * of_scores + 0.7 * of_labels).item(), rel=1e-9)
    assert list(draws) == []


def test_der_keeps_what_was_said_when_a_sample_was_taken_in():
    made, method, _ = der(0.3, 0.7)
    before = method.buffer.scores.clone()
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(2)
    batch = batch_of(made, 2, [0])
    method.loss(ZERO, batch, made.scores(batch.x, 2), 2, np.array([0]))
    assert torch.equal(method.buffer.scores[: len(before)], before)


# --- rehearsal ---


def rehearsed(method, tasks, scenario):
    """A learner after ``on_task_end`` of so many tasks, and a copy from before the last."""
    made = attached(method, scenario)
    for task in range(tasks):
        before = copy.deepcopy(made)
        method.on_task_end(task)
    return made, before


@pytest.mark.parametrize("scenario", ["class", "task"])
@pytest.mark.parametrize("tasks", [2, 3])
def test_a_step_of_rehearsal_is_on_the_mean_loss_over_all_tasks(tasks, scenario):
    method = Rehearsal(inner=FineTuning(), per_class=4, epochs=1, batch_size=100, lr=0.03)
    made, before = rehearsed(method, tasks, scenario)
    before.eval()
    total = 0.0
    for task, numbers in method.kept.items():
        batch = batch_of(before, task, numbers)
        head = tasks - 1 if before.shares_head else task
        total = total + functional.cross_entropy(before.scores(batch.x, head), batch.labels)
    (total / tasks).backward()
    moved = False
    for name, p in before.named_parameters():
        step = 0.0 if p.grad is None else -0.03 * p.grad
        now = made.get_parameter(name).detach()
        torch.testing.assert_close(now - p.detach(), step + 0 * p.detach(), rtol=1e-9, atol=1e-13)
        moved = moved or not torch.equal(now, p)
    assert moved


def test_rehearsal_keeps_the_first_samples_of_every_class():
    method = Rehearsal(inner=FineTuning(), per_class=3, epochs=1)
    made, _ = rehearsed(method, 2, "class")
    for task in (0, 1):
        labels = list(made.stream.tasks[task].train.labels)
        expected = [i for i, c in enumerate(labels) if labels[:i].count(c) < 3]
        assert method.kept[task].tolist() == expected


def test_rehearsal_begins_only_with_the_second_task():
    method = Rehearsal(inner=FineTuning(), per_class=3, epochs=1, lr=1.0)
    made = attached(method)
    before = named_copy(made)
    method.on_task_end(0)
    assert all(torch.equal(p, before[name]) for name, p in made.named_parameters())


def test_rehearsals_rate_falls_along_a_cosine(monkeypatch):
    method = Rehearsal(inner=FineTuning(), per_class=4, epochs=4, batch_size=5, lr=0.08)
    rates, original = [], torch.optim.SGD.step

    def step(self, *arguments):
        rates.append(self.param_groups[0]["lr"])
        return original(self, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    rehearsed(method, 2, "class")
    expected = [0.04 * (1 + np.cos(np.pi * epoch / 4)) for epoch in (0, 0, 1, 1, 2, 2, 3, 3)]
    assert rates == pytest.approx(expected, rel=1e-12)
