"""pLSTM on a chain: Pöppel et al. 2025, section 3, as a sum over paths, and each of its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised, sigmoid

from snnsim.baselines.models.plstm import PLSTM

pytestmark = pytest.mark.usefixtures("float64")


def by_hand(p, x, count):
    """One sample: a value goes from its source along all transitions to the step that marks it."""
    queries, keys, values = (x @ p[f"{n}.weight"].T for n in ("query", "key", "value"))
    gates = sigmoid(x @ p["gates.weight"].T + p["gates.bias"])
    n, d = keys.shape[1] // count, values.shape[1] // count
    y = np.zeros_like(values)
    for h in range(count):
        source, transition, mark, direct = (gates[:, i * count + h] for i in range(4))
        a, b = slice(h * n, (h + 1) * n), slice(h * d, (h + 1) * d)
        for t in range(len(x)):
            match = queries[t, a] @ keys[t, a] / np.sqrt(n)
            y[t, b] = direct[t] * match * values[t, b]
            for s in range(t):
                passed = mark[t] * np.prod(transition[s + 1 : t]) * source[s]
                y[t, b] += passed * (queries[t, a] @ keys[s, a]) / np.sqrt(n) * values[s, b]
    return y


def test_a_plstm_is_its_sum_over_paths():
    net, x = randomised(PLSTM(3, 6, heads=2, keys=3)), normal(9, 2, 3)
    y, _ = net(x)
    for b in range(2):
        close(y[:, b], by_hand(arrays(net), x[:, b].numpy(), 2), 1e-12)


def one_head(**gates):
    """Keys, queries and values are all the input; gates are constant, else open."""
    net = PLSTM(1, 1, heads=1, keys=1)
    with torch.no_grad():
        for layer in (net.query, net.key, net.value):
            layer.weight.fill_(1.0)
        net.gates.weight.zero_()
        names = ("source", "transition", "mark", "direct")
        net.gates.bias.copy_(torch.tensor([gates.get(name, 50.0) for name in names]))
    return net


def outputs(net, *x):
    return net(torch.tensor(x).reshape(-1, 1, 1))[0].flatten().tolist()


def test_the_direct_gate_reads_the_step_itself_and_the_mark_its_past():
    assert outputs(one_head(), 2.0, 1.0) == pytest.approx([8.0, 1.0 + 4.0], abs=1e-12)
    assert outputs(one_head(direct=-50.0), 2.0, 1.0) == pytest.approx([0.0, 4.0], abs=1e-12)
    assert outputs(one_head(mark=-50.0), 2.0, 1.0) == pytest.approx([8.0, 1.0], abs=1e-12)


def test_the_source_gate_lets_in():
    found = outputs(one_head(source=0.0, direct=-50.0), 2.0, 1.0)
    assert found == pytest.approx([0.0, 2.0], abs=1e-12)


def test_the_transition_decays_from_the_second_step_on():
    """An edge leads to the next step, so what it holds has passed no transition yet."""
    found = outputs(one_head(transition=0.0, direct=-50.0, mark=50.0), 2.0, 1.0, 1.0, 1.0)
    assert found == pytest.approx([0.0, 4.0, 1.0 + 2.0, 1.0 + 0.5 + 1.0], abs=1e-12)
