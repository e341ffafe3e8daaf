"""Networks that only the checks of baselines have: routers, solvers, curricula and listeners."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from models_by_hand import one_hot
from snnsim_datasets.synthetic.sudoku import edges, sudoku
from snnsim_experiments.baselines.checks import (
    few_shot,
    parity,
    rrn,
    spoken_sums,
    workspace,
)
from torch import nn

from snnsim.training import set_seed

# --- routing ------------------------------------------------------------------------------------


class Routes(nn.Module):
    """Scores of the gates, one row per step, given by hand."""

    def __init__(self, rows):
        super().__init__()
        self.rows, self.step = rows, 0

    def forward(self, h):
        self.step += 1
        row = torch.as_tensor(self.rows[(self.step - 1) % 13], dtype=torch.float32)
        return (50 * row.expand(len(h), -1),)


KEEP, LOAD, INCREMENT = torch.eye(3).tolist()
OPEN, SHUT = 1.0, -1.0


def routed(reading, increments=(OPEN,) * 13, answers=(OPEN,) * 13):
    """An adder whose gates are given for each step."""
    net = workspace.Adder()
    net.workspace.route = Routes(reading)
    net.workspace.send = Routes(list(zip(increments, answers, strict=True)))
    return net


@pytest.mark.parametrize("added", [0, 1, 7, 9])
def test_a_workspace_that_loads_and_increments_adds(added):
    net = routed([KEEP, LOAD, *[INCREMENT] * added, *[KEEP] * (11 - added)])
    scores = net(torch.eye(10), torch.eye(10)[added].expand(10, 10))
    assert scores.argmax(1).tolist() == [(a + added) % 10 for a in range(10)]
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(10), rtol=1e-4, atol=0)
    assert net.workspace.route.step == net.workspace.send.step == 13


def test_a_workspace_that_loads_nothing_knows_nothing():
    net = routed([INCREMENT, KEEP] * 7)
    scores = net(torch.eye(10), torch.eye(10))
    torch.testing.assert_close(scores, torch.full((10, 10), 1e-6).log(), rtol=1e-4, atol=0)


def test_what_is_not_broadcast_to_is_not_changed():
    reading = [LOAD, *[INCREMENT] * 12]
    stopped = routed(reading, increments=[OPEN] * 2 + [SHUT] * 11)
    scores = stopped(torch.eye(10), torch.eye(10))
    assert scores.argmax(1).tolist() == [(a + 2) % 10 for a in range(10)]
    answered = routed(reading, answers=[OPEN] * 4 + [SHUT] * 9)
    scores = answered(torch.eye(10), torch.eye(10))
    assert scores.argmax(1).tolist() == [(a + 3) % 10 for a in range(10)]


def test_the_router_sees_the_second_digit_and_the_step_and_not_the_first_digit():
    torch.manual_seed(0)
    net, heard = workspace.Adder(), []
    net.workspace.w_in.register_forward_pre_hook(lambda module, given: heard.append(given[0]))
    net(torch.eye(10)[[1, 2]], torch.eye(10)[[3, 4]])
    (x,) = heard
    assert x.shape == (13, 2, 30) and not x[:, :, :10].any()
    for step, now in enumerate(x):
        assert torch.equal(now[:, 10:20], torch.eye(10)[[3, 4]])
        assert torch.equal(now[:, 20:], torch.eye(10)[[min(step, 9)] * 2])


def test_gates_of_a_cold_router_are_sharper():
    weak = [[score / 50 for score in row] for row in (LOAD, *[KEEP] * 12)]
    net = routed(weak)
    spread = []
    for net.temperature in (1.0, 0.05):
        assert net.workspace.temperature == net.temperature
        scores = net(torch.eye(10), torch.eye(10))
        spread.append(scores.exp().max(1).values.mean().item())
    assert spread[1] > 1.2 * spread[0]


def test_gates_that_are_not_set_are_the_same_in_every_step_and_for_every_digit():
    torch.manual_seed(0)
    net, gates = workspace.Adder(routed=False), []
    for layer in (net.workspace.route, net.workspace.send):
        layer.register_forward_hook(lambda module, given, found: gates.append(found[0].detach()))
    net(torch.eye(10), torch.eye(10)).sum().backward()
    for scores in (torch.stack(gates[0::2]), torch.stack(gates[1::2])):
        assert scores.shape[:2] == (13, 10) and torch.equal(scores, scores[:1, :1] + 0 * scores)
    assert not net.workspace.route.weight.requires_grad and net.workspace.route.bias.grad.any()


def test_the_controls_of_sums_hear_both_digits():
    torch.manual_seed(0)
    a, b = torch.eye(10)[[1, 2, 1]], torch.eye(10)[[3, 3, 4]]
    for net in (workspace.Plain(), spoken_sums.Perceptron()):
        scores = net(a, b)
        assert scores.shape == (3, 10)
        assert not torch.allclose(scores[0], scores[1])
        assert not torch.allclose(scores[0], scores[2])
        assert not torch.allclose(scores, net(b, a))


def test_a_listener_adds_the_shares_of_the_digits_it_hears():
    torch.manual_seed(0)
    kept = []

    class Adder(nn.Module):
        def forward(self, a, b):
            kept.append((a, b))
            return a - b

    net = spoken_sums.Listener(6, Adder()).eval()
    x = torch.poisson(torch.ones(9, 4, 6))
    lengths = torch.tensor([9, 3, 5, 9])
    first, second = SimpleNamespace(x=x, lengths=lengths), SimpleNamespace(x=x + 1, lengths=lengths)
    scores, heard = net(first, second)
    assert len(heard) == 2 and heard[0].shape == (4, 10)
    for given, shares, batch in zip(heard, kept[0], (first, second), strict=True):
        y = net.hear(batch.x)[0]
        expected = torch.stack([y[:n, i].mean(0) for i, n in enumerate(lengths.tolist())])
        torch.testing.assert_close(given, expected)
        torch.testing.assert_close(shares, expected.softmax(1))
    torch.testing.assert_close(scores, kept[0][0] - kept[0][1])


# --- puzzles ------------------------------------------------------------------------------------


def test_a_solver_scores_every_cell_after_every_step_from_what_is_given():
    torch.manual_seed(0)
    net = rrn.Solver().eval()
    puzzles = torch.from_numpy(sudoku(3, "train", 1)[0]).long()
    with torch.no_grad():
        found = net(puzzles, 5)
        assert [scores.shape for scores in found] == [(3, 16, 4)] * 5
        x = torch.relu(net.enter(net.digit(puzzles))[0])
        h, c = x, torch.zeros_like(x)
        for scores in found:
            h, c = net.relate(x, h, c)
            torch.testing.assert_close(scores, net.answer(h)[0])
    near = torch.zeros(16, 16, dtype=torch.bool)
    near[tuple(torch.tensor(edges()).T)] = True
    embedded = net.digit(puzzles[:1]).detach().requires_grad_()
    net.digit = nn.Identity()
    net(embedded, 1)[0][0, 3].sum().backward()
    reached = embedded.grad[0].abs().sum(-1) > 0
    assert reached.tolist() == (near[3] | (torch.arange(16) == 3)).tolist()


# --- curricula ----------------------------------------------------------------------------------


@pytest.mark.parametrize("several", [True, False])
def test_a_curriculum_goes_on_when_its_worst_head_has_been_right_for_long(several):
    made = parity._Curriculum(several, 0)

    class Knows(nn.Module):
        """Gives every label away, but is wrong in a quarter for one N."""

        def __init__(self, i):
            super().__init__()
            self.i, self.weight = i, nn.Parameter(torch.ones(1))

        def forward(self, h):
            labels = kept["labels"][self.i if several else -1]
            wrong = torch.arange(128) < (32 if kept["bad"] == self.i else 0)
            return 9 * self.weight * one_hot(labels ^ wrong.long(), 2)

    made.heads = nn.ModuleList(Knows(i) for i in range(23))
    kept = {"bad": -1}
    bits = parity.bits

    def noting(memory, random):
        x, kept["labels"] = bits(memory, random)
        return x, kept["labels"]

    reached = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "bits", noting)
        for _ in range(77 + 77 + 76):
            made.step()
            reached.append(made.memory)
        # 1 - 0.95 ** n is above 0.98 from the 77th step on
        assert reached == [2] * 76 + [3] * 77 + [4] * 77
        kept["bad"] = 1 if several else 0
        for _ in range(90):
            made.step()
        assert made.memory == 4 and made.recent < 0.98
        made.memory, made.recent, kept["bad"] = 24, 0.99, -1
        made.step()
        assert made.memory == 24


def test_every_number_of_a_curriculum_has_its_head_or_all_have_one():
    several, one = parity._Curriculum(True, 0), parity._Curriculum(False, 0)
    assert len(several.heads) == 23
    assert [several._head(i) for i in range(23)] == list(several.heads)
    assert {one._head(i) for i in range(23)} == {one.heads[0]}
    rates = several.optimizer.param_groups[0]
    assert (rates["lr"], rates["momentum"], rates["nesterov"]) == (0.05, 0.1, True)
    assert len(rates["params"]) == len(list(several.net.parameters())) + 2 * 23
    assert several.net.n_out == 128


def test_only_the_heads_of_a_curriculum_so_far_are_trained():
    for several, trained in ((True, [0, 1, 2]), (False, [0])):
        made = parity._Curriculum(several, 1)
        made.memory = 4
        before = [head.weight.detach().clone() for head in made.heads]
        made.step()
        moved = [i for i, w in enumerate(before) if not torch.equal(w, made.heads[i].weight)]
        assert moved == trained


def test_the_accuracy_of_a_curriculum_is_that_of_the_head_of_the_number():
    made = parity._Curriculum(True, 0)
    for memory in (2, 5):
        x, labels = parity.bits(memory, np.random.default_rng(memory))
        with torch.no_grad():
            scores = made.heads[memory - 2](made.net(x)[0][-1])
        right = (scores.argmax(1) == labels[-1]).double().mean()
        assert made.accuracy(memory) == pytest.approx(100 * float(right))


# --- a new speaker ------------------------------------------------------------------------------


@pytest.mark.parametrize("draws", [True, False])
def test_all_queries_are_answered_from_one_context_and_one_latent_of_a_draw(draws):
    set_seed(0)
    model = few_shot._Model(draws).eval()
    x, labels = few_shot.utterances(12, np.random.default_rng(0))
    query = x[:, 4:]
    for size in (0, 4):
        state = model.body.initial_state(1)
        if size:
            state = model.body.observe(state, x[:, :4], labels[:4])
        torch.manual_seed(1)
        with torch.no_grad():
            found = model((x[:, :size], labels[:size]), query, 3)
            torch.manual_seed(1)
            mean, deviation = model.body.latent_of(state)
            noise = torch.randn(3, mean.shape[1])
            for draw, scores in enumerate(found):
                z = mean + draws * deviation * noise[draw]
                for i in range(8):
                    alone, _ = model.body(query[:, i : i + 1], {**state, "z": z})
                    expected = model.head(alone[-1]).log_softmax(-1)[0]
                    torch.testing.assert_close(scores[i], expected, rtol=1e-4, atol=1e-5)
        assert len(found) == (3 if draws else 1)
        assert not draws or not torch.allclose(found[0], found[1])
