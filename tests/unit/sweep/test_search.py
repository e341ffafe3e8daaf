"""Searches: what is drawn, what optuna is told, which trials are stopped, and who dies when."""

from __future__ import annotations

import json
import math
import os
import signal
import statistics
import sys
import time
from pathlib import Path

import pytest
from command import sweep_process as command
from snnsim_experiments.place import Place
from snnsim_experiments.runs import run
from snnsim_experiments.sweep import work as worker
from snnsim_experiments.sweep.cells import left, state_of, values_of
from snnsim_experiments.sweep.plan import read_plan, store, stored
from snnsim_experiments.sweep.study import Trials
from snnsim_experiments.sweep.table import rows, shown
from snnsim_experiments.sweep.work import work

from snnsim import checkpoint
from snnsim.errors import ConfigError, NonFiniteError

optuna = pytest.importorskip("optuna")
STATES = optuna.trial.TrialState

HEAD = """
data = "spoken-digits"
epochs = 4
[set]
"network.max_delay_ms" = 40
"training.batch_size" = 120
"""
RATE = '"training.lr" = {low = 1e-4, high = 1.0, log = true}\n'


def plan_of(tmp_path, table=RATE, head=HEAD, **settings):
    settings = {"trials": 6} | settings
    told = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
    (tmp_path / "search.toml").write_text(f"{head}[search]\n{told}{table}")
    return read_plan(tmp_path / "search.toml")


def sweep_of(tmp_path, name="sweep", **settings):
    plan, folder = plan_of(tmp_path, **settings), tmp_path / name
    store(plan, folder)
    return plan, folder


def trainer(score, trained=None):
    """What trains nothing: ``score(lr, epoch)`` is the validation accuracy of an epoch."""

    def train(experiment, place, seeds=None):
        place.out.mkdir(exist_ok=True)
        (place.out / "run.json").write_text("{}")
        file = place.out / "metrics.jsonl"
        found = [json.loads(line) for line in file.read_text().splitlines()] if place.resume else []
        for epoch in range(len(found), experiment.recipe.epochs):
            if trained is not None:
                trained.append((place.out.name, epoch))
            accuracy = score(experiment.recipe.lr, epoch)
            row = {"epoch": epoch, "validation_accuracy": accuracy, "validation_loss": -accuracy}
            found.append(row)
            file.write_text("".join(json.dumps(each) + "\n" for each in found))
            place.after_epoch(row)
        best = max(row["validation_accuracy"] for row in found)
        told = {"validation_accuracy": best, "test_accuracy": best - 0.1, "seed": 0}
        (place.out / "summary.json").write_text(json.dumps(told))

    return train


def rates(folder, plan):
    return [values_of(folder, cell)["training.lr"] for cell in plan.cells]


def trials_of(folder):
    """What optuna has of the first search of a sweep."""
    return Trials(folder, stored(folder))._study(0).get_trials()


# --- the plan -------------------------------------------------------------------------------------


def test_a_trial_is_a_cell_and_each_combination_of_the_grid_has_a_search(tmp_path):
    plan, folder = sweep_of(tmp_path)
    assert [cell.name for cell in plan.cells] == [f"trial{number}" for number in range(6)]
    assert stored(folder) == plan and stored(folder).name == plan.name
    store(plan_of(tmp_path), folder)
    with pytest.raises(ConfigError, match="other cells"):
        store(plan_of(tmp_path, seed=1), folder)
    head = HEAD + '[grid]\nconfig = ["default", "none"]\n'
    both = plan_of(tmp_path, head=head, trials=11)
    assert len(both.cells) == 22
    assert [cell.name for cell in both.cells[:3]] == [
        "0-config=default-trial00", "1-config=none-trial00", "0-config=default-trial01",
    ]  # fmt: skip
    assert [(cell.study, cell.trial) for cell in both.cells[:3]] == [(0, 0), (1, 0), (0, 1)]


def test_nested_tables_are_the_same_as_names_with_a_dot(tmp_path):
    plan = plan_of(tmp_path, "[search.training]\nlr = {low = 1e-4, high = 1.0, log = true}\n")
    assert plan.search == plan_of(tmp_path).search
    assert plan.search.space == {
        "training.lr": {"low": 1e-4, "high": 1.0, "log": True, "step": None}
    }


