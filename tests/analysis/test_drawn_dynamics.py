"""Every report of the dynamics can be drawn, also one without classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import snnsim as sn
from snnsim.analysis import Subject, analyse
from snnsim.data import Arrays


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_report_is_drawn(outputs):
    plotting = pytest.importorskip("snnsim.plotting")
    torch.manual_seed(0)
    net = sn.Sequential(sn.Dense(4, 8), sn.Recurrent(sn.LIF(8, dt=1.0)), sn.Dense(8, outputs))
    x = (np.random.default_rng(0).random((5, 40, 4)) < 0.3).astype(np.float32)
    data = Arrays(x, np.zeros(5, np.int64), classes=("a", "b", "c")[:outputs])
    found = analyse(Subject(net, data, nulls=1), "dynamics", steps=20, ablated=1)
    assert ("kick" in found.figures) == (outputs > 1)
    figure = plotting.report(found)
    assert [axis.get_title() for axis in figure.axes][:2] == ["twins", "after the data"]
