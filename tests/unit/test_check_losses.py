"""What the checks of baselines are trained for: their losses on their first batch."""

from __future__ import annotations

import numpy as np
import pytest
import snnsim_datasets
import torch
from models_by_hand import one_hot
from small_training import untrained
from snnsim_datasets.synthetic.lorenz96 import lorenz96
from snnsim_datasets.synthetic.sudoku import sudoku
from snnsim_experiments.baselines.checks import (
    few_shot,
    forecast,
    rhn,
    rrn,
    sampler,
    spoken_sums,
)
from snnsim_experiments.baselines.checks.outcome import batches
from torch import nn

from snnsim.training import set_seed


def test_all_of_eight_steps_are_to_solve_training_puzzles(monkeypatch):
    trained = untrained(monkeypatch, rrn)
    rrn.run(seed=2, short=True)
    puzzles, answers = map(torch.from_numpy, sudoku(200, "train", 2))
    chosen = next(batches(200, 64, 2))
    with torch.no_grad():
        found = [scores.log_softmax(-1) for scores in trained[0].net(puzzles[chosen].long(), 8)]
    target = (answers[chosen].long() - 1)[..., None]
    expected = -torch.stack([logs.gather(-1, target).mean() for logs in found]).mean()
    assert float(trained[0].loss().detach()) == pytest.approx(float(expected), rel=1e-5)


def test_forecasts_are_trained_on_squared_errors_of_training_windows(monkeypatch):
    trained = untrained(monkeypatch, forecast)
    forecast.run(seed=1, short=True)
    x, y = forecast.windows(forecast.counts(500, 2))
    chosen = next(batches(x.shape[1], 64, 1))
    for each in trained:
        with torch.no_grad():
            expected = ((each.net(x[:, chosen]) - y[:, chosen]) ** 2).mean()
        assert float(each.loss().detach()) == pytest.approx(float(expected), rel=1e-5)


def test_forecasts_of_lorenz96_are_of_changes_of_the_normalised_system(monkeypatch):
    trained = untrained(monkeypatch, rhn)
    tested = []
    monkeypatch.setattr(rhn, "_valid_time", lambda net, x: tested.append(x) or 1.0)
    rhn.run(seed=1, short=True)
    train = lorenz96(50, 100, every=5, dt=0.01, seed=2)
    test = lorenz96(50, 130, every=5, dt=0.01, seed=3)
    mean, spread = train.mean(), train.std()
    expected = ((test - mean) / spread).transpose(1, 0, 2)
    for x in tested:
        np.testing.assert_allclose(x.numpy(), expected, rtol=1e-5, atol=1e-5)
    x = torch.from_numpy((train - mean) / spread)[next(batches(50, 32, 1))].transpose(0, 1)
    for each in trained:
        each.net.train()
        with torch.no_grad():
            loss = ((each.net(x[:-1])[0] - (x[1:] - x[:-1])) ** 2).mean()
        assert float(each.loss().detach()) == pytest.approx(float(loss), rel=1e-4)


@pytest.mark.parametrize("draws", [True, False])
def test_few_shots_are_trained_on_all_answers_together_with_contexts_of_0_to_8(monkeypatch, draws):
    trained, seen = untrained(monkeypatch, few_shot), []
    forward = few_shot._Model.forward

    def noting(self, context, query, count):
        scores = forward(self, context, query, count)
        seen.append((len(context[1]), query, count, scores.detach()))
        return scores

    monkeypatch.setattr(few_shot._Model, "forward", noting)
    few_shot._trained(draws, 0, 600)
    loss, net = trained[0].loss, trained[0].net.train()
    assert trained[0].arguments == (600, 5e-3)
    set_seed(0)
    losses = [float(loss().detach()) for _ in range(30)]
    assert {size for size, *_ in seen} == set(range(9)) and len(seen) == 120
    assert all(query.shape == (8, 16, 16) and count == 8 for _, query, count, _ in seen)
    assert all(scores.shape == (8 if draws else 1, 16, 4) for *_, scores in seen)
    random, total = np.random.default_rng(0), 0.0
    set_seed(0)
    for _ in range(4):
        size = int(random.integers(0, 9))
        x, labels = few_shot.utterances(24, random)
        with torch.no_grad():
            scores = forward(net, (x[:, :size], labels[:size]), x[:, 8:], 8).numpy()
        one_draw = [np.exp(each[np.arange(16), labels[8:]].sum()) for each in scores.astype(float)]
        total -= np.log(np.mean(one_draw)) / 16
    assert losses[0] == pytest.approx(total / 4, rel=1e-3)


def test_numbers_are_foretold_from_the_second_on(monkeypatch):
    trained = untrained(monkeypatch, sampler)
    sampler.run(seed=2, short=True)
    items = sampler.sequences(64, 2 * 10**6 + 1)
    model = trained[0].net
    set_seed(0)
    found = float(trained[0].loss().detach())
    set_seed(0)
    with torch.no_grad():
        y, _ = model.body(one_hot(items[:-1], 7))
        logs = model.head(y).log_softmax(-1)
    picked = [logs[t - 1, b, items[t, b]] for t in range(2, 24) for b in range(64)]
    assert found == pytest.approx(-float(torch.stack(picked).mean()), rel=1e-4)


def test_sums_are_learnt_with_the_digits_that_are_heard(monkeypatch):
    trained = untrained(monkeypatch, spoken_sums)
    monkeypatch.setattr(spoken_sums, "_accuracy", lambda *_: 0.0)
    spoken_sums.run(seed=1, short=True)
    data = snnsim_datasets.load("spoken-digits", "train_all")
    for each in trained:
        first, second, total = spoken_sums.pairs(data, False, np.random.default_rng(1))
        with torch.no_grad():
            scores, (a, b) = each.net(first, second)
            entropy = nn.functional.cross_entropy
            heard = (entropy(a, first.labels) + entropy(b, second.labels)) / 2
            expected = entropy(scores, total) + heard
        assert float(each.loss().detach()) == pytest.approx(float(expected), rel=1e-4)


def test_the_accuracy_of_sums_is_of_the_same_pairs_for_every_network():
    data = snnsim_datasets.load("spoken-digits", "test")

    def net(first, second):
        total = (first.labels + second.labels) % 10
        wrong = torch.arange(40) < 10
        return one_hot((total + wrong) % 10, 10), None

    seen = []

    def noting(first, second):
        seen.append((first.labels.tolist(), second.labels.tolist()))
        return net(first, second)

    assert spoken_sums._accuracy(noting, data, True, 3) == pytest.approx(75.0)
    again = seen[:]
    seen.clear()
    spoken_sums._accuracy(noting, data, True, 3)
    assert seen == again and len(seen) == 3
    random = np.random.default_rng(99)
    pairs = [spoken_sums.pairs(data, True, random)[:2] for _ in range(3)]
    assert seen == [(a.labels.tolist(), b.labels.tolist()) for a, b in pairs]
