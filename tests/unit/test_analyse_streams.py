"""``snnsim analyse`` on run folders of streams that kept their weights."""

from __future__ import annotations

import json
import shutil

import pytest
from small_runs import read_once
from snnsim_datasets import spoken_digits
from snnsim_experiments import Place, resolve, run
from snnsim_experiments.analyse import subject_of

from snnsim.analysis import ANALYSES

QUICK = ("--samples", 6, "--nulls", 1)
REFUSED = {
    "chunks": "no layer with chunks",
    "depth": "needs 2 or more",
    "memory": "no linear time-varying layer",
    "operators": "no delayed connection",
    "repetition": "generates nothing",
}
CHANGES = {
    "network.hidden": [16], "training.epochs": 2, "training.lr": 0.01, "stream.per_task": 5,
    "training.keep_weights": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    """A run of four tasks with two seeds; no test changes it."""
    folder = tmp_path_factory.mktemp("streams") / "hlop"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spoken_digits, "load", read_once)
        made = resolve("spoken-digits", method="hlop", changes=CHANGES)
        run(made, Place(out=folder, quiet=True), [2, 3])
    return folder


@pytest.fixture
def copy(stream, tmp_path):
    """A run of its own, to write into."""
    return shutil.copytree(stream, tmp_path / "run")


@pytest.mark.parametrize("what", [each for each in ANALYSES if each not in REFUSED])
def test_every_analysis_that_makes_sense_works_on_a_stream(snnsim, copy, what):
    pytest.importorskip("matplotlib")
    done = snnsim("analyse", copy, what, *QUICK, "--json")
    assert done.code == 0, done.err
    stored = json.loads((copy / "analysis" / f"{what}.json").read_text())
    assert json.loads(done.out) == stored
    assert all(figure["null"] is not None for figure in stored["figures"].values())
    assert (copy / "analysis" / f"{what}.png").exists()


@pytest.mark.parametrize("what", list(REFUSED))
def test_the_others_are_refused_in_a_sentence(snnsim, copy, what):
    done = snnsim("analyse", copy, what, *QUICK)
    assert done.code == 1 and REFUSED[what] in done.err
    assert not (copy / "analysis").exists()


def test_assemblies_by_task_tell_of_all_tasks(snnsim, copy):
    rank = ("--set", "rank=2")
    done = snnsim("analyse", copy, "assemblies", "--by", "task", *rank, *QUICK, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert {"task_selectivity", "overlap"} <= found["figures"].keys()
    assert len(found["arrays"]["recruitment"][0]) == 4
    assert len(found["arrays"]["trials"][0]) == 24
    assert found["settings"]["by"] == "task"


def test_weights_data_and_seed_are_chosen(stream, monkeypatch):
    monkeypatch.setattr(spoken_digits, "load", read_once)

    def weight(*arguments, **options):
        return subject_of(stream / "seed3", *arguments, samples=6, **options).net[0].weight

    own = {task: weight(task=task) for task in (1, 2, 4)}
    assert not own[1].equal(own[2]) and not own[2].equal(own[4])
    assert weight().equal(own[4]) and weight(on=1).equal(own[4])
    first = subject_of(stream, samples=6, task=1)
    assert not first.net[0].weight.equal(own[1])
    assert first.net[0].weight.equal(subject_of(stream / "seed2", samples=6, task=1).net[0].weight)
    heads = [subject_of(stream, samples=6, task=2, on=on).net[-1].weight for on in (1, 3)]
    assert not heads[0].equal(heads[1])
    for split in ("train", "validation", "test"):
        assert len(subject_of(stream, split, samples=6, on=2).data) == 6
    each = [subject_of(stream, samples=6).tasks.subject(t).net[0].weight for t in (0, 1)]
    fixed = [subject_of(stream, samples=6, task=1).tasks.subject(t).net[0].weight for t in (0, 1)]
    assert not each[0].equal(each[1]) and fixed[0].equal(fixed[1])


def test_accuracy_of_a_subject_is_that_of_the_run(stream, monkeypatch):
    monkeypatch.setattr(spoken_digits, "load", read_once)
    matrix = json.loads((stream / "seed2" / "summary.json").read_text())["matrix"]
    for task, on in ((1, 1), (2, 3), (3, 1)):
        subject = subject_of(stream, samples=10**6, task=task, on=on)
        assert 100 * subject.accuracy(subject.net) == pytest.approx(matrix[task - 1][on - 1])


@pytest.mark.parametrize(
    "arguments",
    [
        ("connectivity", "--task", 1), ("connectivity", "--on", 1),
        ("assemblies", "--by", "task", "--on", 1),
    ],
)  # fmt: skip
def test_a_task_that_would_be_ignored_is_refused(snnsim, copy, arguments):
    done = snnsim("analyse", copy, *arguments, *QUICK)
    assert done.code == 1 and "remove --" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--task", 5), "task is 5"),
        (("--on", 9), "on is 9"),
        (("--checkpoint", "last"), "choose weights by task"),
        (("--split", "nowhere"), "split is 'nowhere'"),
        (("--layer", "layers.9"), "no layer 'layers.9'"),
    ],
)
def test_what_the_run_does_not_have_is_said(snnsim, copy, arguments, said):
    done = snnsim("analyse", copy, "assemblies", *arguments, *QUICK)
    assert done.code == 1 and said in done.err, done.err
    assert not (copy / "analysis").exists()


def test_weights_that_are_absent_or_damaged_are_named(snnsim, copy):
    file = copy / "seed2" / "weights" / "task4.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    done = snnsim("analyse", copy, "timescales", *QUICK)
    assert done.code == 1 and "task4.safetensors" in done.err
    file.unlink()
    done = snnsim("analyse", copy, "timescales", *QUICK)
    assert done.code == 1 and "no weights after task 4" in done.err


def test_the_option_is_part_of_the_configuration(snnsim, tmp_path):
    shown = [
        "continual", "run", "--stream", "spoken-digits", "--method", "fine-tuning", "-q", "--set",
        "network.hidden=[4]", "--set", "stream.per_task=10", "--set", "training.epochs=1",
    ]  # fmt: skip
    out = tmp_path / "run"
    assert snnsim(*shown, "--keep-weights", "--out", out).code == 0
    names = sorted(p.name for p in (out / "seed0" / "weights").iterdir())
    assert names == ["task1.safetensors", "task2.safetensors"]
    assert not (out / "seed0" / "last.safetensors").exists()
    stored = json.loads((out / "run.json").read_text())["config"]["training"]
    assert stored["keep_weights"] is True
    refused = snnsim(*shown, "--out", out, "--resume")
    assert refused.code == 1 and "training.keep_weights" in refused.err
    again = snnsim(*shown, "--set", "training.keep_weights=true", "--out", out, "--resume")
    assert again.code == 0, again.err
    on_data = snnsim("spoken-digits", "train", "--set", "training.keep_weights=true")
    assert on_data.code == 1 and "unknown key training.keep_weights" in on_data.err


def test_a_comparison_keeps_the_weights_of_every_run(snnsim, tmp_path):
    out = tmp_path / "compare"
    done = snnsim(
        "continual", "compare", "--stream", "spoken-digits", "--methods", "fine-tuning,hlop", "-q",
        "--set", "network.hidden=[4]", "--set", "stream.per_task=10", "--set", "training.epochs=1",
        "--keep-weights", "--out", out,
    )  # fmt: skip
    assert done.code == 0, done.err
    for method in ("fine-tuning", "hlop"):
        names = sorted(p.name for p in (out / method / "seed0" / "weights").iterdir())
        assert names == ["task1.safetensors", "task2.safetensors"]
