"""Titans: a memory learnt while reading."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snnsim.baselines.heads import outer
from snnsim.baselines.models.titans import Titans


def test_without_momentum_and_forgetting_titans_is_the_delta_rule():
    net = Titans(5, 4, heads=1, keys=3, chunk=1)
    with torch.no_grad():
        net.gates.weight.zero_()
        net.gates.bias.copy_(torch.tensor([-60.0, 0.0, -60.0]))  # eta, theta, alpha
    x = torch.randn(10, 1, 5)
    y, _ = net(x)
    q, k = (
        nn.functional.normalize(nn.functional.silu(m(x)[0][:, 0]), dim=-1)
        for m in (net.query, net.key)
    )
    v, M = nn.functional.silu(net.value(x)[0][:, 0]), torch.zeros(3, 4)
    for t in range(10):
        M = M - 2 * 0.5 * outer(k[t], M.t() @ k[t] - v[t])
        torch.testing.assert_close(y[t, 0], M.t() @ q[t])


@pytest.mark.parametrize("theta", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("alpha", [0.0, 0.05])
def test_what_titans_recalls_grows_with_its_step_and_fades_with_the_gap(theta, alpha):
    net = Titans(3, 4, heads=1, keys=2, chunk=1).double()
    with torch.no_grad():
        net.gates.weight.zero_()
        net.gates.bias.copy_(torch.logit(torch.tensor([0.0, theta, alpha]).double(), 1e-12))
    x = torch.zeros(6, 1, 3).double()
    x[0] = torch.rand(1, 3) + 0.1
    key = nn.functional.normalize(nn.functional.silu(net.key(x[:1])[0][0, 0]), dim=-1)
    value = nn.functional.silu(net.value(x[:1])[0][0, 0])
    for gap in (1, 3, 6):  # nothing comes in after the first step
        _, state = net(x[:gap])
        recalled = state["memory"][0, 0].T @ key
        torch.testing.assert_close(recalled, 2 * theta * (1 - alpha) ** (gap - 1) * value)


def test_titans_reads_back_what_was_written_in_any_order():
    net = Titans(16 + 4, 4, heads=1, keys=16, chunk=1)
    with torch.no_grad():
        net.gates.weight.zero_()
        net.gates.bias.copy_(torch.tensor([-60.0, 0.0, -60.0]))
        for m in (net.key, net.query):
            m.weight.copy_(50 * torch.eye(16, 20))  # keys are one-hot
        net.value.weight.copy_(50 * torch.eye(20)[16:])
    keys, values = torch.eye(16), torch.rand(16, 4) + 0.5
    write = torch.cat([keys, values], 1)
    _, state = net(write[:, None])
    order = torch.randperm(16)
    memory = state["memory"][0, 0]
    torch.testing.assert_close(keys[order] @ memory, 50 * values[order], rtol=1e-6, atol=1e-6)
