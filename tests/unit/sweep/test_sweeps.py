"""Sweeps: what a file means, who has a cell, and results that do not depend on who was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import sweep_process as command
from snnsim_experiments.place import Place
from snnsim_experiments.runs import run
from snnsim_experiments.sweep import claims
from snnsim_experiments.sweep.claims import holds, is_stale, kept_young, try_claim
from snnsim_experiments.sweep.plan import read_plan, store, stored
from snnsim_experiments.sweep.table import rows
from snnsim_experiments.sweep.work import state_of, work

from snnsim import checkpoint
from snnsim.errors import ConfigError

HEAD = """
data = "spoken-digits"
epochs = 2
[set]
"network.hidden" = [8]
"network.max_delay_ms" = 40
"training.batch_size" = 120
[grid]
"""


def file_of(tmp_path, grid='config = ["default", "none"]\nseed = [0, 1]\n', head=HEAD):
    (tmp_path / "grid.toml").write_text(head + grid)
    return tmp_path / "grid.toml"


def content(folder: Path, plan):
    """What came out of each cell, to the bit, without times and places."""
    found = {}
    for cell in plan.cells:
        summary = json.loads((folder / cell.name / "summary.json").read_text())
        told = {k: v for k, v in summary.items() if k not in ("seconds", "out")}
        tensors, _ = checkpoint.load(folder / cell.name / "last.safetensors")
        bits = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
        found[cell.name] = (told, bits)
    return found


# --- the plan -------------------------------------------------------------------------------------


def test_each_combination_is_a_cell_and_the_last_name_varies_fastest(tmp_path):
    plan = read_plan(file_of(tmp_path))
    told = [(cell.values["config"], cell.values["seed"]) for cell in plan.cells]
    assert told == [("default", 0), ("default", 1), ("none", 0), ("none", 1)]
    assert [cell.name for cell in plan.cells][1] == "1-config=default-seed=1"
    experiment, root = plan.cells[3].experiment()
    assert (experiment.seed, experiment.network["delays"], root) == (1, "none", None)
    assert experiment.recipe.epochs == 2 and experiment.network["hidden"] == [8]


def test_nested_tables_and_data_in_the_grid(tmp_path):
    head = "epochs = 1\n[set.training]\nlr = 0.01\n[grid]\n"
    plan = read_plan(file_of(tmp_path, 'data = ["patterns", "spoken-digits"]\n', head))
    assert [cell.experiment()[0].source for cell in plan.cells] == ["patterns", "spoken-digits"]
    assert plan.cells[0].experiment()[0].recipe.lr == 0.01


def test_places_are_those_of_the_file_wherever_a_worker_runs(tmp_path, monkeypatch):
    (tmp_path / "own.toml").write_text('[network]\ndelays = "none"\n')
    monkeypatch.chdir(tmp_path)
    plan = read_plan(file_of(tmp_path, 'config = ["own.toml", "default"]\n'))
    assert plan.cells[0].values["config"] == str(tmp_path / "own.toml")
    assert plan.cells[1].values["config"] == "default"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[grid]\nseed = [0]\n", "names no data"),
        ('data = "spoken-digits"\nepoch = 2\n', "epoch'; did you mean 'epochs'"),
        ('data = "spoken-digits"\n[grid]\nseed = 3\n', "must be a list"),
        ('data = "spoken-digits"\n[grid]\nseed = []\n', "must be a list"),
        ('data = "spoken-digits"\n[grid]\nseed = [1, 1]\n', "has a value twice"),
        ('data = "spoken-digits"\nseed = 1\n[grid]\nseed = [1]\n', "stands in the grid"),
        ('data = "spoken-digits"\nset = 3\n', r"must be a table \[set\]"),
        ('data = "nowhere"\n', "cell 0: there are no data"),
        ('data = "spoken-digits"\n[set]\n"training.lrr" = 1\n', "cell 0: unknown key"),
        ('data = "spoken-digits"\n[grid]\n"training.lr" = [0.1, -1]\n', "cell 1-lr=-1"),
        ('data = "patterns"\nthreads = 0\n', "threads is 0"),
        ("data = \n", "cannot be read as TOML"),
        ('data = "patterns"\n[grid]\nseed = [' + "1," * 3 + "]\n", "twice"),
    ],
)
def test_files_that_are_no_sweeps_say_why_before_anything_runs(tmp_path, text, wrong):
    (tmp_path / "grid.toml").write_text(text)
    with pytest.raises(ConfigError, match=wrong):
        read_plan(tmp_path / "grid.toml")
    with pytest.raises(ConfigError, match="does not exist"):
        read_plan(tmp_path / "none.toml")


def test_a_folder_holds_one_sweep(tmp_path):
    plan = read_plan(file_of(tmp_path, head="threads = 2\n" + HEAD))
    assert plan.threads == 2
    store(plan, tmp_path / "sweep")
    store(plan, tmp_path / "sweep")
    assert stored(tmp_path / "sweep") == plan
    with pytest.raises(ConfigError, match="other cells"):
        store(read_plan(file_of(tmp_path, "seed = [5]\n")), tmp_path / "sweep")
    with pytest.raises(ConfigError, match="not empty"):
        store(plan, tmp_path)
    with pytest.raises(ConfigError, match="is no sweep"):
        stored(tmp_path)


# --- claims ---------------------------------------------------------------------------------------


def test_one_worker_has_a_cell(tmp_path):
    token = try_claim(tmp_path / "a")
    assert token is not None and holds(tmp_path / "a", token)
    assert try_claim(tmp_path / "a") is None
    with kept_young(tmp_path / "a", token):
        assert try_claim(tmp_path / "a") is None
    assert try_claim(tmp_path / "a") is not None
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_file_of_a_dead_process_is_taken_over_at_once(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    told = {"host": claims.HOST, "pid": process.pid, "token": "x"}
    (tmp_path / "a").write_text(json.dumps(told))
    assert is_stale(tmp_path / "a")
    token = try_claim(tmp_path / "a")
    assert token is not None and holds(tmp_path / "a", token)


def test_the_file_of_another_machine_is_taken_over_when_it_is_old(tmp_path):
    told = {"host": "elsewhere", "pid": 1, "token": "x"}
    (tmp_path / "a").write_text(json.dumps(told))
    assert not is_stale(tmp_path / "a") and try_claim(tmp_path / "a") is None
    old = time.time() - claims.STALE - 10
    os.utime(tmp_path / "a", (old, old))
    assert try_claim(tmp_path / "a") is not None


def test_a_claim_is_kept_young(tmp_path):
    token = try_claim(tmp_path / "a")
    old = time.time() - 1000
    os.utime(tmp_path / "a", (old, old))
    with kept_young(tmp_path / "a", token, beat=0.01):
        for _ in range(500):
            if (tmp_path / "a").stat().st_mtime > old + 500:
                break
            time.sleep(0.01)
        else:
            pytest.fail("it grows old")


def test_a_file_that_was_made_meanwhile_is_not_taken_away(tmp_path, monkeypatch):
    """Another worker replaces the dead one's file between a look at it and its removal."""
    place = tmp_path / "a"
    place.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "dead"}))
    old = time.time() - 1000
    os.utime(place, (old, old))
    looked = is_stale(place)
    place.write_text(json.dumps({"host": "elsewhere", "pid": 2, "token": "fresh"}))
    assert looked and not claims._taken_away(place)
    assert holds(place, "fresh") and [p.name for p in tmp_path.iterdir()] == ["a"]


