"""The parts of training one by one: recipe, optimisers, the loop's bookkeeping, evaluation."""

from __future__ import annotations

import itertools
import json
import warnings
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_training import RECIPE, TRAIN, VALIDATION, Recorder, changed, network, trainer
from torch import nn

import snnsim as sn
from snnsim.errors import ConfigError, NonFiniteError, ShapeError
from snnsim.layer import Layer
from snnsim.training import (
    Optimizers,
    Recipe,
    Scores,
    Trainer,
    Watcher,
    checkpoint,
    distributed,
    evaluate,
    fit,
    predict,
    set_seed,
    split_parameters,
)
from snnsim.training.evaluate import check_weights, counting_spikes, equally_padded, run_padded
from snnsim.training.finite import first_culprit, gradients_finite
from snnsim.training.schedules import one_cycle

# --- recipes ------------------------------------------------------------------------------------


def test_the_recipe_is_the_published_one_unless_said():
    assert asdict(Recipe()) == {
        "epochs": 150, "batch_size": 256, "max_lr": 5e-3, "schedule": "one_cycle",
        "lr_delay": 0.1, "weight_decay": 1e-5, "sigma_end": 0.23, "sigma_share": 0.25,
        "readout": "sum_softmax", "mask_padding": False, "accumulate": 1, "patience": 0,
        "precision": "auto", "checkpoint_steps": 0, "check_finite": True,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["max_lr", "lr_delay", "weight_decay", "patience",
                                  "checkpoint_steps", "sigma_end"])  # fmt: skip
def test_nothing_negative_but_zero_may_stand_in_a_recipe(name):
    assert getattr(Recipe(**{name: 0}), name) == 0
    with pytest.raises(ConfigError, match=f"{name} is -1 but must not be negative"):
        Recipe(**{name: -1})


@pytest.mark.parametrize("name", ["epochs", "batch_size", "accumulate"])
def test_one_is_the_least_of_what_is_counted_in_a_recipe(name):
    assert getattr(Recipe(**{name: 1}), name) == 1
    with pytest.raises(ConfigError, match=f"{name} is 0 but must be 1 or more"):
        Recipe(**{name: 0})


def names_of(net, groups):
    names = {id(p): n for n, p in net.named_parameters()}
    return [sorted(names[id(p)] for p in group) for group in groups]


def test_every_kind_of_parameter_has_its_group():
    net = nn.Sequential(
        sn.Delayed(3, 4, dt=1.0, max_delay_ms=4, learn_sigma=True), sn.BatchNorm(4),
        sn.LIF(4, dt=1.0, learn=("tau_mem",)), nn.Linear(4, 4), nn.GroupNorm(2, 4), nn.RMSNorm(4),
        nn.BatchNorm1d(4), nn.BatchNorm2d(4), nn.BatchNorm3d(4), nn.LayerNorm(4), nn.GRU(4, 2),
    )  # fmt: skip
    net[3].extra = nn.Parameter(torch.ones(2))
    assert names_of(net, split_parameters(net)) == [
        ["0.weight", "10.weight_hh_l0", "10.weight_ih_l0", "3.extra", "3.weight"],
        sorted([
            "0.sigma", "1.bias", "1.weight", "2.raw_tau_mem", "3.bias", "4.bias", "4.weight",
            "5.weight", "6.bias", "6.weight", "7.bias", "7.weight", "8.bias", "8.weight",
            "9.bias", "9.weight", "10.bias_hh_l0", "10.bias_ih_l0",
        ]),
        ["0.delay"],
    ]  # fmt: skip


def test_what_is_frozen_is_in_no_group():
    net = sn.Sequential(sn.Delayed(3, 4, dt=1.0, max_delay_ms=4), sn.BatchNorm(4), sn.Dense(4, 2))
    net[0].delay.requires_grad_(False)
    net[1].bias.requires_grad_(False)
    net[2].weight.requires_grad_(False)
    assert names_of(net, split_parameters(net)) == [["layers.0.weight"], ["layers.1.weight"], []]
    optimizers = Optimizers(net, RECIPE)
    assert optimizers.delays is None and optimizers.each == [optimizers.main]
    optimizers.start_epoch(0)


def test_a_group_of_nothing_is_left_out():
    net = nn.Linear(3, 2, bias=False)
    (group,) = Optimizers(net, Recipe(weight_decay=0.5)).main.param_groups
    assert group["weight_decay"] == 0.5


