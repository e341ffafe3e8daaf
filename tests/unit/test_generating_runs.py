"""Runs that predict the next step: training, going on, evaluation, and generation."""

from __future__ import annotations

import copy
import json
import shutil

import numpy as np
import pytest
import small_runs
import torch
from snnsim_datasets import spoken_digits
from snnsim_datasets.tools import heidelberg
from snnsim_experiments import Place, resolve
from snnsim_experiments import run as run_experiment
from snnsim_experiments.budget import with_width
from snnsim_experiments.build import build_network
from snnsim_experiments.generate import Wanted

from snnsim import checkpoint
from snnsim.baselines.size import parameters_of
from snnsim.data import events
from snnsim.data.events import bin_all
from snnsim.errors import ConfigError

SMALL = ("--data", "spoken-digits", "--width", "4", "-q", "--set", "data.pool=100")
SHALLOW = {
    "data.pool": 100, "training.target": "next-event", "training.batch_size": 128,
    "network.depth": 1, "options.reach": 12, "options.iterations": 2, "options.random": False,
    "options.heads": 1,
}  # fmt: skip
STEP = ("--model", "gru", "--target", "next-step")
TRAIN = ("baselines", "train", *SMALL)


@pytest.fixture(scope="module", autouse=True)
def short_samples():
    """At most 64 events of a sample, for speed."""
    small_runs._digits.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "MOST_EVENTS", 64)
        yield
    small_runs._digits.cache_clear()


@pytest.fixture(scope="module")
def runs(tmp_path_factory, short_samples):
    """One run for each target."""
    folder = tmp_path_factory.mktemp("generating")
    deep = resolve("spoken-digits", "recurrent-depth", changes=SHALLOW, epochs=1)
    step = {"training.target": "next-step", "data.pool": 100}
    for name, chosen in (
        ("event", deep),
        ("step", resolve("spoken-digits", "gru", changes=step, epochs=1)),
    ):
        run_experiment(with_width(chosen, 4), Place(out=folder / name, quiet=True))
    return folder


@pytest.fixture
def copies(runs, tmp_path):
    return shutil.copytree(runs, tmp_path / "runs")


