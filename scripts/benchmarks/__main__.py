"""Times snnsim against its peers: equality first, then the contestants in turns.

Prints a Markdown table of median CPU seconds (wall time beside) and ratios to snnsim; with
--json and --markdown, writes everything to files. Peak memory is measured where it matters,
each contestant in a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks import continual, data, delays, networks, neurons, scaling
from benchmarks.measure import Case, peak_memory_mb, time_case, weigh_here

PACKAGES = ("snnsim", "torch", "numba", "spikingjelly", "dcls", "snntorch", "norse", "sinabs")


def cases(quick: bool) -> list[Case]:
    """All cases."""
    batch = 32 if quick else 256
    return [
        networks.training_step(batch, 12.0),
        networks.training_step(batch, 0.23),
        networks.training_step(batch, 0.23, trained=True),
        networks.evaluation(batch),
        networks.stream(),
        neurons.lif(101, 256, 256),
        neurons.lif(500, 16, 512),
        neurons.lif(1000, 32, 128),
        neurons.lif(500, 16, 512, connected=True),
        neurons.recurrent(100, 64, 140, 256),
        *(delays.connection(100, 64, 256, 25, rate) for rate in (0.01, 0.05, 0.2)),
        continual.hlop_step(2),
        continual.hlop_step(9),
        continual.hlop_step(9, "dsr"),
        data.batch(),
        data.binning(),
        data.hearing(),
    ]


def table(results: dict[str, Any]) -> str:
    """The Markdown table."""
    rows = [
        "| case | contestant | CPU s | wall s | times snnsim | peak MB |",
        "|---|---|---|---|---|---|",
    ]
    for name, contestants in results.items():
        own = contestants["snnsim"]["cpu_s"]
        for contestant, row in contestants.items():
            memory = f"{row['peak_mb']:.0f}" if "peak_mb" in row else ""
            rows.append(
                f"| {name} | {contestant} | {row['cpu_s']:.4f} | {row['wall_s']:.4f} | "
                f"{row['cpu_s'] / own:.1f} | {memory} |"
            )
    return "\n".join(rows)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def environment() -> dict[str, Any]:
    """What a figure depends on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "capability": torch.backends.cpu.get_cpu_capability(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./scripts/bench", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="timed turns per contestant")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--quick", action="store_true", help="networks with a batch of 32")
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    parser.add_argument("--no-memory", action="store_true", help="do not measure peak memory")
    parser.add_argument("--scaling", type=Path, help="also draw scaling curves, into this PNG")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    parser.add_argument("--weigh", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    # taps of narrow kernels are so small that some processors take 30 times as long for them
    torch.set_flush_denormal(True)
    chosen = [case for case in cases(options.quick) if options.only in case.name]
    same_size = [f"--threads={options.threads}", *(["--quick"] if options.quick else [])]
    if options.weigh:
        name, contestant = options.weigh.split("|")
        case = next(case for case in cases(options.quick) if case.name == name)
        print(weigh_here(case, contestant))
        return
    report: dict[str, Any] = {"environment": environment(), "cases": {}}
    for case in chosen:
        print(case.name, flush=True)
        result: dict[str, dict[str, float]] = time_case(case, options.repeats)
        gc.collect()
        if case.weigh and not options.no_memory:
            for contestant in case.build:
                result[contestant]["peak_mb"] = peak_memory_mb(case, contestant, same_size)
        report["cases"][case.name] = result
    if options.scaling:
        report["scaling"] = scaling.curves(options.repeats)
        scaling.plot(report["scaling"], options.scaling)
    report["environment"]["load_after"] = os.getloadavg()[0]
    text = f"{table(report['cases'])}\n\n{json.dumps(report['environment'])}\n"
    print(text)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    if options.markdown:
        options.markdown.write_text(text)


if __name__ == "__main__":
    main()