def test_places_that_are_searched_are_those_of_the_file_wherever_a_worker_runs(
    tmp_path, monkeypatch
):
    (tmp_path / "own.toml").write_text('[network]\ndelays = "none"\n')
    monkeypatch.chdir(tmp_path)
    plan = plan_of(tmp_path, 'config = ["own.toml", "default"]\n')
    assert plan.search.space == {"config": [str(tmp_path / "own.toml"), "default"]}


@pytest.mark.parametrize(
    ("table", "settings", "wrong"),
    [
        (RATE, {"objective": "test_accuracy"}, "a figure of the test data"),
        (RATE, {"objective": "last_test_loss"}, "a figure of the test data"),
        (RATE, {"objective": "validation_acuracy"}, "did you mean 'validation_accuracy'"),
        (RATE, {"trials": 0}, "trials of the search is 0"),
        (RATE, {"trials": 100_000}, "more than 10000 cells"),
        (RATE, {"seed": -1}, "seed is -1"),
        (RATE, {"warmup": 0}, "warmup of the search is 0"),
        (RATE, {"prune": "mean"}, "must be one of none, median, halving"),
        (RATE, {"sampler": "grid"}, "must be one of tpe, random"),
        (RATE, {"direction": "up"}, "must be one of maximize, minimize"),
        (RATE, {"storage": 3}, "must be the URL"),
        (RATE, {"prunes": "median"}, "'prunes'; did you mean 'prune'"),
        ("", {}, "no values to search"),
        ('"training.lr" = 0.1\n', {}, "must be a list of two values or more, or a range"),
        ('"training.lr" = [0.1]\n', {}, "must be a list of two values or more, or a range"),
        ('"training.lr" = [0.1, 0.1]\n', {}, "has a value twice"),
        ('"training.lr" = {low = 0.1}\n', {}, "or a range"),
        ('"training.lr" = {low = 0.1, high = 0.1}\n', {}, "low must be smaller than high"),
        ('"training.lr" = {low = 0.1, high = inf}\n', {}, "must be numbers"),
        ('"training.lr" = {low = 0.1, high = true}\n', {}, "must be numbers"),
        ('"training.lr" = {low = 0.0, high = 1.0, log = true}\n', {}, "begins above 0"),
        ('"training.lr" = {low = 0.1, high = 1.0, log = 1}\n', {}, "log must be"),
        ('"training.lr" = {low = 0.1, high = 1.0, step = 0.0}\n', {}, "step must be larger"),
        ('"training.batch_size" = {low = 1, high = 3, step = 0.5}\n', {}, "has a whole step"),
        ('"training.lr" = {low = -1.0, high = 1.0}\n', {}, "cell 0: "),
        ('"training.lrr" = [1, 2]\n', {}, "cell 0: unknown key"),
        ('"training.batch_size" = [1, 2]\n', {}, "stands in the search of"),
        ('"network.hidden" = [[8], "x"]\n', {}, "cell 0: "),
        ("root = ['a', 'b']\n", {}, "has 'root'"),
    ],
)
def test_tables_that_are_no_searches_say_why_before_anything_runs(tmp_path, table, settings, wrong):
    with pytest.raises(ConfigError, match=wrong):
        plan_of(tmp_path, table, **settings)


def test_without_optuna_the_error_names_the_extra(tmp_path, monkeypatch):
    _, folder = sweep_of(tmp_path)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'snnsim\[search\]'"):
        plan_of(tmp_path)
    with pytest.raises(ConfigError, match=r"pip install 'snnsim\[search\]'"):
        work(folder)
    assert rows(folder, stored(folder))[0]["done"] == 0  # which needs none


# --- what is drawn --------------------------------------------------------------------------------