@pytest.mark.parametrize("name", ["event", "step"])
def test_the_summary_and_the_evaluation_are_in_nats(snnsim, copies, name):
    summary = json.loads((copies / name / "summary.json").read_text())
    assert {"test_nats", "validation_nats", "last_test_nats"} <= set(summary)
    assert not any("accuracy" in key for key in summary)
    done = snnsim("spoken-digits", "evaluate", copies / name, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["nats"] == pytest.approx(summary["test_nats"])
    row = json.loads((copies / name / "metrics.jsonl").read_text().splitlines()[-1])
    assert row["validation_nats"] == row["validation_loss"]
    assert (copies / name / "plots" / "curves.png").exists()


def test_a_run_that_goes_on_is_the_whole_one_to_the_bit(snnsim, tmp_path):
    constant = ("--set", "training.schedule=constant")
    command = (*TRAIN, *STEP, "--set", "training.repetition=0.5", *constant)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert snnsim(*command, "--epochs", 3, "--out", whole).code == 0
    for epochs in (1, 3):
        more = ("--epochs", epochs, "--out", parts)
        done = snnsim(*command, *more, *(("--resume",) if epochs > 1 else ()))
        assert done.code == 0, done.err
    a, b = (checkpoint.load(folder / "last.safetensors")[0] for folder in (whole, parts))
    assert a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def test_a_finished_run_shows_its_summary_again(snnsim, copies):
    done = snnsim(*TRAIN, *STEP, "--epochs", 1, "--out", copies / "step", "--resume", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["test_nats"] > 0


def test_fine_tuning_against_repetition_starts_from_a_run(snnsim, copies, tmp_path):
    options = ("--set", f"training.start_from={copies / 'step'}", "--set", "training.repetition=1")
    lr = ("--set", "training.lr=0", "--epochs", 1)
    assert snnsim(*TRAIN, *STEP, *options, *lr, "--out", tmp_path / "tuned").code == 0
    before, after = (
        checkpoint.load(folder / "best.safetensors")[0]
        for folder in (copies / "step", tmp_path / "tuned")
    )
    assert all(torch.equal(before[n], after[n]) for n in before)
    rows = [
        json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
        for folder in (copies / "step", tmp_path / "tuned")
    ]
    assert rows[1]["train_loss"] > rows[1]["train_nats"] and rows[0]["train_loss"] == pytest.approx(
        rows[0]["train_nats"]
    )


@pytest.mark.parametrize("name", ["event", "step"])
def test_what_is_generated_continues_what_was_shown(snnsim, copies, name, tmp_path):
    file = tmp_path / "more" / "spikes.h5"
    sizes = ("--samples", 3, "--prompt-steps", 20, "--steps", 30)
    done = snnsim("baselines", "generate", copies / name, *sizes, "--out", file, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["out"], found["samples"], found["steps"]) == (str(file), 3, 30)
    binning = "events" if name == "event" else "grid"
    spikes, _ = heidelberg.read(file, (), 700)
    made = bin_all(spikes, 10.0, 100, binning).batch(range(3), 50)
    data = spoken_digits.load("test", pool=100, binning=binning)
    chosen = np.array([0, 60, 119])
    assert torch.equal(made.x[:20], (data.batch(chosen, 20).x > 0).float())
    assert made.x[20:].sum() == found["spikes"] > 0
    assert spikes.labels.tolist() == data.labels[chosen].tolist()
    assert spikes.speakers.tolist() == data.speakers[chosen].tolist()


def test_a_classifier_reads_what_was_generated(snnsim, copies, run):
    sizes = ("--samples", 2, "--prompt-steps", 20)
    assert snnsim("baselines", "generate", copies / "step", *sizes).code == 0
    done = snnsim("predict", run, copies / "step" / "generated.h5", "--json")
    assert done.code == 0, done.err
    assert [row["index"] for row in json.loads(done.out)] == [0, 1]


def test_the_parallel_sampler_is_chosen_by_name(snnsim, copies):
    options = ("--samples", 2, "--steps", 10, "--sampler", "parallel", "--temperature", 0)
    done = snnsim("baselines", "generate", copies / "event", *options, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["passes_one_by_one"] == 2 * 10 * 2 and found["passes"] > 0


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("event", ("--sampler", "parallel"), "set --temperature 0"),
        ("step", ("--sampler", "parallel", "--temperature", "0"), "the target is next-step"),
        ("event", ("--sampler", "wave"), "sampler"),
        ("event", ("--prompt-steps", "65"), "the longest has 64"),
        ("event", ("--split", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_generated_is_said(snnsim, copies, name, options, said):
    done = snnsim("baselines", "generate", copies / name, *options)
    assert done.code == 1 and said in " ".join(done.err.split())
    assert not (copies / name / "generated.h5").exists()


def test_a_run_on_classes_generates_nothing(snnsim, run):
    done = snnsim("baselines", "generate", run)
    assert done.code == 1 and "generates nothing" in done.err


def test_a_run_on_the_next_step_names_no_classes(snnsim, copies):
    for command in (
        ("predict", copies / "step", "x.h5"),
        ("spoken-digits", "evaluate", copies / "step", "--over-time", 10),
        ("analyse", copies / "step", "sparsity"),
        ("analyse", copies / "step", "recode"),
    ):
        done = snnsim(*command)
        assert done.code == 1 and "next-step" in done.err, command


@pytest.mark.parametrize("name", ["event", "step"])
def test_repetition_is_analysed_beside_its_null(snnsim, copies, name):
    options = ("--samples", 6, "--nulls", 2, "--set", "steps=20", "--set", "repetitions=3")
    done = snnsim("analyse", copies / name, "repetition", *options, "--json")
    assert done.code == 0, done.err
    stored = json.loads((copies / name / "analysis" / "repetition.json").read_text())
    assert json.loads(done.out) == stored
    assert set(stored["figures"]) == {"first", "last", "rise", "repeated"}
    assert all(figure["null"] is not None for figure in stored["figures"].values())
    assert len(stored["arrays"]["probability"]) == 3
    assert (copies / name / "analysis" / "repetition.png").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "bidirectional", "--target", "next-step"), "sees no later input"),
        (("--model", "gru", "--target", "next-step", "--set", "encoder.bins=2"), "encoder.bins=1"),
        (("--model", "gru", "--target", "next-word"), "target"),
        (("--model", "gru", "--set", "training.repetition=1"), "repetition"),
        (
            ("--model", "gru", "--target", "next-event", "--set", "data.binning=grid"),
            'data.binning to "events"',
        ),
    ],
)
def test_what_cannot_be_trained_is_said(snnsim, tmp_path, arguments, said):
    done = snnsim(*TRAIN, "--epochs", 1, *arguments, "--out", tmp_path / "run")
    assert done.code == 1 and said in " ".join(done.err.split()), done.err


def test_a_comparison_is_one_of_accuracies(snnsim, tmp_path):
    change = ("--set", "training.target=next-step")
    done = snnsim("baselines", "compare", "--models", "gru", *SMALL[:2], *change, "--out", tmp_path)
    assert done.code == 1 and "accuracies" in done.err


def test_the_next_event_is_that_of_events_one_by_one():
    usual, given = (
        resolve("spoken-digits", "sasrec", changes={"training.target": target})
        for target in ("next-event", "next-step")
    )
    assert (usual.data["binning"], given.data["binning"]) == ("events", "grid")
    assert usual.from_json(usual.as_json()) == usual


def test_the_scores_of_sasrec_may_be_those_of_its_embedding(snnsim, tmp_path):
    options = ("--set", "network.shared_head=true", "--set", "network.depth=1", "--epochs", 1)
    model = ("--model", "sasrec", "--target", "next-step")
    done = snnsim(*TRAIN, *model, *options, "--out", tmp_path / "run", "--json")
    assert done.code == 0, done.err
    with_head = build_network(resolve_small("sasrec"), 7, 20, 10.0)
    assert json.loads(done.out)["parameters"] == parameters_of(with_head) - 4 * 7 - 7
    done = snnsim("spoken-digits", "evaluate", tmp_path / "run", "--json")
    assert done.code == 0, done.err
    done = snnsim(*TRAIN, *model, *options[2:], *options[:2], "--set", "network.depth=2")
    assert done.code == 1 and "shared_head needs one layer" in done.err


def resolve_small(model):
    changes = {"training.target": "next-step", "network.depth": 1, "data.pool": 100}
    return with_width(resolve("spoken-digits", model, changes=changes), 4)


def test_runs_of_before_had_no_shared_head():
    found = resolve_small("gru")
    stored = copy.deepcopy(found.as_json())
    del stored["network"]["shared_head"], stored["training"]["target"]
    again = found.from_json(stored)
    assert again.network == found.network and again.recipe.target == "class"


def test_mel_bands_have_no_next_spikes():
    with pytest.raises(ConfigError, match="gsc has no spikes to predict"):
        resolve("gsc", "gru", changes={"training.target": "next-step"})


def test_streams_answer_classes():
    for model in ("gru", "spiking"):
        with pytest.raises(ConfigError, match=r"training\.target"):
            resolve("spoken-digits", model, "replay", changes={"training.target": "next-step"})


@pytest.mark.parametrize("target", ["next-step", "next-event"])
def test_a_spiking_network_predicts_and_generates_spikes(snnsim, tmp_path, target):
    out = tmp_path / "run"
    options = (
        "--set", f"training.target={target}", "--set", "data.pool=100", "--epochs", 1, "-q",
        "--set", "network.hidden=[8]", "--set", "network.max_delay_ms=40",
    )  # fmt: skip
    done = snnsim("spoken-digits", "train", *options, "--out", out, "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert summary["test_nats"] > 0 and "temperature" not in summary
    done = snnsim("spoken-digits", "evaluate", out, "--json")
    assert json.loads(done.out)["nats"] == pytest.approx(summary["test_nats"])
    few = ("--samples", 2, "--prompt-steps", 20, "--steps", 10, "--json")
    done = snnsim("baselines", "generate", out, *few)
    assert done.code == 0, done.err
    assert json.loads(done.out)["steps"] == 10 and (out / "generated.h5").is_file()


def test_the_delays_of_what_generates_go_on_from_a_state():
    found = resolve("spoken-digits", changes={"training.target": "next-step"})
    assert (found.network["padding"], found.data["binning"]) == ("causal", "grid")
    assert resolve("spoken-digits").network["padding"] == "lengthen"
    with pytest.raises(ConfigError, match="gsc has no spikes to predict"):
        resolve("gsc", changes={"training.target": "next-step"})


@pytest.mark.parametrize("name", ["samples", "prompt_steps", "steps", "inner"])
def test_there_is_at_least_one_of_everything(name):
    with pytest.raises(ConfigError, match=name):
        Wanted(**{name: 0})
