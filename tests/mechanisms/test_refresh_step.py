"""Refresh learning's step against its equation in double precision, with noise and Fisher."""

import numpy as np
import pytest
import torch
from small import name_of, named_copy, precise

from snnsim.continual.methods.fine_tuning import FineTuning
from snnsim.continual.methods.refresh import Refresh

SIZE, NOISE, DAMPING = 1e-3, 0.05, 0.8


def refreshed(**options):
    torch.manual_seed(5)
    made = precise("class")
    method = Refresh(inner=FineTuning(), **({"size": SIZE, "noise": NOISE} | options))
    method.attach(made)
    return made, method


def expected_step(made, fisher, seed):
    """``size (d + noise n) / (1 + damping F)``, with ``d`` from a step of -0.01 down -CE."""
    batch = made.stream.tasks[1].train.batch(range(12))
    before = named_copy(made)
    scores = made.scores(batch.x, 1, batch.lengths)
    chances = scores.exp() / scores.exp().sum(1, keepdim=True)
    loss = chances[torch.arange(12), batch.target].log().mean()  # minus the cross-entropy
    gradients = torch.autograd.grad(loss, list(made.parameters()))
    torch.manual_seed(seed)
    changes = {}
    for (name, theta), g in zip(before.items(), gradients, strict=True):
        d = (theta - 0.01 * g) - theta
        d = d / d.norm() * theta.norm()
        changes[name] = SIZE * (d + NOISE * torch.randn_like(d)) / (1 + DAMPING * fisher[name])
    return batch, before, changes


@pytest.mark.parametrize("informed", [True, False])
def test_the_step_has_direction_noise_and_fisher_information(informed):
    made, method = refreshed(damping=DAMPING)
    generator = torch.Generator().manual_seed(9)
    fisher = {
        name: 10 * torch.rand(p.shape, generator=generator, dtype=p.dtype) * informed
        for name, p in made.named_parameters()
    }
    if informed:
        method.information.kept = {f"0.fisher.{name}": f for name, f in fisher.items()}
    batch, before, changes = expected_step(made, fisher, seed=3)
    torch.manual_seed(3)
    method.on_batch(batch, 1)
    for name, p in made.named_parameters():
        torch.testing.assert_close(p.detach() - before[name], changes[name], rtol=1e-8, atol=1e-13)
        assert float(changes[name].abs().max()) > 1e-6


def test_the_noise_has_the_deviation_that_was_asked_for():
    made, method = refreshed(size=1.0, noise=50.0)
    batch = made.stream.tasks[1].train.batch(range(12))
    before = named_copy(made)
    method.on_batch(batch, 1)
    noise = torch.cat([(p.detach() - before[n]).flatten() for n, p in made.named_parameters()])
    assert float(noise.std()) == pytest.approx(50.0, rel=0.15)


def test_there_is_no_chance_in_a_step_without_noise():
    copies = []
    for seed in (1, 2):
        made, method = refreshed(noise=0.0)
        batch = made.stream.tasks[1].train.batch(range(12))
        torch.manual_seed(seed)
        method.on_batch(batch, 1)
        copies.append(named_copy(made))
    assert all(torch.equal(copies[0][name], copies[1][name]) for name in copies[0])


def test_it_unlearns_the_batch_and_spares_weights_that_mattered():
    made, method = refreshed(size=1e-2, noise=0.0, damping=1.0)
    weight = made.body[0].weight
    held = torch.zeros_like(weight)
    held[:8] = 1e6
    method.information.kept = {f"0.fisher.{name_of(made, weight)}": held}
    batch = made.stream.tasks[1].train.batch(range(12))

    def entropy():
        scores = made.scores(batch.x, 1, batch.lengths)
        return torch.nn.functional.cross_entropy(scores, batch.target).item()

    before, start = entropy(), weight.detach().clone()
    method.on_batch(batch, 1)
    moved = (weight.detach() - start).abs().amax(1)
    assert entropy() > before
    assert float(moved[:8].max()) < 1e-5 < 1e-4 < float(moved[8:].max())


def test_fisher_information_is_of_finished_tasks_with_the_decay():
    _, method = refreshed(damping=DAMPING, decay=0.25, samples=15)
    found = []
    for task in range(2):
        torch.manual_seed(task)
        found.append(method.information.fisher(task))
        torch.manual_seed(task)
        method.on_task_end(task)
    for name in found[0]:
        expected = 0.25 * found[0][name] + found[1][name]
        kept = method.information.kept[f"0.fisher.{name}"]
        torch.testing.assert_close(kept, expected, rtol=1e-12, atol=0)
    assert np.mean([float(f.mean()) for f in found[1].values()]) > 0