def test_values_are_of_their_kind_and_reach_the_experiment(tmp_path, monkeypatch):
    table = (
        '"network.hidden" = [[8], [8, 8]]\nconfig = ["default", "none"]\n'
        'epochs = {low = 1, high = 3}\n"training.weight_decay" = {low = 0, high = 1, step = 1}\n'
        '"training.lr" = {low = 0.1, high = 0.5, step = 0.2}\n'
    )
    head = HEAD.replace("epochs = 4\n", "")
    plan, folder = sweep_of(tmp_path, table=table, head=head, trials=12, sampler="random")
    seen = []
    train = trainer(lambda lr, epoch: 0.5)

    def look(experiment, place, seeds=None):
        seen.append(experiment)
        train(experiment, place)

    monkeypatch.setattr(worker, "run", look)
    assert work(folder) == 12
    assert {tuple(each.network["hidden"]) for each in seen} == {(8,), (8, 8)}
    assert {each.network["delays"] for each in seen} == {"none", "learned"}
    assert {each.recipe.epochs for each in seen} == {1, 2, 3}
    assert {round(each.recipe.lr, 9) for each in seen} == {0.1, 0.3, 0.5}
    for cell, experiment in zip(plan.cells, seen, strict=True):
        assert values_of(folder, cell)["training.lr"] == experiment.recipe.lr


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_seed_gives_the_same_trials(tmp_path, monkeypatch, sampler):
    monkeypatch.setattr(worker, "run", trainer(lambda lr, epoch: -((math.log10(lr) + 2) ** 2)))
    found = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        options = {"sampler": sampler, "seed": seed, "startup": 3, "trials": 8}
        plan, folder = sweep_of(tmp_path, name, **options)
        work(folder)
        found.append(rates(folder, plan))
    assert found[0] == found[1] and len(set(found[0])) == 8
    assert not set(found[0]) & set(found[2])


def test_the_sampler_is_told_what_came_of_its_trials(tmp_path, monkeypatch):
    """The trials go where the figure is good: to one end of the range, or to the other."""
    found = {}
    for name, sign in (("small", -1), ("large", 1)):
        monkeypatch.setattr(worker, "run", trainer(lambda lr, _, s=sign: s * math.log10(lr)))
        plan, folder = sweep_of(tmp_path, name, trials=30, startup=10)
        work(folder)
        found[name] = [math.log10(rate) for rate in rates(folder, plan)]
        told = trials_of(folder)
        assert [trial.value for trial in told] == pytest.approx([sign * r for r in found[name]])
    assert found["small"][:10] == found["large"][:10]
    assert statistics.median(found["small"][10:]) < -3 < -1 < statistics.median(found["large"][10:])
    monkeypatch.setattr(worker, "run", trainer(lambda lr, _: math.log10(lr)))
    plan, folder = sweep_of(tmp_path, "random", trials=30, sampler="random")
    work(folder)  # which is told as well, and does not learn
    drawn = [math.log10(rate) for rate in rates(folder, plan)]
    assert -3 < statistics.median(drawn[10:]) < -1


def test_the_best_is_that_of_the_direction_of_its_figure(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "run", trainer(lambda lr, _: lr))
    for objective, best in (("validation_accuracy", max), ("validation_loss", min)):
        plan, folder = sweep_of(tmp_path, objective, objective=objective)
        work(folder)
        (row,) = rows(folder, plan)
        assert row["best"]["values"]["training.lr"] == max(rates(folder, plan))
        assert row["best"][objective] == best(each[objective] for each in row["trials"])
        assert row["best"]["test_accuracy"] == pytest.approx(max(rates(folder, plan)) - 0.1)
        titles, lines = shown([row], plan)
        assert titles == ["trials", "pruned", "best", "lr", objective, "test_accuracy"]
        assert lines[0][:3] == ["6", "0", row["best"]["cell"]]


def test_an_objective_that_these_data_have_not_is_told(tmp_path, monkeypatch):
    plan, folder = sweep_of(tmp_path, objective="validation_mse", trials=1)
    monkeypatch.setattr(worker, "run", trainer(lambda lr, _: lr))
    work(folder)
    error = state_of(folder, plan.cells[0]).summary["error"]
    assert "have validation_accuracy, validation_loss" in error
    assert rows(folder, plan)[0]["failed"] == 1


# --- what is stopped ------------------------------------------------------------------------------


