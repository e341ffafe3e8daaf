"""``snnsim analyse`` runs every analysis of a run by name, with options as text."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from snnsim_experiments.analyse import analyse_run, told

import snnsim as sn
from snnsim.analysis import ANALYSES, Subject, analyse, options
from snnsim.data import Arrays


def test_no_option_hides_an_argument_of_analyse():
    own = set(inspect.signature(analyse).parameters) - {"chosen"}
    for what in ANALYSES:
        assert not own & set(options(what)), what


def test_every_analysis_has_a_title():
    assert list(told()) == list(ANALYSES)
    assert all(title.endswith(".") for title in told().values())


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("dynamics", ["weights=removed", "ablated=0", "sigma=1"]),
        ("timescales", ["quantity=voltage", "lags_ms=20"]),
    ],
)
def test_options_arrive_and_both_files_are_written(what, changes, tmp_path):
    pytest.importorskip("matplotlib")
    x = (np.random.default_rng(0).random((6, 60, 4)) < 0.3).astype("float32")
    data = Arrays(x, [0, 1] * 3, classes=("a", "b"))
    net = sn.Sequential(sn.Dense(4, 8), sn.Recurrent(sn.LIF(8, dt=1.0)), sn.Dense(8, 2))
    found = analyse_run(Subject(net, data, nulls=1), what, tmp_path, changes)
    for change in changes:
        name, value = change.split("=")
        assert str(found.settings[name]).removesuffix(".0") == value
    assert {p.name for p in tmp_path.iterdir()} == {f"{what}.json", f"{what}.png"}
