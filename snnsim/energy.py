"""The energy that a run took, where the machine has a meter: RAPL for processors, NVML for GPUs."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
SHORTEST = 0.5  # seconds of a measurement: a meter advances once in 1 to 100 ms
RAPL = "processors (RAPL {}), with whatever else ran meanwhile and what they take when idle"
NVML = "the GPU (NVML), with whatever else ran meanwhile and what it takes when idle"


@dataclass(frozen=True)
class Energy:
    """An ``Energy`` says what a run took by the meters of the machine.

    Attributes:
        joules: the energy for one sample in joules; ``None`` if there is no meter.
        includes: what the meters measure, or why there is none.
        seconds: the time for one sample in seconds; ``None`` if nothing was measured.
    """

    joules: float | None
    includes: str
    seconds: float | None = None

    def __str__(self) -> str:
        if self.joules is None:
            return f"not measured, {self.includes}"
        return f"{self.joules:.3g} J and {self.seconds:.3g} s per sample, of {self.includes}"


@dataclass(frozen=True)
class Meter:
    """A ``Meter`` is a counter of energy.

    Attributes:
        name: what it measures.
        read: a function that returns the counter in joules.
        wraps_at: the value in joules at which the counter starts again from 0; 0 if it never does.
    """

    name: str
    read: Callable[[], float]
    wraps_at: float = 0.0

    def since(self, start: float) -> float:
        """Return the joules since the counter was at ``start``."""
        taken = self.read() - start
        return taken + self.wraps_at if taken < 0 else taken


def measure(run: Callable[[], Any], samples: int, meters: list[Meter], missing: str) -> Energy:
    """Run something again and again for half a second, and return the energy for one sample.

    Args:
        run: a function that processes all samples once.
        samples: the number of samples.
        meters: the meters of the machine, see :func:`find_meters`.
        missing: why there are no meters, if there are none.
    """
    if not meters or not samples:
        return Energy(None, missing if not meters else "there are no samples")
    starts = [meter.read() for meter in meters]
    begin, runs, seconds = time.perf_counter(), 0, 0.0
    while seconds < SHORTEST:
        run()
        runs += 1
        seconds = time.perf_counter() - begin
    joules = sum(meter.since(start) for meter, start in zip(meters, starts, strict=True))
    names = "; ".join(meter.name for meter in meters)
    return Energy(joules / (runs * samples), names, seconds / (runs * samples))


def find_meters(gpu: str = "", powercap: Path = POWERCAP) -> tuple[list[Meter], str]:
    """Return the meters that can be read, and which are missing and why.

    Args:
        gpu: the UUID of the GPU on which the network runs; empty if it runs on none.
        powercap: the folder in which Linux shows RAPL.
    """
    meters, missing = _rapl(powercap)
    if gpu:
        found, why = _nvml(gpu)
        meters, missing = meters + found, "; ".join(filter(None, (missing, why)))
    return meters, missing


def _rapl(powercap: Path) -> tuple[list[Meter], str]:
    """One meter for each processor package, and for memory beside it."""
    zones = sorted(powercap.glob("intel-rapl:*"))
    if not zones:
        return [], f"there is no RAPL in {powercap}"
    meters = []
    try:
        for zone in zones:
            name = (zone / "name").read_text().strip()
            if zone.name.count(":") == 1 or name == "dram":  # others are parts of a package
                meters.append(_zone(zone, name))
                meters[-1].read()
    except (OSError, ValueError) as error:
        return [], f"RAPL cannot be read ({error}); on Linux this usually needs root"
    return meters, ""


def _zone(zone: Path, name: str) -> Meter:
    def read() -> float:
        return int((zone / "energy_uj").read_text()) / 1e6

    largest = zone / "max_energy_range_uj"
    wraps_at = int(largest.read_text()) / 1e6 if largest.exists() else 0.0
    return Meter(RAPL.format(name), read, wraps_at)


def _nvml(uuid: str) -> tuple[list[Meter], str]:
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        gpu = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}")
        meter = Meter(NVML, lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1e3)
        meter.read()
    except ImportError:
        return [], "pynvml is not installed, which reads the meter of a GPU"
    except Exception as error:  # NVML has a class of its own for every reason
        return [], f"NVML cannot be read ({error})"
    return [meter], ""
