"""Sparsity as an analysis: accuracies after cutting, by magnitude and at random."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from snnsim_experiments import analyse as runs

import snnsim as sn
from snnsim.analysis import Subject, analyse
from snnsim.data import Arrays
from snnsim.errors import ConfigError
from snnsim.plotting.analysis import report


def problem(features=40, needed=4, samples=80):
    """Class by the sign of ``needed`` channels, solved by large weights on these alone."""
    random = np.random.default_rng(0)
    x = random.standard_normal((samples, 1, features))
    net = sn.Sequential(sn.Dense(features, 2))
    with torch.no_grad():
        net[0].weight.normal_(0, 0.01, generator=torch.Generator().manual_seed(0))
        net[0].weight[1, :needed], net[0].weight[0, :needed] = 1.0, -1.0
    labels = (x[:, 0, :needed].sum(1) > 0).astype(int)
    return Subject(net, Arrays(x, labels, classes=("a", "b")), nulls=3)


def test_few_strong_synapses_are_enough_and_as_many_random_ones_are_not():
    subject = problem()
    before = copy.deepcopy(subject.net.state_dict())
    found = analyse(subject, "sparsity", densities=[0.1, 1.0, 0.5])
    assert found.arrays["density"].tolist() == [1.0, 0.5, 0.1]
    assert found.figures["accuracy at 0.1"].value > 0.95
    assert found.figures["accuracy at 0.1"].null < 0.8
    assert found.figures["density for 95 %"].value == 0.1
    assert found.figures["density for 95 %"].null > 0.1
    assert found.figures["accuracy at 1"].null == found.figures["accuracy at 1"].value
    after = subject.net.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in after)


def test_accuracies_are_those_of_masks_by_hand():
    subject = problem()
    found = analyse(subject, "sparsity", densities=[0.3])
    weight = subject.net[0].weight.detach().numpy().astype(np.float64)
    limit = np.sort(np.abs(weight).ravel())[-round(0.3 * weight.size)]
    scores = subject.data.x[:, 0] @ (weight * (np.abs(weight) >= limit)).T
    expected = (scores.argmax(1) == subject.data.target).mean()
    assert found.figures["accuracy at 0.3"].value == pytest.approx(expected, abs=1e-9)


def test_it_runs_without_a_null_and_is_drawn():
    found = analyse(Subject(problem().net, problem().data, nulls=0), "sparsity")
    assert found.figures["accuracy at 0.05"].null is None
    assert list(found.arrays) == ["density", "accuracy"]
    assert found.settings["densities"] == (1.0, 0.5, 0.2, 0.1, 0.05)
    assert report(found) is not None


def test_a_run_is_evaluated_as_its_recipe_says(monkeypatch):
    recipe = SimpleNamespace(readout="last", mask_padding=True, target="class")
    experiment = SimpleNamespace(method="", recipe=recipe)
    subject = problem()
    loaded = (subject.net, experiment, {"steps": 7})
    monkeypatch.setattr(runs.run_folder, "stored_experiment", lambda *_: experiment)
    monkeypatch.setattr(runs.run_folder, "load_network", lambda *_: loaded)
    monkeypatch.setattr(runs.run_folder, "stored_experiment", lambda *_: experiment)
    monkeypatch.setattr(runs, "load_split", lambda *_: subject.data)
    found = runs.subject_of(Path("a"), samples=20, seed=3)
    assert (found.readout, found.mask_padding, found.steps, found.seed) == ("last", True, 7, 3)
    assert len(found.data) == 20 and found.accuracy(found.net) > 0.95


@pytest.mark.parametrize(
    ("wrong", "answer"),
    [
        ({"densities": []}, "densities is empty"),
        ({"densities": [0.0]}, "a density is 0.0"),
        ({"synapses": "recurrent"}, "no matrix of recurrent weights"),
        ({"per": "unit"}, "per"),
    ],
)
def test_wrong_options_are_refused(wrong, answer):
    with pytest.raises(ConfigError, match=answer):
        analyse(problem(), "sparsity", **wrong)
