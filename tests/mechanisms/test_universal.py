"""The universal transformer: Dehghani et al. 2019, halting: Graves 2016, and each of its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, block, close, dense, normal, randomised, sigmoid

from snnsim.baselines.models.universal import Universal
from snnsim.layer import auxiliary_losses

pytestmark = pytest.mark.usefixtures("float64")

HEADS, REACH = 2, 3


def make(depths=4, **options):
    return randomised(Universal(3, 4, depths=depths, heads=HEADS, reach=REACH, **options))


def by_hand(p, x, depths, halts, epsilon=0.01):
    """Outputs, and how many depths each place used plus its remainder."""
    h = dense(p, "enter", x)
    given, used, rest = np.zeros(x.shape[:2]), np.zeros(x.shape[:2]), np.zeros(x.shape[:2])
    total, running = np.zeros_like(h), np.ones(x.shape[:2], bool)
    for depth in range(depths):
        new = block(p, "block", h + p["code"][depth], HEADS, REACH)
        for place in zip(*np.nonzero(running), strict=True):
            h[place] = new[place]
            if not halts:
                continue
            score = sigmoid(p["halting.score.weight"][0] @ h[place] + p["halting.score.bias"][0])
            used[place] += 1
            if given[place] + score >= 1 - epsilon or depth == depths - 1:
                score = 1 - given[place]
                rest[place], running[place] = score, False
            given[place] += score
            total[place] += score * h[place]
    return (total if halts else h), used + rest


@pytest.mark.parametrize("depths", [1, 2, 5])
@pytest.mark.parametrize("bias", [-2.0, 1.0, 2.0])
def test_a_universal_transformer_is_its_equations(depths, bias):
    net, x = make(depths), normal(7, 2, 3)
    with torch.no_grad():
        net.halting.score.bias.fill_(bias)
    y, ponder = by_hand(arrays(net), x.numpy(), depths, halts=True)
    close(net(x)[0], y, 1e-12)
    close(net.think(x).ponder, ponder, 1e-12)
    if (depths, bias) == (5, 2.0):  # some places stop long before others, which still see them
        assert len(set(ponder.astype(int).flatten())) >= 3


def test_without_a_ponder_cost_it_is_one_block_again_and_again():
    net, x = make(3, ponder=0.0), normal(7, 2, 3)
    close(net(x)[0], by_hand(arrays(net), x.numpy(), 3, halts=False)[0], 1e-12)


def scored(bias):
    """Halting scores that do not depend on the state."""
    net = make(6)
    with torch.no_grad():
        net.halting.score.weight.zero_()
        net.halting.score.bias.fill_(bias)
    return net


@pytest.mark.parametrize(("score", "used"), [(0.5, 2), (0.3, 4), (0.995, 1), (0.01, 6)])
def test_a_place_stops_when_its_scores_reach_one_or_depths_end(score, used):
    halting = scored(float(np.log(score / (1 - score)))).think(normal(7, 2, 3))
    rest = 1 - (used - 1) * score
    expected = [score] * (used - 1) + [rest] + [0.0] * (6 - used)
    weights = halting.weights.detach()
    close(weights, np.broadcast_to(np.array(expected)[:, None, None], (6, 7, 2)), 1e-12)
    close(halting.ponder, np.full((7, 2), used + rest), 1e-12)


def test_places_think_for_different_times():
    net = make(6)
    with torch.no_grad():
        net.halting.score.weight *= 20
    ponder = net.think(normal(40, 2, 3)).ponder.detach()
    assert len(set(ponder.floor().flatten().tolist())) >= 2


def test_every_depth_has_a_code_and_all_have_one_block():
    net, x = make(3, ponder=0.0), normal(7, 2, 3)
    before = net(x)[0]
    assert sum("up.weight" in name for name, _ in net.named_parameters()) == 1
    for depth in range(3):
        with torch.no_grad():
            net.code[depth, 0] += 1.0
        assert float((net(x)[0] - before).detach().abs().max()) > 1e-3
        before = net(x)[0]


def test_thinking_costs():
    net, x = make(5, ponder=0.25), normal(7, 2, 3)
    with auxiliary_losses() as losses:
        net(x)
    _, ponder = by_hand(arrays(net), x.numpy(), 5, halts=True)
    assert losses["ponder"].item() == pytest.approx(0.25 * ponder.mean(), abs=1e-12)
    losses["ponder"].backward()
    assert float(net.halting.score.bias.grad.abs()) > 0
