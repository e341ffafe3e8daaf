"""Aaren: Feng et al. 2024, section 3, and each of its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised

from snnsim.baselines.models.aaren import Aaren

pytestmark = pytest.mark.usefixtures("float64")


def by_hand(p, x, count):
    """One sample: at every step a softmax over all steps so far, head by head."""
    d = p["query"].shape[1]
    keys, values = x @ p["key.weight"].T, x @ p["value.weight"].T
    y = np.zeros_like(values)
    for t in range(len(x)):
        for h in range(count):
            part = slice(h * d, (h + 1) * d)
            weights = [np.exp(p["query"][h] @ k[part] / np.sqrt(d)) for k in keys[: t + 1]]
            total = sum(w * v[part] for w, v in zip(weights, values[: t + 1], strict=True))
            y[t, part] = total / sum(weights)
    return y


@pytest.mark.parametrize("steps", [1, 2, 9, 16])
def test_aaren_is_softmax_attention_of_its_query(steps):
    net, x = randomised(Aaren(3, 6, heads=2), 1.0), normal(steps, 2, 3)
    y, _ = net(x)
    for b in range(2):
        close(y[:, b], by_hand(arrays(net), x[:, b].numpy(), 2), 1e-12)


def test_a_stream_goes_on_with_the_same_average():
    net, x = randomised(Aaren(3, 6, heads=2), 1.0), normal(12, 1, 3)
    state, pieces = None, []
    for piece in x.split([1, 4, 7]):
        y, state = net(piece, state)
        pieces.append(y)
    close(torch.cat(pieces)[:, 0], by_hand(arrays(net), x[:, 0].numpy(), 2), 1e-12)


def test_scores_weigh_the_values():
    """With a query of 0 it is the mean of the past; with a large one, the best match."""
    net, x = randomised(Aaren(3, 2, heads=1), 1.0), normal(9, 1, 3)
    values = x[:, 0].numpy() @ arrays(net)["value.weight"].T
    with torch.no_grad():
        net.query.zero_()
    close(net(x)[0][:, 0], np.cumsum(values, 0) / np.arange(1, 10)[:, None], 1e-12)
    with torch.no_grad():
        net.query[0, 0] = 1e4
    keys = x[:, 0].numpy() @ arrays(net)["key.weight"].T
    best = [keys[: t + 1, 0].argmax() for t in range(9)]
    close(net(x)[0][:, 0], values[best], 1e-12)


def test_scores_beyond_the_exponential_are_no_harm():
    net, x = randomised(Aaren(3, 6, heads=2), 1.0), normal(9, 1, 3)
    with torch.no_grad():
        net.query *= 1e5
    assert bool(torch.isfinite(net(x)[0]).all())


def test_every_head_has_a_query_of_its_own():
    net, x = randomised(Aaren(3, 4, heads=2), 1.0), normal(9, 1, 3)
    before = net(x)[0].detach()
    with torch.no_grad():
        net.query[1] += 1.0
    change = (net(x)[0] - before).detach().abs().amax((0, 1))
    assert not change[:2].any() and bool((change[2:] > 1e-3).all())
