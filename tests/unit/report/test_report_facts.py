"""What a report reads from run folders, and how it compares groups of runs."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
from snnsim_experiments import Experiment, resolve
from snnsim_experiments.report.facts import Run, read_run, read_runs
from snnsim_experiments.report.groups import differences, grouped

from snnsim.errors import CheckpointError, ConfigError
from snnsim.functional.metrics import mean_interval, student_quantile, wilson_interval

# two-sided 95 % quantiles of Student's distribution, from a printed table
STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 30: 2.042, 120: 1.980}


def made(seed: int, test: float, validation: float = 0.5, **changes) -> Run:
    """A run that is only facts, with a recipe that takes ``changes``."""
    experiment: Experiment = resolve("spoken-digits", seed=seed).trained(**changes)
    summary = {
        "test_accuracy": test, "validation_accuracy": validation, "test_samples": 200,
    }  # fmt: skip
    return Run(Path(f"runs/{seed}"), f"seed{seed}", experiment, {}, summary, [])


@pytest.mark.parametrize(("freedom", "expected"), STUDENT.items())
def test_the_quantile_of_student_is_that_of_the_tables(freedom, expected):
    assert student_quantile(0.95, freedom) == pytest.approx(expected, abs=6e-4)


def test_the_quantile_inverts_the_distribution():
    """With 2 degrees of freedom the part between -t and t is t / sqrt(2 + t^2)."""
    for level in (0.1, 0.5, 0.9, 0.999):
        t = student_quantile(level, 2)
        assert t / math.sqrt(2 + t * t) == pytest.approx(level, abs=1e-8)


def test_the_interval_of_a_mean_is_wider_with_fewer_values_and_unknown_of_one():
    assert mean_interval([80.0]) is None
    few, many = mean_interval([1.0, 3.0]), mean_interval([1.0, 3.0] * 8)
    assert few[0] < many[0] < 2 < many[1] < few[1]
    assert few == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-3)


@pytest.mark.parametrize("level", [0, 1, -0.5, math.nan, "much"])
def test_a_level_is_between_0_and_1(level):
    with pytest.raises(ConfigError, match="level"):
        mean_interval([1.0, 2.0], level)


def test_runs_that_differ_only_in_the_seed_are_a_group():
    runs = [made(0, 0.5), made(0, 0.7, lr=0.01), made(1, 0.6), made(2, 0.7)]
    first, second = grouped(runs)
    assert [run.seed for run in first.runs] == [0, 1, 2] and len(second.runs) == 1
    assert second.differs == {"training.lr": 0.01} and second.name == "lr 0.01"
    assert first.mean() == pytest.approx(60) and first.spread() == pytest.approx(10)
    assert first.interval() == pytest.approx((60 - 24.842, 60 + 24.842), abs=1e-2)
    low, high = wilson_interval(140, 200)
    assert second.interval() == pytest.approx((100 * low, 100 * high))
    assert second.spread() is None


def test_a_group_shows_the_run_with_the_best_validation_and_never_that_of_the_test():
    (group,) = grouped([made(0, 0.9, 0.3), made(1, 0.1, 0.8), made(2, 0.5, 0.5)])
    assert group.best().seed == 1


def test_of_errors_the_smallest_is_the_best():
    runs = []
    for seed, error in enumerate((0.4, 0.2, 0.3)):
        run = made(seed, 0.0)
        summary = {"test_nrmse": error, "validation_nrmse": error}
        runs.append(Run(run.folder, run.name, run.experiment, {}, summary, []))
    (group,) = grouped(runs)
    assert group.best().seed == 1 and group.mean() == pytest.approx(0.3)


def test_groups_are_compared_over_the_seeds_that_both_have():
    base = [made(seed, 0.5 + 0.01 * seed) for seed in range(4)]
    other = [made(seed, 0.52 + 0.01 * seed, lr=0.01) for seed in (1, 2, 3, 9)]
    (found,) = differences(grouped([*base, *other]))
    assert found.seeds == (1, 2, 3)
    assert found.mean == pytest.approx(2) and found.interval == pytest.approx((2, 2))
    assert found.clear


def test_a_difference_of_one_seed_or_with_0_in_its_interval_is_not_clear():
    (one,) = differences(grouped([made(0, 0.5), made(0, 0.9, lr=0.01)]))
    assert one.interval is None and not one.clear
    runs = [made(0, 0.5), made(1, 0.5), made(0, 0.6, lr=0.01), made(1, 0.41, lr=0.01)]
    (both,) = differences(grouped(runs))
    assert both.interval[0] < 0 < both.interval[1] and not both.clear


def test_groups_without_a_common_seed_are_not_compared():
    assert differences(grouped([made(0, 0.5), made(1, 0.9, lr=0.01)])) == []


def copied(run: Path, *to: Path) -> list[Path]:
    return [shutil.copytree(run, folder) for folder in to]


def test_a_folder_of_runs_stands_for_all_in_it(run, tmp_path):
    copied(run, tmp_path / "sweep" / "a", tmp_path / "sweep" / "b" / "seed0", tmp_path / "c")
    found = read_runs([tmp_path / "sweep", tmp_path / "c", tmp_path / "sweep" / "a"])
    assert [each.name for each in found] == ["sweep/a", "sweep/b/seed0", "c"]


def test_a_run_that_is_not_finished_has_no_score(run, tmp_path):
    (folder,) = copied(run, tmp_path / "run")
    (folder / "summary.json").unlink()
    found = read_run(folder)
    assert found.score() is None and len(found.rows) == 2
    (group,) = grouped([found])
    assert group.mean() is None and group.interval() is None and group.best() is None


def test_a_line_that_was_cut_off_is_not_there_yet(run, tmp_path):
    (folder,) = copied(run, tmp_path / "run")
    rows = (folder / "metrics.jsonl").read_text()
    (folder / "metrics.jsonl").write_text(rows + rows[:30])
    assert len(read_run(folder).rows) == 2
    (folder / "metrics.jsonl").write_text(rows[:30] + "\n" + rows)
    with pytest.raises(CheckpointError, match="line 1 is not the row of an epoch"):
        read_run(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"config": {}}', "no"])
def test_damaged_runs_are_left_out_with_a_warning_and_alone_are_an_error(run, tmp_path, text):
    _, bad = copied(run, tmp_path / "good", tmp_path / "bad")
    (bad / "run.json").write_text(text)
    with pytest.warns(UserWarning, match="left out: .*bad"):
        assert [each.name for each in read_runs([tmp_path])] == ["good"]
    with pytest.raises(CheckpointError, match="bad"):
        read_runs([bad])


@pytest.mark.parametrize("name", ["nothing", "empty", "file"])
def test_where_there_is_no_run_it_says_so(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match=name):
        read_runs([tmp_path / name])


def test_what_a_run_is_called(run):
    found = read_run(run)
    assert found.title == "spiking network, delays learned on spoken-digits"
    assert found.metric == found.measure == "accuracy" and found.in_percent
    stored = json.loads((run / "summary.json").read_text())
    assert found.score() == pytest.approx(100 * stored["test_accuracy"])
