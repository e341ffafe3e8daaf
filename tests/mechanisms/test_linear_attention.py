"""Linear attention: equations 8 to 11 of Katharopoulos et al. 2020, and its normalisers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised, sigmoid, softplus

from snnsim.baselines.models.linear_attention import LinearAttention

pytestmark = pytest.mark.usefixtures("float64")

OF_ONE_STEP = {"exp": np.exp, "softplus": softplus, "sigmoid": sigmoid}


def feature(a):
    """``elu(a) + 1``."""
    return np.array([1 + each if each > 0 else np.exp(each) for each in a])


def by_hand(p, x, count, normaliser):
    """One sample: every step compares its query with all keys so far, head by head."""
    queries, keys, values = (x @ p[f"{n}.weight"].T for n in ("query", "key", "value"))
    n, d = keys.shape[1] // count, values.shape[1] // count
    y = np.zeros_like(values)
    for t in range(len(x)):
        for h in range(count):
            q = feature(queries[t, h * n : (h + 1) * n])
            scores = [q @ feature(k[h * n : (h + 1) * n]) for k in keys[: t + 1]]
            own = values[: t + 1, h * d : (h + 1) * d]
            total = sum(s * v for s, v in zip(scores, own, strict=True))
            eta = sum(scores) if normaliser == "sum" else 1.0
            if normaliser in OF_ONE_STEP:
                eta = OF_ONE_STEP[normaliser](p["scale.weight"][h] @ x[t] + p["scale.bias"][h])
            y[t, h * d : (h + 1) * d] = total / eta
    return y


@pytest.mark.parametrize("normaliser", ["none", "sum", *OF_ONE_STEP])
def test_linear_attention_is_its_sum_over_the_past(normaliser):
    net = randomised(LinearAttention(3, 6, heads=2, keys=3, normaliser=normaliser))
    x = normal(9, 2, 3)
    y, _ = net(x)
    for b in range(2):
        close(y[:, b], by_hand(arrays(net), x[:, b].numpy(), 2, normaliser), 1e-12)


def test_with_the_sum_outputs_are_means_of_values():
    """Values that are all 1 are read as 1; without the normaliser they add up."""
    x = torch.cat([normal(9, 1, 2), torch.ones(9, 1, 1)], -1)
    for normaliser in ("sum", "none"):
        net = randomised(LinearAttention(3, 4, heads=2, keys=3, normaliser=normaliser))
        with torch.no_grad():
            net.value.weight.copy_(torch.tensor([0.0, 0.0, 1.0]).expand(4, 3))
        y = net(x)[0].detach()
        if normaliser == "sum":
            close(y, np.ones((9, 1, 4)), 1e-12)
        else:
            assert float(y[-1].min()) > 2


def test_similarities_are_never_negative():
    """The features are positive, so one step has weight 1 in its own average."""
    net, x = randomised(LinearAttention(3, 4, heads=2, keys=3), 2.0), normal(1, 5, 3)
    close(net(x)[0][0], x[0].numpy() @ arrays(net)["value.weight"].T, 1e-12)
    q, k, _ = net.projected(x)
    assert bool((q > 0).all()) and bool((k > 0).all())
