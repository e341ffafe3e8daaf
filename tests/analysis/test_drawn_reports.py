"""Reports are drawn over ms and classes where these are known, else over steps and samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import snnsim as sn
from snnsim.analysis import Subject, analyse
from snnsim.data import Arrays

plotting = pytest.importorskip("snnsim.plotting")
pytest.importorskip("matplotlib")


def drawn(what, outputs=3, dt=None, target=None, **chosen):
    torch.manual_seed(0)
    hidden = (sn.Dense(4, 8), sn.LIF(8, dt=1.0), sn.Delayed(8, 8, dt=1.0, max_delay_ms=4))
    net = sn.Sequential(*hidden, sn.Recurrent(sn.LIF(8, dt=1.0)), sn.Dense(8, outputs))
    x = (np.random.default_rng(0).random((6, 40, 4)) < 0.3).astype(np.float32)
    target = np.array([0, 2, 0, 2, 0, 2]) * (outputs > 1) if target is None else target
    classes = () if target.dtype.kind == "f" else ("a", "b", "c")[:outputs]
    data = Arrays(x, target, classes=classes, dt=dt)
    found = analyse(Subject(net, data, nulls=1), what, **chosen)
    return found, plotting.report(found).axes


def x_labels(axes):
    return [axis.get_xlabel() for axis in axes]


@pytest.mark.parametrize(("outputs", "dt", "unit"), [(1, None, "time steps"), (3, 2.0, "ms")])
def test_dynamics_are_drawn(outputs, dt, unit):
    found, axes = drawn("dynamics", outputs, dt, steps=20, ablated=1)
    assert ("kick" in found.figures) == (outputs > 1)
    assert [axis.get_title() for axis in axes][:2] == ["twins: one spike more", "after the data"]
    assert x_labels(axes)[:2] == [f"time ({unit})"] * 2
    times = axes[0].lines[0].get_xdata()
    np.testing.assert_allclose(np.diff(times), dt or 1.0)


@pytest.mark.parametrize(("dt", "unit"), [(None, "time steps"), (2.0, "ms")])
def test_reach_is_drawn_over_lags(dt, unit):
    _, axes = drawn("operators", dt=dt)
    assert x_labels(axes) == ["shared lines", f"lag ({unit})"]
    np.testing.assert_allclose(np.diff(axes[1].lines[0].get_xdata()), dt or 1.0)
    np.testing.assert_allclose(np.diff(axes[0].lines[0].get_xdata()), 1.0)


def test_components_are_drawn_by_the_classes_of_the_samples():
    found, axes = drawn("assemblies", dt=2.0, rank=2, by="class")
    assert x_labels(axes)[1:3] == ["time (ms)", "class"]
    assert [tick.get_text() for tick in axes[2].get_xticklabels()] == ["a", "c"]
    sizes, labels = found.arrays["trials"], np.array([0, 2, 0, 2, 0, 2])
    means = np.stack([sizes[:, labels == label].mean(1) for label in (0, 2)], 1)
    np.testing.assert_allclose(axes[2].images[0].get_array(), means / means.sum(0))


def test_components_are_drawn_by_sample_where_targets_are_values():
    _, axes = drawn("assemblies", rank=2, target=np.linspace(0, 1, 6).astype(np.float32))
    assert x_labels(axes)[1:] == ["time (time steps)", "sample"]
    assert len(axes[2].lines) == 2 and len(axes[2].lines[0].get_xdata()) == 6
