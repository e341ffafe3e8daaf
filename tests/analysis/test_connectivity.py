"""The lines between the weights after tasks: figures, their null, and the drawing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snnsim.analysis import Subject, analyse
from snnsim.analysis.connectivity import barrier, in_another_order
from snnsim.errors import ConfigError
from snnsim.neurons import LIF


class Tasks:
    """Three tasks with a barrier of a fifth in the middle of each line, deeper in the null."""

    names = ("a", "b", "c")

    def __init__(self):
        self.asked = []

    def line(self, start, end, points, mixed=None):
        self.asked.append((start, end, points, mixed))
        way = torch.linspace(0, 1, points, dtype=torch.float64)
        deep = 0.2 if mixed is None else 0.4 + 0.1 * mixed
        first = 0.9 - deep * (1 - (2 * way - 1).abs())
        return torch.stack([first] + [0.5 + 0.4 * way] * end, 1)


def report(**options):
    tasks = Tasks()
    options = {"nulls": 2} | options
    subject = Subject(LIF(3, dt=1.0), None, tasks=tasks, nulls=options.pop("nulls"))
    return analyse(subject, "connectivity", points=5, **options), tasks


def test_each_line_has_its_barrier_and_its_best_point_beside_their_null():
    found, tasks = report()
    assert list(found.figures) == ["barrier 1-2", "best 1-2", "barrier 2-3", "best 2-3"]
    assert found.figures["barrier 1-2"].value == pytest.approx(0.2)
    assert found.figures["barrier 1-2"].null == pytest.approx(0.45)
    inside = [(0.8 + 0.6) / 2, (0.7 + 0.7) / 2, (0.8 + 0.8) / 2]
    assert found.figures["best 1-2"].value == pytest.approx(max(inside))
    assert tasks.asked == [(a, a + 1, 5, m) for a in (0, 1) for m in (None, 0, 1)]
    assert found.arrays["position"].tolist() == [1, 1.25, 1.5, 1.75, 2, 2, 2.25, 2.5, 2.75, 3]
    accuracy = found.arrays["accuracy"]
    assert accuracy.shape == (10, 3) and np.isnan(accuracy[:5, 2]).all()
    assert not np.isnan(accuracy[5:]).any()
    assert found.arrays["accuracy, null"][2, 0] == pytest.approx(0.9 - 0.45)
    assert found.as_json()["arrays"]["accuracy"][0][2] is None


def test_one_line_leads_directly_from_the_first_to_the_last():
    found, tasks = report(direct=True, nulls=0)
    assert list(found.figures) == ["barrier 1-3", "best 1-3"]
    assert tasks.asked == [(0, 2, 5, None)] and found.figures["best 1-3"].null is None
    assert "accuracy, null" not in found.arrays


@pytest.mark.parametrize("nulls", [0, 2])
def test_it_is_drawn_with_a_line_for_each_task_and_one_of_its_null(nulls):
    pytest.importorskip("matplotlib")
    plotting = pytest.importorskip("snnsim.plotting")
    axis = plotting.report(report(nulls=nulls)[0]).axes[0]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == [
        "task 1", "task 2", "task 3",
    ]  # fmt: skip
    assert sum(len(line.get_xdata()) == 10 for line in axis.lines) == 3
    dotted = [line for line in axis.lines if line.get_linestyle() == ":"]
    assert [len(line.get_xdata()) for line in dotted] == [5] * (0 if nulls == 0 else 6)
    assert [text.get_text() for text in axis.get_xticklabels()] == ["1", "2", "3"]
    assert axis.get_ylabel() == "accuracy"


def test_the_null_goes_as_far_in_another_direction():
    random = torch.Generator().manual_seed(0)
    start = {"w": torch.randn(30, 20, generator=random), "n": torch.tensor(3)}
    end = {"w": start["w"] + 0.01 * torch.randn(30, 20, generator=random), "n": torch.tensor(5)}
    found = in_another_order(start, end, 1)
    change, learned = found["w"] - start["w"], end["w"] - start["w"]
    assert float(change.norm()) == pytest.approx(float(learned.norm()), rel=0.05)
    cosine = float((change * learned).sum() / change.norm() / learned.norm())
    assert abs(cosine) < 0.2 and int(found["n"]) == 5
    assert torch.equal(found["w"], in_another_order(start, end, 1)["w"])
    assert not torch.equal(found["w"], in_another_order(start, end, 2)["w"])
    low = {"v": torch.tensor([1.0, 2.0, 3.0])}
    high = {"v": torch.tensor([3.0, 2.5, 1.0])}
    for seed in range(5):
        moved = in_another_order(low, high, seed)["v"]
        assert float(moved.min()) >= 1.0 and float(moved.max()) <= 3.0


def test_a_barrier_is_how_far_accuracy_falls_below_the_line_between_the_ends():
    line = np.random.default_rng(0).random((7, 3))
    depths = [
        max((1 - i / 6) * line[0, t] + i / 6 * line[-1, t] - line[i, t] for i in range(7))
        for t in range(3)
    ]
    assert barrier(torch.from_numpy(line)).tolist() == pytest.approx(depths, abs=1e-12)


def test_what_has_no_line_is_refused():
    with pytest.raises(ConfigError, match="needs a run on a stream"):
        analyse(Subject(LIF(3, dt=1.0), None), "connectivity")
    with pytest.raises(ConfigError, match="points is 2"):
        analyse(Subject(LIF(3, dt=1.0), None, tasks=Tasks()), "connectivity", points=2)
    one = Tasks()
    one.names = ("a",)
    with pytest.raises(ConfigError, match="needs 2 tasks or more, but the stream has 1"):
        analyse(Subject(LIF(3, dt=1.0), None, tasks=one), "connectivity")
