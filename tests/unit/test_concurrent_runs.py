"""Runs that start into one folder while another is at work: one writes, the others are refused.

This file is also a program: a run that stops in its first training step and waits to be killed.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from command import assert_one_error
from small_runs import DIGITS, WRITERS, contents, exit_codes, forked, wait_for

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
ROUNDS = 4


def program(*arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


# --- a second run while the first one works -----------------------------------------------------


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    """A folder for each kind of run, with a run at work in it; and how to kill that run."""
    place = tmp_path_factory.mktemp("busy")
    process = program("wait", place)
    folders = {kind: place / kind.replace(" ", "-") for kind in WRITERS}
    try:
        wait_for(lambda: process.poll() is not None or (place / "pids.json").exists(), 100)
        pids = json.loads((place / "pids.json").read_text())
        yield folders, pids
    finally:
        process.kill()
        process.wait()


def other_writers(kind: str) -> list[str]:
    """The same command, and another one into the same folder."""
    return [kind, "baselines train" if kind != "baselines train" else "train"]


@pytest.mark.parametrize("resume", [False, True], ids=["fresh", "resumed"])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_second_run_is_refused_and_the_first_one_is_left_alone(snnsim, busy, kind, resume):
    folder = busy[0][kind]
    before = contents(folder)
    for command in other_writers(kind):
        answer = snnsim(*WRITERS[command], "--out", folder, *(["--resume"] if resume else []))
        assert_one_error(answer, str(folder), "in use by another run")
    assert contents(folder) == before


@pytest.mark.parametrize("kind", ["continual compare", "baselines compare"])
def test_a_run_within_a_comparison_at_work_is_refused(snnsim, busy, kind):
    inner = next(p.parent for p in busy[0][kind].rglob("run.json"))
    command = WRITERS["continual run" if kind == "continual compare" else "baselines train"]
    for resume in ([], ["--resume"]):
        answer = snnsim(*command, "--out", inner, *resume)
        assert_one_error(answer, str(inner), "another run")


@pytest.mark.parametrize("kind", WRITERS)
def test_the_lock_dies_with_its_process(snnsim, busy, kind):
    folders, pids = busy
    os.kill(pids[kind], signal.SIGKILL)
    wait_for(lambda: Path(f"/proc/{pids[kind]}/stat").read_text().split()[2] == "Z", 20)
    answer = snnsim(*WRITERS[kind], "--out", folders[kind], "--resume")
    assert answer.code == 0, answer.err


def test_a_lock_file_without_a_holder_is_no_obstacle(snnsim, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "run.lock").write_text("4242")
    answer = snnsim(*DIGITS, "--out", out)
    assert answer.code == 0, answer.err


def test_a_lock_file_that_is_a_link_does_not_harm_what_it_leads_to(snnsim, tmp_path):
    out, victim = tmp_path / "out", tmp_path / "victim"
    out.mkdir()
    victim.write_text("years of work")
    (out / "run.lock").symlink_to(victim)
    snnsim(*DIGITS, "--out", out)
    assert victim.read_text() == "years of work"


# --- starts of the same moment -----------------------------------------------------------------


@pytest.fixture(scope="module")
def races(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("races")
    process = program("race", place)
    assert process.wait(200) == 0
    return place


@pytest.mark.parametrize("number", range(ROUNDS))
def test_of_two_starts_into_one_folder_one_is_refused_and_one_is_whole(races, number):
    codes = json.loads((races / f"{number}.json").read_text())
    assert sorted(codes) == [0, 1]
    folder = races / str(number)
    facts = json.loads((folder / "run.json").read_text())
    summary = json.loads((folder / "summary.json").read_text())
    assert facts["seed"] == summary["seed"] == codes.index(0)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1]


# --- the program ----------------------------------------------------------------------------------


def run(arguments: list[str]) -> int:
    sys.argv = ["snnsim", *map(str, arguments)]
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def wait_in_first_step(place: Path) -> None:
    """Start every kind of run; each writes its name's ``.ready`` in its first step, and waits."""

    def start(kind: str, name: str) -> int:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # die with the parent

        def wait(self, *_, **__):
            (place / f"{name}.ready").touch()
            time.sleep(600)

        torch.Tensor.backward = wait
        return run([*WRITERS[kind], "--out", place / name])

    pids = {}
    for kind in ("train", "baselines train", "continual run"):  # so that the children load nothing
        run([*WRITERS[kind], "--out", place / f"warm {kind}"])
    for kind in WRITERS:
        name = kind.replace(" ", "-")
        pids[kind] = forked(lambda kind=kind, name=name: start(kind, name))
        wait_for((place / f"{name}.ready").exists)
    (place / "pids.tmp").write_text(json.dumps(pids))
    (place / "pids.tmp").rename(place / "pids.json")
    time.sleep(600)


def race(place: Path) -> None:
    """Pairs of runs into one folder that start together, with the seeds 0 and 1."""
    run([*DIGITS, "--out", place / "warm"])  # so that the children need not load the kernels
    for number in range(ROUNDS):
        out, moment = place / str(number), time.monotonic() + 0.1

        def start(seed: int, out=out, moment=moment, apart=0.02 * number) -> int:
            time.sleep(max(moment - time.monotonic(), 0) + apart * seed)
            return run([*DIGITS, "--seed", seed, "--out", out])

        children = [forked(lambda seed=seed: start(seed)) for seed in (0, 1)]
        (place / f"{number}.json").write_text(json.dumps(exit_codes(children)))


if __name__ == "__main__":
    import torch
    from snnsim_experiments import cli, train

    torch.set_num_threads(1)
    train._plot = lambda *_: None  # takes longer than all the rest
    {"wait": wait_in_first_step, "race": race}[sys.argv[1]](Path(sys.argv[2]))