# --- work -----------------------------------------------------------------------------------------


def test_a_cell_that_cannot_be_trained_is_noted_and_the_others_go_on(tmp_path):
    grid = '"training.lr" = [1e18, 0.005]\n'
    plan = read_plan(file_of(tmp_path, grid))
    store(plan, tmp_path / "sweep")
    assert work(tmp_path / "sweep") == 2
    states = [state_of(tmp_path / "sweep", cell) for cell in plan.cells]
    assert [state.what for state in states] == ["failed", "done"]
    assert "NonFiniteError" in states[0].summary["error"]
    found = rows(tmp_path / "sweep", plan)
    assert [(row["done"], row["failed"]) for row in found] == [(0, 1), (1, 0)]
    told = command("show", tmp_path / "sweep")
    shown, _ = told.communicate(timeout=100)
    assert told.returncode == 1 and "(1 failed)" in shown and "NonFiniteError" in shown


def test_a_cell_that_was_begun_is_gone_on_with(tmp_path):
    plan = read_plan(file_of(tmp_path, "seed = [0]\n"))
    store(plan, tmp_path / "sweep")
    (cell,) = plan.cells
    out = tmp_path / "sweep" / cell.name
    run(cell.experiment()[0].trained(epochs=1), Place(out=out, quiet=True))
    (out / "summary.json").unlink()
    first = (out / "metrics.jsonl").read_text()
    assert work(tmp_path / "sweep") == 1
    assert state_of(tmp_path / "sweep", cell).what == "done"
    assert (out / "metrics.jsonl").read_text().startswith(first)


