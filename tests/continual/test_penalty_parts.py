"""EWC, SI, joint training, refresh learning and rehearsal: options, bookkeeping, single steps."""

import numpy as np
import pytest
import torch
from small import CHANNELS, STEPS, learner, named_copy, precise
from torch.nn import functional

from snnsim.continual.method import Method
from snnsim.continual.methods.ewc import EWC
from snnsim.continual.methods.joint import Joint
from snnsim.continual.methods.refresh import Refresh
from snnsim.continual.methods.rehearsal import Rehearsal
from snnsim.continual.methods.si import SI

ZERO = torch.zeros(())


# --- EWC and SI ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [EWC(), SI()])
def test_what_is_remembered_of_weights_stands_alone(method):
    made = learner("task")
    method.attach(made)
    method.on_task_start(0)
    method.on_gradients(0)
    method.on_step_end(0)
    method.on_task_end(0)
    kept = {name: t.clone() for name, t in method.tensors().items()}
    assert kept and not any(t.requires_grad for t in kept.values())
    with torch.no_grad():
        for p in made.parameters():
            p.add_(1)
    assert all(torch.equal(t, kept[name]) for name, t in method.tensors().items())
    assert not any("heads.1" in name for name in kept)
    again = type(method)()
    again.attach(learner("task"))
    again.load(kept)
    assert again.tensors().keys() == kept.keys()
    again.on_task_start(1)
    assert any("heads.1" in n for n in again.tensors()) == isinstance(method, SI)


def test_si_of_a_later_task_keeps_the_importance_and_starts_its_path_anew():
    made, method = learner("task"), SI()
    method.attach(made)
    method.on_task_start(0)
    names = list(method.parameters(0))
    for name in names:
        method.kept[f"importance.{name}"].fill_(2.0)
        method.kept[f"path.{name}"].fill_(3.0)
    method.on_task_start(1)
    for name in set(names) & set(method.parameters(1)):
        assert (method.kept[f"importance.{name}"] == 2).all()
        assert not method.kept[f"path.{name}"].any()


# --- joint training ------------------------------------------------------------------------------


def test_joint_training_counts_every_value_of_all_earlier_tasks():
    made, method = learner("class"), Joint()
    method.attach(made)
    assert method.memory_bytes() == (42 + 42) * STEPS * CHANNELS
    found = method.loss(ZERO + 3, None, None, 0, np.arange(5))
    assert float(found) == 3.0
    drawn = method._any(1, 9)
    assert len(drawn.labels) == 9 and set(drawn.labels.tolist()) <= {2, 3}


# --- refresh -------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [False, True])
def test_refresh_goes_up_the_loss_by_its_size_with_noise_and_damping(known):
    made = precise("domain")
    method = Refresh(inner=Method(), size=0.03, noise=0.2, damping=0.5)
    method.attach(made)
    batch = made.stream.tasks[0].train.batch(range(9))
    named = dict(made.named_parameters())
    if known:
        method.information.kept = {
            f"0.fisher.{n}": torch.rand_like(p) * 4 for n, p in named.items()
        }
    before = named_copy(made)
    loss = functional.cross_entropy(made.scores(batch.x, 0, batch.lengths), batch.labels)
    gradients = torch.autograd.grad(loss, list(named.values()))
    made.zero_grad()
    torch.manual_seed(8)
    method.on_batch(batch, 0)
    torch.manual_seed(8)
    for (name, p), g in zip(named.items(), gradients, strict=True):
        away = g * (before[name].norm() / g.norm()) + 0.2 * torch.randn_like(g)
        if known:
            away = away / (1 + 0.5 * method.information.kept[f"0.fisher.{name}"])
        torch.testing.assert_close(p.detach(), before[name] + 0.03 * away, rtol=1e-9, atol=1e-12)
        assert p.grad is None


def test_refresh_passes_its_options_on_and_counts_half_of_the_information():
    method = Refresh(on="si", decay=0.3, samples=9)
    assert method.information.decay == 0.3 and method.information.samples == 9
    assert method.information.online
    made = learner("task")
    method.attach(made)
    method.inner.on_task_start(0)
    method.inner.before = {}
    method.on_task_end(0)
    info = sum(t.numel() * 4 for t in method.information.tensors().values())
    assert info > 0 and method.memory_bytes() == method.inner.memory_bytes() + info // 2
    stored = method.tensors()
    assert any(n.startswith("fisher.0.fisher.") for n in stored)
    again = Refresh(on="si")
    again.attach(learner("task"))
    again.load(stored)
    assert again.tensors().keys() == stored.keys()


# --- rehearsal -----------------------------------------------------------------------------------


def test_rehearsal_goes_through_the_longest_memory_and_leaves_out_tasks_that_are_through():
    made, method = learner("task"), Rehearsal(inner=Method(), epochs=2, batch_size=4, lr=0.05)
    method.attach(made)
    method.kept = {0: torch.arange(6), 1: torch.arange(3, 14), 2: torch.arange(2)}
    seen, original = [], made.scores_of

    def scores_of(batches, tasks, present):
        assert not made.training
        seen.append((list(tasks), [len(b.labels) for b in batches], present))
        return original(batches, tasks, present)

    made.scores_of = scores_of
    made.train()
    method._rehearse(2)
    assert made.training
    epoch = [([0, 1, 2], [4, 4, 2], 2), ([0, 1], [2, 4], 2), ([1], [3], 2)]
    assert seen == epoch * 2


def test_rehearsal_draws_a_new_order_of_its_own_samples_in_every_epoch():
    made, method = learner("task"), Rehearsal(inner=Method(), epochs=3, batch_size=100)
    method.attach(made)
    method.kept = {0: torch.tensor([1, 4, 7, 9, 12, 20, 33])}
    orders, original = [], method._step
    method._step = lambda o, *rest: (orders.append(o[0].tolist()), original(o, *rest))[1]
    torch.manual_seed(2)
    method._rehearse(1)
    assert [sorted(o) for o in orders] == [[1, 4, 7, 9, 12, 20, 33]] * 3
    assert len({tuple(o) for o in orders}) == 3


def test_rehearsal_counts_its_samples_and_brings_them_back():
    made, method = learner("class"), Rehearsal(on="si", per_class=3, epochs=1)
    method.attach(made)
    inner = method.inner.memory_bytes()
    method.kept = {0: torch.tensor([0, 2, 5]), 1: torch.tensor([7])}
    assert method.memory_bytes() == inner + 4 * STEPS * CHANNELS
    stored = method.tensors()
    again = Rehearsal(on="si")
    again.attach(learner("class"))
    again.load(stored)
    again.kept[0].zero_()
    assert {t: n.tolist() for t, n in method.kept.items()} == {0: [0, 2, 5], 1: [7]}
    assert list(again.kept) == [0, 1]
