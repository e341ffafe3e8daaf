"""What projection guarantees, and that the fast paths equal the published rule."""

from dataclasses import replace

import pytest
import torch
from small import body, lif, stream
from toolbox import assert_same

import snnsim as sn
from snnsim.continual import (
    HLOP,
    ContinualTrainer,
    Learner,
    Subspace,
    dense_head,
    task_recipe,
)
from snnsim.continual.methods.gpm import GPM
from snnsim.continual.methods.owm import OWM
from snnsim.continual.presynaptic import as_matrix, rows_of, weight_of
from snnsim.errors import ConfigError
from snnsim.functional.subspace import principal_rows, quantised, unexplained

SGD = task_recipe(epochs=3, batch_size=21, lr=0.2)


def conv_body():
    torch.manual_seed(0)
    return sn.Sequential(
        _Image(), sn.Conv2d(1, 5, 3, stride=2, padding=1), lif((5, 2, 2)), _Flat(), sn.Dense(20, 10)
    )


class _Image(torch.nn.Module):
    def forward(self, x):
        return x.unflatten(2, (1, 3, 4))


class _Flat(torch.nn.Module):
    def forward(self, x):
        return x.flatten(2)


def trained(kind, method, recipe=SGD, scenario="task", stop_at=0, **options):
    """A trainer after its first task (``stop_at`` 0), and with the second one done."""
    torch.manual_seed(3)
    made = conv_body() if kind == "conv" else body(kind)
    learner = Learner(made, dense_head(10), stream(scenario), **options)
    trainer = ContinualTrainer(learner, method, recipe)
    trainer._run_task()
    return trainer


