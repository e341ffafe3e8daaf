"""The training loop: repeatable, resumable to the bit, and honest about what went wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from snnsim.errors import CheckpointError, ConfigError, NonFiniteError
from snnsim.networks import BatchNorm, Dropout, Sequential, delay_network
from snnsim.neurons import LIF
from snnsim.synapses import Delayed
from snnsim.training import Optimizers, Recipe, Scores, Trainer, Watcher, checkpoint, set_seed
from snnsim.training.schedules import cosine, one_cycle

CHANNELS, CLASSES = 6, 3


class Batch(NamedTuple):
    x: Tensor
    labels: Tensor
    lengths: Tensor


class Tiny:
    """Random spikes of various lengths whose label shows in the busiest third of the channels."""

    def __init__(self, samples: int, seed: int, dtype: torch.dtype = torch.float32):
        random = np.random.default_rng(seed)
        self.lengths = random.integers(5, 12, samples)
        self.labels = random.integers(0, CLASSES, samples)
        busy = np.arange(CHANNELS) * CLASSES // CHANNELS == self.labels[:, None]
        share = np.where(busy, 0.8, 0.2)[:, None, :]
        self.spikes = (random.random((samples, 11, CHANNELS)) < share).astype(np.float64)
        self.dtype = dtype

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices, steps: int | None = None) -> Batch:
        if len(indices) == 0:
            raise ConfigError("a batch needs at least one sample")
        lengths = self.lengths[indices]
        steps = int(lengths.max()) if steps is None else steps
        x = torch.zeros(steps, len(indices), CHANNELS, dtype=self.dtype)
        for row, (i, n) in enumerate(zip(indices, lengths, strict=True)):
            x[:n, row] = torch.from_numpy(self.spikes[i, :n])
        return Batch(x, torch.from_numpy(self.labels[indices]), torch.from_numpy(lengths))


TRAIN, VALIDATION = Tiny(22, seed=1), Tiny(13, seed=2)
RECIPE = Recipe(epochs=4, batch_size=5, max_lr=0.05, lr_delay=0.5, sigma_share=0.6)


def network(seed: int = 0, dropout: float = 0.3, **options) -> Sequential:
    set_seed(seed)
    defaults = {"dt": 1.0, "tau_mem": 2.0, "max_delay_ms": 4, "dropout": dropout}
    return delay_network((CHANNELS, 8, CLASSES), **(defaults | options))


def plain_network(seed: int = 0) -> Sequential:
    """Without batch normalisation and dropout, so that samples do not meet; double precision."""
    layers = network(seed)
    kept = [layer for layer in layers if not isinstance(layer, (BatchNorm, Dropout))]
    return Sequential(*kept).double()


def trainer(recipe: Recipe = RECIPE, *, seed: int = 0, net=None, train=TRAIN, **options) -> Trainer:
    return Trainer(net or network(seed), train, VALIDATION, recipe, seed=seed, **options)


def changed(**changes) -> Recipe:
    return replace(RECIPE, **changes)


def without_seconds(rows: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def everything(t: Trainer) -> dict[str, Tensor]:
    """Weights, buffers, both optimisers and the random generator."""
    tensors = dict(t.net.state_dict())
    for i, optimizer in enumerate(t.optimizers.each):
        tensors |= checkpoint.prefixed(f"optimizer{i}", checkpoint.optimizer_tensors(optimizer))
    return {k: v.clone() for k, v in tensors.items()} | {"random": torch.get_rng_state()}


def differences(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    """Names of the tensors that are not equal to the bit (NaNs count as different)."""
    both = a.keys() & b.keys()
    return [n for n in sorted(a.keys() | b.keys()) if n not in both or not torch.equal(a[n], b[n])]


class Stop(Exception):
    """Stands for the loss of the process."""


class StopAfter(Watcher):
    """Stops training after so many epochs and steps within the next epoch."""

    def __init__(self, epochs: int, steps: int = 0):
        self.epochs, self.steps = epochs, steps

    def epoch_started(self, epoch, steps):
        if epoch == self.epochs and self.steps == 0:
            raise Stop

    def step_done(self, epoch, step, loss):
        if epoch == self.epochs and step + 1 > self.steps:
            raise Stop


class Recorder(Watcher):
    """Keeps what the loop reports, and the weights at the end of every epoch."""

    def __init__(self, net):
        self.net, self.losses, self.started, self.weights, self.rows = net, [], [], [], []

    def epoch_started(self, epoch, steps):
        self.started.append((epoch, steps))

    def step_done(self, epoch, step, loss):
        self.losses.append(loss)

    def epoch_ended(self, row):
        self.rows.append(row)
        self.weights.append({k: v.clone() for k, v in self.net.state_dict().items()})


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


# --- resuming ---------------------------------------------------------------------------------


def run_whole(recipe: Recipe, out: Path | None = None) -> tuple[dict[str, Tensor], list[dict]]:
    t = trainer(recipe, seed=5, out=out)
    t.run()
    return everything(t), without_seconds(t.rows)


def run_broken(recipe: Recipe, out: Path, *stops: StopAfter) -> Trainer:
    """Train, stopped at each of ``stops`` and resumed by a new trainer with another network."""
    for number, watcher in enumerate((*stops, None)):
        # the net of a resumed run starts with other weights, which resuming has to replace
        net = network(5 + 10 * number)
        t = trainer(recipe, net=net, seed=5, out=out, watcher=watcher)
        assert t.resume() == (number > 0)
        if watcher is None:
            t.run()
        else:
            with pytest.raises(Stop):
                t.run()
    return t


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_resumed_after_whole_epochs_equals_uninterrupted(tmp_path, epochs):
    state, rows = run_whole(RECIPE)
    t = run_broken(RECIPE, tmp_path, StopAfter(epochs))
    assert differences(everything(t), state) == []
    assert without_seconds(t.rows) == rows


@pytest.mark.parametrize("stop", [(0, 2), (1, 3), (2, 4), (3, 1)])
@pytest.mark.parametrize("every", [1, 2])
def test_resumed_within_an_epoch_equals_uninterrupted(tmp_path, stop, every):
    recipe = changed(checkpoint_steps=every)
    state, rows = run_whole(recipe)
    t = run_broken(recipe, tmp_path, StopAfter(*stop))
    assert differences(everything(t), state) == []
    assert without_seconds(t.rows) == rows


def test_resumed_many_times_equals_uninterrupted(tmp_path):
    recipe = changed(checkpoint_steps=1)
    state, rows = run_whole(recipe, tmp_path / "whole")
    stops = [StopAfter(0, 1), StopAfter(0, 4), StopAfter(1, 0), StopAfter(2, 2), StopAfter(3, 3)]
    t = run_broken(recipe, tmp_path / "broken", *stops)
    assert differences(everything(t), state) == []
    assert without_seconds(t.rows) == rows
    for name in ("last", "best"):
        a, _ = checkpoint.load(tmp_path / "whole" / f"{name}.safetensors")
        b, _ = checkpoint.load(tmp_path / "broken" / f"{name}.safetensors")
        assert differences(a, b) == []
    lines = (tmp_path / "broken" / "metrics.jsonl").read_text().splitlines()
    assert without_seconds([json.loads(line) for line in lines]) == rows


def test_checkpoint_within_an_epoch_is_really_used(tmp_path):
    seen = []

    class Counting(StopAfter):
        def step_done(self, epoch, step, loss):
            seen.append((epoch, step))

    run_broken(changed(checkpoint_steps=2), tmp_path, StopAfter(1, 3), Counting(2))
    # stopped in the fourth step of epoch 1; the last checkpoint was after its second
    assert seen == [(1, 2), (1, 3), (1, 4)]


@pytest.mark.parametrize("cut", ["before best", "before metrics", "before last"])
def test_epoch_lost_between_its_files_is_repeated(tmp_path, monkeypatch, cut):
    """Each file of an epoch's end is written by itself; losing the process in between is safe."""
    state, rows = run_whole(RECIPE)
    t = trainer(RECIPE, net=network(5), seed=5, out=tmp_path)
    t.watcher = StopAfter(2)
    with pytest.raises(Stop):
        t.run()
    last = (tmp_path / "last.safetensors").read_bytes()
    t = trainer(RECIPE, net=network(6), seed=5, out=tmp_path)
    t.resume()
    place = {
        "before best": "checkpoint.save",
        "before metrics": "os.replace",
        "before last": "Trainer._save_last",
    }[cut]

    def lose(*_):
        raise Stop

    monkeypatch.setattr(f"snnsim.training.fit.{place}", lose)
    with pytest.raises(Stop):
        t.run()
    monkeypatch.undo()
    assert (tmp_path / "last.safetensors").read_bytes() == last
    t = trainer(RECIPE, net=network(7), seed=5, out=tmp_path)
    assert t.resume()
    t.run()
    assert differences(everything(t), state) == []
    assert without_seconds(t.rows) == rows


