"""Softmax attention over a window: equation 1 of Vaswani et al. 2017, and each of its parts."""

from __future__ import annotations

import pytest
import torch
from models_by_hand import arrays, attention, close, normal, randomised

from snnsim.baselines.models.softmax_attention import SoftmaxAttention

pytestmark = pytest.mark.usefixtures("float64")


def by_hand(p, x, count, reach):
    """One sample, step by step and head by head."""
    x = x @ p["enter.weight"].T + p["enter.bias"]
    return attention(p, "attention", x[:, None], count, reach)[:, 0]


@pytest.mark.parametrize("reach", [1, 4, 20])
def test_softmax_attention_is_its_equation(reach):
    net = randomised(SoftmaxAttention(3, 6, heads=2, reach=reach), 1.0)
    x = normal(9, 2, 3)
    y, _ = net(x)
    for b in range(2):
        close(y[:, b], by_hand(arrays(net), x[:, b].numpy(), 2, reach), 1e-12)


def test_it_sees_its_reach_and_nothing_beyond():
    net, x = randomised(SoftmaxAttention(3, 6, heads=2, reach=3), 0.3), normal(9, 1, 3)
    changed = x.clone()
    changed[2] += 1.0
    moved = (net(changed)[0] - net(x)[0]).detach().abs().amax((1, 2))
    assert (moved > 1e-6).tolist() == [False] * 2 + [True] * 4 + [False] * 3


def test_distances_have_a_preference_of_their_own():
    """A large bias of distance 2 makes each step read the one two before it."""
    net, x = randomised(SoftmaxAttention(3, 4, heads=1, reach=3)), normal(9, 1, 3)
    with torch.no_grad():
        net.attention.distance[0, 2] = 1e3
    p = arrays(net)
    values = (x[:, 0].numpy() @ p["enter.weight"].T + p["enter.bias"]) @ p[
        "attention.value.weight"
    ].T
    close(net(x)[0][2:, 0], values[:-2] @ p["attention.out.weight"].T, 1e-12)


def test_weights_sum_to_one():
    """Values that do not depend on the input are read as they are, from any past."""
    net = randomised(SoftmaxAttention(3, 4, heads=2, reach=3))
    with torch.no_grad():
        net.enter.weight[0] = 0.0
        net.attention.value.weight[:, 1:] = 0.0  # values are of the first channel, a constant
    y = net(normal(9, 2, 3))[0].detach()
    close(y, y[:1, :1].expand_as(y).numpy(), 1e-12)