def rates(optimizers):
    main = [(g["lr"], g["betas"], g["weight_decay"]) for g in optimizers.main.param_groups]
    delays = [(g["lr"], g["betas"], g["weight_decay"]) for g in optimizers.delays.param_groups]
    return main, delays


def test_optimisers_begin_with_the_rates_of_the_recipe():
    main, delays = rates(Optimizers(network(), Recipe(max_lr=0.3, lr_delay=0.7, weight_decay=0.2)))
    assert main == [(0.3, (0.9, 0.999), 0.2), (0.3, (0.9, 0.999), 0.0)]
    assert delays == [(0.7, (0.9, 0.999), 0.0)]


def test_a_constant_schedule_is_one_of_weights_only():
    optimizers = Optimizers(network(), Recipe(epochs=8, max_lr=0.3, lr_delay=0.4,
                                              schedule="constant"))  # fmt: skip
    optimizers.start_epoch(4)
    main, delays = rates(optimizers)
    assert [group[:2] for group in main] == [(0.3, (0.9, 0.999))] * 2
    assert delays[0][0] == pytest.approx(0.2, rel=1e-12)


@pytest.mark.parametrize(("epochs", "by_step"), [(3, True), (4, False)])
def test_schedules_go_by_steps_below_four_epochs(epochs, by_step):
    optimizers = Optimizers(network(), Recipe(epochs=epochs, max_lr=0.3, lr_delay=0.4))
    optimizers.start_epoch(1)
    before = rates(optimizers)
    optimizers.start_step(1, 2, 5)
    if not by_step:
        assert rates(optimizers) == before
        return
    lr, beta = one_cycle(1 * 5 + 2, 15, 0.3)
    main, delays = rates(optimizers)
    assert {group[:2] for group in main} == {(lr, (beta, 0.999))}
    assert delays[0][0] == pytest.approx(0.2 * (1 + np.cos(np.pi * 1.4 / 3)), rel=1e-12)


def test_widths_narrow_to_the_end_and_over_the_share_of_the_recipe():
    net = network(max_delay_ms=16)
    optimizers = Optimizers(net, Recipe(epochs=10, sigma_end=0.5, sigma_share=0.4))
    assert [c.initial_sigma for c in optimizers.connections] == [8.0, 8.0]
    for epoch, wanted in ((0, 8.0), (2, 2.0), (4, 0.5), (9, 0.5)):
        optimizers.start_epoch(epoch)
        assert [float(c.sigma) for c in optimizers.connections] == pytest.approx([wanted] * 2)


def test_a_step_is_one_of_all_parameters_and_keeps_delays_in_range():
    net = network()
    optimizers = Optimizers(net, RECIPE)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    with torch.no_grad():
        net[0].delay.fill_(0.0)
        net[4].delay.fill_(2.0)
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    optimizers.step()
    moved = {n: bool((p != before[n]).any()) for n, p in net.named_parameters()}
    assert not moved.pop("layers.0.delay")  # it would have become negative
    assert all(moved.values())
    assert torch.allclose(net[4].delay, torch.tensor(2.0 - RECIPE.lr_delay))
    optimizers.zero_grad()
    assert all(p.grad is None for p in net.parameters())


# --- the loop -----------------------------------------------------------------------------------


def test_the_order_of_an_epoch_is_that_of_its_seed_and_number():
    found = fit.epoch_order(9, 3, 7)
    np.testing.assert_array_equal(found, np.random.default_rng([3, 7]).permutation(9))


def test_a_seed_is_a_whole_number_and_seeds_torch():
    set_seed(5)
    first = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(first, torch.rand(3))
    with pytest.raises(ConfigError):
        set_seed(-1)


def test_a_training_starts_at_nothing():
    assert asdict(fit.Position()) == {
        "epoch": 0, "step": 0, "loss": 0.0, "correct": 0, "samples": 0, "seconds": 0.0,
        "best_accuracy": -1.0, "best_loss": float("inf"), "best_epoch": -1, "stopped": False,
    }  # fmt: skip