@pytest.mark.parametrize("prune", ["median", "halving"])
def test_a_bad_trial_is_stopped_early_and_called_pruned(tmp_path, monkeypatch, prune):
    options = {"sampler": "random", "trials": 12, "prune": prune, "startup": 3, "warmup": 2}
    plan, folder = sweep_of(tmp_path, **options)
    monkeypatch.setattr(worker, "run", trainer(lambda lr, epoch: math.log10(lr) + epoch))
    work(folder)
    states = [state_of(folder, cell) for cell in plan.cells]
    assert {(state.what, state.epochs) for state in states} == {("done", 4), ("pruned", 2)}
    told = [trial.state for trial in trials_of(folder)]
    names = {"done": STATES.COMPLETE, "pruned": STATES.PRUNED}
    assert told == [names[state.what] for state in states]
    (row,) = rows(folder, plan)
    assert row["pruned"] == sum(state.what == "pruned" for state in states) > 2
    assert row["done"] + row["pruned"] == 12 and left(folder, plan) == 0
    done = [rate for rate, s in zip(rates(folder, plan), states, strict=True) if s.what == "done"]
    assert row["best"]["values"]["training.lr"] == max(done) == max(rates(folder, plan))
    if prune == "median":
        assert [state.what for state in states[:3]] == ["done"] * 3


def test_none_is_stopped_after_its_last_epoch_or_where_nobody_asks_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "run", trainer(lambda lr, epoch: math.log10(lr) + epoch))
    for name, more in (("a", {"prune": "median", "warmup": 4}), ("b", {})):
        options = {"sampler": "random", "startup": 1, **more}
        plan, folder = sweep_of(tmp_path, name, **options)
        work(folder)
        assert {state_of(folder, cell).what for cell in plan.cells} == {"done"}


def test_a_loss_that_diverges_is_bad_news_of_the_values_and_a_full_disk_is_not(
    tmp_path, monkeypatch
):
    train = trainer(lambda lr, _: 0.5)

    def fail(experiment, place, seeds=None):
        if place.out.name == "trial1":
            raise NonFiniteError("the loss is NaN")
        if place.out.name == "trial2":
            raise OSError("no space left")
        train(experiment, place)

    plan, folder = sweep_of(tmp_path, trials=4)
    monkeypatch.setattr(worker, "run", fail)
    assert work(folder) == 4
    told = [trial.state for trial in trials_of(folder)]
    assert told == [STATES.COMPLETE, STATES.PRUNED, STATES.FAIL, STATES.COMPLETE]
    (row,) = rows(folder, plan)
    assert (row["done"], row["pruned"], row["failed"]) == (2, 0, 2)
    before = rates(folder, plan)
    monkeypatch.setattr(worker, "run", train)
    for name in ("trial1", "trial2"):
        (folder / "failed" / f"{name}.json").unlink()
    assert work(folder) == 2  # tried again with the same values
    assert rates(folder, plan) == before and rows(folder, plan)[0]["done"] == 4


def test_a_run_that_is_stopped_from_outside_goes_on_to_the_same_bits(tmp_path):
    class Stop(Exception):
        pass

    def stop(row):
        assert (tmp_path / "b" / "last.safetensors").exists() and row["epoch"] == 0
        raise Stop

    head = HEAD.replace("epochs = 4", "epochs = 2")
    cell = plan_of(tmp_path, '"network.hidden" = [[8], [9]]\n', head).cells[0]
    experiment, _ = cell.with_values({"network.hidden": [8]}).experiment()
    run(experiment, Place(out=tmp_path / "a", quiet=True))
    with pytest.raises(Stop):
        run(experiment, Place(out=tmp_path / "b", quiet=True, after_epoch=stop))
    seen = []
    place = Place(out=tmp_path / "b", quiet=True, resume=True, after_epoch=seen.append)
    run(experiment, place)
    assert [row["epoch"] for row in seen] == [1]
    bits = [checkpoint.load(tmp_path / name / "last.safetensors")[0] for name in "ab"]
    assert all(bits[0][name].equal(bits[1][name]) for name in bits[0])


# --- who dies when --------------------------------------------------------------------------------


class Death(BaseException):
    pass


def dying(monkeypatch, where, name):
    """Let the next call of a method end the worker before it does anything."""
    method = getattr(where, name)

    def die(*_):
        monkeypatch.setattr(where, name, method)
        raise Death

    monkeypatch.setattr(where, name, die)


