"""EWC, SI and LwF against closed forms, computed in double precision."""

import copy

import numpy as np
import pytest
import torch
from small import CHANNELS, attached, dense, name_of, named_copy, precise, stream

import snnsim as sn
from snnsim.continual import Learner, dense_head
from snnsim.continual.methods.ewc import EWC
from snnsim.continual.methods.lwf import LwF
from snnsim.continual.methods.si import SI

EXACT = {"rtol": 1e-9, "atol": 1e-12}


def batch_of(made, task, count=12):
    return made.stream.tasks[task].train.batch(range(count))


def move(made, seed, size=0.3):
    """Other weights, from a seed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(size * torch.randn(p.shape, generator=generator, dtype=p.dtype))


# --- EWC ---


def three_tasks(method, monkeypatch):
    """End three tasks at known weights with a known information; both by task and name."""
    made = attached(method)
    values, known = [], []
    for task in range(3):
        move(made, task)
        values.append(named_copy(made))
        generator = torch.Generator().manual_seed(10 + task)
        known.append(
            {
                name: torch.rand(p.shape, generator=generator, dtype=p.dtype)
                for name, p in made.named_parameters()
            }
        )
        monkeypatch.setattr(method, "fisher", lambda _, f=known[-1]: dict(f))
        method.on_task_end(task)
    move(made, 99)
    return made, values, known


def penalty(made, method):
    batch = batch_of(made, 2)
    found = method.loss(torch.zeros((), dtype=torch.float64), batch, None, 2, np.arange(12))
    made.zero_grad()
    found.backward()
    return found.item(), {name: p.grad for name, p in made.named_parameters()}


def test_online_ewc_decays_the_information_of_earlier_tasks(monkeypatch):
    method = EWC(strength=7.0, decay=0.5)
    made, values, known = three_tasks(method, monkeypatch)
    found, gradients = penalty(made, method)
    expected = 0.0
    for name, p in made.named_parameters():
        fisher = 0.25 * known[0][name] + 0.5 * known[1][name] + known[2][name]
        away = p.detach() - values[2][name]  # around the last weights only
        expected += 3.5 * float((fisher * away**2).sum())
        torch.testing.assert_close(gradients[name], 7 * fisher * away, **EXACT)
    assert found == pytest.approx(expected, rel=1e-12)


def test_ewc_of_every_task_holds_each_around_its_own_weights(monkeypatch):
    method = EWC(strength=7.0, online=False, decay=0.5)
    made, values, known = three_tasks(method, monkeypatch)
    found, gradients = penalty(made, method)
    expected = 0.0
    for name, p in made.named_parameters():
        pull = torch.zeros_like(p)
        for then, fisher in zip(values, known, strict=True):
            away = p.detach() - then[name]
            expected += 3.5 * float((fisher[name] * away**2).sum())
            pull += 7 * fisher[name] * away
        torch.testing.assert_close(gradients[name], pull, **EXACT)
    assert found == pytest.approx(expected, rel=1e-12)


def test_fisher_information_of_a_linear_network_is_its_closed_form(monkeypatch):
    torch.manual_seed(4)
    body = sn.Sequential(dense(CHANNELS, 5))
    made = Learner(body, dense_head(5), stream("class")).double()
    made.stream = precise("class").stream
    with torch.no_grad():
        made.heads[0].weight.mul_(100)
    method = EWC(samples=17)
    method.attach(made)
    drawn, chances, original = [], [], torch.multinomial

    def draw(p, count):
        labels = original(p, count)
        chances.append(p)
        drawn.append(int(labels))
        return labels

    numbers, data = [], made.stream.tasks[1].train
    batches = type(data).batch

    def batch(view, chosen, steps=None):
        if view is data:
            numbers.append(chosen)
        return batches(view, chosen, steps)

    monkeypatch.setattr(torch, "multinomial", draw)
    monkeypatch.setattr(type(data), "batch", batch)
    found = method.fisher(1)
    assert len(numbers) == len(set(map(tuple, numbers))) == len(drawn) == 17
    w, h = made.body[0].weight.detach(), made.heads[0].weight.detach()[:4]  # classes so far
    of_body, of_head = torch.zeros_like(w), torch.zeros_like(made.heads[0].weight)
    for number, label, chance in zip(numbers[:], drawn, chances, strict=True):
        x = batches(data, number).x.mean((0, 1))
        p = torch.softmax(h @ w @ x, 0)
        torch.testing.assert_close(chance[0], p, **EXACT)
        error = p - torch.eye(4, dtype=torch.float64)[label]
        of_head[:4] += torch.outer(error, w @ x) ** 2 / 17
        of_body += torch.outer(h.t() @ error, x) ** 2 / 17
    torch.testing.assert_close(found[name_of(made, made.body[0].weight)], of_body, **EXACT)
    torch.testing.assert_close(found[name_of(made, made.heads[0].weight)], of_head, **EXACT)
    assert float(of_body.mean()) > 1e-3
    assert drawn != [int(data.labels[n[0]]) for n in numbers]


# --- SI ---


def si_task(method, made, task, steps, seed):
    """Steps with known gradients and changes; what the path integral gives, and the way made."""
    generator = torch.Generator().manual_seed(seed)

    def random(p):
        return torch.randn(p.shape, generator=generator, dtype=p.dtype)

    method.on_task_start(task)
    start = named_copy(made)
    path = {name: torch.zeros_like(p) for name, p in start.items()}
    for _ in range(steps):
        for p in made.parameters():
            p.grad = random(p)
        method.on_gradients(task)
        for name, p in made.named_parameters():
            change = 0.3 * random(p)
            path[name] -= p.grad * change
            with torch.no_grad():
                p.add_(change)
        method.on_step_end(task)
    method.on_task_end(task)
    moved = {name: p.detach() - start[name] for name, p in made.named_parameters()}
    return path, moved, start


def test_sis_path_and_start_begin_anew_with_every_task_and_losses_count_nothing():
    method = SI(strength=2.0, damping=0.05)
    made = attached(method)
    expected = {name: torch.zeros_like(p) for name, p in made.named_parameters()}
    for task in range(3):
        path, moved, _ = si_task(method, made, task, 3, seed=task)
        for name in expected:
            saved = path[name] / (moved[name] ** 2 + 0.05)
            assert bool((saved < 0).any()), "a weight whose path cost something"
            expected[name] += torch.where(saved > 0, saved, 0.0)
            torch.testing.assert_close(method.kept[f"importance.{name}"], expected[name], **EXACT)


def test_si_holds_weights_where_the_present_task_found_them():
    method = SI(strength=2.0, damping=0.05)
    made = attached(method)
    for task in range(2):
        si_task(method, made, task, 2, seed=task)
    importance = {n: method.kept[f"importance.{n}"].clone() for n, _ in made.named_parameters()}
    method.on_task_start(2)
    start = named_copy(made)
    move(made, 7)
    found, gradients = penalty(made, method)
    expected = 0.0
    for name, p in made.named_parameters():
        away = p.detach() - start[name]
        expected += 2 * float((importance[name] * away**2).sum())
        torch.testing.assert_close(gradients[name], 4 * importance[name] * away, **EXACT)
    assert found == pytest.approx(expected, rel=1e-12)


def test_si_asks_nothing_of_the_first_task():
    method = SI(strength=2.0)
    made = attached(method)
    method.on_task_start(0)
    move(made, 5)
    found = method.loss(torch.tensor(1.25), batch_of(made, 0), None, 0, np.arange(12))
    assert float(found) == 1.25


# --- LwF ---


def divergence(then, now, temperature):
    """``KL(softmax(then / t) | softmax(now / t))``, mean over samples, by the definition."""
    p = np.exp(then / temperature) / np.exp(then / temperature).sum(1, keepdims=True)
    q = np.exp(now / temperature) / np.exp(now / temperature).sum(1, keepdims=True)
    return float((p * np.log(p / q)).sum(1).mean())


def answers(made, batch, task):
    made.eval()
    with torch.no_grad():
        found = made.scores(batch.x, task, batch.lengths).numpy()
    made.train()
    return found


@pytest.mark.parametrize("scenario", ["class", "task"])
@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_lwf_is_the_divergence_from_the_old_answers_to_the_new_ones(scenario, temperature):
    method = LwF(strength=1.5, temperature=temperature)
    made = attached(method, scenario)
    old = copy.deepcopy(made)
    method.on_task_start(2)
    move(made, 6)
    batch = batch_of(made, 2)
    found = method.loss(torch.tensor(0.5).double(), batch, None, 2, np.arange(12))
    pasts = [0, 1] if scenario == "task" else [1]  # every old head, or the classes seen before
    parts = [
        divergence(answers(old, batch, past), answers(made, batch, past), temperature)
        for past in pasts
    ]
    reverse = [
        divergence(answers(made, batch, past), answers(old, batch, past), temperature)
        for past in pasts
    ]
    expected = 1.5 * temperature**2 * np.mean(parts)
    assert expected > 0.02
    assert abs(np.mean(parts) - np.mean(reverse)) > 0.02 * np.mean(parts)  # a direction to see
    assert found.item() == pytest.approx(0.5 + expected, rel=1e-12)


def test_lwfs_teacher_is_the_network_from_before_the_present_task():
    method = LwF(strength=1.0, temperature=1.0)
    made = attached(method)
    method.on_task_start(1)
    move(made, 6)
    method.on_task_start(2)
    batch = batch_of(made, 2)
    found = method.loss(torch.zeros(()).double(), batch, None, 2, np.arange(12))
    assert found.item() == pytest.approx(0.0, abs=1e-14)
    found.backward()
    assert max(float(p.grad.abs().max()) for p in made.parameters() if p.grad is not None) < 1e-14
