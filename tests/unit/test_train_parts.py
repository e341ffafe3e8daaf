"""``train`` part by part: what a run is made of, says, draws, writes and is scored by."""

from __future__ import annotations

import importlib.util
import io
import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import snnsim_datasets
import torch
from rich.console import Console
from small_runs import interrupt_after, write_fsdd, write_shd
from small_training import VALIDATION, Batch, network, plain_network, without_seconds
from snnsim_experiments import Place
from snnsim_experiments import train as of_train
from snnsim_experiments.build import build_network, load_split
from snnsim_experiments.configuration import resolve
from snnsim_experiments.predict import predict_split
from snnsim_experiments.train import NUMBERS, checksums_of, read_summary, score, score_over_time

import snnsim as sn
from snnsim import plotting
from snnsim.baselines import RateNetwork
from snnsim.errors import CheckpointError, NonFiniteError
from snnsim.training import Trainer, checkpoint, set_seed

SMALL = ("network.hidden=[4]", "data.pool=50", "network.max_delay_ms=40")


def configured(*changes: str, seed: int = 3, epochs: int = 2, name: str | None = "none"):
    changes = (*SMALL, *changes)
    return resolve("spoken-digits", config=name, changes=changes, seed=seed, epochs=epochs)


def run(config, out, root=None, **options) -> str:
    """Train into a folder; returns what was said."""
    console = Console(file=io.StringIO(), width=300)
    of_train.train(config, Place(root, out, **{"console": console, "quiet": True, **options}))
    return console.file.getvalue()


