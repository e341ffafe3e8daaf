"""Training that is killed (SIGKILL) and resumed ends as if nothing had happened.

This file is also a program, which kills runs: at each of the moments at which they put a file in
place, or at random moments. The runs are its children, so that none of them has to import anything.
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

sys.path.insert(0, str(Path(__file__).parent))
from small_runs import exit_codes, forked, read_once

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL"),
]

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
# second epoch is better than the first); best with its temperature, and the summary
FILES = 2 + 2 * 3 + 2


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

    return exit_code(start(folder, replace=replace))


def start(folder: Path, arguments: tuple[str, ...] = SHORT, replace=os.replace) -> int:
    """Train in a child process, whose number is returned."""

    def train() -> int:
        os.replace = replace
        return run(folder, arguments)

    return forked(train)


def exit_code(child: int) -> int:
    return exit_codes([child])[0]


def run(folder: Path, arguments: tuple[str, ...] = SHORT) -> int:
    """Train in this process."""
    sys.argv = ["snnsim", *arguments, "--out", str(folder)]
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def kill_everywhere(folder: Path) -> None:
    """Write the exit codes of a whole run and of every killed run and its resumption."""
    codes = {"whole": [run(folder / "whole")]}
    for moment in range(2 * FILES + 1):
        here = folder / str(moment)
        codes[str(moment)] = [command(here, moment), command(here, None)]
    (folder / "codes.json").write_text(json.dumps(codes))


def program(name: str, folder: Path) -> None:
    """Run a function of this file in a process of its own, from which to fork."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), name, str(folder)]
    with (folder / "log").open("w") as log:
        done = subprocess.run(command, env=environment, stdout=log, stderr=log, timeout=300)
    assert done.returncode == 0, (folder / "log").read_text()[-2000:]


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> tuple[Path, dict[str, list[int]]]:
    folder = tmp_path_factory.mktemp("killed")
    program("kill_everywhere", folder)
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


def signature(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def wait_for_checkpoint(child: int, folder: Path, before: tuple[int, int] | None) -> None:
    """Until ``last.safetensors`` is another one than ``before``."""
    deadline = time.monotonic() + 100
    while signature(folder / "last.safetensors") == before:
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "the run ended by itself"
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.002)


def kill_at_random(place: Path) -> None:
    """Half of the kills fall anywhere in the start, half after a new checkpoint: so it goes on.

    Seed 20 draws the moments, in units of the times that an uninterrupted run takes.
    """
    random = np.random.default_rng(20)
    whole, folder = place / "whole", place / "killed"
    run(place / "warm")  # so that the children need not load the kernels
    begun = time.monotonic()
    child = start(whole, LONG)
    wait_for_checkpoint(child, whole, None)
    started = time.monotonic() - begun
    assert exit_code(child) == 0
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    step = sum(row["seconds"] for row in rows[1:]) / STEPS

    for kill in range(KILLS):
        before = signature(folder / "last.safetensors")
        child = start(folder, LONG)
        if kill % 2 == 0:
            time.sleep(random.uniform(0, started))
        else:
            wait_for_checkpoint(child, folder, before)
            time.sleep(random.uniform(0, 8 * step))
        os.kill(child, signal.SIGKILL)
        assert exit_code(child) == -signal.SIGKILL, kill
    assert not (folder / "summary.json").exists()
    assert exit_code(start(folder, LONG)) == 0


def test_run_killed_at_twenty_random_moments_ends_as_an_uninterrupted_one(tmp_path):
    program("kill_at_random", tmp_path)
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


if __name__ == "__main__":
    from snnsim_datasets import spoken_digits
    from snnsim_experiments import cli
    from snnsim_experiments import train as training

    torch.set_num_threads(1)
    spoken_digits.load = read_once
    training._plot = lambda *_: None  # takes longer than all the rest
    functions = {"kill_everywhere": kill_everywhere, "kill_at_random": kill_at_random}
    functions[sys.argv[1]](Path(sys.argv[2]))