KINDS = ["dense", "conv", "axonal", "dendritic", "recurrent"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("projection", ["input", "gradient", "update"])
@pytest.mark.parametrize("solver", ["hebbian", "iteration", "covariance"])
def test_later_tasks_do_not_move_what_the_subspace_protects(kind, projection, solver):
    trainer = trained(kind, HLOP(projection=projection, solver=solver))
    method, learner = trainer.method, trainer.learner
    before = {n: as_matrix(m, weight_of(m)).detach().clone() for n, m in method.connections.items()}
    delays = [m.delay.clone() for m in learner.modules() if isinstance(m, sn.Delayed)]
    trainer._run_task()
    moved = 0.0
    for name, module in method.connections.items():
        frozen = method.subspaces[name].frozen
        assert len(frozen) > 0
        change = as_matrix(module, weight_of(module)).detach() - before[name]
        assert (change @ frozen.t()).abs().max() < 1e-6
        moved += float(change.abs().sum())
    assert moved > 1e-3
    after = [m.delay for m in learner.modules() if isinstance(m, sn.Delayed)]
    for old, new in zip(delays, after, strict=True):
        assert torch.equal(old.round(), new)


@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize("projection", ["gradient", "update"])
def test_spiking_subspace_neurons_protect_changes_of_weights_too(kind, projection):
    trainer = trained(kind, HLOP(projection=projection, levels=20))
    method = trainer.method
    before = {n: as_matrix(m, weight_of(m)).detach().clone() for n, m in method.connections.items()}
    trainer._run_task()
    for name, module in method.connections.items():
        change = as_matrix(module, weight_of(module)).detach() - before[name]
        assert float(change.norm()) > 1e-4
        assert (change @ method.subspaces[name].frozen.t()).abs().max() < 1e-6


@pytest.mark.parametrize("kind", ["axonal", "recurrent"])
def test_online_training_is_refused_where_it_does_not_see_what_entered(kind):
    with pytest.raises(ConfigError, match="earlier steps"):
        trained(kind, HLOP(), training="ottt")


def test_everything_that_is_not_protected_is_frozen_from_the_second_task_on():
    trainer = trained("axonal", HLOP())
    learner = trainer.learner
    norm = next(m for m in learner.modules() if isinstance(m, sn.BatchNorm))
    before = {k: v.clone() for k, v in norm.state_dict().items()}
    trainer._run_task()
    for name, value in norm.state_dict().items():
        assert torch.equal(value, before[name])


def test_outputs_of_the_first_task_stay_when_its_whole_activity_is_protected():
    trainer = trained("axonal", HLOP(solver="covariance", fraction=0.0))
    data, learner = trainer.stream.tasks[0].train, trainer.learner
    learner.eval()
    x = data.batch(range(len(data))).x
    trainer.method.on_epoch_start(1)  # delays are rounded as the second task finds them
    then = learner.body(x)[0]
    first = next(iter(trainer.method.connections.values()))
    trainer._run_task()
    learner.eval()
    rows = rows_of(first, x)
    frozen = trainer.method.subspaces[next(iter(trainer.method.connections))].frozen
    assert unexplained(rows, frozen) < 0.05
    now = learner.body(x)[0]
    assert (then != now).float().mean() < 0.02


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_projecting_input_or_gradient_is_the_same(kind):
    results = []
    for projection in ("input", "gradient"):
        trainer = trained(kind, HLOP(projection=projection))
        trainer._run_task()
        results.append(dict(trainer.learner.named_parameters()))
    assert_same(*results, atol=2e-5)


@pytest.mark.parametrize("method", [HLOP, GPM, OWM])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_any_optimiser_is_projected(method, optimizer):
    recipe = task_recipe(epochs=2, batch_size=21, lr=0.01, optimizer=optimizer, weight_decay=0.01)
    trainer = trained("dense", method(), recipe)
    name, module = next(iter(trainer.method.connections.items()))
    before = weight_of(module).detach().clone()
    trainer._run_task()
    change = weight_of(module).detach() - before
    assert change.abs().max() > 1e-4
    if method is not OWM:
        frozen = trainer.method.subspaces[name].frozen
        assert (change @ frozen.t()).abs().max() < 1e-6
    with pytest.raises(ConfigError, match="turns a projected gradient"):
        trained("dense", HLOP(projection="gradient"), recipe)


def test_frozen_rows_keep_their_bits():
    trainer = trained("dense", HLOP())
    trainer._run_task()
    first = {n: s.frozen.clone() for n, s in trainer.method.subspaces.items()}
    trainer._run_task()
    for name, subspace in trainer.method.subspaces.items():
        assert torch.equal(subspace.frozen[: len(first[name])], first[name])
        assert len(subspace.frozen) > len(first[name])


def published(x, rows, frozen, momentum, rate, iterations, levels):
    """The rule as published, all rows in one matrix."""
    both = torch.cat([frozen, rows])
    full = torch.cat([torch.zeros_like(frozen), momentum])
    for _ in range(iterations):
        y = quantised(x @ both.t(), levels)
        change = (y.t() @ (x - y @ both) / len(x)).clamp(-10, 10)
        change[: len(frozen)] = 0
        full = 0.9 * full + 0.1 * change
        both = both + rate * full
    return both[len(frozen) :]


@pytest.mark.parametrize("levels", [0, 40])
def test_hebbian_learning_is_the_published_rule(levels):
    generator = torch.Generator().manual_seed(5)
    subspace = Subspace(30, rate=0.05, levels=levels)
    torch.manual_seed(0)
    subspace.grow(6)
    subspace.grow(4)
    x = torch.randn(50, 30, generator=generator)
    expected = published(x, subspace.rows, subspace.frozen, subspace.momentum, 0.05, 5, levels)
    subspace.learn(x)
    assert (subspace.rows - expected).abs().max() < 2e-6


@pytest.mark.parametrize("solver", ["hebbian", "iteration"])
def test_learnt_rows_are_nearly_as_good_as_principal_axes(solver):
    generator = torch.Generator().manual_seed(6)
    basis = torch.randn(10, 60, generator=generator)
    scale = torch.linspace(2.0, 0.5, 10)

    def activity(samples):
        noise = 0.3 * torch.randn(samples, 60, generator=generator)
        return torch.randn(samples, 10, generator=generator) * scale @ basis / 4 + noise

    torch.manual_seed(1)
    subspace = Subspace(60, solver, rate=0.02)
    subspace.grow(10)
    for _ in range(400):
        subspace.learn(activity(64))
    x = activity(2000)
    best = unexplained(x, principal_rows(x.t() @ x, 0.0, 10))
    subspace.grow(0)
    assert best < unexplained(x, subspace.frozen) < (1.2 if solver == "hebbian" else 1.05) * best


def test_iterated_rows_stay_outside_frozen_ones():
    generator = torch.Generator().manual_seed(7)
    torch.manual_seed(2)
    subspace = Subspace(20, "iteration")
    for _ in range(2):
        subspace.grow(5)
        for _ in range(20):
            subspace.learn(torch.randn(64, 20, generator=generator))
    assert (subspace.rows @ subspace.frozen.t()).abs().max() < 1e-4
    assert (subspace.rows @ subspace.rows.t() - torch.eye(5)).abs().max() < 1e-5


def test_covariance_takes_as_many_rows_as_the_share_asks_for():
    subspace = Subspace(5, solver="covariance")
    subspace.learn(torch.eye(5) * torch.tensor([3.0, 2.0, 1.0, 0.1, 0.0]))
    subspace.finish(most=5, share=0.1)
    assert len(subspace.rows) == 2  # 1.01 of 14.01 is left
    subspace.grow(0)
    subspace.learn(torch.eye(5))
    subspace.finish(most=5, share=0.3)
    assert len(subspace.rows) == 2
    assert (subspace.rows @ subspace.frozen.t()).abs().max() < 1e-6


def test_what_cannot_be_protected_is_refused_with_the_reason():
    with pytest.raises(ConfigError, match="each output sees activity of its own delays"):
        trained("synaptic", HLOP())
    with pytest.raises(ConfigError, match="has 2 entries but the network has 3 connections"):
        trained("dense", HLOP(sizes=[[1, 2]]), scenario="domain")


@pytest.mark.parametrize("training", ["bptt", "ottt"])
@pytest.mark.parametrize("feedback", ["backprop", "random", "sign"])
def test_the_protection_holds_under_every_learning_rule(training, feedback):
    trainer = trained("dense", HLOP(), scenario="domain", training=training, feedback=feedback)
    before = {n: weight_of(m).detach().clone() for n, m in trainer.method.connections.items()}
    assert len(before) == 3  # the shared head, too
    trainer._run_task()
    for name, module in trainer.method.connections.items():
        change = weight_of(module).detach() - before[name]
        frozen = trainer.method.subspaces[name].frozen
        assert (change @ frozen.t()).abs().max() < 2e-6


@pytest.mark.parametrize("method", [HLOP, GPM, OWM])
def test_recurrence_without_self_connections_is_refused(method):
    body = sn.Sequential(sn.Dense(12, 10), sn.Recurrent(lif(10), self_connections=False))
    learner = Learner(body, dense_head(10), stream("class"))
    with pytest.raises(ConfigError, match="self_connections=True"):
        method().attach(learner)


def test_statistics_of_torchs_normalisation_stay_after_the_first_task():
    norm = torch.nn.BatchNorm2d(5)
    made = list(conv_body())
    net = sn.Sequential(*made[:2], sn.OverTime(norm), *made[2:])
    trainer = ContinualTrainer(Learner(net, dense_head(10), stream("class")), HLOP(), SGD)
    start = norm.running_mean.clone()
    trainer._run_task()
    after = norm.running_mean.clone()
    assert not torch.equal(start, after)
    trainer._run_task()
    assert torch.equal(norm.running_mean, after)


@pytest.mark.parametrize("kind", ["dense", "recurrent"])
@pytest.mark.parametrize("method", [HLOP, GPM, OWM])
def test_subspaces_do_not_learn_what_padding_causes(kind, method):
    found = []
    for beyond in (0, 5):
        torch.manual_seed(3)
        trainer = ContinualTrainer(
            Learner(body(kind), dense_head(10), padded(beyond)), method(), SGD
        )
        trainer._run_task()
        found.append(trainer.method.tensors())
    assert any(value.numel() for value in found[0].values())
    for key, value in found[0].items():
        torch.testing.assert_close(value, found[1][key], rtol=1e-4, atol=1e-6)


def padded(steps):
    """The class stream of which every sample has some noisy steps behind its end."""
    whole = stream("class")
    tasks = [replace(task, train=_Padded(task.train, steps)) for task in whole.tasks]
    return replace(whole, tasks=tuple(tasks))


class _Padded:
    def __init__(self, data, steps):
        self.data, self.steps = data, steps
        self.labels, self.lengths = data.labels, data.lengths

    def __len__(self):
        return len(self.data)

    def batch(self, indices, steps=None):
        batch = self.data.batch(indices)
        noise = torch.ones(self.steps, *batch.x.shape[1:])
        return batch._replace(x=torch.cat([batch.x, noise]))
