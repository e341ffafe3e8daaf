"""Runs generated cases in worker processes with bounded time and memory, and judges each.

    cases = [Case("wav", seed=0, index=i, function="files:wav") for i in range(100)]
    for outcome in run(cases):
        assert outcome.good, outcome

A case's function is called as ``function(place, rng, **args)``. It writes its files below
``place.folder``, gives them to the project, and returns if the answer is right; it raises
``Silent`` if an answer came that is wrong, and lets every error of the project pass. The generator
is drawn from (kind, seed, index) alone, so that a case can be had again by itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
SECONDS = 30.0  # of one case
BYTES = 2 << 30  # that a case may take, beyond what its worker has when it begins
GOOD = ("right", "error")
BAD = ("silent", "unnamed", "foreign", "memory", "crash", "hang")


class Silent(AssertionError):
    """An answer without a word, and a wrong one."""


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        kind: its name in tables.
        seed, index: from which its generator is drawn, together with the kind.
        function: ``"module:name"``; the module lies in this folder.
        args: further arguments by name; what JSON can hold.
        names: texts of which the error must contain one; empty: the name of any file or folder
            that lay in ``place.folder`` when the error came.
    """

    kind: str
    seed: int
    index: int
    function: str
    args: dict[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()

    def rng(self) -> np.random.Generator:
        """The generator of this case."""
        return np.random.default_rng([self.seed, zlib.crc32(self.kind.encode()), self.index])


@dataclass(frozen=True)
class Place:
    """Where a case works: an empty folder of its own, removed afterwards."""

    folder: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    ``what`` is ``"right"``, ``"error"`` (one of the project's errors, naming the file),
    ``"silent"`` (wrong without a word), ``"unnamed"`` (an error that names no file),
    ``"foreign"`` (an exception that is not the project's), ``"memory"`` (more than the bound),
    ``"crash"`` (the process died) or ``"hang"`` (more than the time limit).
    """

    case: Case
    what: str
    message: str = ""
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Whether a case may end so."""
        return self.what in GOOD

    def __str__(self) -> str:
        last = self.message.strip().splitlines()[-1:] or [""]
        return f"{self.what}: {last[0][:300]}\n    again: {again(self.case)}"


def again(case: Case) -> str:
    """The command that runs a case again by itself."""
    return f"./scripts/fuzz --kind {case.kind!r} --seed {case.seed} --index {case.index}"


def run(
    cases: Iterable[Case],
    *,
    seconds: float = SECONDS,
    limit: int = BYTES,
    environment: dict[str, str] | None = None,
) -> Iterator[Outcome]:
    """Outcomes of cases in their order; many share a worker, and a crash costs only its own case.

    Args:
        cases: what to run.
        seconds: of one case, after which its worker is killed.
        limit: bytes of memory that a case may take.
        environment: variables for the worker. Without ``SNNSIM_CACHE_DIR`` among them the caches
            of data and code are empty at first and thrown away.
    """
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        extra = {"SNNSIM_CACHE_DIR": f"{scratch}/cache", "SNNSIM_DATA": f"{scratch}/default"}
        worker = Worker(Path(scratch), limit, {**extra, **(environment or {})})
        try:
            for case in cases:
                yield worker.run(case, seconds)
        finally:
            worker.stop()


def table(outcomes: Iterable[Outcome]) -> str:
    """Numbers of outcomes by kind."""
    counts: dict[str, dict[str, int]] = {}
    for outcome in outcomes:
        row = counts.setdefault(outcome.case.kind, dict.fromkeys((*GOOD, *BAD), 0))
        row[outcome.what] += 1
    width = max([len("all"), *map(len, counts)])
    counts["all"] = {w: sum(row[w] for row in counts.values()) for w in (*GOOD, *BAD)}
    lines = [" ".join([" " * width, *(f"{what:>8}" for what in (*GOOD, *BAD))])]
    for kind, row in counts.items():
        lines.append(" ".join([f"{kind:{width}}", *(f"{n:8}" for n in row.values())]))
    return "\n".join(lines)


class Worker:
    """A process that runs one case after another, started anew when it has died."""

    def __init__(self, scratch: Path, limit: int, environment: dict[str, str]):
        self.scratch, self.limit, self.environment = scratch, limit, environment
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, case: Case, seconds: float) -> Outcome:
        """Run one case to its end, whatever that is."""
        process = self._alive()
        folder = self.scratch / "case"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        order = {**case.__dict__, "folder": str(folder)}
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        process.stdout.read(1)  # the modules are imported: from here on the case's time runs
        start = time.monotonic()
        ready, _, _ = select.select([process.stdout], [], [], seconds)
        line = process.stdout.readline() if ready else b""
        took = time.monotonic() - start
        if line.endswith(b"\n"):
            answer = json.loads(line)
            return Outcome(case, answer["what"], answer["message"], took)
        self.stop()
        if not ready:
            return Outcome(case, "hang", f"no end after {seconds:g} s\n{self._said()}", took)
        code = process.returncode
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Outcome(case, "crash", f"{self._said()}\n{name}", took)

    def _alive(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            start = f"import sys; sys.path.insert(0, {str(HERE)!r}); import outcomes as o; "
            paths = os.pathsep.join(p for p in sys.path if p)
            with (self.scratch / "said").open("wb") as said:
                self.process = subprocess.Popen(
                    [sys.executable, "-c", f"{start}o.work({self.limit})"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    bufsize=0,
                    stderr=said,
                    env={
                        **os.environ,
                        "OMP_NUM_THREADS": "1",
                        "PYTHONPATH": paths,
                        **self.environment,
                    },
                )
        return self.process

    def _said(self) -> str:
        return (self.scratch / "said").read_text(errors="replace")[-2000:]

    def stop(self) -> None:
        """End the process; its return code is its own where it had ended by itself."""
        if self.process is None:
            return
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        try:
            self.process.wait(0.5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


# --- in the worker ------------------------------------------------------------------------------


def work(limit: int) -> None:
    """Read cases from standard input and write their outcomes, one JSON object a line each."""
    faulthandler.enable()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the project prints is not an answer
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # die with the parent
    for line in sys.stdin:
        order = json.loads(line)
        folder = Path(order.pop("folder"))
        case = Case(**order)
        module, name = case.function.split(":")
        function = getattr(importlib.import_module(module), name)
        answers.write(" ")
        answers.flush()
        what, message = judge(case, function, folder, limit)
        answers.write(json.dumps({"what": what, "message": message}) + "\n")
        answers.flush()


def judge(case: Case, function: Any, folder: Path, limit: int) -> tuple[str, str]:
    """Run a case in this process: what became of it, and the message."""
    from snnsim.errors import SnnsimError

    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_virtual() + limit, before[1]))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function(Place(folder), case.rng(), **case.args)
        return "right", ""
    except Silent as error:
        return "silent", str(error)
    except SnnsimError as error:
        wanted = case.names or [p.name for p in (folder, *folder.rglob("*"))]
        named = any(text in str(error) for text in wanted)
        return "error" if named else "unnamed", f"{type(error).__name__}: {error}"
    except MemoryError:
        return "memory", traceback.format_exc()
    except BaseException:
        return "foreign", traceback.format_exc()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _virtual() -> int:
    """Bytes of address space that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
