"""What a case is, and how its contestants are compared, timed and weighed."""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

Run = Callable[[], Any]
AGREE = 0.99  # of all values; in float32 a tie at the threshold flips a spike here and there


@dataclass(frozen=True)
class Case:
    """Contestants that do the same work.

    Attributes:
        name: of the case.
        build: by contestant, a function that makes what it runs; ``"snnsim"`` comes first.
        same: contestants whose result must equal snnsim's (the others have dynamics of their
            own), and how far in relation to the largest value.
        weigh: whether peak memory is measured too, each in a fresh process.
    """

    name: str
    build: dict[str, Callable[[], Run]]
    same: dict[str, float] = field(default_factory=dict)
    weigh: bool = False


def check(case: Case, results: dict[str, Any]) -> None:
    """Stop unless the contestants that claim to compute the same do."""
    for contestant, tolerance in case.same.items():
        for ours, theirs in zip(results["snnsim"], results[contestant], strict=True):
            a, b = torch.as_tensor(ours).double(), torch.as_tensor(theirs).double()
            error = (a - b).abs() / b.abs().max().clamp(min=1e-12)
            agree = float((error <= tolerance).double().mean())
            if agree < AGREE:
                sys.exit(
                    f"{case.name}: {agree:.2%} of the values of snnsim and {contestant} agree "
                    f"within {tolerance:g} of the largest; no time is reported"
                )


def time_case(case: Case, repeats: int) -> dict[str, dict[str, float]]:
    """Median CPU and wall seconds, the contestants taking turns."""
    runs = {name: make() for name, make in case.build.items()}
    results = {name: run() for name, run in runs.items()}  # compiles and warms up, too
    check(case, results)
    del results
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            cpu, wall = time.process_time(), time.perf_counter()
            run()
            times[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return {
        name: {
            "cpu_s": statistics.median(cpu for cpu, _ in pairs),
            "wall_s": statistics.median(wall for _, wall in pairs),
        }
        for name, pairs in times.items()
    }


def peak_memory_mb(case: Case, contestant: str, arguments: list[str]) -> float:
    """Peak resident memory of three runs above that before them, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks", "--weigh", f"{case.name}|{contestant}"]
    done = subprocess.run(command + arguments, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def weigh_here(case: Case, contestant: str) -> float:
    """The measurement of :func:`peak_memory_mb`, in this process (Linux)."""
    run = case.build[contestant]()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _memory_kb("VmRSS")
    for _ in range(3):
        run()
    return (_memory_kb("VmHWM") - before) / 1024


def _memory_kb(what: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what))
