"""Assemblies by task: which task recruits which, beside tasks in another order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from snnsim.activity import Recording, of_tasks
from snnsim.analysis import Subject, analyse
from snnsim.analysis.assemblies import assemblies, mean_overlap, overlap, recruitment
from snnsim.errors import ConfigError
from snnsim.neurons import LIF

UNITS, STEPS, SAMPLES = 16, 96, 6


def recording(active, seed):
    """Poisson units in two groups, of which the first, the second or both go up and down."""
    random = np.random.default_rng(seed)
    wave = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(STEPS) / 12)
    rate = np.full((STEPS, UNITS), 0.05)
    for group in active:
        own = np.arange(UNITS) % 2 == group
        rate[:, own] += 0.5 * np.roll(wave, 6 * group)[:, None]
    x = random.random((STEPS, SAMPLES, UNITS)) < rate[:, None]
    lengths = torch.full((SAMPLES,), STEPS)
    target = torch.arange(SAMPLES) % 2
    return Recording(torch.from_numpy(x).float(), "spikes", "u", "output", lengths, target, 10.0)


class Tasks:
    """A stream whose network does in each task what a recording says."""

    def __init__(self, *recordings):
        self.recordings = recordings
        self.names = [f"task {n + 1}" for n in range(len(recordings))]

    def subject(self, task):
        return Recorded(self.recordings[task])


class Recorded:
    def __init__(self, rec):
        self.rec = rec

    def recording(self):
        return self.rec


def report(*recordings, **options):
    subject = Subject(LIF(3, dt=1.0), None, nulls=2, tasks=Tasks(*recordings))
    return analyse(subject, "assemblies", by="task", rank=2, **options)


def test_tasks_that_recruit_different_assemblies_overlap_less_than_their_null():
    other = report(recording([0], 0), recording([1], 1))
    same = report(recording([0, 1], 2), recording([0, 1], 3))
    assert other.figures["overlap"].value < 0.4 < 0.8 < same.figures["overlap"].value
    assert other.figures["overlap"].value < other.figures["overlap"].null - 0.3
    assert abs(same.figures["overlap"].value - same.figures["overlap"].null) < 0.1
    assert other.figures["task_selectivity"].value > 0.7
    assert same.figures["task_selectivity"].like_null()
    assert other.arrays["recruitment"].shape == (2, 2)
    assert (other.arrays["recruitment"].argmax(0) == [0, 1]).all() or (
        other.arrays["recruitment"].argmax(0) == [1, 0]
    ).all()
    assert "class_selectivity" not in other.figures
    assert any("in common" in line for line in other.text)


def test_overlap_is_the_sum_of_smaller_fractions():
    random = np.random.default_rng(0)
    r = random.exponential(size=(4, 3))
    found = overlap(r)
    for g in range(3):
        for h in range(3):
            p, q = ([r[k, t] / sum(r[:, t]) for k in range(4)] for t in (g, h))
            expected = sum(min(a, b) for a, b in zip(p, q, strict=True))
            assert found[g, h] == pytest.approx(expected, abs=1e-12)
    assert overlap(np.array([[1.0, 0.0], [0.0, 5.0]]))[0, 1] == 0.0


def test_the_mean_overlap_is_that_of_pairs_of_different_tasks():
    sizes = np.array([[1.0, 3.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 5.0, 1.0]])
    of = np.array([0, 0, 1, 1, 2])
    recruited = [[2.0, 0.0, 1.0], [0.0, 3.0, 1.0]]
    assert recruitment(sizes, of).tolist() == recruited
    assert mean_overlap(sizes, of) == pytest.approx((0.0 + 0.5 + 0.5) / 3)
    assert mean_overlap(sizes, np.zeros(5, int)) == 1.0


def test_components_are_the_same_by_sample_class_and_task():
    rec = of_tasks([recording([0], 0), recording([1], 1)])
    by = {axis: assemblies(rec, 2, by=axis) for axis in ("sample", "class", "task")}
    whole = by["sample"].factors
    for axis, of in (("class", rec.target), ("task", rec.task)):
        found = by[axis].factors
        assert np.array_equal(found.pairs, whole.pairs)
        for number in range(2):
            inside = [s for s in range(2 * SAMPLES) if int(of[s]) == number]
            expected = [np.mean([row[s] for s in inside]) for row in whole.trials]
            assert found.trials[:, number] == pytest.approx(expected)
        assert np.array_equal(by[axis].groups, by["sample"].groups)


def test_one_component_has_no_overlap_and_says_so():
    found = report(recording([0], 0), recording([1], 1), units=8)
    assert "overlap" in found.figures
    one = analyse(
        Subject(LIF(3, dt=1.0), None, nulls=1, tasks=Tasks(recording([0], 0), recording([1], 1))),
        "assemblies", by="task", rank=1,
    )  # fmt: skip
    assert "overlap" not in one.figures and any("set rank" in line for line in one.text)


def test_recordings_of_tasks_are_padded_and_numbered():
    short = recording([0], 0)
    short = replace(short, values=short.values[:60], lengths=torch.full((SAMPLES,), 60))
    rec = of_tasks([short, recording([1], 1)])
    assert rec.values.shape == (STEPS, 2 * SAMPLES, UNITS)
    assert rec.task.tolist() == [0] * SAMPLES + [1] * SAMPLES
    assert rec.lengths.tolist() == [60] * SAMPLES + [STEPS] * SAMPLES
    assert not rec.values[60:, :SAMPLES].any()
    other = replace(short, values=short.values[:, :, :4])
    with pytest.raises(ConfigError, match="record the same layer in every task"):
        of_tasks([other, short])


def test_what_is_not_known_of_samples_is_refused():
    rec = recording([0, 1], 0)
    with pytest.raises(ConfigError, match="needs the task of each sample"):
        assemblies(rec, 1, by="task")
    with pytest.raises(ConfigError, match="needs the class of each sample"):
        assemblies(replace(rec, target=torch.rand(SAMPLES)), 1, by="class")
    with pytest.raises(ConfigError, match="by is 'tasks'"):
        assemblies(rec, 1, by="tasks")
    with pytest.raises(ConfigError, match="kept its weights"):
        analyse(Subject(LIF(3, dt=1.0), None), "assemblies", by="task")


@pytest.mark.parametrize("by", ["sample", "task"])
def test_both_kinds_are_drawn(by):
    pytest.importorskip("matplotlib")
    plotting = pytest.importorskip("snnsim.plotting")
    found = report(recording([0], 0), recording([1], 1)) if by == "task" else None
    if found is None:
        subject = Recorded(recording([0, 1], 2))
        subject.data = None
        subject.layer, subject.null, subject.nulls, subject.seed = "", "shift", 1, 0
        found = analyse(subject, "assemblies", rank=2)
    titles = [axis.get_title() for axis in plotting.report(found).axes]
    assert titles[:2] == ["affinity", "when"]
    expected = "in which samples" if by == "sample" else "recruited: overlap"
    assert titles[2].startswith(expected)
