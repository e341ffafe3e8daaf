"""LightNet: Qin et al. 2024, section 3, along time and on a grid, and each of its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised, rms_norm, silu

from snnsim.baselines.models.lightnet import LightNet
from snnsim.baselines.models.lightnet2d import LightNet2d

pytestmark = pytest.mark.usefixtures("float64")


def read(query, keys, values):
    """What a query reads of a running softmax average of the values, per key channel."""
    weights = np.exp(keys - keys.max(0))
    return silu(query) @ ((weights / weights.sum(0)).T @ values)


def by_hand(p, x, count, gated):
    """One sample, step by step and head by head."""
    queries, keys, values = (x @ p[f"{n}.weight"].T for n in ("query", "key", "value"))
    n, d = keys.shape[1] // count, values.shape[1] // count
    y = np.zeros_like(values)
    for t in range(len(x)):
        for h in range(count):
            a, b = slice(h * n, (h + 1) * n), slice(h * d, (h + 1) * d)
            y[t, b] = read(queries[t, a], keys[: t + 1, a], values[: t + 1, b])
    if not gated:
        return y
    gate = silu((x @ p["finish.down.weight"].T) @ p["finish.up.weight"].T)
    return (rms_norm(p, "finish.norm", y) * gate) @ p["finish.out.weight"].T


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_lightnet_is_a_running_softmax_average(gated, scale):
    net = randomised(LightNet(3, 8, heads=2, keys=3, gated=gated), scale)
    x = normal(40, 2, 3)
    y, _ = net(x)
    for b in range(2):
        expected = by_hand(arrays(net), x[:, b].numpy(), 2, gated)
        close(y[:, b] / max(scale, 1) ** 3, expected / max(scale, 1) ** 3, 1e-12)


def test_the_decay_is_what_the_keys_add_to_their_own_normaliser():
    """Equal keys average evenly; a key that is far larger replaces what was before."""
    net = LightNet(2, 2, heads=1, keys=1, gated=False)
    with torch.no_grad():
        net.query.weight.copy_(torch.tensor([[0.0, 1.0]]))
        net.key.weight.copy_(torch.tensor([[1.0, 0.0]]))
    x = normal(6, 1, 2)
    x[..., 0] = 0.3
    values = x[:, 0].numpy() @ arrays(net)["value.weight"].T
    gain = silu(x[:, 0, 1:].numpy())
    mean = np.cumsum(values, 0) / np.arange(1, 7)[:, None]
    close(net(x)[0][:, 0], gain * mean, 1e-12)
    x[4, 0, 0] = 100.0
    new = x[4, 0].numpy() @ arrays(net)["value.weight"].T
    close(net(x)[0][4:, 0], gain[4:] * new, 1e-10)


# --- on a grid ------------------------------------------------------------------------------------


def grid_by_hand(p, x, count, groups, look_ahead):
    """One sample; its tokens are groups of channels, ``x [T, groups * size]``."""
    tokens = x.reshape(len(x), groups, -1) @ p["enter.weight"].T + p["enter.bias"] + p["place"]
    queries, keys, values = (tokens @ p[f"{n}.weight"].T for n in ("query", "key", "value"))
    n, d = keys.shape[-1] // count, values.shape[-1] // count
    y = np.zeros_like(values)
    for t in range(len(x)):
        until = len(x) if look_ahead else t + 1
        for g in range(groups):
            for h in range(count):
                a, b = slice(h * n, (h + 1) * n), slice(h * d, (h + 1) * d)
                seen = [(s, i) for s in range(until) for i in range(groups)]
                own = np.stack([keys[s, i, a] for s, i in seen])
                held = np.stack([values[s, i, b] for s, i in seen])
                y[t, g, b] = read(queries[t, g, a], own, held)
    return y.mean(1) @ p["out.weight"].T


@pytest.mark.parametrize("look_ahead", [False, True])
def test_lightnet_on_a_grid_averages_over_groups_and_steps(look_ahead):
    net = randomised(LightNet2d(6, 4, groups=3, heads=2, keys=3, look_ahead=look_ahead))
    x = normal(7, 2, 6)
    y, _ = net(x)
    for b in range(2):
        close(y[:, b], grid_by_hand(arrays(net), x[:, b].numpy(), 2, 3, look_ahead), 1e-12)


def test_padding_is_not_averaged_by_one_that_looks_ahead():
    net = randomised(LightNet2d(6, 4, groups=3, heads=2, keys=3, look_ahead=True))
    x, p = normal(7, 2, 6), arrays(net)
    y, _ = net(x, lengths=torch.tensor([7, 4]))
    close(y[:4, 1], grid_by_hand(p, x[:4, 1].numpy(), 2, 3, True), 1e-12)


def test_places_have_codes_and_no_order():
    """Groups that swap both their channels and their codes change nothing; channels alone do."""
    net, x = randomised(LightNet2d(6, 4, groups=3, heads=2, keys=3)), normal(7, 1, 6)
    before, swapped = net(x)[0], x[..., [2, 3, 0, 1, 4, 5]]
    assert float((net(swapped)[0] - before).detach().abs().max()) > 1e-3
    with torch.no_grad():
        net.place.copy_(net.place[[1, 0, 2]].clone())
    close(net(swapped)[0], before.detach().numpy(), 1e-12)
