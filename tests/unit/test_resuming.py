"""Runs that were stopped go on, equal to the bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_training import (
    RECIPE,
    Stop,
    StopAfter,
    changed,
    differences,
    everything,
    network,
    run_whole,
    trainer,
    without_seconds,
)

from snnsim.errors import CheckpointError, ConfigError
from snnsim.training import Recipe, Trainer, checkpoint


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
        "before metrics": "checkpoint.write_text",
        "before last": "Trainer.save",
    }[cut]

    def lose(*_):
        raise Stop

    monkeypatch.setattr(f"snnsim.training.trainer.{place}", lose)
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


@pytest.mark.parametrize(("recipe", "seed"), [(changed(lr=0.01), 0), (RECIPE, 1)])
def test_resuming_with_another_recipe_or_seed_is_refused(tmp_path, recipe, seed):
    trainer(changed(epochs=4), out=tmp_path, watcher=StopAfter(9)).run()
    with pytest.raises(
        CheckpointError,
        match=r"last\.safetensors.*another (recipe: lr 0.05 and not 0.01|seed: 0 and not 1)",
    ):
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