@pytest.mark.parametrize("mask", [True, False])
def test_validation_is_told_everything_of_the_recipe(monkeypatch, mask):
    asked = []

    def noting(net, data, **options):
        asked.append((net, data, options))
        return Scores(0.25, 2.0, 0.125, 13)

    monkeypatch.setattr(fit, "evaluate", noting)
    recipe = changed(epochs=1, readout="mean", mask_padding=mask, batch_size=7, check_finite=mask)
    t = trainer(recipe)
    (row,) = t.run()
    ((net, data, options),) = asked
    assert net is t.net and data is VALIDATION
    assert options == {
        "readout": "mean", "mask_padding": mask, "batch_size": 7, "check_finite": mask,
        "steps": int(TRAIN.lengths.max()), "device": torch.device("cpu"),
    }  # fmt: skip
    assert (row["epoch"], row["validation_accuracy"], row["validation_loss"]) == (0, 0.25, 2.0)
    assert row["firing_rate"] == 0.125
    assert (t.position.best_accuracy, t.position.best_loss) == (0.25, 2.0)


def test_seconds_are_those_of_steps_and_evaluation_of_one_epoch(monkeypatch):
    clock = itertools.count()
    t = trainer(changed(epochs=2))
    monkeypatch.setattr(fit.time, "monotonic", lambda: float(next(clock)))
    assert [row["seconds"] for row in t.run()] == [6.0, 6.0]  # five steps and an evaluation
    assert t.position.seconds == 0.0


def test_the_accuracy_of_training_counts_right_answers():
    class Four:
        lengths = np.array([2, 2, 2, 2])

        def __len__(self):
            return 4

        def batch(self, indices, steps):
            labels = torch.tensor([0, 1, 2, 0])[torch.as_tensor(indices)]
            said = torch.tensor([0, 1, 2, 1])[torch.as_tensor(indices)]
            x = nn.functional.one_hot(said, 3).float().expand(steps, -1, -1)
            return SimpleNamespace(x=x, labels=labels, lengths=torch.full((len(indices),), 2))

    class Echo(Layer):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x, state=None):
            return x * self.scale, None

    recorder = Recorder(net := Echo())
    recipe = Recipe(epochs=1, batch_size=3, readout="mean", accumulate=2, max_lr=0.0)
    t = Trainer(net, Four(), Four(), recipe, watcher=recorder)
    (row,) = t.run()
    assert row["train_accuracy"] == row["validation_accuracy"] == 0.75
    right, wrong = np.log(np.exp(1) + 2) - 1, np.log(np.exp(1) + 2)
    assert row["train_loss"] == pytest.approx((3 * right + wrong) / 4, rel=1e-6)
    assert row["validation_loss"] == pytest.approx((3 * right + wrong) / 4, rel=1e-6)
    order = fit.epoch_order(4, 0, 0)
    each = np.where(order == 3, wrong, right)
    assert recorder.losses == pytest.approx([each[:3].mean(), each[3]], rel=1e-6)


