"""Runs of continual learning: what is told, averaged, kept and printed, piece by piece."""

from __future__ import annotations

import io
import json
import statistics
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from snnsim_experiments import Experiment, Place, comparison, options, run_folder
from snnsim_experiments.configuration import config_names, resolve
from snnsim_experiments.continual import cli
from snnsim_experiments.continual import run as runs
from snnsim_experiments.continual.streams import build, names
from snnsim_experiments.lists import methods_of, seeds_of
from snnsim_experiments.lock import Held
from snnsim_experiments.progress import StreamWatcher

sys.path.insert(0, str(Path(__file__).parent.parent / "unit"))
from command import snnsim
from small_runs import ON_PARITY, interrupt_after

from snnsim.continual import methods
from snnsim.errors import CheckpointError, ConfigError, NonFiniteError
from snnsim.training import set_seed

SUMMARY = {
    "acc": 80.0, "bwt": -4.0, "fwt": 2.0, "forgetting": 5.0, "matrix": [[60.0, 50.0], [70.0, 90.0]],
    "seconds_per_task": [1.0, 3.0], "memory_bytes": 1_234_567, "parameters": 42,
    "tasks": ["one", "two"], "scenario": "task", "seed": 0,
}  # fmt: skip


def told(quiet=False, tasks=3, held=None):
    console = Console(file=io.StringIO(), width=100)
    return StreamWatcher(console, tasks, quiet, held), console.file


# --- what is told -------------------------------------------------------------------------------


def test_a_line_per_task_says_how_well_all_tasks_so_far_are_known():
    watcher, file = told()
    with watcher:
        watcher.tested(0, [0.5, 0.25, 0.1])
        watcher.tested(1, [0.405, 1.0, 0.1])
    assert file.getvalue().splitlines() == ["task  1/3  50.0 %", "task  2/3  40.5  100.0 %"]
    watcher, file = told(quiet=True)
    with watcher:
        watcher.tested(0, [0.5, 0.25, 0.1])
    assert file.getvalue() == ""


def test_the_bar_is_of_the_steps_of_the_task_at_work():
    watcher, _ = told()
    watcher.task_started(0, 7)
    (row,) = watcher.bar.tasks
    assert (row.description, row.completed, row.total) == ("task 1/3", 0, 7)
    watcher.step_done(0, 4, 0.12345)
    assert (row.description, row.completed) == ("task 1/3 loss 0.123", 4)
    watcher.task_started(2, 9)
    (row,) = watcher.bar.tasks
    assert (row.description, row.completed, row.total) == ("task 3/3", 0, 9)
    assert watcher.bar.disable  # nobody sees it here


def test_nothing_is_written_into_a_folder_that_is_not_the_runs_any_more(tmp_path):
    (tmp_path / "run.lock").touch()
    with open(tmp_path / "run.lock") as lock:
        watcher, _ = told(held=Held(tmp_path, lock.fileno()))
        watcher.writing()
        (tmp_path / "run.lock").unlink()
        with pytest.raises(CheckpointError, match="was removed or moved"):
            watcher.writing()


# --- what is averaged ---------------------------------------------------------------------------


def test_averages_over_seeds_have_the_spread_of_a_sample():
    others = [
        SUMMARY,
        SUMMARY | {"acc": 84.0, "bwt": -1.0, "fwt": 3.0, "forgetting": 5.5, "seed": 3,
                   "matrix": [[62.0, 40.0], [71.0, 97.0]], "seconds_per_task": [2.0, 4.0],
                   "memory_bytes": 1_234_569},
        SUMMARY | {"acc": 79.0, "bwt": -4.0, "fwt": 2.5, "forgetting": 9.0, "seed": 5},
    ]  # fmt: skip
    found = runs.aggregate(others)
    for key in ("acc", "bwt", "fwt", "forgetting"):
        values = [each[key] for each in others]
        assert found[key] == pytest.approx(sum(values) / 3)
        assert found["std"][key] == pytest.approx(statistics.stdev(values))
    assert np.allclose(found["matrix"], [[182 / 3, 140 / 3], [211 / 3, 277 / 3]])
    assert found["seconds_per_task"] == pytest.approx([4 / 3, 10 / 3])
    assert found["memory_bytes"] == 1_234_567 and isinstance(found["memory_bytes"], int)
    assert (found["parameters"], found["tasks"], found["scenario"]) == (42, ["one", "two"], "task")
    assert found["seeds"] == [0, 3, 5]