@pytest.mark.parametrize("moment", ["before drawing", "before storing", "before telling", "epoch"])
def test_a_worker_that_dies_changes_no_trial(tmp_path, monkeypatch, moment):
    from snnsim_experiments.sweep import study

    trained: list = []
    monkeypatch.setattr(
        worker, "run", trainer(lambda lr, e: -((math.log10(lr) + 2) ** 2) + e, trained)
    )
    options = {"startup": 3, "trials": 8, "prune": "median"}
    plan, whole = sweep_of(tmp_path, "whole", **options)
    work(whole)
    begun, trained[:] = list(trained), []
    _, folder = sweep_of(tmp_path, "broken", **options)
    for number in range(4):
        if moment == "before drawing":
            dying(monkeypatch, study, "_drawn")
        elif moment == "before storing":
            dying(monkeypatch, study, "write_json")
        elif moment == "before telling":
            dying(monkeypatch, Trials, "_tell")
        else:
            dying(monkeypatch, Trials, "heed")
        with pytest.raises(Death):
            work(folder)
        assert left(folder, plan) >= 8 - number - 1
    work(folder)
    assert rates(folder, plan) == rates(whole, plan)
    assert trained == begun
    ended = [(t.state, t.value, t.intermediate_values) for t in trials_of(folder)]
    assert ended == [(t.state, t.value, t.intermediate_values) for t in trials_of(whole)]


def test_trials_can_be_in_a_database_that_several_sweeps_share(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "run", trainer(lambda lr, _: lr))
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    for name in ("a", "b"):
        _, folder = sweep_of(tmp_path, name, storage=url, trials=3)
        work(folder)
        assert [trial.state for trial in trials_of(folder)] == [STATES.COMPLETE] * 3
        assert not (folder / "journal.log").exists()
    assert len(optuna.get_all_study_names(url)) == 2
    _, folder = sweep_of(tmp_path, "c", storage="nosuch://x/y")
    with pytest.raises(ConfigError, match="nosuch://x/y, cannot be used"):
        work(folder)


SMALL = '"network.hidden" = [[4], [8]]\n' + RATE


def results(folder: Path, plan):
    """What came out of each cell, to the bit, without times."""
    found = {}
    for cell in plan.cells:
        tensors, _ = checkpoint.load(folder / cell.name / "last.safetensors")
        bits = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
        state = state_of(folder, cell)
        found[cell.name] = (state.what, state.epochs, values_of(folder, cell), bits)
    return found


@pytest.mark.slow
def test_a_killed_worker_of_a_search_changes_no_bit(tmp_path):
    """One worker that is killed twice while it trains: the same trials, values and weights."""
    plan = plan_of(tmp_path, SMALL, trials=6, startup=2, prune="median")
    file, one, two = tmp_path / "search.toml", tmp_path / "one", tmp_path / "two"
    single = command(file, "--out", one, "-q")
    _, err = single.communicate(timeout=300)
    assert single.returncode == 0, err
    sweep = command(file, "--out", two, "--json")
    killed: set[int] = set()
    while sweep.poll() is None and len(killed) < 2:
        for claim in (two / "claims").glob("trial*"):
            try:
                pid = json.loads(claim.read_text())["pid"]
            except (OSError, ValueError):
                continue
            if (two / claim.name / "metrics.jsonl").exists() and pid not in killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        time.sleep(0.02)
    out, err = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, err
    assert len(killed) == 2
    assert results(two, plan) == results(one, plan)
    assert sum(state_of(two, cell).what == "pruned" for cell in plan.cells) > 0
    told, of_one = (json.loads((f / "results.json").read_text()) for f in (two, one))
    assert json.loads(out) == told and told[0]["trials"] == of_one[0]["trials"]
    for cell in plan.cells:
        lines = (two / cell.name / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == list(range(len(lines)))


@pytest.mark.slow
def test_two_workers_never_have_the_same_trial(tmp_path):
    head = HEAD.replace("epochs = 4", "epochs = 1")
    plan = plan_of(tmp_path, SMALL, head, trials=8, startup=3)
    folder = tmp_path / "sweep"
    sweep = command(tmp_path / "search.toml", "--out", folder, "--jobs", 2)
    out, err = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, err
    assert "8 cells: 8 done" in out and "pruned" in out
    assert len(set(rates(folder, plan))) == 8
    for cell in plan.cells:
        run_json = json.loads((folder / cell.name / "run.json").read_text())
        assert run_json["config"]["training"]["lr"] == values_of(folder, cell)["training.lr"]
    told = trials_of(folder)
    assert [trial.state for trial in told] == [STATES.COMPLETE] * 8
    assert [trial.params["training.lr"] for trial in told] == rates(folder, plan)
    assert not list((folder / "claims").iterdir())
