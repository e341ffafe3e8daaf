"""Analyses that measure accuracy read the classes as the run did."""

from __future__ import annotations

import numpy as np
import pytest

import snnsim as sn
from snnsim.analysis import Subject, analyse
from snnsim.analysis import depth as depth_module
from snnsim.analysis import dynamics as dynamics_module
from snnsim.data import Arrays
from snnsim.errors import ConfigError
from snnsim.training import Classification, PerStep, Regression

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


def network(skip=True):
    times = {"dt": 1.0, "tau_mem": 5.0, "max_delay_ms": 4}
    return sn.delay_network((4, 6, 6, 6, 2), dropout=0.0, skip=skip, **times)


@pytest.mark.parametrize(("readout", "mask"), [("last", True), ("sum_softmax", False)])
def test_paths_and_ablation_use_the_read_out_of_the_subject(readout, mask, monkeypatch):
    subject = Subject(network(), DATA, nulls=1, readout=readout, mask_padding=mask)
    paths = asked_of(monkeypatch, depth_module, "paths")
    analyse(subject, "depth")
    assert paths[0][1] == {"readout": readout, "mask_padding": mask, "changes": 0}
    aims = asked_of(monkeypatch, dynamics_module, "Classification")
    flat = sn.Sequential(sn.Dense(4, 8), sn.LIF(8, dt=1.0), sn.Dense(8, 2))
    analyse(Subject(flat, DATA, nulls=1, readout=readout, mask_padding=mask), "dynamics")
    assert aims[0][0] == (readout, mask)


ELSEWISE = [
    ({"answers": False}, "answers otherwise"),
    ({"target": "next-step"}, "trained on next-step"),
    ({"objective": PerStep()}, "trained on PerStep"),
    ({"objective": Regression()}, "trained on Regression"),
]


@pytest.mark.parametrize(("changed", "said"), ELSEWISE)
@pytest.mark.parametrize(
    ("what", "chosen"), [("recode", {}), ("depth", {}), ("depth", {"paths": False, "tie": 2})]
)
def test_what_reads_classes_refuses_a_network_that_answers_otherwise(what, chosen, changed, said):
    subject = Subject(network(skip=what == "depth"), DATA, nulls=1, **changed)
    with pytest.raises(ConfigError, match=said):
        analyse(subject, what, **chosen)


def test_depth_of_a_network_that_answers_every_step_has_its_similarity():
    subject = Subject(network(), DATA, nulls=1, objective=PerStep())
    found = analyse(subject, "depth", paths=False)
    assert "similarity" in found.figures and "shorter" not in found.figures


def test_a_classification_is_one_however_it_is_given():
    subject = Subject(network(skip=False), DATA, nulls=1, objective=Classification("last"))
    found = analyse(subject, "recode", alpha=(0.01,))
    assert "accuracy at 0.01" in found.figures