class Listening(Layer):
    """Notes whether torch chooses the precision; answers in half of it if asked to."""

    def __init__(self, half=False):
        super().__init__()
        self.dense, self.half, self.seen, self.modes = sn.Dense(6, 3), half, [], []

    def forward(self, x, state=None):
        self.seen.append((torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
        self.modes.append(self.training)
        y, _ = self.dense(x)
        return (y.bfloat16() if self.half else y), None


@pytest.mark.parametrize(
    ("precision", "chosen"), [("auto", False), ("float32", False), ("bfloat16", True)]
)
def test_precision_is_chosen_in_training_alone(precision, chosen):
    net = Listening()
    trainer(changed(epochs=1, precision=precision), net=net).run()
    assert [on for on, _ in net.seen] == [chosen] * 5 + [False] * (len(net.seen) - 5)
    assert not chosen or {kind for on, kind in net.seen if on} == {torch.bfloat16}
    assert net.modes == [True] * 5 + [False] * (len(net.modes) - 5)


def test_readouts_of_half_precision_are_summed_in_full(monkeypatch):
    kinds = []
    original = fit.get_readout

    def noting(name):
        return lambda y, lengths: kinds.append(y.dtype) or original(name)(y, lengths)

    monkeypatch.setattr(fit, "get_readout", noting)
    trainer(changed(epochs=1), net=Listening(half=True)).run()
    assert set(kinds) == {torch.float32}
    assert [fit._half(torch.zeros(1, dtype=d)) for d in (
        torch.float16, torch.bfloat16, torch.float32, torch.float64,
    )] == [True, True, False, False]  # fmt: skip


def test_layers_frozen_in_a_network_under_training_stay_frozen():
    net = network(0).train()
    net[1].eval()
    before = net[1].running_mean.clone()
    trainer(changed(epochs=2), net=net).run()
    assert torch.equal(net[1].running_mean, before) and not net[1].training and net.training


def test_a_network_in_evaluation_is_put_into_training():
    net = network(0).eval()
    before = net[1].running_mean.clone()
    trainer(changed(epochs=1), net=net).run()
    assert not torch.equal(net[1].running_mean, before)


def log_of_writing(monkeypatch, watcher_kind, **recipe):
    log = []

    class Writing(watcher_kind):
        def writing(self):
            log.append("writing")

    save, text = checkpoint.save, checkpoint.write_text
    monkeypatch.setattr(
        checkpoint, "save", lambda path, *rest: log.append(path.name) or save(path, *rest)
    )
    monkeypatch.setattr(
        checkpoint, "write_text", lambda path, *rest: log.append(path.name) or text(path, *rest)
    )
    return log, Writing()


def test_a_watcher_hears_of_every_checkpoint_before_it_is_written(monkeypatch, tmp_path):
    log, watcher = log_of_writing(monkeypatch, Watcher)
    monkeypatch.setattr(fit, "evaluate", lambda *_, **__: Scores(0.5, 1.0, 0.1, 13))
    t = trainer(changed(epochs=2, checkpoint_steps=2), out=tmp_path, watcher=watcher)
    t.run()
    names = [name.split(".")[0] for name in log]
    within, end = ["writing", "last"], ["metrics", "writing", "last"]
    assert names == within * 2 + ["writing", "best", *end] + within * 2 + ["writing", *end]
    values = checkpoint.load(tmp_path / "best.safetensors")[1]
    assert values == {"epoch": 0, "steps": int(TRAIN.lengths.max())}
    kept = checkpoint.load(tmp_path / "last.safetensors")[1]
    assert kept == {
        "position": asdict(t.position), "recipe": asdict(t.recipe), "seed": 0,
        "steps": int(TRAIN.lengths.max()),
    }  # fmt: skip


def test_a_watcher_without_that_method_is_as_good(tmp_path):
    class Old:
        def epoch_started(self, epoch, steps): ...

        def step_done(self, epoch, step, loss): ...

        def epoch_ended(self, row): ...

    assert len(trainer(changed(epochs=1), out=tmp_path, watcher=Old()).run()) == 1


def test_only_the_first_process_writes(monkeypatch, tmp_path):
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed, "size", lambda: 2)
    trainer(changed(epochs=1, checkpoint_steps=1), out=tmp_path).run()
    assert list(tmp_path.iterdir()) == []


def test_metrics_that_were_lost_are_counted_in_a_warning(tmp_path):
    trainer(out=tmp_path).run()
    path = tmp_path / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        t = trainer(out=tmp_path)
        assert t.resume() and [row["epoch"] for row in t.rows] == [0, 1, 2, 3]
        again = json.loads(lines[-1]) | {"epoch": 4}
        path.write_text("".join(lines) + json.dumps(again) + "\n")
        t = trainer(out=tmp_path)
        assert t.resume() and len(t.rows) == 4  # one too many is of a repeated epoch
    path.write_text("".join(lines[1:]))
    with pytest.warns(UserWarning, match="has 3 rows of the 4 epochs"):
        trainer(out=tmp_path).resume()
    path.unlink()
    t = trainer(out=tmp_path)
    with pytest.warns(UserWarning, match="has 0 rows of the 4 epochs"):
        t.resume()
    assert t.rows == []


def position(**changes):
    t = trainer(changed(epochs=4))
    t.run()  # so that the optimisers have a state
    best = {"best_epoch": 1, "best_accuracy": 0.5, "best_loss": 1.0}
    t.position = fit.Position(**{"epoch": 2, "step": 3, "samples": 15, **best, **changes})
    return t


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epoch": -1}, "no training stands"),
        ({"epoch": 5}, "no training stands"),
        ({"step": -1}, "no training stands"),
        ({"step": 6, "samples": 22}, "no training stands"),
        ({"loss": float("nan")}, "no numbers"),
        ({"seconds": -1.0}, "no numbers"),
        ({"seconds": float("inf")}, "no numbers"),
        ({"samples": 14}, "14 samples"),
        ({"samples": 16}, "16 samples"),
        ({"step": 5, "samples": 25}, "25 samples"),
        ({"correct": 16}, "15 samples"),
        ({"correct": -1}, "15 samples"),
        ({"best_epoch": 2}, "the best"),
        ({"best_epoch": -1}, "the best"),
        ({"best_accuracy": 1.1}, "the best"),
        ({"best_accuracy": float("nan")}, "the best"),
        ({"best_loss": float("inf")}, "the best"),
    ],
)
def test_places_at_which_no_training_can_stand(changes, reason):
    with pytest.raises(ValueError, match=reason):
        position(**changes)._check_position()


