"""The verdict of the check of sparsity, whose accuracies are given."""

from __future__ import annotations

import copy

import pytest
from snnsim_experiments.baselines.checks import sparsity

from snnsim.baselines import RateNetwork


@pytest.mark.parametrize(
    ("whole", "regained", "random", "passed"),
    [(98.0, 93.2, 60.0, True), (98.0, 93.0, 60.0, False), (98.0, 96.0, 96.1, False),
     (79.0, 79.0, 50.0, False)],
)  # fmt: skip
def test_a_fifth_of_the_weights_must_regain_what_random_ones_do_not(
    monkeypatch, whole, regained, random, passed
):
    net, cut = RateNetwork(7, 2, "gru", width=6), []
    before = copy.deepcopy(net.state_dict())

    def sparsify(layers, density, way, seed):
        cut.append((density, way, seed))
        layers.known = {"magnitude": regained, "random": random}[way] if density == 0.2 else 50.0

    monkeypatch.setattr(sparsity, "accuracy", lambda *_, **__: (whole, net))
    monkeypatch.setattr(sparsity, "sparsify", sparsify)
    monkeypatch.setattr(sparsity, "_percent", lambda net, test: 50.0)
    monkeypatch.setattr(sparsity, "_again", lambda net, *_: net.layers.known)
    found = sparsity.run(seed=4)
    assert found.passed is passed
    assert found.figures["all weights"] == whole
    assert found.figures["magnitude, 20% of the weights"] == regained
    assert found.control["random, 20% of the weights"] == random
    assert set(cut) == {(d, w, 4) for d in (0.5, 0.2, 0.05) for w in ("magnitude", "random")}
    assert net.state_dict().keys() == before.keys()  # copies are cut


def test_it_runs_short():
    found = sparsity.run(short=True)
    assert len(found.figures) == 7 and len(found.control) == 6
