"""Augmentation in training and in experiments: from settings to run folders."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from command import assert_one_error
from small_training import (
    RECIPE,
    TRAIN,
    VALIDATION,
    Recorder,
    Stop,
    StopAfter,
    changed,
    differences,
    everything,
    network,
    trainer,
    without_seconds,
)
from snnsim_experiments import Budget, Choice, Place, compare_networks, resolve
from snnsim_experiments.experiment import Experiment
from toolbox import refusal

from snnsim.data import About, Arrays, Augmentation, Augmented
from snnsim.errors import CheckpointError, ConfigError
from snnsim.training import Regression, Trainer, checkpoint

GIVEN = Augmentation(time_stretch=0.3, channel_shift=1, drop=0.2, noise=0.05)
DATA = "spoken-digits"


def run(out=None, augmentation=GIVEN, recipe=RECIPE, **options):
    t = trainer(recipe, seed=5, out=out, augmentation=augmentation, **options)
    t.run()
    return everything(t), without_seconds(t.rows)


# --- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [(0, 2), (1, 3), (2, 0), (3, 1)])
def test_resumed_within_an_epoch_equals_uninterrupted(tmp_path, stop):
    recipe = changed(checkpoint_steps=1)
    state, rows = run(recipe=recipe)
    broken = trainer(
        recipe, net=network(5), seed=5, out=tmp_path, watcher=StopAfter(*stop), augmentation=GIVEN
    )
    with pytest.raises(Stop):
        broken.run()
    t = trainer(recipe, net=network(15), seed=5, out=tmp_path, augmentation=GIVEN)
    assert t.resume()
    t.run()
    assert differences(everything(t), state) == []
    assert without_seconds(t.rows) == rows


def test_every_epoch_shows_other_samples_of_the_training_data_only(monkeypatch):
    shown = []
    batch = Augmented.batch

    def recording(self, indices, steps=None):
        found = batch(self, indices, steps)
        shown.append((self.data, self.key, found.x.sum()))
        return found

    monkeypatch.setattr(Augmented, "batch", recording)
    run()
    assert {id(data) for data, _, _ in shown} == {id(TRAIN)}
    assert [key for _, key, _ in shown] == [(5, epoch) for epoch in range(4) for _ in range(5)]
    assert len({float(total) for _, _, total in shown}) > 10


def test_training_is_that_on_the_samples_of_each_epoch():
    """One epoch with an augmentation is one epoch on the augmented data."""
    recipe = changed(epochs=1)
    state, rows = run(recipe=recipe)
    t = trainer(recipe, seed=5, train=Augmented(TRAIN, GIVEN, (5, 0)))
    t.steps = int(TRAIN.lengths.max())  # what evaluation pads to
    t.run()
    assert differences(everything(t), state) == []
    assert without_seconds(t.rows) == rows


def test_no_augmentation_is_none_at_all():
    plain, rows = run(augmentation=None)
    for other in (Augmentation(), Augmentation(mix_probability=1)):
        state, again = run(augmentation=other)
        assert differences(state, plain) == [] and again == rows


def test_a_run_is_resumed_with_the_same_augmentation_only(tmp_path):
    run(tmp_path)
    t = trainer(seed=5, out=tmp_path, augmentation=replace(GIVEN, drop=0.1))
    assert "another augmentation: drop 0.2 and not 0.1" in refusal(CheckpointError, t.resume)


def test_a_checkpoint_of_before_had_none_of_the_options(tmp_path):
    run(tmp_path, augmentation=None)
    run(tmp_path / "other", augmentation=replace(GIVEN, drop=0))
    for folder, augmentation, names in (
        (tmp_path, None, ["augmentation"]),
        (tmp_path / "other", replace(GIVEN, drop=0), ["augmentation", "drop"]),
    ):
        tensors, values = checkpoint.load(folder / "last.safetensors")
        inside = values
        for name in names[:-1]:
            inside = inside[name]
        del inside[names[-1]]
        checkpoint.save(folder / "last.safetensors", tensors, values)
        assert trainer(seed=5, out=folder, augmentation=augmentation).resume()


def test_repeated_samples_are_augmented_each_in_its_own_way():
    recorder = Recorder(network(5))
    t = trainer(
        changed(epochs=1, repeat=1, repeat_fraction=0.5), net=recorder.net, augmentation=GIVEN
    )
    data = t._augmented(t._shown())
    again = np.flatnonzero(data.data.indices == np.bincount(data.data.indices).argmax())
    assert len(again) == 11
    batch = data.batch(again)
    assert len({float(x.sum()) for x in batch.x.transpose(0, 1)}) > 5


def three_kinds() -> Arrays:
    batch = TRAIN.batch(np.arange(len(TRAIN)))
    x = batch.x.transpose(0, 1).numpy() + 0.25
    return Arrays(x, batch.labels.numpy(), TRAIN.lengths, classes=("a", "b", "c"))


def test_mixed_classes_are_trained_on_with_their_fractions():
    recorder = Recorder(network(5))
    cutmix = Augmentation(mix="cutmix", mix_probability=1)
    t = Trainer(
        recorder.net, three_kinds(), VALIDATION, RECIPE, augmentation=cutmix, watcher=recorder
    )
    rows = t.run()
    assert all(0 <= row["train_accuracy"] <= 1 for row in rows)
    assert len(recorder.losses) == 20


def test_mixed_classes_need_a_classification():
    cutmix = Augmentation(mix="cutmix")
    data = three_kinds()
    said = refusal(
        ConfigError,
        lambda: Trainer(
            network(), data, VALIDATION, RECIPE, objective=Regression(), augmentation=cutmix
        ),
    )
    assert "augmentation.mix is 'cutmix', which mixes classes, but the objective is Regr" in said


def test_what_the_data_do_not_allow_is_refused_before_training():
    for wrong in ({"gain": 0.1}, {"time_shift_ms": 5}, {"mix": "same"}):
        said = refusal(ConfigError, lambda w=wrong: trainer(augmentation=Augmentation(**w)))
        assert f"augmentation.{next(iter(wrong))} is" in said


def test_what_a_network_is_stored_with_is_of_the_data_as_they_are(tmp_path):
    data = three_kinds()
    t = Trainer(
        network(5), data, VALIDATION, RECIPE, out=tmp_path, augmentation=Augmentation(noise=0.1)
    )
    assert t._about()["encoder"] == {} and t.steps == data.lengths.max()
    assert Augmented(data, Augmentation(noise=0.1)).about.classes == ("a", "b", "c")
    assert isinstance(Augmented(data).about, About)


# --- settings -------------------------------------------------------------------------------------


ON_A_STREAM = ("continual", "run", "--stream", "parity", "--method", "fine-tuning", "-q",
               "--set", "stream.tasks=2", "--set", "stream.samples=16",
               "--set", "training.epochs=2", "--set", "network.hidden=[4]")  # fmt: skip


def test_a_stream_is_trained_with_its_augmentation(tmp_path, snnsim):
    drop = ("--set", "augmentation.drop=0.3")
    assert snnsim(*ON_A_STREAM, *drop, "--out", tmp_path / "a").code == 0
    assert snnsim(*ON_A_STREAM, "--out", tmp_path / "b").code == 0
    stored = json.loads((tmp_path / "a" / "run.json").read_text())["config"]
    assert Experiment.from_json(stored).augmentation == Augmentation(drop=0.3)
    assert snnsim(*ON_A_STREAM, *drop, "--out", tmp_path / "a", "--resume").code == 0
    other = snnsim(*ON_A_STREAM, "--out", tmp_path / "a", "--resume")
    assert_one_error(other, "differs in augmentation.drop")
    mixed = snnsim(*ON_A_STREAM, "--set", "augmentation.mix=cutmix", "--out", tmp_path / "c")
    assert_one_error(mixed, "augmentation.mix is 'cutmix', but methods of continual learning need")


@pytest.mark.parametrize("model", ["spiking", "gru"])
def test_settings_are_an_augmentation(tmp_path, model):
    file = tmp_path / "mine.toml"
    file.write_text("[augmentation]\nchannel_shift = 4\ntime_masks = 2\ntime_mask_ms = 80\n")
    found = resolve(DATA, model, config=str(file), changes=["augmentation.time_stretch=0.1"])
    assert found.augmentation == Augmentation(
        channel_shift=4, time_masks=2, time_mask_ms=80, time_stretch=0.1
    )
    assert resolve(DATA, model).augmentation == Augmentation()
    assert found.differences(resolve(DATA, model)) == [
        "augmentation.channel_shift", "augmentation.time_mask_ms", "augmentation.time_masks",
        "augmentation.time_stretch",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("augmentation.chanel_shift=4", "did you mean 'channel_shift'?"),
        ("augmentation.time_stretch=2", "augmentation.time_stretch is 2.0 but must be"),
        ("augmentation.drop=-0.1", "augmentation.drop is -0.1 but must be"),
        ("augmentation.time_masks=1.5", "augmentation.time_masks is 1.5"),
        ("augmentation.time_masks=2", "but augmentation.time_mask_ms is 0"),
        ("augmentation.mix=both", "augmentation.mix is 'both' but must be one of"),
        ("augmentation.noise=nan", "augmentation.noise is nan"),
        ("augmentation.noise=much", "augmentation.noise is 'much'"),
    ],
)
@pytest.mark.parametrize("model", ["spiking", "gru"])
def test_settings_that_are_none_are_refused(model, change, reason):
    assert reason in refusal(ConfigError, lambda: resolve(DATA, model, changes=[change]))


def test_an_experiment_is_stored_with_its_augmentation():
    now = resolve(DATA, changes={"augmentation.channel_shift": 4})
    stored = json.loads(json.dumps(now.as_json()))
    assert stored["augmentation"]["channel_shift"] == 4
    assert Experiment.from_json(stored) == now
    del stored["augmentation"]["drop"]  # as a version that did not have it
    assert Experiment.from_json(stored) == now


def test_an_experiment_of_before_had_no_augmentation():
    stored = resolve(DATA).as_json()
    del stored["augmentation"]
    assert Experiment.from_json(stored) == resolve(DATA)


def test_all_rows_of_a_comparison_have_the_same_augmentation(tmp_path):
    choice = Choice(DATA, changes={"augmentation.channel_shift": 4})
    for name in ("gru", "snn-learned"):
        assert choice.network(name).augmentation == Augmentation(channel_shift=4)
    assert choice.settings()["augmentation"]["channel_shift"] == 4
    file = tmp_path / "mine.toml"
    file.write_text("[augmentation-gru]\ndrop = 0.1\n")
    said = refusal(ConfigError, Choice(DATA, config=str(file)).check_same_for_all)
    assert "gives gru its own drop, which must be the same for all" in said


# --- runs -----------------------------------------------------------------------------------------


SMALL = (DATA, "train", "--epochs", "1", "--set", "network.hidden=[4]", "-q",
         "--set", "data.pool=50")  # fmt: skip


def test_a_run_is_resumed_with_its_augmentation(tmp_path, snnsim):
    shift = ("--set", "augmentation.channel_shift=2")
    assert snnsim(*SMALL, *shift, "--out", tmp_path / "run").code == 0
    stored = json.loads((tmp_path / "run" / "run.json").read_text())
    assert stored["config"]["augmentation"]["channel_shift"] == 2
    assert snnsim(*SMALL, *shift, "--out", tmp_path / "run", "--resume").code == 0
    other = snnsim(*SMALL, "--out", tmp_path / "run", "--resume")
    assert_one_error(other, "differs in augmentation.channel_shift")
    assert snnsim(DATA, "evaluate", tmp_path / "run").code == 0


def test_a_run_on_events_refuses_what_is_for_values(tmp_path, snnsim):
    refused = snnsim(*SMALL, "--set", "augmentation.level=0.1", "--out", tmp_path / "run")
    assert_one_error(refused, "augmentation.level is 0.1, but the input is numbers of events")
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_table_of_before_can_be_continued(tmp_path):
    choice = Choice(DATA, changes={"data.pool": 50}, epochs=1)
    place = Place(out=tmp_path / "table", quiet=True)
    compare_networks(["gru"], choice, Budget(2000), place=place)
    table = tmp_path / "table" / "comparison.json"
    rows = json.loads(table.read_text())
    for row in rows:
        del row["settings"]["augmentation"]
    table.write_text(json.dumps(rows))
    again = Place(out=tmp_path / "table", quiet=True, resume=True)
    assert [r["name"] for r in compare_networks(["gru"], choice, Budget(2000), place=again)]
    other = Choice(DATA, changes={"data.pool": 50, "augmentation.drop": 0.1}, epochs=1)
    said = refusal(ConfigError, lambda: compare_networks(["gru"], other, Budget(2000), place=again))
    assert "was run with augmentation=" in said