def test_places_at_which_a_training_can_stand():
    for changes in (
        {}, {"correct": 15}, {"step": 5, "samples": 22}, {"epoch": 4, "step": 0, "samples": 0},
        {"epoch": 0, "step": 0, "samples": 0}, {"loss": -1.0},
    ):  # fmt: skip
        position(**changes)._check_position()
    t = trainer()
    t._check_position()  # nothing has begun
    t.position = fit.Position(epoch=0, step=1, samples=5)
    with pytest.raises(ValueError, match="no state of the optimisers"):
        t._check_position()
    t.position = fit.Position(epoch=1, best_epoch=0, best_accuracy=0.5, best_loss=1.0)
    with pytest.raises(ValueError, match="no state of the optimisers"):
        t._check_position()


def test_the_last_good_checkpoint_is_named_where_there_is_one(tmp_path):
    assert trainer()._last_good() == (
        "Last good checkpoint: none yet. Try a smaller max_lr or lr_delay"
    )
    t = trainer(changed(epochs=1), out=tmp_path)
    assert "none yet" in t._last_good()
    t.run()
    assert str(tmp_path / "last.safetensors") in t._last_good()


def test_a_loss_that_is_not_finite_is_said_to_be_one():
    class Lost(Layer):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x, state=None):
            return x[..., :3] * self.scale - torch.inf, None

    with pytest.raises(NonFiniteError, match="the loss is not finite at epoch 0, step 0"):
        trainer(net=Lost()).run()


# --- looking for what is not finite -------------------------------------------------------------


def test_one_gradient_that_is_not_finite_is_enough():
    a, b, c = (nn.Parameter(torch.ones(2)) for _ in range(3))
    assert gradients_finite([])
    a.grad, b.grad = torch.zeros(2), torch.tensor([1.0, 2.0])
    assert gradients_finite([a, b, c])
    b.grad[1] = torch.inf
    assert not gradients_finite([a, b, c]) and not gradients_finite([b, a])


def chain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))


def test_the_first_layer_that_is_not_finite_is_named():
    x = torch.ones(1, 3)
    assert first_culprit(chain(), x) == "the read-out or the loss"
    assert first_culprit(chain(), x * torch.nan) == "the input of layer '0' (Linear)"
    net = chain()
    net[2].weight.data[0, 0] = torch.inf
    assert first_culprit(net, x) == "parameter 'weight' of layer '2' (Linear)"
    net[0].bias.data[0] = torch.nan
    assert first_culprit(net, x) == "parameter 'bias' of layer '0' (Linear)"
    net = chain()
    net[0].weight.data.fill_(3e38)
    assert first_culprit(net, x) == "the output of layer '0' (Linear)"


def test_of_gradients_the_last_layers_came_first_and_everything_else_before_them():
    net, x = chain(), torch.ones(1, 3)
    for place in (0, 2):
        net[place].weight.grad = torch.full_like(net[place].weight, torch.nan)
    assert first_culprit(net, x) == "the gradient of 'weight' of layer '2' (Linear)"
    net[2].bias.data[0] = torch.inf
    assert first_culprit(net, x) == "parameter 'bias' of layer '2' (Linear)"


def test_looking_leaves_no_hook():
    net = chain()
    first_culprit(net, torch.ones(1, 3))
    with pytest.raises(RuntimeError):
        first_culprit(net, torch.ones(1, 7))
    assert not any(m._forward_hooks for m in net.modules())


# --- evaluation ---------------------------------------------------------------------------------


def test_batches_are_of_samples_padded_alike():
    lengths = [7, 3, 9, 7, 5, 9, 6, 2]
    found = [(c.tolist(), n) for c, n in equally_padded(lengths, 6, 3)]
    assert found == [([1, 4, 6], 6), ([7], 6), ([0, 3], 7), ([2, 5], 9)]
    assert all(type(n) is int for _, n in found)
    assert [(c.tolist(), n) for c, n in equally_padded(np.array([2, 1]), 0, 9)] == [
        ([1], 1), ([0], 2),
    ]  # fmt: skip


