"""Training that goes on: longer than it was meant to, from other weights, by one's own schedule."""

from __future__ import annotations

import itertools
import json
import warnings
from dataclasses import asdict, replace

import pytest
import torch
from small import learner
from small_training import TRAIN, VALIDATION, changed, differences, everything, network
from small_training import trainer as made_trainer
from snnsim_experiments import Place, resolve, run, run_folder

import snnsim as sn
from snnsim.continual import ContinualRecipe, ContinualTrainer, Method, task_recipe
from snnsim.errors import CheckpointError, ConfigError
from snnsim.training import (
    Optimizers,
    Recipe,
    Regression,
    Scores,
    Trainer,
    Watcher,
    checkpoint,
    start_from,
)

# --- longer --------------------------------------------------------------------------------------


def test_a_finished_training_goes_on_with_the_rates_of_the_longer_schedule(tmp_path):
    short = changed(epochs=4, schedule="cosine", patience=0)
    made_trainer(short, out=tmp_path).run()
    longer = replace(short, epochs=6)
    t = made_trainer(longer, net=network(9), out=tmp_path)
    assert t.resume() and t.position.epoch == 4
    rows = t.run()
    assert [row["epoch"] for row in rows] == list(range(6))
    expected = Optimizers(network(), longer)
    for epoch, row in enumerate(rows):
        expected.recipe = short if epoch < 4 else longer
        expected.start_epoch(epoch)
        assert row["lr"] == expected.main.param_groups[0]["lr"]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 6


def test_what_had_been_stopped_goes_on_when_more_is_asked_for(tmp_path):
    recipe = changed(epochs=9, patience=1, lr=0.0, lr_delay=0.0)
    first = made_trainer(recipe, out=tmp_path)
    assert len(first.run()) < 9 and first.position.stopped
    same = made_trainer(recipe, out=tmp_path)
    assert same.resume() and len(same.run()) == len(first.rows)
    more = made_trainer(replace(recipe, epochs=10), out=tmp_path)
    assert more.resume() and not more.position.stopped
    assert len(more.run()) == len(first.rows) + 1  # and is stopped again


def test_fewer_epochs_or_anything_else_that_differs_is_refused(tmp_path):
    made_trainer(changed(epochs=3), out=tmp_path).run()
    with pytest.raises(CheckpointError, match="another recipe: epochs 3 and not 2"):
        made_trainer(changed(epochs=2), out=tmp_path).resume()
    with pytest.raises(CheckpointError, match="another recipe: lr"):
        made_trainer(changed(epochs=5, lr=0.25), out=tmp_path).resume()


# --- from other weights --------------------------------------------------------------------------


def trained(folder, **options):
    t = made_trainer(changed(epochs=2), net=network(3, **options), out=folder)
    t.run()
    return t


@pytest.mark.parametrize("place", ["", "best.safetensors", "last.safetensors", "saved"])
def test_training_starts_from_a_run_or_a_file(tmp_path, place):
    t = trained(tmp_path)
    if place == "saved":
        sn.save(t.net, tmp_path / "saved")
    best, _ = checkpoint.load(tmp_path / "best.safetensors")
    expected = checkpoint.without_prefix("net", best) if place != "saved" else t.net.state_dict()
    if place == "last.safetensors":
        last, _ = checkpoint.load(tmp_path / place)
        expected = checkpoint.without_prefix("net", last)
    net = network(8)
    assert differences(net.state_dict(), expected)
    recipe = changed(epochs=1, lr=0.0, lr_delay=0.0, start_from=str(tmp_path / place))

    class Begins(Watcher):
        def epoch_started(self, epoch, steps):
            self.weights = {k: v.clone() for k, v in net.state_dict().items()}

    watcher = Begins()
    Trainer(net, TRAIN, VALIDATION, recipe, watcher=watcher).run()
    widths = {name for name in expected if name.endswith("sigma")}  # which follow the epoch
    found = {k: v for k, v in watcher.weights.items() if k not in widths}
    expected = {k: v for k, v in expected.items() if k not in widths}
    assert differences(found, expected) == []


def test_a_resumed_training_does_not_start_over(tmp_path):
    trained(tmp_path / "a")
    recipe = changed(epochs=3, start_from=str(tmp_path / "a"))
    whole = made_trainer(recipe, net=network(5), out=tmp_path / "b")
    whole.run()
    again = made_trainer(recipe, net=network(6), out=tmp_path / "b")
    assert again.resume()
    assert differences(everything(again), everything(whole)) == []


