"""Workers as jobs of a cluster: what is submitted, and jobs whose time is over.

There is no SLURM here. ``sbatch`` keeps what it is given, ``srun`` runs its command, and
``scontrol`` notes what it is asked; the jobs themselves are run as SLURM would run them.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import sweep_process as command
from snnsim_experiments.sweep.cluster import Cluster, minutes_of, options_of
from snnsim_experiments.sweep.plan import read_plan

from snnsim import checkpoint
from snnsim.errors import ConfigError

pytest.importorskip("submitit")

GRID = """
data = "spoken-digits"
epochs = 4
[set]
"network.hidden" = [8]
"network.max_delay_ms" = 40
"training.batch_size" = 120
[grid]
seed = [0, 1]
"""
SBATCH = """#!/bin/sh
if [ -n "$REFUSED" ]; then echo "sbatch: error: invalid partition specified" >&2; exit 1; fi
cp "$1" "$FAKE/submitted.sh"
echo "Submitted batch job 4711"
"""
SRUN = """#!/bin/sh
while [ "${1#--}" != "$1" ]; do
    case "$1" in --output|--error) shift;; esac
    shift
done
exec "$@"
"""
SCONTROL = """#!/bin/sh
echo "$@" >> "$FAKE/scontrol.log"
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder with programs that are called as those of SLURM."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("scontrol", SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(folder))
    return folder


@pytest.fixture
def file(tmp_path):
    (tmp_path / "grid.toml").write_text(GRID)
    return tmp_path / "grid.toml"


def told(*arguments, code=0):
    process = command(*arguments)
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, err
    return out if code == 0 else " ".join(err.split())


def job(slurm, number):
    """Run a job of the array that was submitted."""
    environment = {
        "SLURM_JOB_ID": str(4712 + number), "SLURM_ARRAY_JOB_ID": "4711",
        "SLURM_ARRAY_TASK_ID": str(number), "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NODEID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
        "SLURM_JOB_NODELIST": "here",
    }  # fmt: skip
    return subprocess.Popen(["bash", slurm / "submitted.sh"], env=os.environ | environment)


def worker_in_training(folder, process, killed=()):
    """The process that trains a cell of which an epoch is done."""
    while process.poll() is None:
        for claim in (folder / "claims").glob("[0-9]*"):
            try:
                pid = json.loads(claim.read_text())["pid"]
            except (OSError, ValueError):
                continue
            if (folder / claim.name / "metrics.jsonl").exists() and pid not in killed:
                return pid
        time.sleep(0.02)
    pytest.fail("it has ended before it was stopped")


def weights(folder: Path, file):
    found = {}
    for cell in read_plan(file).cells:
        tensors, _ = checkpoint.load(folder / cell.name / "last.safetensors")
        found[cell.name] = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
    return found


# --- what is submitted ----------------------------------------------------------------------------


def test_an_array_of_workers_is_submitted(tmp_path, slurm, file):
    out = tmp_path / "sweep"
    options = ("--cluster", "slurm", "--workers", 3, "--time", "2-0:30", "--partition", "short")
    more = ("--slurm", "account=lab", "--slurm", "exclusive", "--slurm", "mem=8G")
    text = told(file, "--out", out, *options, *more)
    assert "submitted: 4711_0, 4711_1, 4711_2" in text and f"snnsim sweep show {out}" in text
    script = (slurm / "submitted.sh").read_text()
    flags = {line.removeprefix("#SBATCH --") for line in script.splitlines() if "#SBATCH" in line}
    assert flags >= {
        "array=0-2%3", "partition=short", f"time={2 * 24 * 60 + 30}", "account=lab", "exclusive",
        "mem=8G", "requeue", "job-name=sweep", "nodes=1", "cpus-per-task=1", "signal=USR2@90",
        "open-mode=append", f"output={out}/logs/%A_%a_0_log.out",
    }  # fmt: skip
    assert not any(flag.startswith("gpus") for flag in flags)
    assert f"-m submitit.core._submit {out}/logs" in script
    submitted = [pickle.loads(p.read_bytes()) for p in (out / "logs").glob("4711_*_submitted.pkl")]
    assert len(submitted) == 3
    assert all(each._timeout_countdown > 1000 for each in submitted)  # however often it must be
    found = json.loads(told("work", out, "--cluster", "slurm", "--json", "--device", "cuda"))
    assert found == {"folder": str(out), "jobs": ["4711"]}  # one worker more
    script = (slurm / "submitted.sh").read_text()
    assert "--gpus-per-node=1" in script and "--array" not in script
    assert "2 cells: 2 waiting" in told("show", out)