def test_weights_and_buffers_that_are_not_finite_are_named():
    net = network(0)
    check_weights(net)
    net[1].running_var[0] = torch.inf
    with pytest.raises(NonFiniteError, match=r"layers\.1\.running_var of the network"):
        check_weights(net)
    net = network(0)
    net[4].weight.data[0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"layers\.4\.weight"):
        evaluate(net, VALIDATION)


def test_evaluation_is_in_evaluation_mode_and_leaves_the_network_as_it_was():
    net = network(0, dropout=0.9).train()
    net[1].eval()
    kept = {n: b.clone() for n, b in net.named_buffers()}
    first, second = evaluate(net, VALIDATION), evaluate(net, VALIDATION)
    assert first == second and first.samples == 13
    assert net.training and not net[1].training
    assert all(torch.equal(kept[n], b) for n, b in net.named_buffers())


def test_evaluation_is_of_all_samples_whatever_the_batches():
    net = network(0).double()
    data = type(VALIDATION)(13, seed=2, dtype=torch.float64)
    alone = [evaluate(net, data, batch_size=n) for n in (1, 4, 13, 99)]
    for found in alone[1:]:
        assert found.loss == pytest.approx(alone[0].loss, rel=1e-12)
        assert found.firing_rate == pytest.approx(alone[0].firing_rate, rel=1e-12)
        assert (found.accuracy, found.samples) == (alone[0].accuracy, 13)
    x = data.batch(np.arange(13), 11)
    with counting_spikes(net) as totals:
        scores = predict(net, x.x, "sum_softmax", x.lengths, masked=False)
    assert alone[0].firing_rate == pytest.approx(totals[0] / totals[1], rel=1e-12)
    assert alone[0].accuracy == float((scores.argmax(1) == x.labels).double().mean())


def test_a_network_without_neurons_has_a_firing_rate_of_zero():
    assert evaluate(sn.Sequential(sn.Dense(6, 3)), VALIDATION).firing_rate == 0.0


def test_hooks_that_count_spikes_are_gone_afterwards():
    net = network(0)
    with pytest.raises(ZeroDivisionError), counting_spikes(net):
        raise ZeroDivisionError
    assert not any(m._forward_hooks for m in net.modules())


def test_evaluation_of_shares_is_summed_over_processes(monkeypatch):
    """Every process takes its part of each batch, and none where there is none for it."""
    net, data = network(0).double(), type(VALIDATION)(13, seed=2, dtype=torch.float64)
    whole, sums = evaluate(net, data, batch_size=3), []
    monkeypatch.setattr(distributed, "size", lambda: 2)
    monkeypatch.setattr(
        distributed, "sum_over_processes", lambda v, device: sums.append(v.clone()) or v
    )
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        evaluate(net, data, batch_size=3)
    correct, loss, samples, spikes, places = (sums[0] + sums[1]).tolist()
    assert samples == 13 and sums[1][2] == 4
    assert correct / 13 == whole.accuracy
    assert loss / 13 == pytest.approx(whole.loss, rel=1e-12)
    assert spikes / places == pytest.approx(whole.firing_rate, rel=1e-12)


class Merging(Layer):
    """Two steps become one; it wants to know the lengths."""

    def __init__(self):
        super().__init__()
        self.told = []

    def forward(self, x, state=None, lengths=None):
        self.told.append((state, lengths))
        return x[::2], None

    def output_lengths(self, lengths):
        return (lengths + 1) // 2


def test_a_network_that_merges_steps_is_told_the_lengths():
    net, lengths = Merging(), torch.tensor([5, 2])
    x = torch.rand(5, 2, 3)
    y, ends = run_padded(net, x, lengths, masked=True)
    assert torch.equal(y, x[::2]) and ends.tolist() == [3, 1]
    assert net.told == [(None, lengths)]
    scores = predict(net, x, "spike_count", lengths)
    assert torch.allclose(scores[1], x[0, 1]) and torch.allclose(scores[0], x[::2, 0].sum(0))


def test_padding_is_added_for_all_tails_but_the_first_and_only_if_masked():
    class Noting(sn.Sequential):
        def forward(self, x, state=None):
            seen.append(len(x))
            return super().forward(x, state)

    seen: list[int] = []
    options = {"dt": 1.0, "padding": "lengthen"}
    net = Noting(*(sn.Delayed(2, 2, max_delay_ms=d, **options) for d in (4, 8, 2))).eval()
    lengths = torch.tensor([6, 3])
    y, ends = run_padded(net, torch.ones(6, 2, 2), lengths, masked=True)
    assert seen == [6 + 4 + 1] and len(y) == 11 + 7 and ends.tolist() == [13, 10]
    y, ends = run_padded(net, torch.ones(6, 2, 2), lengths)
    assert seen[1] == 6 and len(y) == 13 and ends.tolist() == [13, 10]


