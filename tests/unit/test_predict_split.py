"""Answers to a part of a run's own data: classes, labels, values, and either for every step."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from command import TEST_FILE, assert_one_error
from small_runs import contents
from snnsim_experiments import Place, resolve
from snnsim_experiments import run as run_experiment
from snnsim_experiments.build import load_split
from snnsim_experiments.run_folder import load_network

ASKED = ("which", "when", "count")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A small run on patterns for each question."""
    folder = tmp_path_factory.mktemp("runs")
    changes = {"network.hidden": [8], "network.max_delay_ms": 20, "data.samples": 40}
    for ask in ASKED:
        experiment = resolve("patterns", changes=changes | {"data.ask": ask}, epochs=2)
        run_experiment(experiment, Place(out=folder / ask, quiet=True))
    return folder


def answered(snnsim, run, *options):
    done = snnsim("predict", run, "--split", "test", "--json", *options)
    assert done.code == 0, done.err
    return json.loads(done.out)


def outputs(run):
    """The outputs ``[T, n, C]`` to the test data, and the targets."""
    net, experiment, facts = load_network(run)
    data = load_split(experiment, "test", None)
    batch = data.batch(range(len(data)), facts["steps"])
    return net(batch.x)[0].detach().numpy(), batch.target.numpy()


def test_classes_of_the_runs_test_data_are_those_of_its_file(snnsim, run):
    rows = answered(snnsim, run)
    whole = json.loads(snnsim("predict", run, TEST_FILE, "--json").out)
    for row, same in zip(rows, whole, strict=True):
        assert row["file"] == "test" and row["class"] == same["class"]
        assert row["scores"] == pytest.approx(same["scores"], rel=1e-5)
    summary = json.loads((run / "summary.json").read_text())
    assert np.mean([row["right"] for row in rows]) == summary["test_accuracy"]


def test_labels_are_named_and_right_if_they_are_exactly_the_true_ones(snnsim, runs, tmp_path):
    rows = answered(snnsim, runs / "which", "--out", tmp_path / "a.json")
    y, target = outputs(runs / "which")
    p = 1 / (1 + np.exp(-y.max(0)))
    for row, found, true in zip(rows, p, target, strict=True):
        assert row["probabilities"] == pytest.approx(found.tolist(), rel=1e-4)
        assert row["answer"] == [f"pattern {c + 1}" for c in range(4) if found[c] >= 0.5]
        assert row["target"] == [f"pattern {c + 1}" for c in range(4) if true[c]]
        assert row["right"] == (row["answer"] == row["target"])
    stored = json.loads((tmp_path / "a.json").read_text())
    summary = json.loads((runs / "which" / "summary.json").read_text())
    assert stored["rows"] == rows and stored["kind"] == "labels"
    assert stored["f1"] == pytest.approx(summary["test_f1"])
    assert np.mean([row["right"] for row in rows]) == pytest.approx(summary["test_exact_match"])


def test_classes_of_every_step_have_a_fraction_of_right_ones(snnsim, runs):
    rows = answered(snnsim, runs / "when")
    y, target = outputs(runs / "when")
    right = y[: len(target)].argmax(-1) == target
    assert [row["right"] for row in rows] == pytest.approx(right.mean(0).tolist())
    names = ["none", *(f"pattern {c + 1}" for c in range(4))]
    assert rows[3]["target"] == [names[c] for c in target[:, 3]]


def test_values_have_the_root_of_their_error(snnsim, runs):
    rows = answered(snnsim, runs / "count")
    y, target = outputs(runs / "count")
    found = y.max(0)
    for row, one, true in zip(rows, found, target, strict=True):
        assert row["answer"] == pytest.approx(one.tolist(), abs=1e-5)
        assert row["target"] == true.tolist()
        assert row["error"] == pytest.approx(np.sqrt(np.mean((one - true) ** 2)), rel=1e-4)


@pytest.mark.parametrize("ask", ASKED)
def test_each_kind_is_printed_written_and_drawn(snnsim, runs, tmp_path, ask, rendered):
    files = ("--out", tmp_path / "a.csv", "--plot", tmp_path / "a.png")
    done = snnsim("predict", runs / ask, "--split", "validation", *files)
    assert done.code == 0, done.err
    assert {"which": "f1", "when": "accuracy", "count": "r2"}[ask] in done.out
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10 and {"index", "answer", "target"} <= set(rows[0])
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_what_does_not_belong_together_is_refused(snnsim, run, runs):
    assert_one_error(snnsim("predict", run, "--split", "tset"), "tset", "test")
    assert_one_error(snnsim("predict", run, "--split", "test", "--index", "1"), "--index")
    assert_one_error(snnsim("predict", run, TEST_FILE, "--root", "x"), "--root")
    assert_one_error(snnsim("predict", run, "--split", "test", "--top", "1", "--out", "a"), "a")
    answer = snnsim("predict", runs / "which", TEST_FILE)
    assert_one_error(answer, "answers with labels, not with a class", "--split")
    assert snnsim("predict", run).code == 2


def test_runs_of_before_are_asked_as_well(snnsim, run, tmp_path):
    for name, content in contents(run).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts.pop("kind") == "class"
    (tmp_path / "run.json").write_text(json.dumps(facts))
    assert answered(snnsim, tmp_path) == answered(snnsim, run)