def test_resuming_without_a_checkpoint_says_so_and_starts_at_the_beginning(tmp_path):
    t = trainer(out=tmp_path)
    assert t.resume() is False
    assert t.position.epoch == 0


@pytest.mark.parametrize(("recipe", "seed"), [(changed(max_lr=0.01), 0), (RECIPE, 1)])
def test_resuming_with_another_recipe_or_seed_is_refused(tmp_path, recipe, seed):
    trainer(changed(epochs=4), out=tmp_path, watcher=StopAfter(9)).run()
    with pytest.raises(CheckpointError, match=r"last\.safetensors.*another recipe or seed"):
        trainer(recipe, seed=seed, out=tmp_path).resume()


def test_finished_run_resumed_changes_nothing(tmp_path):
    trainer(out=tmp_path).run()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    t = trainer(net=network(9), out=tmp_path)
    t.resume()
    assert len(t.run()) == RECIPE.epochs
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_damaged_table_of_metrics_is_named(tmp_path):
    trainer(changed(epochs=4), out=tmp_path, watcher=StopAfter(9)).run()
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 0, "train_lo')
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl is damaged"):
        trainer(out=tmp_path).resume()


def test_a_negative_final_width_is_refused():
    with pytest.raises(ConfigError, match="sigma_end"):
        Recipe(sigma_end=-0.1)


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
        "snnsim.training.fit.evaluate", lambda *_, **__: Scores(*next(left), 0.1, 13)
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
    assert t.position.best_accuracy == results[best][0]
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
        lr, beta1 = one_cycle(epoch, epochs, RECIPE.max_lr)
        assert main == {(lr, (beta1, 0.999))}
        assert delays == {(cosine(epoch, epochs, RECIPE.lr_delay), (0.9, 0.999))}
        expected = start * (wanted / start) ** (min(epoch, decay) / decay)
        assert sigmas == pytest.approx([expected] * 2, rel=1e-6)
        assert rows[epoch]["sigma"] == pytest.approx([expected] * 2, rel=1e-6)
        assert rows[epoch]["lr"] == lr