def test_one_seed_has_no_spread_and_what_is_not_measured_has_no_average():
    found = runs.aggregate([SUMMARY])
    assert found["std"] == {"acc": 0.0, "bwt": 0.0, "fwt": 0.0, "forgetting": 0.0}
    found = runs.aggregate([SUMMARY, SUMMARY | {"fwt": None}])
    assert found["fwt"] is None and found["std"]["fwt"] is None
    assert found["acc"] == 80.0


# --- what is the same run -----------------------------------------------------------------------


def test_what_differs_between_configurations_is_named():
    now = resolve("pmnist", method="ewc")
    assert now.differences(replace(now, seed=8), but=("seed",)) == [] and now.data["seed"] == 0
    assert now.differences(replace(now, seed=8)) == ["seed"]
    assert now.differences(Experiment.from_json(json.loads(json.dumps(now.as_json())))) == []
    before = replace(
        now, source="split-mnist", method_options=now.method_options | {"strength": 3},
        network=now.network | {"new": 1}, data={k: v for k, v in now.data.items() if k != "turn"},
    ).trained(lr=0.2)  # fmt: skip
    for one, other in ((before, now), (now, before)):
        assert one.differences(other) == [
            "method.strength", "network.new", "source", "stream.turn", "training.lr",
        ]  # fmt: skip


def test_what_is_stored_of_no_run_is_not_gone_on_with(tmp_path):
    config = resolve("pmnist", method="ewc")
    for wrong in ("x", None, [], config.as_json() | {"method_options": None}):
        run_folder.write_json(tmp_path / "run.json", {"config": wrong})
        with pytest.raises(CheckpointError, match=r"run.json does not describe a run \("):
            run_folder.prepare(tmp_path, config, resume=True, but=("seed",))


def test_only_a_run_of_the_same_configuration_is_gone_on_with(tmp_path):
    config, but = resolve("pmnist", method="ewc"), ("seed",)
    out, prepare = tmp_path / "run", partial(run_folder.prepare, but=but)
    assert prepare(out, config, resume=True) is False
    out.mkdir()
    (out / "run.lock").touch()
    (out / "half.tmp").touch()
    assert prepare(out, config, resume=False) is False
    (out / "run.json").write_text(json.dumps({"config": config.as_json()}))
    assert prepare(out, config, resume=True) is True
    assert prepare(out, replace(config, seed=8), resume=True) is True
    with pytest.raises(ConfigError, match="already holds a run; continue it with --resume"):
        prepare(out, config, resume=False)
    other = resolve("pmnist", method="ewc", changes=["training.lr=0.2", "stream.tasks=3"])
    with pytest.raises(ConfigError, match=r"differs in stream.tasks, training.lr\)"):
        prepare(out, other, resume=True)
    with pytest.raises(ConfigError, match=r"differs in training.epochs\)"):  # its tasks are over
        prepare(out, config.trained(epochs=2), resume=True)


@pytest.mark.parametrize("text", ["-1", str(2**63), "1,-2"])
def test_seeds_are_numbers_that_a_generator_takes(text):
    with pytest.raises(ConfigError, match="seed is .* but must be a whole number"):
        seeds_of(text)


def test_seeds_are_read_in_their_order():
    assert seeds_of(f"3, 1,{2**63 - 1}") == [3, 1, 2**63 - 1]
    for text in ("", "1,", "a", "1.5", "0,0"):
        with pytest.raises(ConfigError, match="--seeds is .* different values, such as 0,1,2"):
            seeds_of(text)


