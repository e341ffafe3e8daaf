"""Claims of checks of baselines, whose networks are stood for by ones of known answers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import snnsim_datasets
import torch
from models_by_hand import one_hot
from small_training import untrained
from snnsim_datasets.synthetic.sudoku import sudoku
from snnsim_experiments.baselines.checks import (
    events,
    few_shot,
    forecast,
    ponder,
    rrn,
    workspace,
)
from snnsim_experiments.baselines.checks.outcome import batches
from torch import nn

# --- routing ------------------------------------------------------------------------------------


class Knows(nn.Module):
    """Answers so many of the trained pairs of digits and of the others right."""

    def __init__(self, trained, new, seed):
        super().__init__()
        order = np.random.default_rng(seed).permutation(100)
        self.right = {divmod(int(c), 10) for c in [*order[:trained], *order[60 : 60 + new]]}
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, a, b):
        pairs = zip(a.argmax(1).tolist(), b.argmax(1).tolist(), strict=True)
        answers = [(i + j + ((i, j) not in self.right)) % 10 for i, j in pairs]
        return self.weight * one_hot(answers, 10)


@pytest.mark.parametrize(
    ("ours", "fixed", "lstm", "passed"),
    [((60, 40), (8, 2), (60, 0), True), ((60, 39), (60, 19), (60, 19), True),
     ((60, 38), (8, 2), (60, 0), False), ((60, 40), (8, 2), (0, 20), False),
     ((60, 40), (60, 20), (60, 0), False)],
)  # fmt: skip
def test_new_pairs_must_be_added_by_gates_that_are_set_and_by_no_control(
    monkeypatch, ours, fixed, lstm, passed
):
    trained = untrained(monkeypatch, workspace)
    monkeypatch.setattr(workspace, "Adder", lambda routed=True: Knows(*(fixed, ours)[routed], 3))
    monkeypatch.setattr(workspace, "Plain", lambda: Knows(*lstm, 3))
    found = workspace.run(seed=3)
    assert found.passed is passed
    for name, (old, new), part in (("workspace", ours, found.figures),
                                   ("fixed gates", fixed, found.control),
                                   ("lstm", lstm, found.control)):  # fmt: skip
        assert part[f"{name}, trained pairs"] == pytest.approx(100 * old / 60)
        assert part[f"{name}, new pairs"] == pytest.approx(100 * new / 40)
    assert len(found.figures) == 2 and len(found.control) == 4
    assert [t.arguments for t in trained] == [(600, 1e-2)] * 3
    trained[0].net.temperature = None  # has one, and so is cooled
    for step, temperature in ((0, 1.0), (300, 0.65), (599, 1 - 0.7 * 599 / 600)):
        trained[0].each(step)
        assert trained[0].net.temperature == pytest.approx(temperature)
    trained[2].each(300)
    assert not hasattr(trained[2].net, "temperature")
    wrong = (60 - ours[0]) / 60  # of 60 pairs that are trained, and no other
    right = torch.tensor([1.0, *[0.0] * 9]).log_softmax(0)
    expected = -(1 - wrong) * right[0] - wrong * right[1]
    assert float(trained[0].loss().detach()) == pytest.approx(float(expected), rel=1e-5)


# --- puzzles ------------------------------------------------------------------------------------


class Solves(nn.Module):
    """Solves the first of 300 test puzzles, so many after each step; but one cell of others."""

    def __init__(self, solved, seed):
        super().__init__()
        self.solved, self.answers = solved, sudoku(300, "test", seed)[1]

    def forward(self, puzzles, steps):
        found = []
        for step in range(1, steps + 1):
            known = self.solved[min(s for s in self.solved if s >= step)]
            answers = torch.from_numpy(self.answers).long() - 1
            answers[known:, 15] = (answers[known:, 15] + 1) % 4
            found.append(one_hot(answers, 4))
        return found


@pytest.mark.parametrize(
    ("solved", "passed"),
    [((0, 150, 181, 300), True), ((0, 150, 179, 300), False), ((0, 200, 240, 235), True),
     ((0, 200, 240, 233), False), ((200, 200, 240, 240), False), ((0, 240, 240, 240), False)],
)  # fmt: skip
def test_more_steps_must_solve_more_puzzles_and_more_than_trained_no_fewer(
    monkeypatch, solved, passed
):
    untrained(monkeypatch, rrn)
    table = dict(zip((1, 4, 8, 16), solved, strict=True))
    monkeypatch.setattr(rrn, "Solver", lambda: Solves(table, 2))
    found = rrn.run(seed=2)
    assert found.passed is passed
    shares = {n: pytest.approx(count / 3) for n, count in table.items()}
    assert found.figures == {f"solved %, {n} steps": shares[n] for n in (4, 8, 16)}
    assert found.control == {"solved %, 1 step": shares[1]}


# --- forecasts of coupled channels --------------------------------------------------------------


@pytest.mark.parametrize(
    ("whole", "alone", "graph", "passed"),
    [("mean", 9.0, "coupling", True), ("mean", 9.0, "none", False),
     (9.0, "mean", "coupling", False), ("mean", "mean", "coupling", False)],
)  # fmt: skip
def test_the_graph_must_make_the_best_forecasts_and_be_the_coupling(
    monkeypatch, whole, alone, graph, passed
):
    trained = untrained(monkeypatch, forecast)

    class Mixer(forecast.GraphMixer):
        def graph(self):
            noise = 0.01 * torch.from_numpy(np.random.default_rng(0).random((12, 12)))
            return noise - (torch.from_numpy(forecast.coupling()) if graph == "coupling" else 0)

    class Forecaster(nn.Module):
        def __init__(self, core, window, stride, mixer):
            super().__init__()
            self.core, self.mixer = core, mixer
            assert (window, stride) == (20, 5)

        def forward(self, past):
            if self.mixer is None:
                return torch.zeros(5, *past.shape[1:])
            by_itself = not self.mixer.scale.requires_grad
            assert bool(self.mixer.scale.any()) != by_itself
            how = alone if by_itself else whole
            value = 1.9 if how == "mean" else how  # their mean is 2
            return torch.full((5, *past.shape[1:]), value)

    monkeypatch.setattr(forecast, "GraphMixer", Mixer)
    monkeypatch.setattr(forecast, "Forecaster", Forecaster)
    found = forecast.run(seed=1)
    assert found.passed is passed
    past, following = forecast.windows(forecast.counts(2000, 3))
    past, following = past.numpy(), following.numpy()

    def error(how):
        return float(np.abs(following - (1.9 if how == "mean" else how)).mean())

    assert found.figures["error, with the graph"] == pytest.approx(error(whole), rel=1e-4)
    assert found.figures["error, LSTM of all channels"] == pytest.approx(error(0.0), rel=1e-4)
    assert (found.figures["correlation of graph and coupling"] > 0.99) == (graph == "coupling")
    assert abs(found.control["correlation, shuffled"]) < 0.25
    known = {
        "error, each channel by itself": error(alone),
        "error, persistence": np.abs(past[-1:] - following).mean(),
        "error, each channel's own mean": np.abs(past.mean(0) - following).mean(),
    }
    assert {k: v for k, v in found.control.items() if k in known} == pytest.approx(known, rel=1e-4)
    assert [t.arguments for t in trained] == [(800, 3e-3)] * 3
    sizes = [(t.net.core.n_in, t.net.core.n_out) for t in trained]
    assert sizes == [(1, 16), (1, 16), (12, 48)]
    x, _ = forecast.windows(forecast.counts(6000, 2))
    active = (x.numpy() > 0).reshape(-1, 12).astype(float)
    norms = np.sqrt(active.sum(0))
    together = active.T @ active / np.outer(norms, norms)
    np.testing.assert_allclose(trained[0].net.mixer.together.numpy(), together, rtol=1e-4)


# --- a new speaker ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "drawn", "plain", "passed"),
    [((4, 16, 16), -0.2, -0.7, True), ((4, 8, 15), -0.39, -0.7, True),
     ((4, 16, 16), -0.41, -0.7, False), ((4, 16, 14), -0.2, -0.7, False),
     ((4, 7, 16), -0.2, -0.7, False)],
)  # fmt: skip
def test_unknown_speakers_need_draws_and_accuracy_must_grow(
    monkeypatch, right, drawn, plain, passed
):
    asked = []

    def measured(draws, seed, speakers):
        asked.append((draws, seed, speakers))
        logs = (drawn if draws else plain, -0.1, -0.1)
        figures = {}
        for n, r, log in zip(few_shot.KNOWN, right, logs, strict=True):
            figures[f"accuracy %, {n} utterances"] = 100 * r / 16
            figures[f"log probability, {n} utterances"] = log
        return figures

    monkeypatch.setattr(few_shot, "_trained", lambda draws, seed, steps: draws)
    monkeypatch.setattr(few_shot, "_measured", measured)
    found = few_shot.run(seed=1)
    assert found.passed is passed
    assert asked == [(True, 1, 100), (False, 1, 100)]
    assert found.figures["log probability, 0 utterances"] == drawn
    assert found.control["log probability, 0 utterances"] == plain
    assert found.figures["accuracy %, 8 utterances"] == 100 * right[2] / 16
    assert few_shot.KNOWN == (0, 1, 8) and "600 steps" in found.budget


@pytest.mark.parametrize("draws", [True, False])
def test_new_speakers_are_the_same_for_every_size_and_all_answers_are_measured(draws):
    sizes, asked, given = [], [], []

    def model(context, query, count):
        sizes.append((context[0].shape[1], len(context[1])))
        given.append(count)
        asked.append(query)
        scores = torch.full((2, 16, 4), 0.1)
        scores[0, :, 0], scores[1, :, 1] = 0.7, 0.7  # one draw says 0, the other 1
        return scores.log()

    found = few_shot._measured(model, 1, 5)
    assert sizes == [(n, n) for n in (0, 1, 8) for _ in range(5)] and set(given) == {32}
    test, logs, right = np.random.default_rng([1, 10**6]), [], []
    for i in range(5):
        x, labels = few_shot.utterances(24, test)
        assert all(torch.equal(asked[place + i], x[:, 8:]) for place in (0, 5, 10))
        y = labels[8:].numpy()
        both = [np.prod(np.where(y == one, 0.7, 0.1)) for one in (0, 1)]
        logs.append(np.log(np.mean(both)) / 16)
        right.append((y == 0).mean())  # of equal classes the first is taken
    for n in (0, 1, 8):
        assert found[f"log probability, {n} utterances"] == pytest.approx(np.mean(logs), rel=1e-4)
        assert found[f"accuracy %, {n} utterances"] == pytest.approx(100 * np.mean(right))


# --- events -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ahead", "passed"), [(0.11, True), (0.09, False), (-0.2, False)])
def test_events_must_be_foretold_better_than_by_the_last_channel(monkeypatch, ahead, passed):
    trained = untrained(monkeypatch, events)
    train, test = (
        snnsim_datasets.load("spoken-digits", part, binning="events", pool=10)
        for part in ("train", "test")
    )
    items = train.batch(range(len(train))).x.numpy()
    tested = test.batch(range(len(test))).x.numpy()
    there = tested[1:].sum(-1) > 0
    shares = (items.sum((0, 1)) + 1) / (items.sum((0, 1)) + 1).sum()
    alone = -np.log(shares[tested[1:].argmax(-1)])[there].mean()
    pairs = 0.1 + items[:-1].reshape(-1, train.channels).T @ items[1:].reshape(-1, train.channels)
    pairs /= pairs.sum(1, keepdims=True)
    before = -np.log(pairs[tested[:-1].argmax(-1), tested[1:].argmax(-1)])[there].mean()
    loss = events._loss

    def known(net, items):
        if items.shape[1] == len(test):
            np.testing.assert_array_equal(items.numpy(), tested)
            return torch.tensor(before - ahead)
        return loss(net, items)

    monkeypatch.setattr(events, "_loss", known)
    found = events.run(seed=2)
    assert found.passed is passed
    assert found.figures == pytest.approx({"SASRec": before - ahead})
    expected = {"the last channel alone": before, "how often each spikes": alone}
    assert found.control == pytest.approx(expected, rel=1e-4)
    assert before < alone and trained[0].arguments == (300, 3e-3)
    chosen = next(batches(len(train), 16, 2))
    net = trained[0].net
    assert (net.n_out, net.blocks[0].attention.reach) == (48, 32)
    with torch.no_grad():
        expected = loss(net, train.batch(chosen).x[:200])
    assert float(trained[0].loss().detach()) == pytest.approx(float(expected), rel=1e-4)


# --- sums since a mark --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "passed"),
    [({}, True), ({("tied", 0): 94}, False), ({("tied", 4): 94}, False),
     ({"thought": 0.9}, False), ({"thought": 1.1}, True), ({("untied", 6): 76}, False),
     ({("untied", 6): 74}, True), ({("tied, no halting", 6): 0}, True)],
)  # fmt: skip
def test_longer_lags_must_be_thought_about_longer_and_a_tied_block_be_better(
    monkeypatch, change, passed
):
    names = {0.03: "tied", 0.0: "tied, no halting", None: "untied"}
    known = {(n, g): 97.0 for n in names.values() for g in (0, 2, 4)}
    known |= {("tied", 6): 80.0, ("tied, no halting", 6): 65.0, ("untied", 6): 50.0}
    known |= {"thought": 3.4} | change
    asked = []

    class Net(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name
            self.layers = [SimpleNamespace(think=lambda x: SimpleNamespace(ponder=thought(x)))]

        def forward(self, x):
            _, totals, lags = ponder.sums(2000, 24, 8, 10**9 + 7)
            wrong = torch.zeros_like(totals)
            for lag in range(9):
                share = 1 - known[self.name, min(lag // 2 * 2, 6)] / 100
                places = (lags == lag).nonzero()
                wrong[tuple(places[: round(share * len(places))].T)] = 1
            return one_hot((totals + wrong) % 4, 4), None

    def thought(x):
        lags = ponder.sums(2000, 24, 8, 10**9 + 7)[2]
        return 2.0 + known["thought"] * (lags >= 4).float() + (lags >= 6).float()

    def train(weight, seed, steps):
        asked.append((weight, seed, steps))
        return Net(names[weight])

    monkeypatch.setattr(ponder, "_train", train)
    found = ponder.run(seed=7)
    assert found.passed is passed
    assert asked == [(weight, 7, 600) for weight in names]
    groups = {0: "0 to 1", 2: "2 to 3", 4: "4 to 5", 6: "6 to 8"}
    expected = {f"accuracy %, {name}, lags {group}": known[name, first]
                for name in names.values() for first, group in groups.items()}  # fmt: skip
    more = known["thought"]
    expected |= {"ponder, lags 0 to 1": 2, "ponder, lags 2 to 3": 2,
                 "ponder, lags 4 to 5": 2 + more, "ponder, lags 6 to 8": 3 + more}  # fmt: skip
    assert found.figures | found.control == pytest.approx(expected, abs=0.1)
    assert set(found.control) == {f"accuracy %, untied, lags {group}" for group in groups.values()}
