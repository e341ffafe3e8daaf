"""Comparisons by several workers: the same folder as by one, to the bit, whoever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from command import started
from snnsim_experiments import comparison
from snnsim_experiments.build import Facts
from snnsim_experiments.configuration import resolve
from snnsim_experiments.place import Place
from snnsim_experiments.sweep import ahead
from snnsim_experiments.sweep.ahead import Run, queue_in, remove_queue, train_ahead
from snnsim_experiments.sweep.cells import state_of
from snnsim_experiments.sweep.plan import stored
from snnsim_experiments.sweep.work import work

from snnsim import checkpoint
from snnsim.errors import ConfigError

TIMES = ("seconds", "seconds_per_task", "started", "command", "out")
COMMANDS = {
    "networks on data": (
        "baselines", "compare", "--data", "spoken-digits", "--models",
        "elman,titans,snn-none", "--budget", "1k", "--epochs", "2", "--seeds", "0,1",
        "--rates", "0.3,1", "--set", "network.depth=1",
    ),
    "networks on a stream": (
        "baselines", "compare", "--stream", "spoken-digits", "--method", "replay", "--models",
        "elman,snn-none", "--budget", "8k", "--seeds", "0,1", "--rates", "0.3,1",
        "--set", "training.epochs=1", "--set", "stream.per_task=10",
    ),
    "methods": (
        "continual", "compare", "--stream", "spoken-digits", "--methods",
        "fine-tuning,ewc,hlop", "--seeds", "0,1", "--set", "training.epochs=1",
        "--set", "network.hidden=[8]", "--set", "network.connections=synaptic",
    ),
    "sizes": (
        "continual", "repeat", "--sizes", "0,16,999", "--epochs", "2", "--seeds", "0,1",
        "--set", "network.hidden=[4]", "--set", "network.delays=none",
    ),
}  # fmt: skip


def command(name, out, *more):
    return started(*COMMANDS[name], "--out", out, "-q", *more)


def finished(process):
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    return out, err


def timeless(value):
    if isinstance(value, dict):
        return {key: timeless(each) for key, each in value.items() if key not in TIMES}
    return [timeless(each) for each in value] if isinstance(value, list) else value


def content(file: Path):
    """What a file of a comparison says, to the bit, but for times."""
    if file.suffix == ".json":
        return timeless(json.loads(file.read_text()))
    if file.suffix == ".jsonl":
        return [timeless(json.loads(line)) for line in file.read_text().splitlines()]
    if file.suffix == ".safetensors":
        tensors, values = checkpoint.load(file)
        return {name: each.numpy().tobytes() for name, each in tensors.items()}, timeless(values)
    return file.read_bytes()


def contents(folder: Path):
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): content(file) for file in files}


def assert_same(found: Path, expected: Path):
    one, two = contents(found), contents(expected)
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


@pytest.fixture(scope="module")
def by_one(tmp_path_factory):
    """The folder of each command, and what it prints, when it trains one run after the other."""
    place, done = tmp_path_factory.mktemp("one"), {}

    def made(name):
        if name not in done:
            out = place / str(len(done))
            done[name] = (out, finished(command(name, out, "--json"))[0])
        return done[name]

    return made


def workers_of(folder):
    """The processes that train a run of which something is written, by the run's claim."""
    found = {}
    for claim in (folder / "claims").glob("[!.]*"):
        try:
            pid = json.loads(claim.read_text())["pid"]
        except (OSError, ValueError):
            continue
        if any((folder / claim.name.replace("~", "/")).rglob("last.safetensors")):
            found[claim.name] = pid
    return found


def stopped(folder, process, sent, count=1):
    """Send a signal to workers that train, or none, and return when it was sent."""
    seen: set[int] = set()
    while process.poll() is None and len(seen) < count:
        for pid in workers_of(folder).values():
            if pid not in seen and len(seen) < count:
                if sent is not None:
                    os.kill(pid, sent)
                seen.add(pid)
        time.sleep(0.01)
    assert len(seen) == count, "it has ended before"
    return seen


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


