"""Training that is killed (SIGKILL) and resumed ends as if nothing had happened.

This file is also a program, which kills a run at each of the moments at which it puts a file
in place.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from snnsim.training import checkpoint

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

SMALL = (
    "spoken-digits", "train", "--resume", "--quiet",
    "--set", "network.hidden=[16]", "--set", "network.max_delay_ms=40",
)  # fmt: skip
SHORT = (*SMALL, "--epochs", "2")
LONG = (
    *SMALL, "--epochs", "25",
    "--set", "training.checkpoint_steps=1", "--set", "training.batch_size=32",
)  # fmt: skip
STEPS = 25 * 12  # of LONG: 380 samples in batches of 32
KILLS = 20
# of SHORT: initial weights and run.json; at the end of each epoch best, metrics and last (the
# second epoch is better than the first); the summary
FILES = 2 + 2 * 3 + 1


def without_seconds(values: dict) -> dict:
    return {k: v for k, v in values.items() if k != "seconds"}


def assert_same_run(folder: Path, whole: Path) -> None:
    """Equal to the bit in everything but the times."""
    for name in ("initial", "best", "last"):
        a, a_values = checkpoint.load(whole / f"{name}.safetensors")
        b, b_values = checkpoint.load(folder / f"{name}.safetensors")
        assert a.keys() == b.keys()
        assert [n for n in a if not torch.equal(a[n], b[n])] == []
        for values in (a_values, b_values):
            values["position"] = without_seconds(values.get("position", {}))
        assert a_values == b_values
    rows, summaries = [], []
    for path in (folder, whole):
        lines = (path / "metrics.jsonl").read_text().splitlines()
        rows.append([without_seconds(json.loads(line)) for line in lines])
        summaries.append(without_seconds(json.loads((path / "summary.json").read_text())))
    assert rows[0] == rows[1]
    assert summaries[0] == summaries[1]


# --- at each moment at which a file is put in place --------------------------------------------


def command(folder: Path, kill_at: int | None) -> int:
    """Train in a child process, killed before (even) or after (odd) a file is put in place."""
    child = os.fork()
    if child == 0:
        place, calls = os.replace, itertools.count()

        def replace(source, target):
            if Path(target).parent != folder:
                return place(source, target)
            call = 2 * next(calls)
            if call == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            place(source, target)
            if call + 1 == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        os.replace = replace
        code = 1
        try:
            code = run(folder)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(folder: Path) -> int:
    """Train in this process."""
    sys.argv = ["snnsim", *SHORT, "--out", str(folder)]
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.stdout.flush()
    return 0


def kill_everywhere(folder: Path) -> None:
    """Write the exit codes of a whole run and of every killed run and its resumption."""
    codes = {"whole": [run(folder / "whole")]}
    for moment in range(2 * FILES + 1):
        here = folder / str(moment)
        codes[str(moment)] = [command(here, moment), command(here, None)]
    (folder / "codes.json").write_text(json.dumps(codes))


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> tuple[Path, dict[str, list[int]]]:
    folder = tmp_path_factory.mktemp("killed")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    program = [sys.executable, str(Path(__file__).resolve()), str(folder)]
    with (folder / "log").open("w") as log:
        subprocess.run(program, env=environment, stdout=log, stderr=log, timeout=200, check=True)
    return folder, json.loads((folder / "codes.json").read_text())


@pytest.mark.parametrize("moment", range(2 * FILES))
def test_run_killed_as_it_puts_a_file_in_place_goes_on(killed, moment):
    folder, codes = killed
    assert codes["whole"] == [0]
    log = (folder / "log").read_text().splitlines()
    errors = [line for line in log if line.startswith("error: ") and f"/{moment} " in line]
    assert codes[str(moment)] == [-signal.SIGKILL, 0], errors
    assert_same_run(folder / str(moment), folder / "whole")


def test_no_file_is_put_in_place_after_the_last_of_these_moments(killed):
    assert killed[1][str(2 * FILES)] == [0, 0]


# --- at random moments ------------------------------------------------------------------------


def start(folder: Path, log) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "snnsim_experiments", *LONG, "--out", str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=log,
        stderr=log,
    )


def signature(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def wait_for_checkpoint(process: subprocess.Popen, folder: Path, before) -> None:
    """Until ``last.safetensors`` is another one than ``before``."""
    deadline = time.monotonic() + 100
    while signature(folder / "last.safetensors") == before:
        assert process.poll() is None, "the run ended by itself"
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.002)


@pytest.mark.slow
def test_run_killed_at_twenty_random_moments_ends_as_an_uninterrupted_one(tmp_path):
    """Half of the kills fall anywhere in the start, half after a new checkpoint: so it goes on.

    Seed 20 draws the moments, in units of the times that the uninterrupted run took.
    """
    random = np.random.default_rng(20)
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    with (tmp_path / "log").open("w") as log:
        begun = time.monotonic()
        process = start(whole, log)
        wait_for_checkpoint(process, whole, None)
        started = time.monotonic() - begun
        assert process.wait(200) == 0
        rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
        step = sum(row["seconds"] for row in rows[1:]) / STEPS

        for kill in range(KILLS):
            before = signature(folder / "last.safetensors")
            process = start(folder, log)
            if kill % 2 == 0:
                time.sleep(random.uniform(0, started))
            else:
                wait_for_checkpoint(process, folder, before)
                time.sleep(random.uniform(0, 8 * step))
            process.kill()
            code = process.wait(100)
            assert code == -signal.SIGKILL, (kill, code, (tmp_path / "log").read_text()[-2000:])
        assert not (folder / "summary.json").exists()
        process = start(folder, log)
        assert process.wait(200) == 0, (tmp_path / "log").read_text()[-2000:]
    assert_same_run(folder, whole)


if __name__ == "__main__":
    from snnsim_experiments import cli
    from snnsim_experiments import train as training

    torch.set_num_threads(1)
    training._plot = lambda *_: None  # takes longer than all the rest
    kill_everywhere(Path(sys.argv[1]))