def test_outputs_shorter_than_their_input_have_its_lengths():
    class Short(nn.Module):
        def forward(self, x):
            return x[:4], None

    lengths = torch.tensor([6, 3])
    y, ends = run_padded(Short(), torch.ones(6, 2, 2), lengths)
    assert len(y) == 4 and ends.tolist() == [6, 3]


def test_predicting_without_lengths_adds_no_padding():
    torch.manual_seed(0)
    options = {"dt": 1.0, "padding": "lengthen"}
    layers = (sn.Delayed(3, 3, max_delay_ms=4, **options) for _ in range(2))
    net, x = sn.Sequential(*layers).eval(), torch.rand(5, 2, 3)
    y = net(x)[0].detach()
    assert len(y) == 9
    assert torch.allclose(predict(net, x, "mean"), y.mean(0), atol=1e-6)


def test_spikes_of_integrators_are_none():
    net = sn.Sequential(sn.Dense(6, 4), sn.LIF(4, dt=1.0), sn.Dense(4, 3), sn.LI(3, dt=1.0))
    with counting_spikes(net) as totals:
        net(torch.ones(5, 2, 6))
    assert totals[1] == 5 * 2 * 4


def test_predicting_without_lengths_counts_all_steps_and_looks_at_the_input():
    net = sn.Sequential(sn.Dense(3, 2)).train()
    x = torch.rand(4, 2, 3)
    every = net(x)[0].detach().mean(0)
    assert torch.allclose(predict(net, x, "mean"), every)
    assert torch.allclose(predict(net, x, "mean", torch.tensor([4, 1]), masked=False), every)
    masked = predict(net, x, "mean", torch.tensor([4, 1]))
    assert torch.allclose(masked[1], net(x)[0][0, 1]) and torch.allclose(masked[0], every[0])
    assert not masked.requires_grad and net.training
    x[0, 0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="the input is nan"):
        predict(net, x, "mean")
    assert torch.isnan(predict(net, x, "mean", check_finite=False)[0]).all()


# --- processes ----------------------------------------------------------------------------------


