"""Running the command line from a test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import snnsim_datasets
from snnsim_experiments.cli import app
from typer.testing import CliRunner, Result

TEST_FILE = Path(snnsim_datasets.__file__).parent / "data" / "spoken_digits_test.h5.gz"
SMALL = ("--set", "network.hidden=[16]", "--set", "network.max_delay_ms=40", "--quiet")
TRAIN = ("spoken-digits", "train", "--epochs", "2", *SMALL)


class Answer(NamedTuple):
    code: int
    out: str
    err: str


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "snnsim_experiments", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        check=False,
    )


def heeding_interrupts() -> None:
    """Let a process heed Ctrl-C also where tests run in the background, which ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def started(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start the command in a process of its own, without waiting for its end."""
    return subprocess.Popen(
        [sys.executable, "-m", "snnsim_experiments", *map(str, arguments)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=heeding_interrupts,
        **options,
    )


def sweep_process(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start ``snnsim sweep`` in a process of its own."""
    return started("sweep", *arguments, **options)


def snnsim(*arguments: object) -> Result:
    """Run ``snnsim continual`` in this process, as typer's tests do."""
    return CliRunner().invoke(app, ["continual", *map(str, arguments)])


def assert_refused(answer: Answer, *texts: str) -> None:
    """One error, or what the command line itself says of an option that is out of its range."""
    if answer.code != 2:
        return assert_one_error(answer, *texts)
    assert answer.out == "", answer
    assert "Invalid value" in answer.err and "Traceback" not in answer.err, answer
    for text in texts:
        assert text in answer.err, (text, answer)


def assert_one_error(answer: Answer, *texts: str) -> None:
    """Exit code 1, nothing on stdout and a single line that names all of ``texts``."""
    assert answer.code == 1, answer
    assert answer.out == "", answer
    lines = answer.err.strip().splitlines()
    assert len(lines) == 1, answer
    assert lines[0].startswith("error: "), answer
    for text in texts:
        assert text in lines[0], (text, answer)
