"""The training loop: repeatable, exact in its parts, and honest about what it did."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_training import (
    RECIPE,
    Recorder,
    Tiny,
    changed,
    differences,
    everything,
    network,
    plain_network,
    trainer,
    without_seconds,
)
from snnsim_datasets import load
from torch import Tensor

from snnsim.continual import View
from snnsim.errors import ConfigError
from snnsim.networks import Sequential, shd_network
from snnsim.neurons import LIF
from snnsim.synapses import Delayed
from snnsim.training import (
    Optimizers,
    Recipe,
    Scores,
    Trainer,
    Watcher,
    checkpoint,
    evaluate,
    set_seed,
)
from snnsim.training.schedules import cosine, one_cycle

# --- repeatable -------------------------------------------------------------------------------


def run_with(weights: int, seed: int) -> tuple[dict[str, Tensor], list[dict]]:
    t = trainer(net=network(weights), seed=seed)
    t.run()
    return everything(t), without_seconds(t.rows)


def test_same_seed_gives_the_same_bits():
    (a, a_rows), (b, b_rows) = run_with(3, 3), run_with(3, 3)
    assert differences(a, b) == []
    assert a_rows == b_rows
    assert "layers.0.weight" in differences(a, network(3).state_dict())


@pytest.mark.parametrize(("weights", "seed"), [(3, 4), (4, 3)], ids=["order", "weights"])
def test_another_seed_gives_other_weights(weights, seed):
    (a, _), (b, _) = run_with(3, 3), run_with(weights, seed)
    assert {"layers.0.weight", "layers.0.delay"} <= set(differences(a, b))


def test_training_lowers_the_loss():
    rows = trainer(changed(epochs=15), net=network(0, dropout=0.0)).run()
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert rows[-1]["validation_loss"] < rows[0]["validation_loss"]


def test_every_sample_is_seen_once_per_epoch_in_another_order():
    seen: list[np.ndarray] = []

    class Noting(Tiny):
        def batch(self, indices, steps=None):
            seen.append(np.asarray(indices))
            return super().batch(indices, steps)

    trainer(changed(epochs=2), train=Noting(22, seed=1)).run()
    first, second = np.concatenate(seen[:5]), np.concatenate(seen[5:])
    assert sorted(first) == sorted(second) == list(range(22))
    assert list(first) != list(second)
    assert [len(part) for part in seen] == [5, 5, 5, 5, 2] * 2


# --- parts of batches -------------------------------------------------------------------------


def run_double(recipe: Recipe, train: Tiny) -> tuple[Recorder, Sequential]:
    net = plain_network(seed=6)
    recorder = Recorder(net)
    validation = Tiny(5, seed=2, dtype=torch.float64)
    Trainer(net, train, validation, recipe, watcher=recorder).run()
    return recorder, net


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("parts", [2, 3, 5])
def test_accumulated_parts_lead_to_the_weights_of_the_whole_batch(parts, mask):
    # 21 samples in batches of 8: the last one has five
    recipe = changed(epochs=2, batch_size=8, mask_padding=mask)
    train = Tiny(21, seed=7, dtype=torch.float64)
    _, whole = run_double(recipe, train)
    _, parted = run_double(replace(recipe, accumulate=parts), train)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(parted.state_dict()[name], tensor, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("parts", [2, 5])
def test_accumulated_parts_report_the_losses_of_the_whole_batch(parts):
    recipe, train = changed(epochs=2, batch_size=8), Tiny(21, seed=7, dtype=torch.float64)
    whole, _ = run_double(recipe, train)
    parted, _ = run_double(replace(recipe, accumulate=parts), train)
    torch.testing.assert_close(parted.losses, whole.losses, rtol=1e-12, atol=1e-12)


def test_last_batch_smaller_than_the_number_of_parts_is_trained_on():
    recipe = changed(epochs=1, batch_size=8, accumulate=3)
    train = Tiny(18, seed=7, dtype=torch.float64)
    _, parted = run_double(recipe, train)
    _, whole = run_double(replace(recipe, accumulate=1), train)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(parted.state_dict()[name], tensor, rtol=1e-12, atol=1e-12)


# --- best epoch and patience ------------------------------------------------------------------


def script(monkeypatch, results: list[tuple[float, float]]) -> None:
    """Let the validation of successive epochs find these accuracies and losses."""
    left = iter(results)
    monkeypatch.setattr(
        "snnsim.training.trainer.evaluate", lambda *_, **__: Scores(*next(left), 0.1, 13)
    )


@pytest.mark.parametrize(
    ("results", "best"),
    [
        ([(0.5, 1.0), (0.7, 1.0), (0.6, 0.1), (0.6, 0.1)], 1),
        ([(0.5, 1.0), (0.5, 0.9), (0.5, 0.8), (0.5, 0.85)], 2),
        ([(0.5, 1.0), (0.5, 1.0), (0.5, 1.0), (0.5, 1.0)], 0),
        ([(0.0, 1.0), (0.0, 1.5), (0.0, 1.2), (0.1, 9.0)], 3),
    ],
    ids=["accuracy first", "then loss", "first of equals", "last"],
)
def test_best_checkpoint_is_the_best_validation_epoch(tmp_path, monkeypatch, results, best):
    script(monkeypatch, results)
    net = network(0)
    recorder = Recorder(net)
    t = trainer(net=net, out=tmp_path, watcher=recorder)
    t.run()
    tensors, values = checkpoint.load(tmp_path / "best.safetensors")
    assert values["epoch"] == t.position.best_epoch == best
    assert t.position.best_score == results[best][0]
    weights = checkpoint.without_prefix("net", tensors)
    assert differences(weights, recorder.weights[best]) == []
    assert [n for n, w in enumerate(recorder.weights) if not differences(w, weights)] == [best]
    t.load_best()
    assert differences(dict(t.net.state_dict()), recorder.weights[best]) == []


@pytest.mark.parametrize(("patience", "epochs"), [(0, 8), (1, 3), (2, 6), (3, 7)])
def test_training_stops_after_patience_epochs_without_a_better_one(monkeypatch, patience, epochs):
    accuracy = [0.1, 0.3, 0.3, 0.4, 0.2, 0.2, 0.2, 0.2]
    script(monkeypatch, [(a, 1.0) for a in accuracy])
    t = trainer(changed(epochs=8, patience=patience))
    assert len(t.run()) == epochs
    assert t.position.stopped == (patience > 0)


def test_run_that_stopped_early_stays_stopped_when_resumed(tmp_path, monkeypatch):
    script(monkeypatch, [(0.5, 1.0), (0.4, 1.0)])
    recipe = changed(epochs=8, patience=1)
    assert len(trainer(recipe, out=tmp_path).run()) == 2
    t = trainer(recipe, out=tmp_path)
    t.resume()
    assert len(t.run()) == 2


def test_run_without_a_folder_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer(changed(epochs=1, checkpoint_steps=1)).run()
    assert list(tmp_path.iterdir()) == []


# --- what happens in an epoch -----------------------------------------------------------------


def test_delays_stay_in_range_after_every_step():
    net = network(8)
    connections = [m for m in net if isinstance(m, Delayed)]
    reached = []

    class Looking(Watcher):
        def step_done(self, epoch, step, loss):
            for c in connections:
                delay = c.delay.detach()
                assert float(delay.min()) >= 0
                assert float(delay.max()) <= c.length - 1
                reached.append(bool(((delay == 0) | (delay == c.length - 1)).any()))

    trainer(changed(epochs=2, lr_delay=2.0), net=net, watcher=Looking()).run()
    assert len(reached) == 2 * 2 * 5
    assert sum(reached) > 10


def test_learning_rates_and_widths_follow_their_schedules():
    net = network(0)
    connections = [m for m in net if isinstance(m, Delayed)]
    start, wanted = 2.0, 0.23
    epochs, decay = 10, 6
    seen = []

    class Looking(Watcher):
        def epoch_started(self, epoch, steps):
            main, delays = t.optimizers.main, t.optimizers.delays
            seen.append(
                (
                    {(g["lr"], g["betas"]) for g in main.param_groups},
                    {(g["lr"], g["betas"]) for g in delays.param_groups},
                    [float(c.sigma) for c in connections],
                )
            )

    t = trainer(changed(epochs=epochs), net=net, watcher=Looking())
    rows = t.run()
    for epoch, (main, delays, sigmas) in enumerate(seen):
        lr, beta1 = one_cycle(epoch, epochs, RECIPE.lr)
        assert main == {(lr, (beta1, 0.999))}
        assert delays == {(cosine(epoch, epochs, RECIPE.lr_delay), (0.9, 0.999))}
        expected = start * (wanted / start) ** (min(epoch, decay) / decay)
        assert sigmas == pytest.approx([expected] * 2, rel=1e-6)
        assert rows[epoch]["sigma"] == pytest.approx([expected] * 2, rel=1e-6)
        assert rows[epoch]["lr"] == lr


def test_constant_schedule_keeps_the_rate():
    rows = trainer(changed(schedule="constant")).run()
    assert [row["lr"] for row in rows] == [RECIPE.lr] * RECIPE.epochs


@pytest.mark.parametrize("delays", ["fixed", "none"])
def test_networks_without_learnt_delays_train(delays):
    net = network(1, delays=delays)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    t = trainer(changed(epochs=1), net=net)
    t.run()
    moved = differences(dict(net.state_dict()), before)
    assert t.optimizers.delays is None
    assert "layers.0.weight" in moved
    assert not [name for name in moved if name.endswith(("delay", "sigma"))]


def test_rows_are_exact_means_over_all_samples(tmp_path):
    recorder = Recorder(net := network(0))
    t = trainer(changed(epochs=1), net=net, out=tmp_path, watcher=recorder)
    (row,) = t.run()
    sizes = [5, 5, 5, 5, 2]
    expected = sum(loss * n for loss, n in zip(recorder.losses, sizes, strict=True)) / 22
    assert row["train_loss"] == pytest.approx(expected, rel=1e-12)
    assert row["train_accuracy"] * 22 == pytest.approx(round(row["train_accuracy"] * 22))
    assert row["validation_accuracy"] * 13 == pytest.approx(round(row["validation_accuracy"] * 13))
    assert 0 < row["firing_rate"] < 1
    assert recorder.started == [(0, 5)]
    assert recorder.rows == [row] == [json.loads((tmp_path / "metrics.jsonl").read_text())]


# --- parameter groups -------------------------------------------------------------------------


def test_each_parameter_is_in_the_group_it_belongs_to():
    net = network(0)
    optimizers = Optimizers(net, RECIPE)
    decay = {id(p): g["weight_decay"] for g in optimizers.main.param_groups for p in g["params"]}
    names = {id(p): n for n, p in net.named_parameters()}
    by_name = {names[i]: d for i, d in decay.items()}
    assert by_name == {
        "layers.0.weight": RECIPE.weight_decay,
        "layers.4.weight": RECIPE.weight_decay,
        "layers.1.weight": 0.0,
        "layers.1.bias": 0.0,
    }
    (group,) = optimizers.delays.param_groups
    assert {names[id(p)] for p in group["params"]} == {"layers.0.delay", "layers.4.delay"}
    assert group["weight_decay"] == 0.0


def test_neither_biases_nor_learnt_time_constants_decay():
    net = Sequential(torch.nn.Linear(3, 4), LIF(4, dt=1.0, learn=("tau_mem",)))
    groups = Optimizers(net, RECIPE).main.param_groups
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    assert {n: decay[id(p)] for n, p in net.named_parameters()} == {
        "layers.0.weight": RECIPE.weight_decay,
        "layers.0.bias": 0.0,
        "layers.1.raw_tau_mem": 0.0,
    }


def test_biases_of_torchs_recurrent_layers_and_of_normalisations_do_not_decay():
    net = torch.nn.Sequential(torch.nn.LSTM(3, 4), torch.nn.LayerNorm(4))
    groups = Optimizers(net, RECIPE).main.param_groups
    decayed = {id(p) for g in groups if g["weight_decay"] for p in g["params"]}
    names = {n for n, p in net.named_parameters() if id(p) in decayed}
    assert names == {"0.weight_ih_l0", "0.weight_hh_l0"}


def test_decay_alone_shrinks_weights_and_nothing_else():
    net = network(0)
    before = {k: v.clone() for k, v in net.named_parameters()}
    optimizers = Optimizers(net, changed(weight_decay=0.5))
    optimizers.start_epoch(1)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizers.step()
    after = dict(net.named_parameters())
    assert differences(after, before) == ["layers.0.weight", "layers.4.weight"]
    assert after["layers.0.weight"].norm() < before["layers.0.weight"].norm()


# --- recipes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("readout", "sum_softmx", "did you mean 'sum_softmax'"),
        ("schedule", "one-cycle", "did you mean 'one_cycle'"),
        ("precision", "fp16", "must be one of"),
        ("epochs", 0, "at least 1"),
        ("batch_size", 0, "at least 1"),
        ("accumulate", 0, "at least 1"),
        ("lr", -1.0, "at least 0"),
        ("patience", -1, "at least 0"),
        ("checkpoint_steps", -1, "at least 0"),
    ],
)
def test_recipe_refuses_what_cannot_be(key, value, text):
    with pytest.raises(ConfigError, match=text):
        Recipe(**{key: value})


def test_validation_is_padded_like_every_evaluation_of_the_run():
    """To the longest of training, however short its own samples are: padding is counted too."""
    train, held = load("spoken-digits", "train"), load("spoken-digits", "validation")
    held = View(held, np.argsort(held.lengths)[:40])
    longest = int(np.max(train.lengths))
    assert int(np.max(held.lengths)) < longest
    set_seed(0)
    net = shd_network(delays="none")
    (row,) = Trainer(net, train, held, Recipe(epochs=1)).run()
    alike, alone = evaluate(net, held, steps=longest), evaluate(net, held)
    assert row["firing_rate"] == pytest.approx(alike.firing_rate, rel=1e-6)
    assert alike.firing_rate < 0.8 * alone.firing_rate
