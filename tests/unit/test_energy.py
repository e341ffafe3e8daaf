"""Meters of energy: what they read, and what is said where there is none."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

import snnsim as sn
from snnsim import energy
from snnsim.energy import Meter, find_meters, measure


def zone(folder, name, of, joules, largest=None):
    where = folder / name
    where.mkdir(parents=True)
    (where / "name").write_text(f"{of}\n")
    (where / "energy_uj").write_text(f"{int(joules * 1e6)}\n")
    if largest is not None:
        (where / "max_energy_range_uj").write_text(f"{int(largest * 1e6)}\n")
    return where / "energy_uj"


def test_packages_and_memory_are_metered_and_parts_of_a_package_are_not(tmp_path):
    package = zone(tmp_path, "intel-rapl:0", "package-0", 5.0, largest=100.0)
    zone(tmp_path, "intel-rapl:0:0", "core", 1.0)
    zone(tmp_path, "intel-rapl:0:1", "dram", 2.0)
    meters, missing = find_meters("", tmp_path)
    assert [meter.read() for meter in meters] == [5.0, 2.0] and missing == ""
    assert "package-0" in meters[0].name and "dram" in meters[1].name
    package.write_text("7000000\n")
    assert meters[0].since(5.0) == 2.0
    package.write_text("1000000\n")  # the counter has started again
    assert meters[0].since(98.0) == 3.0


def test_without_a_meter_the_reason_is_given_and_no_number(tmp_path):
    meters, missing = find_meters("", tmp_path)
    found = measure(lambda: None, 3, meters, missing)
    assert found.joules is None and found.seconds is None
    assert str(found) == f"not measured, there is no RAPL in {tmp_path}"


def test_a_meter_that_may_not_be_read_is_named(tmp_path):
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0" / "name").write_text("package-0")
    meters, missing = find_meters("", tmp_path)
    assert meters == [] and "cannot be read" in missing and "root" in missing


def test_the_energy_is_for_one_sample_of_all_runs(monkeypatch):
    counter = SimpleNamespace(joules=10.0)
    times = iter([0.0, 0.2, 0.4, 0.6])
    monkeypatch.setattr(energy.time, "perf_counter", lambda: next(times))

    def run():
        counter.joules += 4.0

    found = measure(run, 8, [Meter("all", lambda: counter.joules)], "")
    assert found.joules == pytest.approx(3 * 4.0 / (3 * 8))
    assert found.seconds == pytest.approx(0.6 / (3 * 8))
    assert str(found) == "0.5 J and 0.025 s per sample, of all"


def test_a_gpu_is_metered_through_nvml(tmp_path, monkeypatch):
    nvml = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID={"GPU-1-2": 7}.__getitem__,
        nvmlDeviceGetTotalEnergyConsumption={7: 2500}.__getitem__,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    meters, missing = find_meters("1-2", tmp_path)
    assert [meter.read() for meter in meters] == [2.5] and "RAPL" in missing
    assert find_meters("GPU-1-2", tmp_path)[0][0].read() == 2.5
    meters, missing = find_meters("3-4", tmp_path)
    assert meters == [] and "NVML cannot be read" in missing
    monkeypatch.setitem(sys.modules, "pynvml", None)
    meters, missing = find_meters("1-2", tmp_path)
    assert meters == [] and "pynvml is not installed" in missing


def test_a_cost_says_whether_energy_was_measured(tmp_path, monkeypatch):
    net, x = sn.Sequential(sn.Dense(2, 3), sn.LIF(3, dt=1.0)), torch.ones(4, 2, 2)
    assert "Energy: not asked for" in str(sn.cost(net, x))
    monkeypatch.setattr(sn.costing, "find_meters", lambda gpu: ([], "there is none"))
    assert "Energy: not measured, there is none." in str(sn.cost(net, x, energy=True))
    counter = iter([1.0, 5.0])
    meter = Meter("everything", lambda: next(counter))
    monkeypatch.setattr(energy, "SHORTEST", 1e-9)
    monkeypatch.setattr(sn.costing, "find_meters", lambda gpu: ([meter], ""))
    assert sn.cost(net, x, energy=True).energy.joules == 2.0  # one run of two samples
