"""Halting, loops over depth and highways."""

from __future__ import annotations

import torch

from snnsim.baselines.models.recurrent_depth import RecurrentDepth
from snnsim.baselines.models.rhn import RHN
from snnsim.baselines.models.universal import Universal


def test_halting_weights_sum_to_one_and_one_depth_is_one_block():
    net, x = Universal(5, 8, depths=5).eval(), torch.randn(11, 2, 5)
    with torch.no_grad():
        net.halting.score.bias.fill_(-1.0)
        net.halting.score.weight.mul_(5)
    halting = net.think(x)
    torch.testing.assert_close(halting.weights.sum(0), torch.ones(11, 2))
    used = (halting.weights > 0).sum(0)
    assert used.min() < used.max() <= 5
    assert bool((halting.ponder > used).all()) and bool((halting.ponder <= used + 1).all())
    one = Universal(5, 8, depths=1).eval()
    block, _ = one.block(one.enter(x)[0] + one.code[0], one.initial_state(2)[0])
    torch.testing.assert_close(one(x)[0], block)


def test_more_iterations_than_trained_may_be_asked_for():
    net, x = RecurrentDepth(5, 8, iterations=2).eval(), torch.randn(7, 2, 5)
    y, _ = net(x)
    net.iterations = 6
    assert not torch.allclose(net(x)[0], y)


def test_the_state_after_a_drawn_number_of_iterations_fits_the_usual_one():
    net, x = RecurrentDepth(5, 8, iterations=4), torch.randn(7, 2, 5)
    for _ in range(20):
        _, (_, pasts, _) = net.train()(x)
        assert len(pasts) == 4
    net.eval()(x, net.train()(x)[1])


def test_a_drawn_number_of_iterations_varies_around_its_mean():
    net = RecurrentDepth(5, 8, iterations=4)
    counts = [len(net._drawn(net.initial_state(1)[1])) for _ in range(400)]
    assert 4 < sum(counts) / 400 < 6.5 and len(set(counts)) > 5


def test_a_closed_transform_gate_carries_the_state():
    net = RHN(3, 4)
    with torch.no_grad():
        for layer in net.w_rec:
            layer.bias[4:] = -60.0
    state = torch.rand(2, 4)
    torch.testing.assert_close(net(torch.rand(9, 2, 3), state)[1], state)
