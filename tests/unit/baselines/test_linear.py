"""Linear time-varying models, against their equations in their plainest form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import snnsim as sn
from snnsim.baselines.ltv import Matrices, memory_steps, simulate
from snnsim.baselines.models.aaren import Aaren
from snnsim.baselines.models.lightnet import LightNet
from snnsim.baselines.models.lightnet2d import LightNet2d
from snnsim.baselines.models.linear_attention import NORMALISERS, LinearAttention


def test_a_lif_below_its_threshold_is_a_linear_model():
    net = sn.LIF(3, dt=1.0, tau_mem=10.0, v_threshold=1e9)
    x = torch.rand(20, 2, 3)
    decay = math.exp(-1 / 10)
    eye = torch.eye(3).expand(20, 2, 3, 3)
    matrices = Matrices(torch.full((20, 2, 3), decay), eye, eye)
    _, end = net(x)
    torch.testing.assert_close(simulate(matrices, x)[-1], end["v"])
    assert float(memory_steps(matrices)[0]) == pytest.approx(1 / (1 - decay))


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_every_normaliser_of_linear_attention_agrees_with_its_matrices(normaliser):
    net, x = LinearAttention(5, 8, keys=3, normaliser=normaliser), torch.rand(9, 2, 5)
    torch.testing.assert_close(simulate(net.ltv(x), x), net(x)[0])


def test_linear_attention_is_a_weighted_mean_of_values():
    net = LinearAttention(5, 4, heads=1, keys=3).eval()
    x = torch.rand(9, 1, 5)
    q, k = (nn.functional.elu(m(x)[0][:, 0]) + 1 for m in (net.query, net.key))
    weights = (q @ k.t()).tril()
    expected = weights / weights.sum(1, keepdim=True) @ net.value(x)[0][:, 0]
    torch.testing.assert_close(net(x)[0][:, 0], expected)


# ---- Aaren, LightNet


def test_aaren_is_softmax_attention_of_its_query_at_every_length():
    net, x = Aaren(5, 8), torch.randn(1000, 1, 5)
    y, _ = net(x)
    k, v = (m(x)[0][:, 0].unflatten(-1, (4, 2)) for m in (net.key, net.value))
    score = (k * net.query).sum(-1) / 2**0.5
    for t in (0, 3, 999):
        expected = (score[: t + 1].softmax(0).unsqueeze(-1) * v[: t + 1]).sum(0).flatten()
        torch.testing.assert_close(y[t, 0], expected)
    assert net.state_size == 4 + 4 + 8


def test_aaren_survives_scores_that_overflow_the_exponential():
    net = Aaren(5, 8)
    with torch.no_grad():
        net.query.mul_(1e4)
    assert bool(torch.isfinite(net(torch.randn(20, 1, 5))[0]).all())


def test_lightnet_is_a_running_softmax_average():
    net, x = LightNet(5, 8, heads=2, keys=3, gated=False), torch.randn(40, 1, 5)
    y, _ = net(x)
    q = nn.functional.silu(net.query(x)[0][:, 0].unflatten(-1, (2, 3)))
    k, v = net.key(x)[0][:, 0].unflatten(-1, (2, 3)), net.value(x)[0][:, 0].unflatten(-1, (2, 4))
    for t in (0, 7, 39):
        s = torch.einsum("jhn,jhd->hnd", k[: t + 1].softmax(0), v[: t + 1])
        torch.testing.assert_close(y[t, 0], torch.einsum("hn,hnd->hd", q[t], s).flatten())


def test_the_order_of_a_grid_does_not_matter_to_a_lightnet_that_looks_at_all_of_it():
    ahead, causal = (LightNet2d(6, 8, groups=3, look_ahead=a).eval() for a in (True, False))
    tokens = torch.randn(5, 2, 3, 8)
    order = torch.randperm(15)
    for net, same in ((ahead, True), (causal, False)):
        y, _ = net.mix(tokens, net.initial_state(2))
        shuffled = tokens.transpose(1, 2).flatten(0, 1)[order].unflatten(0, (5, 3)).transpose(1, 2)
        z, _ = net.mix(shuffled, net.initial_state(2))
        back = torch.empty_like(z.transpose(1, 2).flatten(0, 1))
        back[order] = z.transpose(1, 2).flatten(0, 1)
        again = back.unflatten(0, (5, 3)).transpose(1, 2)
        assert torch.allclose(again, y, atol=1e-10) == same
    y, _ = causal.mix(tokens, causal.initial_state(2))
    z, _ = causal.mix(tokens.flip(2), causal.initial_state(2))
    torch.testing.assert_close(z.flip(2), y)  # groups within a step have no order
