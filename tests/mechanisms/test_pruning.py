"""Pruning in training: what is cut when, by which rule, and what follows of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from small_training import (
    Recorder,
    Stop,
    StopAfter,
    Tiny,
    changed,
    differences,
    everything,
    network,
    run_whole,
    trainer,
    without_seconds,
)
from snnsim_experiments import Place, resolve
from snnsim_experiments import run as run_experiment
from snnsim_experiments.run_folder import load_network

import snnsim as sn
from snnsim.errors import ConfigError
from snnsim.sparsity import masked, matrices
from snnsim.training import Trainer, start_from

PRUNED = {"density": 0.3, "prune_at": 2}


class Keeping(Recorder):
    """Keeps all weights as the network uses them at the end of every epoch."""

    def epoch_ended(self, row):
        super().epoch_ended(row)
        self.weights[-1] = [w.detach().double().numpy().copy() for _, _, w in matrices(self.net)]


def trained(net=None, **options):
    net = net or network(5)
    kept = Keeping(net)
    made = trainer(changed(**options), net=net, seed=5, watcher=kept)
    made.run()
    return made, kept


def largest(weights, density):
    """Where the largest ``round(density n)`` of all numbers of several arrays are."""
    values = np.sort(np.abs(np.concatenate([w.ravel() for w in weights])))[::-1]
    limit = values[round(density * len(values)) - 1]
    return [np.abs(w) >= limit for w in weights]


def test_the_smallest_weights_are_cut_at_their_epoch_and_stay_so():
    made, kept = trained(**PRUNED)
    wanted = largest(kept.weights[1], 0.3)
    assert all((w != 0).all() for w in kept.weights[1])
    for epoch in (2, 3):
        before = kept.weights[epoch - 1]
        for w, old, mask in zip(kept.weights[epoch], before, wanted, strict=True):
            np.testing.assert_array_equal(w != 0, mask)
            assert (w[mask] != old[mask]).mean() > 0.5  # and the rest goes on learning
    assert [name for _, name in masked(made.net)] == ["weight"] * 2
    assert differences(everything(made), run_whole(changed(**PRUNED))[0]) == []


def test_until_the_cut_training_is_as_without_one():
    _, pruned = trained(**PRUNED)
    _, whole = trained()
    for a, b in zip(pruned.weights[:2], whole.weights[:2], strict=True):
        assert all(map(np.array_equal, a, b))
    assert not np.array_equal(pruned.weights[2][0], whole.weights[2][0])


def test_the_control_cuts_as_many_at_random():
    _, by_size = trained(**PRUNED)
    _, by_chance = trained(**PRUNED, prune_way="random")
    _, again = trained(**PRUNED, prune_way="random")
    counts = [sum(int((w != 0).sum()) for w in k.weights[3]) for k in (by_size, by_chance)]
    assert counts[0] == counts[1]
    masks = [[w != 0 for w in k.weights[3]] for k in (by_size, by_chance, again)]
    assert all(map(np.array_equal, masks[1], masks[2]))
    assert not all(map(np.array_equal, masks[0], masks[1]))


@pytest.mark.parametrize("way", ["magnitude", "random"])
@pytest.mark.parametrize("stop", [(1, 3), (2, 0), (2, 2), (3, 0), (3, 4)])
def test_a_pruned_run_goes_on_to_the_bit(tmp_path, stop, way):
    recipe = changed(**PRUNED, prune_way=way, checkpoint_steps=1)
    state, rows = run_whole(recipe)
    with pytest.raises(Stop):
        trainer(recipe, net=network(5), seed=5, out=tmp_path, watcher=StopAfter(*stop)).run()
    again = trainer(recipe, net=network(15), seed=5, out=tmp_path)
    assert again.resume()
    again.run()
    assert differences(everything(again), state) == [] and without_seconds(again.rows) == rows


def test_the_best_epoch_is_one_after_the_cut(tmp_path):
    made = trainer(changed(**PRUNED), net=network(5), seed=5, out=tmp_path)
    made.position = made.position.__class__(best_score=1.0, best_loss=0.0, best_epoch=0)
    made.run()
    assert made.position.best_epoch >= 2
    kept = sn.load(tmp_path / "best.safetensors")
    assert masked(kept) == masked(made.net)
    other = trainer(changed(**PRUNED), net=network(7), out=tmp_path)
    other.load_best()
    for (_, _, a), (_, _, b) in zip(matrices(kept), matrices(other.net), strict=True):
        assert torch.equal(a, b) and bool((a == 0).any())


@pytest.mark.parametrize("early", [{"patience": 1}, {"until": 0.01}])
def test_training_does_not_stop_before_the_cut(early):
    made, kept = trained(**PRUNED, lr=0.0, lr_delay=0.0, **early)
    assert len(made.rows) > 2 and any((w == 0).any() for w in kept.weights[-1])
    assert made.position.stopped


def test_only_synapses_are_cut():
    net = network(5)
    before = {name: p.shape for name, p in net.named_parameters()}
    made, _ = trained(net, **PRUNED)
    for name, value in made.net.state_dict().items():
        if "parametrizations" not in name and name in before and value.dim() > 0:
            assert bool((value != 0).any()), name
    delays = [m.delay for m in made.net.modules() if isinstance(m, sn.Delayed)]
    assert len(delays) == 2 and all(float((d == 0).double().mean()) < 0.5 for d in delays)


def test_a_run_starts_from_the_weights_that_another_kept(tmp_path):
    made = trainer(changed(**PRUNED), net=network(5), seed=5, out=tmp_path)
    made.run()
    made.load_best()
    dense = network(8)
    assert start_from(dense, tmp_path) == []
    for (_, _, a), (_, _, b) in zip(matrices(made.net), matrices(dense), strict=True):
        assert torch.equal(a, b)
    assert masked(dense) == []


def test_trained_weights_are_cut_before_they_are_trained_again(tmp_path):
    trainer(changed(), net=network(5), seed=5, out=tmp_path).run()
    first = sn.load(tmp_path / "best.safetensors")
    wanted = largest([w.detach().numpy() for _, _, w in matrices(first)], 0.4)
    _, kept = trained(network(9), density=0.4, start_from=str(tmp_path))
    for epoch in range(4):
        assert all(map(np.array_equal, [w != 0 for w in kept.weights[epoch]], wanted))


def test_a_pruned_run_of_the_command_line_can_be_used(tmp_path):
    changes = ["data.pool=50", "network.hidden=[6]", "network.max_delay_ms=40"]
    changes += ["training.density=0.2", "training.prune_at=1"]
    chosen = resolve("spoken-digits", changes=changes, epochs=2)
    out = tmp_path / "run"
    summary = run_experiment(chosen, Place(out=out, quiet=True))
    assert summary["best_epoch"] == 1
    for name, sparse in (("initial", False), ("best", True), ("last", True)):
        net, *_ = load_network(out, name)
        cut = torch.cat([(w == 0).flatten() for _, _, w in matrices(net)]).double().mean()
        assert float(cut) == pytest.approx(0.8 if sparse else 0.0, abs=5e-3)
    stored = json.loads((out / "run.json").read_text())["config"]["training"]
    assert (stored["density"], stored["prune_at"], stored["prune_way"]) == (0.2, 1, "magnitude")


def test_the_cut_may_lie_in_epochs_that_only_the_command_line_gives():
    cut = ["training.epochs=10", "training.density=0.5", "training.prune_at=12"]
    recipe = resolve("spoken-digits", changes=cut, epochs=20).recipe
    assert (recipe.epochs, recipe.density, recipe.prune_at) == (20, 0.5, 12)
    for changes, epochs in ((cut, None), (cut, 12), (["training.density=5"], 20)):
        with pytest.raises(ConfigError, match=r"end before the cut|density is 5"):
            resolve("spoken-digits", changes=changes, epochs=epochs)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"density": 0}, "density is 0"), ({"density": 1.5}, "density is 1.5"),
     ({"prune_way": "weak"}, "prune_way"), ({"density": 0.5, "prune_at": 4}, "end before the cut"),
     ({"prune_at": -1}, "prune_at is -1")],
)  # fmt: skip
def test_what_cannot_be_cut_is_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        changed(**wrong)


def test_a_network_without_synapses_is_refused_before_training():
    with pytest.raises(ConfigError, match="Sequential has no matrix of weights"):
        Trainer(sn.Sequential(sn.BatchNorm(6)), Tiny(5, 1), Tiny(5, 2), changed(density=0.5))
