"""How a delayed connection's forward and backward grow with T, D, N, batch and rate."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from benchmarks.delays import connection
from benchmarks.measure import time_case

BASE = {"steps": 100, "batch": 16, "n": 256, "taps": 25, "rate": 0.05}
CURVES = {
    "steps": [100, 200, 500, 1000, 2000, 5000, 10000],
    "taps": [5, 11, 25, 51, 101, 251],
    "n": [64, 128, 256, 512, 1024],
    "batch": [1, 4, 16, 64, 256],
    "rate": [0.005, 0.01, 0.02, 0.05, 0.1, 0.3],
}
PEER_LIMIT = 2e9  # multiply-adds of the dense convolution beyond which the peer is left out


def curves(repeats: int) -> dict[str, list[dict[str, Any]]]:
    """Seconds of snnsim and of DCLS along each axis, the others at ``BASE``."""
    found: dict[str, list[dict[str, Any]]] = {}
    for axis, values in CURVES.items():
        found[axis] = []
        for value in values:
            size = {**BASE, axis: value}
            work = size["steps"] * size["batch"] * size["n"] ** 2 * size["taps"]
            case = connection(**size, peers=work < 10 * PEER_LIMIT)
            build = {k: v for k, v in case.build.items() if k in ("snnsim", "DCLS")}
            times = time_case(type(case)(case.name, build), repeats)
            row = {name: row["cpu_s"] for name, row in times.items()}
            found[axis].append({axis: value, **row})
            print(f"  {case.name}: {row}", flush=True)
            gc.collect()
    return found


def plot(found: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """One panel per axis, double logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(found), figsize=(4 * len(found), 3.5))
    for panel, (axis, rows) in zip(panels, found.items(), strict=True):
        for name in ("snnsim", "DCLS"):
            points = [(row[axis], row[name]) for row in rows if name in row]
            panel.plot(*zip(*points, strict=True), marker="o", label=name)
        panel.set(xlabel=axis, ylabel="CPU s, forward and backward", xscale="log", yscale="log")
        panel.legend()
    figure.suptitle(", ".join(f"{k} {v}" for k, v in BASE.items()) + " where not varied")
    figure.tight_layout()
    figure.savefig(path)