def without_pictures(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def stored(path):
    return json.loads(path.read_text())


# --- what a run is made of ----------------------------------------------------------------------


def test_a_run_is_that_of_its_network_recipe_and_seed(tmp_path, monkeypatch):
    without_pictures(monkeypatch)
    config = configured("training.lr=0.05", "network.dropout=0.2", name="default")
    run(config, tmp_path / "run")
    parts = [snnsim_datasets.load("spoken-digits", s, pool=50) for s in ("train", "validation")]
    set_seed(3)
    net = sn.networks.delay_network(
        (14, 4, 20), dt=10.0, tau_mem=10.05, max_delay_ms=40, dropout=0.2
    )
    initial = {k: v.clone() for k, v in net.state_dict().items()}
    rows = Trainer(net, *parts, config.recipe, seed=3).run()
    found = [json.loads(r) for r in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert without_seconds(found) == without_seconds(json.loads(json.dumps(rows)))
    for name, weights in (("initial", initial), ("last", net.state_dict())):
        tensors, _ = checkpoint.load(tmp_path / "run" / f"{name}.safetensors")
        kept = checkpoint.without_prefix("net", tensors)
        assert kept.keys() == weights.keys()
        assert all(torch.equal(kept[k], weights[k]) for k in weights), name


def test_a_network_is_built_with_the_seed_step_sizes_and_backend_of_its_configuration():
    config = configured("network.hidden=[4, 3]", name="default")
    one, same = (build_network(config, 7, 5, 5.0) for _ in range(2))
    other = build_network(replace(config, seed=4), 7, 5, 5.0)
    weights = [[p for p in net.parameters() if p.dim() > 1] for net in (one, same, other)]
    assert [tuple(w.shape[:2]) for w in weights[0][::2]] == [(4, 7), (3, 4), (5, 3)]
    assert all(map(torch.equal, weights[0], weights[1]))
    assert not any(map(torch.equal, weights[0], weights[2]))
    neurons = [layer for layer in one if isinstance(layer, sn.Neuron)]
    assert [(n.dt, n.backend) for n in neurons] == [(5.0, "auto")] * 3
    plain = build_network(replace(config, backend="reference"), 7, 5, 5.0)
    assert {layer.backend for layer in plain if hasattr(layer, "backend")} == {"reference"}


def test_a_baseline_is_built_with_its_options_and_the_seed():
    config = resolve("spoken-digits", "gru", changes=["data.pool=50"], seed=3)
    config = replace(config, network=config.network | {"width": 6})
    one, same = (build_network(config, 14, 5, 10.0) for _ in range(2))
    assert isinstance(one, RateNetwork) and one(torch.zeros(3, 2, 14))[0].shape[2] == 5
    assert all(map(torch.equal, one.parameters(), same.parameters()))
    other = build_network(replace(config, seed=4), 14, 5, 10.0)
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


def test_a_part_is_loaded_from_its_root_with_the_settings_of_its_data(monkeypatch):
    asked = []
    monkeypatch.setattr(snnsim_datasets, "load", lambda *a, **k: asked.append((a, k)) or "data")
    config = resolve("shd", changes=["data.dt=5"])
    assert load_split(config, "validation", "here", print) == "data"
    settings = {"dt": 5.0, "pool": 5, "binning": "grid"}
    assert asked == [(("shd", "validation", "here"), {"progress": print, **settings})]


def test_of_few_training_samples_a_baseline_prepares_itself_on_all(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(RateNetwork, "prepare", lambda self, x: seen.append(x.clone()))
    without_pictures(monkeypatch)
    config = resolve("spoken-digits", "gru", changes=["data.pool=50"], epochs=1)
    config = replace(config, network=config.network | {"width": 2})
    run(config, tmp_path / "run")
    (x,) = seen
    data = snnsim_datasets.load("spoken-digits", "train", pool=50)
    assert len(data) < 512 and torch.equal(x, data.batch(range(len(data))).x)


def test_of_many_training_samples_a_baseline_sees_some_two_hundred_and_fifty(monkeypatch, tmp_path):
    class Many:
        """Stands for a large data set, which no test should have to load."""

        channels, classes, dt = 3, ("a", "b"), 10.0

        def __len__(self):
            return 1100

        def batch(self, indices):
            raise Asked(list(indices))

    class Asked(Exception):
        pass

    monkeypatch.setattr(of_train, "load_split", lambda *_: Many())
    config = resolve("spoken-digits", "gru", epochs=1)
    config = replace(config, network=config.network | {"width": 2})
    with pytest.raises(Asked) as caught:
        run(config, tmp_path / "run")
    assert caught.value.args[0] == list(range(0, 1100, 4))


# --- what is written ----------------------------------------------------------------------------


def test_run_json_has_what_a_later_evaluation_needs_of_the_training_data(tmp_path, monkeypatch):
    without_pictures(monkeypatch)
    config = configured("data.dt=20", "network.tau_mem=30", epochs=1, name="default")
    run(config, tmp_path / "run")
    facts, data = stored(tmp_path / "run" / "run.json"), load_split(config, "train", None)
    assert (facts["channels"], facts["dt"]) == (14, 20.0)
    assert facts["classes"] == list(snnsim_datasets.get("spoken-digits").INFO.classes)
    assert facts["steps"] == max(data.lengths.tolist()) != len(data)
    assert facts["audio"] is None and facts["root"] is None
    net = build_network(config, 14, 20, 20.0)
    assert facts["delay_rungs"] == of_train._rungs(net, config, data)
    assert len(facts["delay_rungs"]) == 2
    initial, _ = checkpoint.load(tmp_path / "run" / "initial.safetensors")
    assert torch.equal(initial["net.layers.0.delay"], net[0].delay) and net[0].dt == 20.0
    assert facts["config"] == config.as_json() and facts["seed"] == 3


def test_run_json_of_recordings_has_their_front_end_and_root(tmp_path, monkeypatch):
    without_pictures(monkeypatch)
    monkeypatch.chdir(tmp_path)
    write_fsdd(tmp_path / "data")
    changes = ["data.n_mels=8", "network.hidden=[4]"]
    run(resolve("fsdd", config="none", changes=changes, epochs=1), tmp_path / "run", root="data")
    facts = stored(tmp_path / "run" / "run.json")
    data = snnsim_datasets.load("fsdd", "train", "data", n_mels=8)
    assert facts["audio"] == json.loads(json.dumps(asdict(data.front_end)))
    assert (facts["audio"]["rate"], facts["channels"], facts["dt"]) == (8000, 8, data.dt)
    assert facts["root"] == str(tmp_path / "data") and facts["delay_rungs"] == []
    config = resolve("fsdd", config="none", changes=changes)
    assert facts["data_checksums"] == checksums_of(config, "data")


def test_checksums_are_of_the_files_of_all_three_parts(tmp_path):
    write_shd(tmp_path)
    assert sorted(checksums_of(resolve("shd"), str(tmp_path))) == ["shd_test.h5", "shd_train.h5"]


def test_a_summary_counts_the_epochs_that_were_run_and_their_seconds(tmp_path, monkeypatch):
    without_pictures(monkeypatch)
    config = configured("training.patience=1", "training.lr=1e-9", epochs=9)
    run(config, tmp_path / "run")
    summary = stored(tmp_path / "run" / "summary.json")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    seconds = [json.loads(line)["seconds"] for line in lines]
    assert summary["epochs"] == len(seconds) < 9
    assert summary["seconds"] == pytest.approx(math.fsum(seconds)) and summary["seed"] == 3
    calibration = ["temperature", "test_calibration_error", "test_calibration_error_uncalibrated"]
    further = ["last_test_loss", "last_validation_loss", *calibration]
    assert sorted(summary) == sorted([*NUMBERS, *further])
    assert summary["last_validation_loss"] == json.loads(lines[-1])["validation_loss"]


GOOD = dict.fromkeys(NUMBERS, 1)
BAD = [
    *({name: wrong} for name in NUMBERS for wrong in (None, "1", True, [1])),
    *({name: wrong} for name in NUMBERS if "accuracy" in name for wrong in (-0.001, 1.001)),
]


def test_a_summary_is_read_with_accuracies_from_none_to_all(tmp_path):
    path = tmp_path / "summary.json"
    for changed in ({}, dict.fromkeys(NUMBERS, 0), {"test_loss": 9.5, "more": "text"}):
        path.write_text(json.dumps(GOOD | changed))
        assert read_summary(path) == GOOD | changed


@pytest.mark.parametrize("changed", BAD, ids=str)
def test_a_summary_with_a_wrong_number_is_damaged(tmp_path, changed):
    path, (name,) = tmp_path / "summary.json", changed
    for content in (GOOD | changed, {k: v for k, v in GOOD.items() if k != name}):
        path.write_text(json.dumps(content))
        with pytest.raises(CheckpointError) as caught:
            read_summary(path)
        assert str(caught.value) == (
            f"{path} is damaged: its {name} is {content.get(name)!r}; "
            "delete it and run again with --resume"
        )


# --- what is said -------------------------------------------------------------------------------


def test_a_run_says_where_it_goes_on_and_when_it_is_complete(tmp_path, monkeypatch):
    without_pictures(monkeypatch)
    config, out = configured(), tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_after(patch, 8)  # of 6 steps an epoch
        pytest.raises(KeyboardInterrupt, run, config, out)
    (copy := tmp_path / "copy").mkdir()
    for path in out.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    text = run(config, out, resume=True, quiet=False)
    assert text.startswith("continuing at epoch 2\n") and "epoch   2/2" in text
    assert "epoch   1/2" not in text
    assert run(config, copy, resume=True) == ""  # quiet
    assert run(config, out, resume=True) == f"{out} is already complete\n"
    new = tmp_path / "new"
    assert run(config, new, resume=True) == f"there is no run in {new}; starting one\n"


def test_a_run_without_matplotlib_says_that_it_draws_nothing_unless_it_is_quiet(
    tmp_path, monkeypatch
):
    without_pictures(monkeypatch)
    text = run(configured(epochs=1), tmp_path / "a", quiet=False)
    assert text.endswith("no plots: matplotlib is missing (pip install 'snnsim[viz]')\n")
    assert run(configured(epochs=1), tmp_path / "b") == ""
    assert not list(tmp_path.rglob("plots"))


# --- what is drawn ------------------------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch):
    """What was drawn of what, and where to."""
    pytest.importorskip("matplotlib")
    calls = {}
    for name in ("curves", "raster", "delay_histogram", "accuracy_over_time"):
        monkeypatch.setattr(plotting, name, lambda *a, n=name, **k: calls.update({n: (*a, k)}) or n)
    monkeypatch.setattr(plotting, "save", lambda figure, path: calls.update({path: figure}))
    return calls


def test_a_run_draws_its_curves_a_test_sample_and_its_delays_before_and_after(tmp_path, drawn):
    config = configured("training.lr_delay=0.5", name="default")
    run(config, tmp_path)
    pictures = {k.name: v for k, v in drawn.items() if not isinstance(k, str)}
    names = {"curves.png": "curves", "raster.png": "raster", "delays.png": "delay_histogram"}
    assert pictures == names
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(json.dumps(drawn["curves"][0])) == [json.loads(line) for line in lines]
    test = load_split(config, "test", None)
    assert drawn["curves"][2] == json.loads((tmp_path / "summary.json").read_text())["best_epoch"]
    net, x, dt, title, named = drawn["raster"]
    assert named == {"classes": test.classes, "target": int(test.labels[0])}
    assert torch.equal(x, test.batch([0]).x) and dt == 10.0
    answer = predict_split(tmp_path, "test").rows[0]
    assert title == f"true class {answer['class']!r}, answer {answer['classes'][0]!r}"
    kept = {n: checkpoint.without_prefix("net", checkpoint.load(tmp_path / f"{n}.safetensors")[0])
            for n in ("initial", "best")}  # fmt: skip
    drawn_of, before, _ = drawn["delay_histogram"]
    assert drawn_of is net and before.keys() == kept["initial"].keys()
    assert all(torch.equal(before[k], kept["initial"][k]) for k in before)
    assert all(torch.equal(v, kept["best"][k]) for k, v in net.state_dict().items())
    assert not torch.equal(before["layers.0.delay"], net.state_dict()["layers.0.delay"])


def test_a_network_without_spikes_has_no_raster(tmp_path, drawn):
    config = resolve("spoken-digits", "gru", changes=["data.pool=50"], epochs=1)
    run(replace(config, network=config.network | {"width": 2}), tmp_path)
    assert "raster" not in drawn and tmp_path / "plots" / "curves.png" in drawn


def test_tensorboard_is_written_into_the_run_if_asked_for(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    without_pictures(monkeypatch)
    run(configured(epochs=1), tmp_path / "a", tensorboard=True)
    assert len(list((tmp_path / "a" / "tensorboard").iterdir())) == 1
    run(configured(epochs=1), tmp_path / "b")
    assert not (tmp_path / "b" / "tensorboard").exists()


# --- scores -------------------------------------------------------------------------------------


def asked(function, net, *arguments, **changes):
    """Scores by a recipe that is the usual one but for its changes."""
    config = configured(*(f"training.{k}={v}" for k, v in changes.items()))
    return function(net.eval(), config, VALIDATION, *arguments)


@pytest.mark.parametrize(
    "changes",
    [{}, {"readout": "last"}, {"mask_padding": "true"}, {"readout": "max_over_time",
     "mask_padding": "true"}],
)  # fmt: skip
def test_scores_are_those_of_the_recipes_readout_on_inputs_of_so_many_steps(changes):
    net = network()
    batch = VALIDATION.batch(range(len(VALIDATION)), 20)
    readout, mask = changes.get("readout", "sum_softmax"), "mask_padding" in changes
    outputs = sn.training.predict(net, batch.x, readout, batch.lengths, mask)
    found = asked(score, net, 20, **changes)
    assert found.accuracy == pytest.approx(
        float((outputs.argmax(1) == batch.labels).double().mean())
    )
    assert found.samples == len(VALIDATION)
    loss = torch.nn.functional.cross_entropy(outputs, batch.labels)
    assert found.loss == pytest.approx(float(loss), rel=1e-5)


def test_scores_are_made_of_batches_of_the_recipes_size(monkeypatch):
    sizes = []
    batch = type(VALIDATION).batch
    monkeypatch.setattr(
        type(VALIDATION), "batch",
        lambda self, indices, steps=None: sizes.append(len(indices)) or batch(self, indices, steps),
    )  # fmt: skip
    monkeypatch.setattr(VALIDATION, "dt", 10.0, raising=False)
    without_pictures(monkeypatch)
    net = plain_network().float()
    asked(score, net, 11, batch_size=5)
    assert sizes == [5, 5, 3]
    asked(score_over_time, net, 11, 4, None, batch_size=5)
    assert sizes == [5, 5, 3] * 2


class Lost:
    """Two samples that are no numbers."""

    lengths, dt = np.array([4, 4]), 10.0

    def __len__(self):
        return 2

    def batch(self, indices, steps=None):
        labels, lengths = torch.zeros(len(indices), dtype=torch.int64), torch.tensor([4, 4])
        return Batch(torch.full((4, len(indices), 6), torch.nan), labels, lengths)


def test_scores_refuse_what_is_not_finite_unless_the_recipe_does_not_look(monkeypatch):
    without_pictures(monkeypatch)
    lost = Lost()
    for function, more in ((score, ()), (score_over_time, (2, None))):
        with pytest.raises(NonFiniteError, match="the input is nan"):
            function(network().eval(), configured(), lost, 4, *more)
    unseen = configured("training.check_finite=false")
    assert score(network().eval(), unseen, lost, 4).samples == 2
    net = network(delays="none").eval()
    assert list(score_over_time(net, unseen, lost, 4, 2, None)) == ["20", "40"]


def test_accuracy_over_time_is_that_of_the_recipes_readout(monkeypatch):
    monkeypatch.setattr(VALIDATION, "dt", 2.5, raising=False)
    without_pictures(monkeypatch)
    batch = VALIDATION.batch(range(len(VALIDATION)), 11)
    for seed in range(5):
        net = network(seed, delays="none")
        torch.nn.init.normal_(net[1].bias)  # so that something is said of silence too
        found = asked(score_over_time, net, 11, 3, None, mask_padding="true", readout="last")
        y = net(batch.x)[0].detach()
        for steps, share in zip((3, 6, 9, 11), found.values(), strict=True):
            ends = batch.lengths.clamp(max=steps)
            best = y[ends - 1, torch.arange(len(ends))].argmax(1)
            assert share == pytest.approx(float((best == batch.labels).double().mean()))


def test_accuracy_over_time_is_told_by_milliseconds_and_drawn(tmp_path, monkeypatch, drawn):
    monkeypatch.setattr(VALIDATION, "dt", 2.5, raising=False)
    path = tmp_path / "plots" / "a.png"
    found = asked(score_over_time, network(delays="none"), 11, 3, path)
    assert list(found) == ["7.5", "15", "22.5", "27.5"]
    assert drawn[path] == "accuracy_over_time"
    assert drawn["accuracy_over_time"][:2] == ([7.5, 15.0, 22.5, 27.5], list(found.values()))