@pytest.fixture
def group():
    """A group of one process."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.stop()
    assert not distributed.active()


def test_alone_everything_is_as_it_was():
    assert not distributed.active() and (distributed.rank(), distributed.size()) == (0, 1)
    values, cpu = torch.ones(2), torch.device("cpu")
    assert distributed.sum_over_processes(values, cpu) is values
    assert distributed.of_first(values, cpu) is values
    assert distributed.agree("a") == "a"
    torch.manual_seed(0)
    before = torch.get_rng_state()
    distributed.same_random_numbers(cpu)
    assert torch.equal(torch.get_rng_state(), before)
    distributed.barrier()
    distributed.stop()
    distributed.broadcast(nn.Linear(1, 1))
    distributed.sum_gradients([])


def test_a_process_joins_only_a_group_that_is_announced(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    made = []
    monkeypatch.setattr(torch.distributed, "init_process_group", made.append)
    cpu = torch.device("cpu")
    assert distributed.start(cpu) == cpu and made == []
    monkeypatch.setenv("RANK", "0")
    assert distributed.start(cpu) == cpu and made == ["gloo"]
    monkeypatch.setenv("LOCAL_RANK", "3")
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    found = distributed.start(torch.device("cuda"))
    assert found == torch.device("cuda", 3) and chosen == [found] and made == ["gloo", "nccl"]


def test_a_process_does_not_join_twice(group, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    assert distributed.start(torch.device("cpu")) == torch.device("cpu")


def test_a_joint_batch_is_cut_into_even_neighbouring_parts(monkeypatch):
    monkeypatch.setattr(distributed, "size", lambda: 3)
    parts = []
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(distributed.share(np.arange(10, 18)).tolist())
    assert parts == [[10, 11, 12], [13, 14, 15], [16, 17]]


def test_sums_of_a_group_leave_what_was_given_alone(group, monkeypatch):
    def doubled(tensor):  # as with a second process of the same values
        tensor.mul_(2)

    monkeypatch.setattr(torch.distributed, "all_reduce", doubled)
    a, b, c = (
        nn.Parameter(torch.ones(2, 3)),
        nn.Parameter(torch.ones(4)),
        nn.Parameter(torch.ones(1)),
    )
    a.grad, b.grad = torch.arange(6.0).view(2, 3), torch.arange(4.0)
    held = a.grad
    distributed.sum_gradients([a, c, b])
    assert a.grad is held and c.grad is None
    assert a.grad.tolist() == [[0, 2, 4], [6, 8, 10]] and b.grad.tolist() == [0, 2, 4, 6]
    found = distributed.sum_over_processes(torch.tensor([1.5]), torch.device("cpu"))
    assert found.tolist() == [3.0]


def test_what_the_first_process_has_is_taken_from_it(group, monkeypatch):
    def from_first(tensor, source):
        assert source == 0
        tensor.fill_(7)

    monkeypatch.setattr(torch.distributed, "broadcast", from_first)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    net = sn.Sequential(sn.BatchNorm(3))
    distributed.broadcast(net)
    assert all(bool((t == 7).all()) for t in net.state_dict().values())
    assert distributed.of_first(torch.zeros(2), torch.device("cpu")).tolist() == [7, 7]
    monkeypatch.setattr(torch.distributed, "broadcast_object_list",
                        lambda values, source: values.__setitem__(source, "first's"))  # fmt: skip
    assert distributed.agree("mine") == "first's"


def test_random_numbers_are_those_of_the_first_process(group, monkeypatch):
    torch.manual_seed(1)
    others = torch.get_rng_state()
    wanted = torch.rand(3)
    monkeypatch.setattr(torch.distributed, "broadcast", lambda tensor, source: tensor.copy_(others))
    torch.manual_seed(2)
    distributed.same_random_numbers(torch.device("cpu"))
    assert torch.equal(torch.rand(3), wanted)


def test_a_group_is_one_of_its_numbers(group, monkeypatch):
    assert distributed.active() and (distributed.rank(), distributed.size()) == (0, 1)
    waited = []
    monkeypatch.setattr(torch.distributed, "barrier", lambda: waited.append(1))
    distributed.barrier()
    assert waited == [1]


def test_statistics_of_a_joint_batch_keep_layers_apart(group):
    from snnsim.networks import fusion

    layers, x = [sn.BatchNorm(3), sn.LIF(3, dt=1.0)], torch.rand(4, 2, 3)
    assert fusion.fusable(layers) == 2
    assert not fusion.can_run(layers, x)
    layers[0].eval()
    assert fusion.can_run(layers, x)


def test_which_input_the_fused_operator_serves():
    from snnsim.networks import fusion

    layers, x = [sn.BatchNorm(3), sn.LIF(3, dt=1.0)], torch.rand(4, 2, 3)
    assert fusion.can_run(layers, x)
    assert not fusion.can_run(layers, x.double())  # of another precision than the layers
    assert not fusion.can_run(layers, x.half())
    assert not fusion.can_run(layers, x[..., :2])
    assert not fusion.can_run(layers, x[0])
    assert not fusion.can_run(layers, x[:0])
    assert not fusion.can_run(layers, x[:1, :1])  # one value per channel
    layers[0].eval()
    assert fusion.can_run(layers, x[:1, :1])
    with torch.autocast("cpu", torch.bfloat16):
        assert not fusion.can_run(layers, x)
    layers[1].backend = "reference"
    assert not fusion.can_run(layers, x)
    layers[1].backend = "auto"
    layers[0].running_mean = layers[0].running_mean.double()
    assert not fusion.can_run(layers, x)


def test_which_layers_can_be_fused():
    from snnsim.networks import fusion

    norm, neuron, dropout = sn.BatchNorm(3), sn.LIF(3, dt=1.0), sn.Dropout(0.1)
    assert fusion.fusable([norm, neuron, dropout]) == 3
    assert fusion.fusable([norm, neuron, norm]) == fusion.fusable([norm, neuron]) == 2
    for others in ([norm], [], [neuron, norm], [norm, dropout], [norm, sn.LIF(4, dt=1.0)]):
        assert fusion.fusable(others) == 0

    class Named(sn.Neuron):
        state = ("norm_gain",)

        @staticmethod
        def step(x, norm_gain):
            return x, (norm_gain + x,)

    assert fusion.fusable([norm, Named(3, dt=1.0)]) == 0
    with pytest.raises(ShapeError):
        sn.Sequential(norm, neuron)(torch.rand(1, 1, 3))