def test_constant_schedule_keeps_the_rate():
    rows = trainer(changed(schedule="constant")).run()
    assert [row["lr"] for row in rows] == [RECIPE.max_lr] * RECIPE.epochs


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


def test_biases_do_not_decay_and_learnt_time_constants_do():
    net = Sequential(torch.nn.Linear(3, 4), LIF(4, dt=1.0, learn=("tau_mem",)))
    groups = Optimizers(net, RECIPE).main.param_groups
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    assert {n: decay[id(p)] for n, p in net.named_parameters()} == {
        "layers.0.weight": RECIPE.weight_decay,
        "layers.0.bias": 0.0,
        "layers.1.raw_tau_mem": RECIPE.weight_decay,
    }


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


# --- numbers that are not finite --------------------------------------------------------------


class Poison(Watcher):
    """Makes one weight infinite after a given step; remembers the weights and checkpoint before."""

    def __init__(self, net, name: str, epoch: int, step: int, last: Path | None = None):
        self.net, self.name, self.when, self.last = net, name, (epoch, step), last
        self.weights: dict[str, Tensor] = {}
        self.good = b""

    def step_done(self, epoch, step, loss):
        if (epoch, step) != self.when:
            return
        parameters = dict(self.net.named_parameters())
        with torch.no_grad():
            parameters[self.name].view(-1)[0] = torch.inf
        self.weights = {n: p.detach().clone() for n, p in parameters.items()}
        self.good = self.last.read_bytes() if self.last else b""


@pytest.mark.parametrize("layer", [0, 1, 4])
def test_infinite_weight_names_step_layer_and_last_good_checkpoint(tmp_path, layer):
    net, last = network(0), tmp_path / "last.safetensors"
    poison = Poison(net, f"layers.{layer}.weight", 1, 2, last)
    with pytest.raises(NonFiniteError) as caught:
        trainer(net=net, out=tmp_path, watcher=poison).run()
    assert last.read_bytes() == poison.good
    text = str(caught.value)
    assert "epoch 1, step 3" in text
    assert str(last) in text
    assert f"parameter 'weight' of layer 'layers.{layer}' ({type(net[layer]).__name__})" in text


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_input_that_is_not_finite_is_named_as_such(tmp_path, value):
    bad = Tiny(22, seed=1)
    bad.spikes[4, 0, 2] = value
    t = trainer(train=bad, out=tmp_path)
    with pytest.raises(NonFiniteError, match=r"the input of layer 'layers\.0'.*none yet"):
        t.run()
    assert not (tmp_path / "last.safetensors").exists()


def test_weights_are_not_stepped_by_gradients_that_are_not_finite():
    net = network(0)
    poison = Poison(net, "layers.0.weight", 0, 1)
    with pytest.raises(NonFiniteError):
        trainer(net=net, watcher=poison).run()
    assert differences(dict(net.named_parameters()), poison.weights) == []


def test_run_that_met_an_infinity_can_be_resumed_and_ends_as_an_untroubled_one(tmp_path):
    state, rows = run_whole(RECIPE)
    net = network(5)
    watcher = Poison(net, "layers.4.weight", 2, 1)
    t = trainer(net=net, seed=5, out=tmp_path, watcher=watcher)
    with pytest.raises(NonFiniteError):
        t.run()
    t = trainer(net=network(6), seed=5, out=tmp_path)
    assert t.resume()
    t.run()
    assert differences(everything(t), state) == []
    assert without_seconds(t.rows) == rows


# --- recipes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("readout", "sum_softmx", "did you mean 'sum_softmax'"),
        ("schedule", "one-cycle", "did you mean 'one_cycle'"),
        ("precision", "fp16", "must be one of"),
        ("epochs", 0, "1 or more"),
        ("batch_size", 0, "1 or more"),
        ("accumulate", 0, "1 or more"),
        ("max_lr", -1.0, "negative"),
        ("patience", -1, "negative"),
        ("checkpoint_steps", -1, "negative"),
    ],
)
def test_recipe_refuses_what_cannot_be(key, value, text):
    with pytest.raises(ConfigError, match=text):
        Recipe(**{key: value})