def test_methods_are_different_names():
    assert methods_of(" si,ewc ") == ["si", "ewc"]
    for text in ("", "si,", "si,si"):
        with pytest.raises(ConfigError, match="--methods is .* different values, such as"):
            methods_of(text)


# --- what a run leaves --------------------------------------------------------------------------


def test_a_run_leaves_summaries_pictures_and_what_it_was_of(rendered, tmp_path, monkeypatch):
    out = tmp_path / "run"
    result = snnsim("run", "--method", "ewc", *ON_PARITY, "--out", out, "--seeds", "3",
                    "--root", tmp_path, "--json")  # fmt: skip
    assert result.exit_code == 0, result.output
    summary = json.loads((out / "summary.json").read_text())
    assert json.loads(result.stdout) == {"out": str(out), **summary}
    assert (summary["stream"], summary["method"]) == ("parity", "ewc")
    assert (summary["learning"], summary["feedback"]) == ("bptt", "backprop")
    assert summary["seeds"] == [3]
    for folder in (out, out / "seed3"):
        for name in ("matrix", "tasks"):
            assert (folder / "plots" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert (folder / "summary.json").exists()
    assert list(out.rglob("last.safetensors")) == []
    facts = json.loads((out / "run.json").read_text())
    assert facts["tasks"] == ["last 2 bits", "last 3 bits"] and facts["root"] == str(tmp_path)
    changes = [a for a in ON_PARITY if "=" in a]
    config = resolve("parity", method="ewc", changes=changes, seed=3)
    assert facts["config"] == config.as_json()


def test_every_seed_has_its_own_data_weights_and_order(tmp_path, monkeypatch):
    made, learners, trained = [], [], []
    trainer = runs.ContinualTrainer

    def stream(name, root, progress, **options):
        made.append(options["seed"])
        return build(name, root, progress, **options)

    def learner(given, **options):
        net = networks_build(given, **options)
        learners.append(net.body[0].connection.weight.detach().clone())
        return net

    def noting(learner, method, recipe, **options):
        trained.append((options["seed"], options["out"].name, recipe.epochs))
        return trainer(learner, method, recipe, **options)

    networks_build = runs.networks.build
    changes = [a for a in ON_PARITY if "=" in a] + ["stream.seed=10"]
    config = resolve("parity", method="fine-tuning", changes=changes)
    monkeypatch.setattr(runs.streams, "build", stream)
    monkeypatch.setattr(runs.networks, "build", learner)
    monkeypatch.setattr(runs, "ContinualTrainer", noting)
    runs.run(config, [2, 5], Place(out=tmp_path / "run", quiet=True))
    assert made == [12, 15]
    assert trained == [(2, "seed2", 1), (5, "seed5", 1)]
    for seed, weight in zip((2, 5), learners, strict=True):
        set_seed(seed)
        stream_ = build("parity", None, tasks=2, samples=16)
        net = networks_build(stream_, model=config.model, **config.network)
        assert net.body[0].connection.weight.equal(weight)


def test_a_run_that_goes_on_says_with_which_task_of_which_seed(tmp_path, monkeypatch):
    options = ["run", "--method", "fine-tuning", *ON_PARITY[:-1], "--out", tmp_path, "--seeds", "4"]
    interrupt_after(monkeypatch, 1)  # a batch per task
    snnsim(*options)
    monkeypatch.undo()
    result = snnsim(*options, "--resume")
    assert result.exit_code == 0 and "continuing with task 2 of seed 4" in result.output
    assert "continuing" not in snnsim(*options, "--resume").output


# --- what is printed ----------------------------------------------------------------------------


def printed(monkeypatch, rows):
    console = Console(file=io.StringIO(), width=200)
    monkeypatch.setattr(options, "output", console)
    cli.print_rows(rows)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_table_has_a_line_for_every_method_that_ran_and_says_why_others_did_not(monkeypatch):
    spread = {"acc": 1.25, "bwt": 0.5, "fwt": None, "forgetting": 2.0}
    row = runs.aggregate([SUMMARY]) | {"method": "ewc"}
    several = row | {"method": "si", "seeds": [0, 1], "std": spread, "fwt": None}
    lines = printed(monkeypatch, [
        row, {"name": "hlop", "refused": "no [units]"}, several,
        {"name": "der", "failed": "not finite"},
    ])  # fmt: skip
    titles = ["method", "ACC %", "BWT %", "FWT %", "forgetting %", "memory MB", "s per task"]
    assert lines[0].split() == " ".join(titles).split()
    assert lines[1].split() == ["ewc", "80.00", "-4.00", "2.00", "5.00", "1.23", "2.0"]
    assert lines[2].split() == ["si", "80.00", "±", "1.25", "-4.00", "±", "0.50", "-", "5.00",
                                "±", "2.00", "1.23", "2.0"]  # fmt: skip
    assert lines[3:] == ["hlop: no [units]", "der: not finite"]


def test_a_run_prints_its_row_and_folder(tmp_path):
    result = snnsim("run", "--method", "fine-tuning", *ON_PARITY, "--out", tmp_path / "r")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("method") and lines[1].startswith("fine-tuning")
    assert "".join(lines[2:]).replace(" ", "") == f"Runin{tmp_path / 'r'}"


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([{"name": "a", "refused": "x"}, {"name": "b", "acc": 1}], 0),
        ([{"name": "a", "failed": "x"}, {"name": "b", "acc": 1}], 1),
        ([{"name": "a", "refused": "x"}], 1),
    ],
)
def test_a_comparison_of_which_one_failed_or_none_ran_has_an_exit_code(
    tmp_path, monkeypatch, rows, code
):
    monkeypatch.setattr(comparison, "compare", lambda *_, **__: rows)
    options = ["--methods", "ewc", *ON_PARITY, "--out", tmp_path]
    result = snnsim("compare", *options, "--json")
    assert result.exit_code == code and json.loads(result.stdout) == rows


