"""The verdict of the check of repeated data, whose losses are given, and its source."""

from __future__ import annotations

import numpy as np
import pytest
from snnsim_experiments.baselines.checks import repeated_data


@pytest.mark.parametrize(
    ("losses", "passed"),
    [
        ({0: 1.64, 256: 1.72, 64: 1.86, 16: 1.69}, True),
        ({0: 1.64, 256: 1.86, 64: 1.72, 16: 1.69}, True),
        ({0: 1.64, 256: 1.72, 64: 1.78, 16: 1.69}, False),
        ({0: 1.79, 256: 1.72, 64: 1.86, 16: 1.69}, False),
        ({0: 1.64, 256: 1.72, 64: 1.86, 16: 1.95}, False),
    ],
)
def test_the_maximum_must_lie_above_both_ends(monkeypatch, losses, passed):
    asked = []

    def loss(train, test, size, seed):
        asked.append((len(train), len(test), seed))
        return losses[size]

    monkeypatch.setattr(repeated_data, "_loss", loss)
    found = repeated_data.run(seed=3)
    assert found.passed is passed
    assert set(asked) == {(38400, 1000, 3)} and len(asked) == 4
    assert found.figures["64 sequences, 300 times each"] == losses[64]
    assert found.control["none repeated"] == losses[0]


def test_every_training_has_the_same_number_of_steps_and_its_subset(monkeypatch):
    made = []

    class Trainer(repeated_data.Trainer):
        def run(self):
            made.append((self.recipe.repeat, len(self._shown()), len(set(self._shown().indices))))
            return []

    monkeypatch.setattr(repeated_data, "Trainer", Trainer)
    repeated_data.run(short=True)
    assert made == [(16, 128, 80), (4, 128, 68), (1, 128, 65), (0, 128, 128)]


def test_the_source_is_a_markov_chain_of_its_table():
    table = np.array([[0.9, 0.1, 0.0], [0.0, 0.5, 0.5], [0.3, 0.0, 0.7]])
    data = repeated_data.sequences(table, 3000, seed=1)
    batch = data.data.batch(range(3000))
    before, after = batch.x[..., 0].long().numpy(), batch.target.numpy()
    assert (before[1:] == after[:-1]).all()
    counts = np.zeros((3, 3))
    np.add.at(counts, (before.ravel(), after.ravel()), 1)
    np.testing.assert_allclose(counts / counts.sum(1, keepdims=True), table, atol=0.01)
    often = [15 / 23, 3 / 23, 5 / 23]  # the solution of often @ table = often

    def term(p):
        return p * np.log(p)

    each = [term(0.9) + term(0.1), 2 * term(0.5), term(0.3) + term(0.7)]
    assert repeated_data.entropy(table) == pytest.approx(-np.dot(often, each), abs=1e-9)


def test_it_runs_short():
    found = repeated_data.run(short=True)
    assert len(found.figures) == 3 and len(found.control) == 2