@pytest.mark.slow
def test_killed_workers_change_no_bit(tmp_path):
    """Two workers, of which two are killed while they train: every cell once, and as by one."""
    grid = 'config = ["default", "none"]\nseed = [0, 1, 2]\n'
    head = HEAD.replace("epochs = 2", "epochs = 6")
    file = file_of(tmp_path, grid, head)
    plan, one, two = read_plan(file), tmp_path / "one", tmp_path / "two"
    store(plan, one)
    single = command(file, "--out", one, "-q")
    assert single.wait(timeout=300) == 0
    sweep = command(file, "--out", two, "--jobs", 2, "--json")
    killed: set[int] = set()
    while sweep.poll() is None and len(killed) < 2:
        for claim in (two / "claims").glob("[0-9]*"):
            trained = (two / claim.name / "metrics.jsonl").exists()
            try:
                pid = json.loads(claim.read_text())["pid"]
            except (OSError, ValueError):
                continue
            if trained and pid not in killed and len(killed) < 2:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        time.sleep(0.02)
    out, err = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, err
    assert len(killed) == 2
    assert [(row["done"], row["failed"]) for row in json.loads(out)] == [(3, 0), (3, 0)]
    assert content(two, plan) == content(one, plan)
    assert not list((two / "claims").iterdir())
    for cell in plan.cells:
        epochs = (two / cell.name / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in epochs] == list(range(6))


def test_the_table_has_means_and_deviations_over_seeds(tmp_path):
    file = file_of(tmp_path)
    sweep = command(file, "--out", tmp_path / "s", "--json", "-q")
    out, err = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, err
    found = json.loads(out)
    assert [row["config"] for row in found] == ["default", "none"]
    figure = found[0]["test_accuracy"]
    assert len(figure["values"]) == 2 and figure["mean"] == sum(figure["values"]) / 2
    again = command("show", tmp_path / "s")
    shown, _ = again.communicate(timeout=100)
    assert "4 cells: 4 done" in shown and "default" in shown
    assert json.loads((tmp_path / "s" / "results.json").read_text()) == found


def test_wrong_commands_say_what_is_wrong(tmp_path):
    for arguments, wrong in (
        (("work",), "name the folder"),
        (("show", tmp_path), "is no sweep"),
        (("work", tmp_path, "--out", tmp_path), "--out is for a new sweep"),
        ((tmp_path / "no.toml",), "does not exist"),
        ((tmp_path / "no.toml", tmp_path), "too many"),
    ):
        process = command(*arguments)
        _, err = process.communicate(timeout=100)
        assert process.returncode == 1 and wrong in " ".join(err.split())


@pytest.mark.slow
def test_an_interrupted_sweep_ends_its_workers_and_says_how_to_go_on(tmp_path):
    head = HEAD.replace("epochs = 2", "epochs = 50")
    out = tmp_path / "s"
    sweep = command(file_of(tmp_path, head=head), "--out", out, "--jobs", 2, start_new_session=True)
    while sweep.poll() is None and len(list(out.glob("*/metrics.jsonl"))) < 2:
        time.sleep(0.02)
    pids = [json.loads(claim.read_text())["pid"] for claim in (out / "claims").glob("[0-9]*")]
    os.killpg(sweep.pid, signal.SIGINT)  # as Ctrl-C, which reaches the workers as well
    _, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 130 and len(pids) == 2
    assert err.count("interrupted;") == 1 and f"go on with: snnsim sweep work {out}" in err
    for pid in pids:
        assert not Path(f"/proc/{pid}").exists()
    assert "2 failed" not in command("show", out).communicate(timeout=100)[0]
    assert not list((out / "failed").iterdir())