def test_a_comparison_says_where_it_is_written_and_which_method_is_at_work(tmp_path):
    out = tmp_path / "c"
    result = snnsim("compare", "--methods", "si,ewc", *ON_PARITY[:-1], "--out", out)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["method", "si", "ewc"]
    assert "".join(lines[3:]).replace(" ", "") == f"Writtento{out}"
    work = [line for line in result.stderr.splitlines() if line in ("si", "ewc")]
    assert work == ["si", "ewc"]
    assert {p.name for p in out.iterdir()} >= {"si", "ewc", "comparison.json"}


def test_only_what_is_refused_or_diverges_is_a_row(tmp_path, monkeypatch):
    def run(config, *_, **__):
        raise {"ewc": runs.Refused("no"), "si": NonFiniteError("far off"),
               "der": ConfigError("wrong")}[config.method]  # fmt: skip

    monkeypatch.setattr(comparison, "run_stream", run)
    chosen = {name: resolve("parity", method=name) for name in ("ewc", "si", "der")}
    wrong = {"der": chosen.pop("der")}
    rows = comparison.compare(chosen, [0], Place(out=tmp_path / "a", quiet=True))
    same = {"settings": {"seeds": [0]}}
    assert rows == [
        {"name": "ewc", "refused": "no", **same}, {"name": "si", "failed": "far off", **same},
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="wrong"):
        comparison.compare(wrong, [0], Place(out=tmp_path / "b", quiet=True))


def test_the_list_has_a_part_for_each_kind_of_name():
    lines = snnsim("list").stdout.splitlines()
    places = [lines.index(title) for title in ("streams", "methods", "configurations")]
    parts = [lines[a + 1 : b] for a, b in zip(places, [*places[1:], len(lines)], strict=True)]
    assert [line.strip() for line in parts[0]] == names()
    assert [line.split()[0] for line in parts[1] if line[2] != " "] == methods.names()
    assert [line.strip() for line in parts[2]] == config_names("", stream=True)
    assert any(line.strip().startswith("ewc") and len(line.split()) > 2 for line in parts[1])
