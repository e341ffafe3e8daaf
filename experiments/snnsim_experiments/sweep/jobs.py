"""The workers of a sweep on this machine, and what a person sees of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from snnsim.errors import ConfigError
from snnsim_experiments.sweep.cells import State, left, seeds_done, state_of, values_of
from snnsim_experiments.sweep.cluster import Cluster
from snnsim_experiments.sweep.plan import Cell, Plan, stored

LOOK = 0.5  # s between looks
SHOWN = 20  # cells
MOST_IN_VAIN = 3  # workers that are replaced although no cell was finished


def run_jobs(folder: Path, jobs: int, device: str, console: Console, quiet: bool) -> None:
    """Run workers in processes of their own until no cell is left.

    A worker that is killed is replaced, and its
    cell gone on with; if all end and cells are left, an error says so.

    Args:
        folder: the folder of the sweep.
        jobs: the number of workers.
        device: ``"cpu"`` or ``"cuda"``.
        console: where progress is shown.
        quiet: whether none is.

    Raises:
        ConfigError: if workers ended before all cells were done.
    """
    plan = stored(folder)
    workers = _Workers(folder, plan, min(jobs, len(plan.cells)), device)
    _watch(folder, plan, workers, console, quiet)


def run_on_cluster(
    folder: Path, cluster: Cluster, device: str, console: Console, quiet: bool
) -> list[str]:
    """Let a cluster work on a sweep, and return the names of its jobs.

    Of the cluster ``"local"`` it returns when no cell is left; others work on by themselves.

    Args:
        folder: the folder of the sweep.
        cluster: where its workers run.
        device, console, quiet: as in :func:`run_jobs`.

    Raises:
        ConfigError: if the cluster does not take the jobs, or local ones end before all is done.
    """
    plan = stored(folder)
    jobs = cluster.submit(folder, plan.threads, device)
    if cluster.kind == "local":
        _watch(folder, plan, _Jobs(jobs), console, quiet)
    return [str(job.job_id) for job in jobs]


def _watch(
    folder: Path, plan: Plan, workers: _Workers | _Jobs, console: Console, quiet: bool
) -> None:
    """Show how far all cells are until the workers have ended."""
    try:
        with Live(console=console, auto_refresh=False) as live:
            while workers.busy(plan):
                if not quiet:
                    live.update(progress(folder, plan), refresh=True)
                time.sleep(LOOK)
    finally:
        workers.stop()
        if not quiet and not console.is_terminal:
            console.line()  # with which rich ends what it shows on a terminal only
    rest = left(folder, plan)
    if rest:
        again = "the same command and --resume" if plan.is_made else f"snnsim sweep work {folder}"
        raise ConfigError(
            f"the workers ended and {rest} of {len(plan.cells)} cells are left; go on with: {again}"
        )


class _Jobs:
    """Jobs of a cluster on this machine."""

    def __init__(self, jobs: list[Any]):
        self.all = jobs

    def busy(self, _: Plan) -> bool:
        return not all(job.done() for job in self.all)

    def stop(self) -> None:
        """End all."""
        for job in self.all:
            if not job.done():
                job.cancel()


class _Workers:
    """Processes that work on a sweep; one that was killed is replaced."""

    def __init__(self, folder: Path, plan: Plan, jobs: int, device: str):
        threads = str(plan.threads)
        self.folder, self.replaced = folder, 0
        self.environment = {**os.environ, "OMP_NUM_THREADS": threads}
        self.command = [
            sys.executable, "-m", "snnsim_experiments", "sweep", "work", str(folder), "-q",
            "--device", device,
        ]  # fmt: skip
        self.all = [self._started() for _ in range(jobs)]

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            preexec_fn=_leave_interrupts,
        )

    def busy(self, plan: Plan) -> bool:
        """Whether any works; those that were killed are replaced, unless that leads nowhere."""
        done = sum(state_of(self.folder, cell).what == "done" for cell in plan.cells)
        for place, worker in enumerate(self.all):
            killed = worker.poll() is not None and worker.returncode < 0
            if killed and self.replaced < MOST_IN_VAIN + done:
                self.replaced += 1
                self.all[place] = self._started()
        return any(worker.poll() is None for worker in self.all)

    def stop(self) -> None:
        """End all."""
        for worker in self.all:
            worker.terminate()
        for worker in self.all:
            worker.wait()


def _leave_interrupts() -> None:
    """Let Ctrl-C, which reaches all processes, be the business of the one that ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def progress(folder: Path, plan: Plan) -> Group:
    """Return how far all cells are: a line of counts, and those that run now."""
    states = [(cell, state_of(folder, cell)) for cell in plan.cells]
    counts = Counter(state.what for _, state in states)
    kinds = ("done", "pruned", "running", "waiting", "failed")
    line = ", ".join(f"{counts[kind]} {kind}" for kind in kinds if counts[kind])
    table = Table(box=None, pad_edge=False, show_header=False)
    shown = [(cell, s) for cell, s in states if s.what in ("running", "failed")][:SHOWN]
    for cell, state in shown:
        table.add_row(escape(cell.name), _told(folder, cell, state), _drawn(folder, cell))
    return Group(f"{len(plan.cells)} cells: {line}", table)


def _told(folder: Path, cell: Cell, state: State) -> str:
    if state.what == "failed":
        return f"failed: {str(state.summary.get('error', ''))[:120]}"
    if cell.seeds is not None:
        return f"seed {seeds_done(folder, cell) + 1} of {len(cell.seeds)}"
    return f"epoch {state.epochs}"


def _drawn(folder: Path, cell: Cell) -> str:
    """The values that the trial of a cell has drawn, if it is one."""
    return escape(", ".join(f"{k}={v}" for k, v in (values_of(folder, cell) or {}).items()))
