"""Analyses that measure accuracy read the classes as the run did."""

from __future__ import annotations

import numpy as np
import pytest

import snnsim as sn
from snnsim.analysis import Subject, analyse
from snnsim.analysis import depth as depth_module
from snnsim.analysis import dynamics as dynamics_module
from snnsim.data import Arrays

X = (np.random.default_rng(0).random((8, 30, 4)) < 0.4).astype("float32")
DATA = Arrays(X, [0, 1] * 4, classes=("a", "b"))


def asked_of(monkeypatch, module, name):
    """Arguments with which a function of a module is called."""
    asked, original = [], getattr(module, name)

    def noting(*given, **named):
        asked.append((given, named))
        return original(*given, **named)

    monkeypatch.setattr(module, name, noting)
    return asked


@pytest.mark.parametrize(("readout", "mask"), [("last", True), ("sum_softmax", False)])
def test_paths_and_ablation_use_the_read_out_of_the_subject(readout, mask, monkeypatch):
    net = sn.delay_network(
        (4, 6, 6, 6, 2), dt=1.0, tau_mem=5.0, max_delay_ms=4, dropout=0.0, skip=True
    )
    subject = Subject(net, DATA, nulls=1, readout=readout, mask_padding=mask)
    paths = asked_of(monkeypatch, depth_module, "paths")
    analyse(subject, "depth")
    assert paths[0][1] == {"readout": readout, "mask_padding": mask}
    aims = asked_of(monkeypatch, dynamics_module, "Classification")
    flat = sn.Sequential(sn.Dense(4, 8), sn.LIF(8, dt=1.0), sn.Dense(8, 2))
    analyse(Subject(flat, DATA, nulls=1, readout=readout, mask_padding=mask), "dynamics")
    assert aims[0][0] == (readout, mask)