def test_what_the_cluster_refuses_is_told(tmp_path, slurm, file, monkeypatch):
    monkeypatch.setenv("REFUSED", "yes")
    wrong = told(file, "--out", tmp_path / "sweep", "--cluster", "slurm", code=1)
    assert "did not take the jobs" in wrong and "invalid partition specified" in wrong


def test_wrong_options_say_what_is_wrong_before_anything_is_made(tmp_path, file):
    out = tmp_path / "sweep"
    for options, wrong in (
        (("--cluster", "slurm"), "there is no sbatch and no srun here"),
        (("--cluster", "pbs"), "must be one of slurm, local"),
        (("--cluster", "local", "--partition", "short"), "are for --cluster slurm"),
        (("--cluster", "local", "--jobs", 2), "use --workers"),
        (("--workers", 2), "are for --cluster"),
        (("--slurm", "account=lab"), "are for --cluster"),
    ):
        assert wrong in told(file, "--out", out, *options, code=1)
        assert not out.exists()


def test_without_submitit_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError, match=r"pip install 'snnsim\[cluster\]'"):
        Cluster("local")


def test_time_limits_and_options_of_sbatch():
    limits = {"1": 1, "90": 90, "0:01": 1, "1:00:01": 61, "2-12": 3600, "1-0:30:00": 1470}
    assert {text: minutes_of(text) for text in limits} == limits
    for text in ("", "0", "-5", "1:2:3:4", "1-2:3:4:5", "1h", "1.5"):
        with pytest.raises(ConfigError, match="must be a time limit"):
            minutes_of(text)
    given = ["account=lab", "exclusive", "--mail_user=a@b", "comment=a=b", "mem="]
    assert options_of(given) == {
        "account": "lab", "exclusive": True, "mail-user": "a@b", "comment": "a=b", "mem": "",
    }  # fmt: skip
    for text, wrong in (
        ("=lab", "must be key=value"),
        ("a b=c", "must be key=value"),
        ("time=3", "set by --time"),
        ("output=x", "set by nothing"),
    ):
        with pytest.raises(ConfigError, match=wrong):
            options_of([text])
    with pytest.raises(ConfigError, match="given twice"):
        options_of(["mem=1", "mem=2"])


# --- jobs -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_jobs_of_slurm_do_the_work_and_go_back_into_the_queue(tmp_path, slurm, file):
    out, plain = tmp_path / "sweep", tmp_path / "plain"
    told(file, "--out", out, "--cluster", "slurm", "--workers", 2)
    first = job(slurm, 0)
    os.kill(worker_in_training(out, first), signal.SIGUSR2)  # as SLURM before the time limit
    assert first.wait(timeout=60) != 0
    assert (slurm / "scontrol.log").read_text() == "requeue 4711_0\n"
    assert not list((out / "claims").iterdir())
    again = [job(slurm, number) for number in (0, 1)]
    assert [process.wait(timeout=300) for process in again] == [0, 0]
    assert "2 cells: 2 done" in told("show", out)
    told(file, "--out", plain, "-q")
    assert weights(out, file) == weights(plain, file)


@pytest.mark.slow
def test_jobs_on_this_machine_go_on_after_their_time(tmp_path, file):
    out, plain = tmp_path / "sweep", tmp_path / "plain"
    sweep = command(file, "--out", out, "--cluster", "local", "--workers", 2, "--json")
    os.kill(worker_in_training(out, sweep), signal.SIGUSR2)
    text, err = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, err
    (row,) = json.loads(text)
    assert row["done"] == 2 and (out / "results.json").exists()
    assert any("Requeued job" in log.read_text() for log in (out / "logs").glob("*_log.*"))
    told(file, "--out", plain, "-q")
    assert weights(out, file) == weights(plain, file)


@pytest.mark.slow
def test_jobs_on_this_machine_end_with_the_command(tmp_path, file):
    out = tmp_path / "sweep"
    sweep = command(file, "--out", out, "--cluster", "local")
    pid = worker_in_training(out, sweep)
    sweep.send_signal(signal.SIGINT)
    assert sweep.wait(timeout=60) == 130
    for _ in range(500):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.02)
    else:
        pytest.fail("it works on")
