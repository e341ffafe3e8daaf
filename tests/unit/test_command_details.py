"""Details of commands: which kernel, which run, which lock, which spread, which picture."""

from __future__ import annotations

import fcntl
import json
import os
import statistics
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console
from snnsim_experiments import lock, train
from snnsim_experiments.build import Facts
from snnsim_experiments.comparison import row_of_data
from snnsim_experiments.configuration import resolve
from snnsim_experiments.continual import streams
from snnsim_experiments.progress import TerminalWatcher
from snnsim_experiments.similar import similar

import snnsim as sn


def test_the_kernel_of_a_later_connection_is_that_of_the_longer_sequence(monkeypatch):
    asked = []
    monkeypatch.setattr(
        sn.Delayed, "rung", lambda self, steps, samples: asked.append((steps, samples)) or "x"
    )
    options = {"dt": 1.0, "max_delay_ms": 4, "padding": "lengthen"}
    net = sn.Sequential(sn.Delayed(3, 2, **options), sn.Delayed(2, 2, **options))
    config = resolve("spoken-digits", changes=["training.batch_size=7"])
    data = SimpleNamespace(lengths=np.array([5, 9, 3]))
    assert train._rungs(net, config, data) == ["x", "x"]
    assert asked == [(9, 7), (9 + net[0].tail, 7)] and net[0].tail == 2


@pytest.mark.parametrize("way", ["absolute", "relative", "up and down", "link"])
def test_a_run_is_not_like_itself(tmp_path, monkeypatch, way):
    monkeypatch.chdir(tmp_path)
    for name, seed in (("mine", 0), ("other", 1)):
        folder = tmp_path / "all" / name
        folder.mkdir(parents=True)
        config = {"source": "shd", "seed": seed}
        (folder / "run.json").write_text(json.dumps({"config": config}))
    (tmp_path / "link").symlink_to(tmp_path / "all" / "mine")
    given = {
        "absolute": tmp_path / "all" / "mine",
        "relative": Path("all/mine"),
        "up and down": tmp_path / "all" / "other" / ".." / "mine",
        "link": tmp_path / "link",
    }[way]
    for among in (tmp_path / "all", Path("all")):
        rows = similar(given, among)
        assert [Path(row["run"]).name for row in rows] == ["other"]
        assert rows[0]["differs"] == {"seed": 1}


def test_a_lock_that_was_deleted_as_it_was_taken_is_not_one(tmp_path, monkeypatch):
    """The run that held it may end between the opening of the file and its locking."""
    original, calls = fcntl.flock, []

    def late(handle, how):
        calls.append(handle)
        if len(calls) == 1:
            (tmp_path / lock.LOCK).unlink()
        original(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    handle = lock._lock(tmp_path)
    assert len(calls) == 2
    assert os.fstat(handle).st_ino == (tmp_path / lock.LOCK).stat().st_ino
    os.close(handle)


def test_the_spread_of_a_row_is_that_of_a_sample():
    config = resolve("spoken-digits", changes=["network.hidden=[4]", "network.delays=none"])
    facts = Facts(14, 20, 10.0)
    summaries = [
        {"test_accuracy": a, "validation_accuracy": a / 2, "last_test_accuracy": a / 4,
         "seconds": 8 * a, "mean_firing_rate": a / 10, "seed": i}
        for i, a in enumerate((0.5, 0.6, 0.9))
    ]  # fmt: skip
    row = row_of_data(config, summaries, facts)
    assert row["tests"] == pytest.approx([50, 60, 90])
    assert row["test"] == pytest.approx(200 / 3)
    assert row["test_std"] == pytest.approx(statistics.stdev(row["tests"]))
    assert row["validation"] == pytest.approx(100 / 3)
    assert row["last_tests"] == pytest.approx([12.5, 15, 22.5])
    assert row["rate"] == pytest.approx(0.2 / 3) and row["seconds"] == pytest.approx(16 / 3)
    assert row["seeds"] == [0, 1, 2] and row["width"] == 4 and row["causal"] is True
    assert row_of_data(config, summaries[:1], facts)["test_std"] is None


def test_the_first_task_of_a_rotated_stream_is_not_turned(tmp_path):
    generator = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 30), ("test", 20)):
        arrays[f"x_{part}"] = generator.integers(0, 255, (count, 28, 28)).astype(np.uint8)
        arrays[f"y_{part}"] = (np.arange(count) % 10).astype(np.uint8)
    np.savez(tmp_path / "mnist_full.npz", **arrays)
    made = streams.build("rotated-mnist", str(tmp_path), tasks=3, turn=90.0)
    first, second, third = (task.test.batch([0]).x.reshape(28, 28) for task in made.tasks)
    plain = streams.build("split-mnist", str(tmp_path), per_task=10)
    alike = plain.tasks[0].test.batch([0]).x.reshape(28, 28)
    assert torch.allclose(first, alike, atol=1e-4)
    assert not torch.allclose(second, first, atol=0.5)
    assert torch.allclose(third, first.flip(0, 1), atol=1e-4)


def test_the_bar_of_a_resumed_run_starts_where_it_stopped():
    watcher = TerminalWatcher(Console(quiet=True), epochs=5)
    watcher.epoch_started(3, 10)
    (task,) = watcher.bar.tasks
    assert (task.completed, task.total) == (30, 50)
    watcher.step_done(3, 0, 0.5)
    assert task.completed == 31 and "epoch 4/5" in task.description
    watcher.epoch_started(4, 10)
    assert len(watcher.bar.tasks) == 1
