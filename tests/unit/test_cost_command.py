"""``snnsim cost`` on run folders."""

from __future__ import annotations

import json

import pytest
from small_runs import ON_PARITY
from snnsim_experiments.analyse import subject_of

import snnsim as sn


def test_the_cost_of_a_run_is_that_of_its_network_on_its_data(snnsim, run):
    done = snnsim("cost", run, "--samples", 12, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    subject = subject_of(run, samples=12)
    expected = sn.cost(subject.net, subject.data)
    assert found["samples"] == 12 and found["neurobench"] == expected.neurobench()
    assert found["neurobench"]["SynapticOperations"]["Dense"] > 0
    told = found["energy"]
    assert told["joules"] is None or told["joules"] > 0
    assert told["includes"]


def test_it_is_shown_as_a_table(snnsim, run):
    done = snnsim("cost", run, "--samples", 4)
    assert done.code == 0, done.err
    for part in ("connection", "layers.0", "total", "Numbers are means over 4 samples.", "Energy:"):
        assert part in done.out


def test_the_size_of_a_batch_divides_acs_and_macs_and_not_their_sum(snnsim, run):
    found = []
    for size in (1, 12):
        done = snnsim("cost", run, "--samples", 12, "--batch-size", size, "--json")
        found.append(json.loads(done.out)["neurobench"]["SynapticOperations"])
    assert found[0]["Effective_ACs"] > found[1]["Effective_ACs"]
    sums = [each["Effective_ACs"] + each["Effective_MACs"] for each in found]
    assert sums[0] == pytest.approx(sums[1])


def test_other_weights_of_a_run_can_be_chosen(snnsim, run):
    costs = [
        snnsim("cost", run, "--samples", 12, "--checkpoint", each, "--json").out
        for each in ("initial", "last")
    ]
    assert costs[0] != costs[1]


def test_a_task_of_a_run_on_one_data_set_is_refused(snnsim, run):
    done = snnsim("cost", run, "--task", 1)
    assert done.code == 1 and "has no tasks" in done.err


def test_a_run_on_a_stream_costs_what_its_network_after_a_task_does(snnsim, tmp_path):
    done = snnsim(
        "continual", "run", "--method", "fine-tuning", *ON_PARITY, "--keep-weights",
        "--out", tmp_path / "stream",
    )  # fmt: skip
    assert done.code == 0, done.err
    done = snnsim("cost", tmp_path / "stream", "--task", 1, "--samples", 8, "--json")
    assert done.code == 0, done.err
    subject = subject_of(tmp_path / "stream", samples=8, task=1)
    expected = sn.cost(subject.net, subject.data)
    assert json.loads(done.out)["samples"] == len(subject.data) == expected.samples > 0
    assert json.loads(done.out)["neurobench"] == expected.neurobench()