# --- the same folder ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_two_workers_write_the_folder_that_one_writes(tmp_path, by_one, name):
    expected, printed = by_one(name)
    out, err = finished(command(name, tmp_path / "two", "--jobs", 2, "--json"))
    assert timeless(json.loads(out)) == timeless(json.loads(printed))
    assert_same(tmp_path / "two", expected)
    assert err == ""


@pytest.mark.slow
def test_a_killed_worker_of_a_comparison_changes_no_bit(tmp_path, by_one):
    out = tmp_path / "two"
    process = command("networks on data", out, "--jobs", 2)
    stopped(out, process, signal.SIGKILL, 2)
    finished(process)
    assert_same(out, by_one("networks on data")[0])


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on_without_training_again(tmp_path, by_one):
    out = tmp_path / "two"
    process = command("networks on data", out, "--jobs", 2)
    while process.poll() is None and not list(out.rglob("summary.json")):
        time.sleep(0.01)
    pids = stopped(out, process, None)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "continue with --resume" in err
    assert not any(map(is_alive, pids))
    shown = subprocess.run(
        [sys.executable, "-m", "snnsim_experiments", "sweep", "show", out],
        capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    assert "4 cells: " in shown.stdout and not (out / "results.json").exists()
    assert queue_in(out) >= {"sweep.json", "claims", "failed", "elman", "snn-none"}
    before = {file: file.stat().st_mtime_ns for file in out.rglob("summary.json")}
    assert before
    refused = command("networks on data", out, "--jobs", 2)
    assert "--resume" in refused.communicate(timeout=60)[1] and refused.returncode == 1
    finished(command("networks on data", out, "--jobs", 2, "--resume"))
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert_same(out, by_one("networks on data")[0])
    assert queue_in(out) == set()


@pytest.mark.slow
def test_one_process_goes_on_with_what_several_began(tmp_path, by_one):
    out = tmp_path / "two"
    process = command("methods", out, "--jobs", 2)
    while process.poll() is None and not list(out.rglob("last.safetensors")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    finished(command("methods", out, "--resume"))
    assert_same(out, by_one("methods")[0])


# --- the queue ------------------------------------------------------------------------------------


def runs(folder, **changes):
    chosen = resolve(
        "spoken-digits", changes={"network.hidden": [4], "network.delays": "none", **changes}
    )
    chosen = chosen.trained(epochs=1)
    return [Run(folder / "net" / f"seed{seed}", chosen) for seed in (0, 1)]


def test_runs_are_cells_that_a_worker_elsewhere_can_join(tmp_path, monkeypatch):
    """The queue has all that a worker needs, whatever its working folder is."""
    asked = []
    monkeypatch.setattr(ahead, "run_jobs", lambda *given: asked.append(given))
    out = tmp_path / "out"
    out.mkdir()
    place = Place(out=out, device="cpu", quiet=True)
    train_ahead(runs(out), out, place, 3)
    assert asked == [(out, 3, "cpu", place.console, True)]
    plan = stored(out)
    assert plan.threads == torch.get_num_threads() and plan.is_made
    assert [cell.name for cell in plan.cells] == ["net/seed0", "net/seed1"]
    assert plan.cells[0].experiment() == (runs(out)[0].experiment, None)
    assert work(out) == 2
    assert [state_of(out, cell).what for cell in plan.cells] == ["done", "done"]
    train_ahead(runs(out), out, place, 3)
    assert len(asked) == 1  # nothing is left
    assert queue_in(out) == {"sweep.json", "claims", "failed", "net"}
    remove_queue(out)
    assert [path.name for path in out.iterdir()] == ["net"]


def test_a_stream_is_done_with_all_its_seeds(tmp_path, monkeypatch):
    monkeypatch.setattr(ahead, "run_jobs", lambda *_: None)
    chosen = resolve("spoken-digits", method="ewc")
    train_ahead([Run(tmp_path / "ewc", chosen, (3, 4))], tmp_path, Place(quiet=True), 2)
    (cell,) = stored(tmp_path).cells
    assert cell.seeds == (3, 4)
    for place in (tmp_path / "ewc" / "seed3", tmp_path / "ewc"):
        place.mkdir(parents=True, exist_ok=True)
        (place / "summary.json").write_text('{"acc": 1}')
    assert state_of(tmp_path, cell).what == "waiting"
    (tmp_path / "ewc" / "seed4").mkdir()
    (tmp_path / "ewc" / "seed4" / "summary.json").write_text("{}")
    assert state_of(tmp_path, cell).what == "done"


def test_what_workers_cannot_train_is_met_by_the_comparison(tmp_path, monkeypatch):
    """An experiment that fails in a worker has the row that it has without workers."""
    monkeypatch.setattr(ahead, "run_jobs", lambda folder, *_: work(folder))
    chosen = runs(tmp_path)[0].experiment
    made = {"good": chosen, "bad": chosen.trained(lr=1e18), "none": lambda: refuse()}

    def refuse():
        raise ConfigError("not this one")

    rows = {}
    for jobs in (1, 2):
        place = Place(out=tmp_path / str(jobs), quiet=True)
        rows[jobs] = timeless(comparison.compare(made, [0], place, jobs=jobs))
    assert rows[1] == rows[2]
    assert [set(row) & {"test", "failed", "refused"} for row in rows[1]] == [
        {"test"}, {"failed"}, {"refused"},
    ]  # fmt: skip
    assert_same(tmp_path / "2", tmp_path / "1")


def test_the_folder_of_a_sweep_is_not_that_of_a_comparison(tmp_path):
    (tmp_path / "grid.toml").write_text('data = "spoken-digits"\n')
    from snnsim_experiments.sweep.plan import read_plan, store

    store(read_plan(tmp_path / "grid.toml"), tmp_path / "sweep")
    assert queue_in(tmp_path / "sweep") == set()
    place = Place(out=tmp_path / "sweep", quiet=True, resume=True)
    with pytest.raises(ConfigError, match="not a comparison"):
        comparison.compare({}, [0], place, jobs=2)


def test_workers_are_asked_first_for_all_rates_and_then_for_all_seeds(tmp_path, monkeypatch):
    asked = []

    def train(experiment, place):
        accuracy = {0.0003: 0.5, 0.003: 0.4}[round(experiment.recipe.lr, 9)]
        place.out.mkdir(parents=True, exist_ok=True)
        told = {
            "validation_accuracy": accuracy, "test_accuracy": accuracy, "seconds": 1.0,
            "last_test_accuracy": 0.5, "seed": experiment.seed, "mean_firing_rate": 0.1,
        }  # fmt: skip
        (place.out / "summary.json").write_text(json.dumps(told))
        return told

    def take(folder, *_):
        left = [cell for cell in stored(folder).cells if state_of(folder, cell).left]
        asked.append([cell.name for cell in left])
        for cell in left:
            train(cell.experiment()[0], Place(out=folder / cell.name))

    monkeypatch.setattr(ahead, "run_jobs", take)
    monkeypatch.setattr(comparison, "train", train)
    monkeypatch.setattr(comparison, "look_at", lambda *_: Facts(140, 20, 10.0, (140,)))
    chosen = runs(tmp_path)[0].experiment.trained(lr=0.003)
    place = Place(out=tmp_path / "c", quiet=True)
    (row,) = comparison.compare({"a": chosen}, [3, 5], place, rates=[0.1, 1.0], jobs=2)
    assert asked == [["a/rate0.1-seed3", "a/seed3"], ["a/rate0.1-seed5"]]
    assert row["tried"] == {"0.0003": 50.0, "0.003": 40.0} and row["seeds"] == [3, 5]
    names = {path.name for path in (tmp_path / "c").iterdir()}
    assert names - {"comparison.png"} == {"a", "comparison.json"}
