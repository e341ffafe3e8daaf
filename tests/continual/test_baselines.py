"""Rate-coded models under the methods of continual learning."""

from __future__ import annotations

import pytest
import torch
from small import CHANNELS, stream

import snnsim as sn
from snnsim.baselines import RateNetwork, get, names
from snnsim.continual import ContinualTrainer, Learner, dense_head, methods, task_recipe
from snnsim.continual.methods.hlop import HLOP
from snnsim.continual.methods.replay import Replay
from snnsim.continual.presynaptic import as_matrix, connections_of, rows_of, weight_of
from snnsim.errors import ConfigError

RECIPE = task_recipe(epochs=2, batch_size=14, lr=0.01, optimizer="adam")
CAUSAL = [name for name in names() if get(name).causal]


def learner(model: str, scenario: str = "class") -> Learner:
    torch.manual_seed(0)
    body = sn.Sequential(RateNetwork(CHANNELS, 0, model, width=8))
    return Learner(body, dense_head(8), stream(scenario))


@pytest.mark.parametrize("model", CAUSAL)
def test_later_tasks_do_not_move_what_the_subspace_protects(model):
    trainer = ContinualTrainer(learner(model), HLOP(solver="covariance", fraction=0.05), RECIPE)
    method = trainer.method
    trainer._run_task()
    protected = {id(weight_of(m)) for m in method.connections.values()}
    before = {n: as_matrix(m, weight_of(m)).detach().clone() for n, m in method.connections.items()}
    others = {
        n: p.detach().clone()
        for n, p in trainer.learner.named_parameters()
        if id(p) not in protected
    }
    trainer._run_task()
    moved = 0.0
    for name, module in method.connections.items():
        frozen = method.subspaces[name].frozen
        change = as_matrix(module, weight_of(module)).detach() - before[name]
        assert len(frozen) > 0 or model == "neural-process"  # its context stays empty
        if len(frozen):
            assert (change @ frozen.t()).abs().max() < 1e-6
        moved += float(change.abs().sum())
    assert moved > 1e-4
    for name, p in trainer.learner.named_parameters():
        if name in others:
            assert torch.equal(p, others[name]), f"{name} is not protected but moved"


@pytest.mark.parametrize("model", CAUSAL)
def test_replay_runs_on_every_model(model):
    trainer = ContinualTrainer(learner(model), Replay(), RECIPE)
    assert 0 <= trainer.run()["acc"] <= 100


def test_the_recurrent_weights_of_torch_see_the_output_one_step_before():
    net = learner("gru").body
    found = connections_of("body", net)
    assert [n.rpartition(".")[2] for n in found] == ["w_in", "w_rec"]
    gru = net[0].layers[0]
    x = torch.rand(3, 2, CHANNELS)
    y, _ = gru(x)
    w_in, w_rec = found.values()
    assert torch.equal(rows_of(w_in, x, y), x.flatten(0, 1))
    assert torch.equal(rows_of(w_rec, x, y)[2:], y[:-1].flatten(0, 1))
    assert bool((rows_of(w_rec, x, y)[:2] == 0).all())
    # the gradient of a weight is made of these rows: outside of their span it is 0
    y.square().sum().backward()
    rows = rows_of(w_rec, x, y).detach().double()
    g = gru.module.weight_hh_l0.grad.double()
    _, _, axes = torch.linalg.svd(rows, full_matrices=True)
    assert (g @ axes[torch.linalg.matrix_rank(rows) :].t()).abs().max() < 1e-6 * g.abs().max()


def test_a_method_that_needs_a_chain_of_units_says_so():
    with pytest.raises(ConfigError, match="chains of layers"):
        ContinualTrainer(learner("gru"), methods.get("sharp")(), RECIPE)


@pytest.mark.parametrize(
    ("model", "rule", "says"),
    [
        ("bidirectional", {}, "looks ahead"),
        ("gru", {"training": "ottt"}, "'bptt'"),
        ("gru", {"feedback": "random"}, "'backprop'"),
    ],
)
def test_what_a_stream_cannot_train_is_refused_in_python_too(model, rule, says):
    body = sn.Sequential(RateNetwork(CHANNELS, 0, model, width=8))
    with pytest.raises(ConfigError, match=says):
        Learner(body, dense_head(8), stream("class"), **rule)
