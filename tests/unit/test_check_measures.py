"""What the checks of baselines measure, and how they train, against definitions."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from models_by_hand import one_hot
from snnsim_experiments.baselines.checks import (
    associative_recall,
    events,
    outcome,
    ponder,
    rhn,
    sasrec,
)
from torch import nn

from snnsim.baselines import RateNetwork
from snnsim.layer import auxiliary_losses
from snnsim.training import set_seed

# --- the training that all share ----------------------------------------------------------------


def test_optimising_is_clipped_adam_whose_rate_falls_to_0_as_a_cosine():
    """Steps of Adam under a gradient of one sign are as long as its rate."""
    weight, told, after = nn.Parameter(torch.zeros(1)), [], [0.0]
    net = nn.Module()
    net.register_parameter("weight", weight)

    def each(step):
        told.append(step)
        if step:
            after.append(float(weight.detach()))

    outcome.optimise(net, lambda: weight.sum(), 10, 0.3, each=each)
    after.append(float(weight.detach()))
    assert told == list(range(10))
    rates = [0.15 * (1 + math.cos(math.pi * step / 10)) for step in range(10)]
    assert -np.diff(after) == pytest.approx(rates, rel=1e-4)


def test_gradients_of_a_check_are_cut_to_a_length_of_1(monkeypatch):
    weights = nn.Parameter(torch.zeros(2))
    net = nn.Module()
    net.register_parameter("weights", weights)
    seen, step = [], torch.optim.Adam.step

    def noting(self, *arguments):
        seen.append(weights.grad.clone())
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", noting)
    outcome.optimise(net, lambda: weights @ torch.tensor([30.0, 40.0]), 1, 0.1)
    outcome.optimise(net, lambda: weights @ torch.tensor([0.3, 0.4]), 1, 0.1)
    outcome.optimise(net, lambda: weights @ torch.tensor([30.0, 40.0]), 1, 0.1, clip=2.0)
    expected = torch.tensor([[0.6, 0.8], [0.3, 0.4], [1.2, 1.6]])
    torch.testing.assert_close(torch.stack(seen), expected)


def test_batches_of_a_check_never_end_and_are_drawn_from_all_samples():
    drawn = list(itertools.islice(outcome.batches(5, 7, 3), 100))
    assert {each.shape for each in drawn} == {(7,)}
    assert set(np.concatenate(drawn).tolist()) == set(range(5))
    same, other = outcome.batches(5, 7, 3), outcome.batches(5, 7, 4)
    assert next(same).tolist() == drawn[0].tolist()
    assert [next(other).tolist() for _ in range(5)] != [each.tolist() for each in drawn[:5]]


def test_accuracy_is_that_of_the_trained_network_in_percent(monkeypatch):
    made = {}

    class Noting(outcome.Trainer):
        def __init__(self, net, train, test, recipe, seed):
            made.update(net=net, train=train, test=test, recipe=recipe, seed=seed)
            super().__init__(net, train, test, recipe, seed=seed)

    asked = []

    def evaluate(net, data, **options):
        asked.append((net, data, options))
        return SimpleNamespace(accuracy=0.375)

    monkeypatch.setattr(outcome, "Trainer", Noting)
    monkeypatch.setattr(outcome, "evaluate", evaluate)
    data, test = (parity_of_two(samples, seed) for samples, seed in ((40, 1), (24, 2)))
    found, net = outcome.accuracy("fsmn", data, test, epochs=2, seed=6, options={"order": 3})
    assert found == 37.5
    assert made["net"] is net is asked[0][0] and net.layers[0].n_out == 32 and len(net.layers) == 1
    assert made["train"] is data and made["test"] is test is asked[0][1] and made["seed"] == 6
    recipe = made["recipe"]
    assert (recipe.epochs, recipe.batch_size, recipe.lr) == (2, 50, 5e-3)
    assert (recipe.readout, recipe.mask_padding) == ("last", True)
    assert asked[0][2] == {"readout": "last", "mask_padding": True}
    set_seed(6)
    alike = RateNetwork(1, 2, "fsmn", width=32, depth=1, options={"order": 3})
    assert [p.shape for p in alike.parameters()] == [p.shape for p in net.parameters()]
    outcome.accuracy("elman", data, test, epochs=1, readout="mean", width=8, depth=2)
    assert made["recipe"].readout == asked[1][2]["readout"] == "mean"
    assert [layer.n_out for layer in made["net"].layers] == [8, 8] and made["seed"] == 0


def parity_of_two(samples, seed):
    from snnsim_datasets.synthetic import parity as bits

    return bits(2, samples, seed)


# --- events -------------------------------------------------------------------------------------


def test_likelihoods_of_events_are_means_over_those_there_are_from_the_second_on():
    items = one_hot([[0, 2], [1, 0], [2, 1]], 3)
    items[2, 1] = 0  # this one ended before
    logs = torch.log(torch.tensor([[[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]], [[0.1, 0.1, 0.8]] * 2]))
    expected = -(math.log(0.5) + math.log(0.6) + math.log(0.8)) / 3
    assert float(events._entropy(logs, items)) == pytest.approx(expected, rel=1e-6)


def test_the_loss_of_events_is_that_of_the_scores_one_step_before():
    torch.manual_seed(0)
    net = events.SASRec(4, 6, reach=3)
    items = one_hot(torch.randint(4, (5, 2)), 4)
    with torch.no_grad():
        scores = net.next_scores(net(items)[0])
        shares = torch.softmax(scores, -1)
        logs = [shares[t - 1, b, items[t, b].argmax()].log() for t in range(1, 5) for b in range(2)]
        assert float(events._loss(net, items)) == pytest.approx(-float(sum(logs)) / 8, rel=1e-5)


def test_pairs_of_events_are_the_shares_of_what_follows_each_channel():
    items = one_hot([[0, 1], [1, 2], [1, 0], [2, 1]], 3)
    items[3, 1] = 0  # 0 1 1 2 in the first, and 1 2 0 in the second
    counts = np.array([[0.1, 1.1, 0.1], [0.1, 1.1, 2.1], [1.1, 0.1, 0.1]])
    expected = counts / counts.sum(1, keepdims=True)
    np.testing.assert_allclose(events._pairs(items).numpy(), expected, rtol=1e-6)


# --- forecasts ----------------------------------------------------------------------------------


class Leap(nn.Module):
    """Forecasts a change that grows by itself, so that errors are known."""

    def __init__(self, slopes):
        super().__init__()
        self.slopes, self.heard = torch.tensor(slopes), []

    def forward(self, x, state=None):
        self.heard.append(x.shape[0])
        change = self.slopes[None, :, None].expand_as(x)
        return change, 0 if state is None else state + 1


def test_a_forecast_is_valid_until_its_error_is_half_the_spread():
    x = torch.zeros(130, 3, 8)
    net = Leap([0.1, 0.26, 0.0])  # beyond 0.5 with the sixth step, the second, and never
    assert rhn._valid_time(net, x) == pytest.approx((5 + 1 + 100) / 3 * 5 * 0.01 / 0.6)
    assert net.heard == [29] + [1] * 100


def test_persistence_forecasts_the_last_value_known():
    x = torch.zeros(130, 1, 8)
    x[:29] = 7.0
    x[29:33] = 2.0
    assert rhn._valid_time(None, x) == pytest.approx(3 * 5 * 0.01 / 0.6)


def test_errors_of_a_forecast_are_root_mean_squares_over_channels():
    x = torch.zeros(130, 1, 8)
    x[30:, :, 0] = 0.5 * 8**0.5 - 0.001  # one channel alone: the mean error is much less
    assert rhn._valid_time(None, x) == pytest.approx(100 * 5 * 0.01 / 0.6)
    x[40:, :, 0] += 0.002
    assert rhn._valid_time(None, x) == pytest.approx(10 * 5 * 0.01 / 0.6)


def test_a_forecast_goes_on_from_its_own_outputs_and_state():
    torch.manual_seed(1)
    net = RateNetwork(8, 8, "gru", width=5).eval()
    x = torch.randn(130, 2, 8)
    seen = []

    class Recording(nn.Module):
        def forward(self, given, state=None):
            y, after = net(given, state)
            seen.append((given, y, state, after))
            return y, after

    rhn._valid_time(Recording(), x)
    assert torch.equal(seen[0][0], x[:29]) and torch.equal(seen[1][0][0], x[29])
    assert seen[1][2] is seen[0][3] and seen[2][2] is seen[1][3]
    assert torch.equal(seen[2][0], seen[1][0] + seen[1][1])


# --- lags ---------------------------------------------------------------------------------------


def test_groups_of_lags_count_each_lag_alike():
    lags = torch.tensor([0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 7, 8])
    values = torch.tensor([3.0, 0, 0, 9, 1, 4, 10, 20, 3, 4, 8, 12])
    found = ponder._rows(values, lags, "x")
    expected = {"x, lags 0 to 1": 5, "x, lags 2 to 3": 2.5, "x, lags 4 to 5": 15,
                "x, lags 6 to 8": 7}  # fmt: skip
    assert found == pytest.approx(expected)


def test_blocks_that_are_not_tied_have_weights_of_their_own_and_see_one_step_back():
    torch.manual_seed(0)
    net = ponder.Untied().eval()
    weights = {id(p) for block in net.blocks for p in block.parameters()}
    assert len(net.blocks) == 11
    assert len(weights) == 11 * len(list(net.blocks[0].parameters()))
    x = torch.randn(20, 2, 5, requires_grad=True)
    y, _ = net(x)
    assert y.shape == (20, 2, 4)
    reach = torch.autograd.grad(y[15].sum(), x)[0].abs().sum((1, 2)) > 0
    assert reach.tolist() == [4 <= t <= 15 for t in range(20)]


@pytest.mark.parametrize("weight", [0.03, 0.0, None])
def test_what_ponders_pays_for_it_and_the_control_is_not_tied(monkeypatch, weight):
    kept = {}

    def optimise(net, loss, steps, lr):
        set_seed(0)
        kept.update(loss=float(loss().detach()), steps=steps, lr=lr)

    monkeypatch.setattr(ponder, "optimise", optimise)
    net = ponder._train(weight, 2, 17)
    assert kept["steps"] == 17 and kept["lr"] == 3e-3 and not net.training
    assert isinstance(net, ponder.Untied) == (weight is None)
    x, totals, _ = ponder.sums(64, 16, 5, 2 * 10**6 + 1)
    with torch.no_grad(), auxiliary_losses() as extra:
        net.train()
        y, _ = net(x)
    expected = nn.functional.cross_entropy(y.reshape(-1, 4), totals.reshape(-1))
    assert kept["loss"] == pytest.approx(float(expected + sum(extra.values())), rel=1e-4)
    if weight is not None:
        assert net.layers[0].n_out == 32 and net.layers[0].block.attention.reach == 1
        assert bool(weight) == (float(sum(extra.values())) > 0)


# --- chains of items ----------------------------------------------------------------------------


class Follows(nn.Module):
    """Knows the rule of chains: scores of 5 for what follows from three items before."""

    def forward(self, x):
        follows = torch.from_numpy(np.random.default_rng(5).permutation(20))
        known = torch.zeros_like(x)
        known[2:] = 5 * one_hot(follows, 20)[x[:-2].argmax(-1)]
        return known, None

    def next_scores(self, y):
        return y


def test_hits_on_items_are_of_those_that_follow_from_three_before():
    items = sasrec.chains(500, 3)
    loss, hits = sasrec._loss(Follows(), items)
    follows = np.random.default_rng(5).permutation(20)
    right = follows[items[1:-3].numpy()] == items[4:].numpy()
    assert hits == pytest.approx(100 * right.mean(), rel=1e-5)
    total = math.exp(5) + 19
    expected = -(right.mean() * math.log(math.exp(5) / total) + (~right).mean() * -math.log(total))
    assert float(loss) == pytest.approx(expected, rel=1e-4)


class Weighed(nn.Module):
    """Scores that depend on the last items by known amounts, the best one (item 3) by others."""

    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def forward(self, x):
        best = torch.eye(20)[3]
        each = (x[len(x) - 1 - k] * (1 + (w - 1) * best) for k, w in enumerate(self.weights))
        last = 100 * best + sum(each)
        return torch.stack([0 * last, last]), None

    def next_scores(self, y):
        return y


def test_the_influence_of_an_item_is_its_share_of_the_slopes_of_the_best_score():
    weights = [1.0, 4.0, 0.5, 2.0, 0.0, 0.5, 0.25, 0.25, 1.0, 0.5, 7.0]
    shares = sasrec.influence(Weighed(weights), sasrec.chains(6, 0))
    assert shares.tolist() == pytest.approx([w / 10 for w in weights[:10]])


def test_a_chain_is_learnt_from_batches_of_its_seed_and_no_others(monkeypatch):
    drawn, rates = [], []
    chains = sasrec.chains
    monkeypatch.setattr(
        sasrec, "chains", lambda n, seed: drawn.append((n, seed)) or chains(n, seed)
    )

    def optimise(net, loss, steps, lr):
        rates.append((steps, lr))
        for _ in range(3):
            loss()

    monkeypatch.setattr(sasrec, "optimise", optimise)
    net = sasrec._train(7, 4, 55)
    assert drawn == [(64, 4001), (64, 4002), (64, 4003)] and rates == [(55, 3e-3)]
    assert len(net.blocks) == 1 and net.n_out == 48 and not net.training
    assert net.blocks[0].attention.reach == 7


# --- associative recall -------------------------------------------------------------------------


def test_recall_is_scored_where_values_are_asked_for(monkeypatch):
    losses = []

    def optimise(net, loss, steps, lr):
        losses.append((net, float(loss().detach())))

    monkeypatch.setattr(associative_recall, "optimise", optimise)
    found = associative_recall._accuracy(2, 5, 4, "sum")
    ((net, loss),) = losses
    net.eval()
    body = net.layers[0]
    assert (len(net.layers), body.n_out, body.heads, body.keys) == (2, 32, 4, 4)
    with torch.no_grad():
        x, answers = associative_recall.queries(64, 2 * 10**6 + 1)
        scores = net(x)[0][6:]
        expected = nn.functional.cross_entropy(scores.reshape(-1, 8), answers.reshape(-1))
        x, answers = associative_recall.queries(1000, 10**9 + 2)
        right = (net(x)[0][6:].argmax(-1) == answers).double().mean()
    assert loss == pytest.approx(float(expected), rel=1e-4)
    assert found == pytest.approx(100 * float(right), rel=1e-6)