def test_what_does_not_fit_stays_as_drawn_and_is_named(tmp_path):
    trained(tmp_path)
    other = sn.delay_network((6, 8, 5), dt=1.0, tau_mem=2.0, max_delay_ms=4, dropout=0.3)
    before = {k: v.clone() for k, v in other.state_dict().items()}
    with pytest.warns(UserWarning, match="so as drawn: .*layers"):
        left = start_from(other, tmp_path)
    now = other.state_dict()
    assert left and all(torch.equal(now[name], before[name]) for name in left)
    assert any(not torch.equal(now[n], before[n]) for n in now if n not in left)
    with pytest.raises(CheckpointError, match="nothing in .* fits this network"):
        start_from(torch.nn.Linear(2, 3), tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        start_from(other, tmp_path / "nowhere")


def test_a_stream_starts_from_a_stream(tmp_path):
    torch.manual_seed(0)
    first = ContinualTrainer(learner("class"), Method(), task_recipe(), out=tmp_path)
    first.run()
    torch.manual_seed(1)
    other = learner("class")
    recipe = task_recipe(start_from=str(tmp_path / "last.safetensors"))
    ContinualTrainer(other, Method(), recipe)
    assert differences(other.state_dict(), first.learner.state_dict()) == []


# --- by one's own rules --------------------------------------------------------------------------


def test_a_schedule_of_ones_own_scales_both_rates_and_is_kept_by_its_name(tmp_path):
    def half(done):
        return 0.5 if done < 0.5 else 0.25

    recipe = changed(epochs=4, schedule=half, schedule_delay="same")
    t = made_trainer(recipe, out=tmp_path)
    rows = t.run()
    assert [row["lr"] for row in rows] == [0.5 * 0.05, 0.5 * 0.05, 0.25 * 0.05, 0.25 * 0.05]
    assert t.optimizers.delays.param_groups[0]["lr"] == 0.25 * 0.5
    _, values = checkpoint.load(tmp_path / "last.safetensors")
    assert values["recipe"]["schedule"].endswith("half")
    assert made_trainer(recipe, out=tmp_path).resume()
    with pytest.raises(CheckpointError, match="schedule"):
        made_trainer(replace(recipe, schedule="cosine"), out=tmp_path).resume()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_gradient_of_all_parameters_together_is_bounded(optimizer):
    net = network(dropout=0.0)
    optimizers = Optimizers(net, changed(clip=0.5, optimizer=optimizer))
    for p in net.parameters():
        p.grad = torch.full_like(p, 3.0)
    optimizers.step()
    whole = torch.cat([p.grad.flatten() for p in net.parameters() if p.requires_grad])
    assert float(whole.norm()) == pytest.approx(0.5, rel=1e-4)
    for p in net.parameters():
        p.grad = torch.full_like(p, 1e-6)
    optimizers.step()
    assert all(float(p.grad.max()) == pytest.approx(1e-6) for p in net.parameters())


@pytest.mark.parametrize("name", ["until", "patience"])
def test_a_task_of_a_stream_and_a_task_alone_end_early_by_the_same_rule(name, monkeypatch):
    value = {"until": 0.5, "patience": 2}[name]
    shares = {"until": [0.25, 0.5, 0.75], "patience": [0.25, 0.5, 0.5, 0.25, 0.75]}[name]
    epochs = {"until": 2, "patience": 4}[name]
    scores = iter([Scores(share, 1.0, 0.1, 13) for share in shares])
    monkeypatch.setattr("snnsim.training.trainer.evaluate", lambda *_, **__: next(scores))
    alone = made_trainer(changed(epochs=6, **{name: value}))
    torch.manual_seed(1)
    made = learner("class")
    tasks = tuple(replace(t, validation=t.test) for t in made.stream.tasks)
    made.stream = replace(made.stream, tasks=tasks)
    given = itertools.chain.from_iterable([shares[:epochs]] * 3)
    made.correct = lambda held, task, seen=None: 0 if seen is not None else next(given) * len(held)
    ended = []

    class Ends(ContinualTrainer):
        def _next_epoch(self, **judged):
            super()._next_epoch(**judged)
            ended.append((self.position.task, self.position.epoch))

    Ends(made, Method(), task_recipe(epochs=6, **{name: value})).run()
    assert len(alone.run()) == epochs
    assert [epoch for _, epoch in ended] == [*range(1, epochs + 1)] * 3


def test_percent_is_not_taken_for_an_accuracy_to_reach():
    for make in (
        lambda: made_trainer(changed(until=95.0)),
        lambda: ContinualTrainer(learner("class"), Method(), task_recipe(until=95.0)),
    ):
        with pytest.raises(ConfigError, match="until, which is compared with accuracy, is 95"):
            make()
    Trainer(network(), TRAIN, VALIDATION, changed(until=95.0), objective=Regression())


# --- names of before -----------------------------------------------------------------------------


def test_names_of_before_are_understood_with_one_sentence():
    with pytest.warns(FutureWarning, match="max_lr is now called lr; the old name works for one"):
        recipe = Recipe(max_lr=0.25)
    with pytest.warns(FutureWarning, match="sigma_share is now called sigma_fraction"):
        recipe = replace(recipe, sigma_fraction=Recipe(sigma_share=0.5).sigma_fraction)
    assert (recipe.lr, recipe.sigma_fraction) == (0.25, 0.5)
    assert (recipe.max_lr, recipe.sigma_share, recipe.delay_lr) == (0.25, 0.5, 0.1)
    with pytest.warns(FutureWarning, match="ContinualRecipe is now"):
        assert ContinualRecipe(lr=0.5) == task_recipe(lr=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Recipe(**asdict(recipe)) == recipe


def test_a_checkpoint_of_before_is_gone_on_with(tmp_path):
    """As it was written when delays and weights had names of their own in a recipe."""
    whole = made_trainer(changed(epochs=4), out=tmp_path / "whole")
    whole.run()
    t = made_trainer(changed(epochs=4), out=tmp_path / "cut")
    t._run_epoch(t.train)
    t._end_epoch()
    tensors, values = checkpoint.load(tmp_path / "cut" / "last.safetensors")
    former = {"lr": "max_lr", "sigma_fraction": "sigma_share"}
    known = (
        "epochs", "batch_size", "lr", "schedule", "lr_delay", "weight_decay", "sigma_end",
        "sigma_fraction", "readout", "mask_padding", "accumulate", "patience", "precision",
        "checkpoint_steps", "check_finite",
    )  # fmt: skip
    values["recipe"] = {former.get(k, k): values["recipe"][k] for k in known}
    del values["position"]["task"]
    checkpoint.save(tmp_path / "cut" / "last.safetensors", tensors, json.loads(json.dumps(values)))
    again = made_trainer(changed(epochs=4), net=network(7), out=tmp_path / "cut")
    assert again.resume()
    again.run()
    assert differences(everything(again), everything(whole)) == []


def test_a_checkpoint_of_a_stream_of_before_is_gone_on_with(tmp_path):
    """When one optimiser had everything, and a position knew of less."""

    def made(seed, **place):
        torch.manual_seed(seed)
        recipe = task_recipe(epochs=2, batch_size=16, lr=0.01, optimizer="adam")
        return ContinualTrainer(learner("class", "axonal"), Method(), recipe, **place)

    whole = made(1)
    whole.run()
    t = made(1, out=tmp_path)
    t.untrained[:] = t._test(0)
    data = t.method.training_data(0)
    t.method.on_task_start(0)
    t._run_epoch(data)
    t._next_epoch()
    t.save()
    tensors, values = checkpoint.load(tmp_path / "last.safetensors")
    main = sum(len(g["params"]) for g in t.optimizers.main.param_groups)
    renamed = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part in ("optimizer0", "optimizer1"):
            number, _, key = rest.partition(".")
            name = f"optimizer.{int(number) + main * (part == 'optimizer1')}.{key}"
        renamed[name] = tensor
    here = values.pop("position")
    values["place"] = {
        "task": 0, "epoch": 1, "step": 0, "started": True, "seconds": here["seconds"],
    }  # fmt: skip
    values["recipe"] = {
        "epochs": 2, "batch_size": 16, "lr": 0.01, "later_lr": 0.0, "optimizer": "adam",
        "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant", "delay_lr": 0.0,
        "sigma_end": 0.23, "sigma_share": 0.25, "until": 0.0, "checkpoint_steps": 0,
        "check_finite": True,
    }  # fmt: skip
    checkpoint.save(tmp_path / "last.safetensors", renamed, values)
    again = made(2, out=tmp_path)
    assert again.resume() and (again.position.task, again.position.epoch) == (0, 1)
    again.run()
    assert differences(again.learner.state_dict(), whole.learner.state_dict()) == []


def test_modules_are_found_where_they_were():
    from snnsim.continual.loop import ContinualTrainer as Former
    from snnsim.training.checkpoint import load
    from snnsim.training.fit import Trainer as FormerTrainer

    assert (Former, FormerTrainer, load) == (ContinualTrainer, Trainer, checkpoint.load)


@pytest.mark.filterwarnings("ignore:training.*is now called:FutureWarning")
@pytest.mark.parametrize(("in_file", "given"), [("max_lr", "lr"), ("lr", "max_lr")])
def test_the_later_setting_wins_whichever_name_it_has(tmp_path, in_file, given):
    file = tmp_path / "mine.toml"
    file.write_text(f"[training]\n{in_file} = 0.25\n")
    for model in ("spiking", "gru"):
        found = resolve("spoken-digits", model, config=str(file), changes=[f"training.{given}=0.5"])
        assert found.recipe.lr == 0.5
    with pytest.raises(ConfigError, match="max_lr and .*lr are the same; give one"):
        resolve("spoken-digits", changes=["training.lr=1", "training.max_lr=1"])


def test_longer_training_on_other_data_is_refused_and_loses_nothing(tmp_path, monkeypatch):
    experiment = resolve("spoken-digits", changes={"network.hidden": [8]}, epochs=1)
    place = Place(out=tmp_path / "run", quiet=True)
    run(experiment, place)
    before = {p.name: p.read_bytes() for p in place.out.iterdir() if p.is_file()}

    def refuse(folder, sums):
        raise ConfigError("other data")

    monkeypatch.setattr(run_folder, "check_same_data", refuse)
    with pytest.raises(ConfigError, match="other data"):
        run(experiment.trained(epochs=2), replace(place, resume=True))
    assert {p.name: p.read_bytes() for p in place.out.iterdir() if p.is_file()} == before
