"""The recurrent relational network: Palm et al. 2018, section 2, and each of its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised, sigmoid

from snnsim.baselines.models.rrn import RRN

pytestmark = pytest.mark.usefixtures("float64")

GROUPS, NODE = 4, 3


def make(rounds=2):
    return randomised(RRN(8, 5, groups=GROUPS, rounds=rounds, node=NODE))


def mlp(p, name, x):
    for i in range(3):
        x = p[f"relate.{name}.{i}.weight"] @ x + p[f"relate.{name}.{i}.bias"]
        x = np.maximum(x, 0) if i < 2 else x
    return x


def by_hand(p, x, rounds):
    """One sample, node by node; nodes next to each other talk, in both directions."""
    h, c, outputs = np.zeros((GROUPS, NODE)), np.zeros((GROUPS, NODE)), []
    for now in x:
        parts = now.reshape(GROUPS, -1)
        own = [p["enter.weight"] @ a + p["enter.bias"] + p["place"][j] for j, a in enumerate(parts)]
        for _ in range(rounds):
            old = h.copy()
            for j in range(GROUPS):
                near = [i for i in (j - 1, j + 1) if 0 <= i < GROUPS]
                heard = sum(mlp(p, "message", np.concatenate([old[i], old[j]])) for i in near)
                drive = mlp(p, "update", np.concatenate([own[j], heard]))
                gates = p["relate.gates.weight"] @ np.concatenate([drive, old[j]])
                i, f, o, g = np.split(gates + p["relate.gates.bias"], 4)
                c[j] = sigmoid(f + 1) * c[j] + sigmoid(i) * np.tanh(g)
                h[j] = sigmoid(o) * np.tanh(c[j])
        outputs.append(p["out.weight"] @ h.reshape(-1) + p["out.bias"])
    return np.stack(outputs)


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_relational_network_is_its_equations(rounds):
    net, x = make(rounds), normal(6, 2, 8)
    y, _ = net(x)
    for b in range(2):
        close(y[:, b], by_hand(arrays(net), x[:, b].numpy(), rounds), 1e-12)


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_a_message_goes_one_group_further_in_each_round(rounds):
    """The input of the first group enters its own state in the first round."""
    net, x = make(rounds), normal(1, 1, 8)
    changed = x.clone()
    changed[..., :2] += 1.0
    moved = (net(changed)[1][0] - net(x)[1][0]).detach().abs().amax((0, 2))
    assert (moved > 1e-9).tolist() == [i < rounds for i in range(GROUPS)]


def test_states_of_nodes_go_on_over_time():
    """What the far group does not hear in one bin it hears in the next ones."""
    net, x = make(rounds=1), normal(5, 1, 8)
    changed = x.clone()
    changed[0, :, :2] += 1.0
    moved = []
    for steps in (1, 4):
        states = [net(each[:steps])[1][0] for each in (changed, x)]
        moved.append(float((states[0] - states[1]).detach()[0, -1].abs().max()))
    assert moved[0] == 0.0 and moved[1] > 1e-9


def test_without_messages_groups_know_nothing_of_each_other():
    net, x = make(rounds=3), normal(5, 1, 8)
    changed = x.clone()
    changed[..., :2] += 1.0
    with torch.no_grad():
        net.relate.message[2].weight.zero_()
    moved = (net(changed)[1][0] - net(x)[1][0]).detach().abs().amax((0, 2))
    assert moved[0] > 1e-6 and not moved[1:].any()


def test_messages_are_summed():
    """A message of 1 from every neighbour: the groups in the middle hear 2."""
    net = make(rounds=1)
    with torch.no_grad():
        for layer in net.relate.message:
            layer.weight.zero_()
            layer.bias.zero_()
        net.relate.message[2].bias.fill_(1.0)
    heard = []
    net.relate.update[0].register_forward_pre_hook(lambda _, given: heard.append(given[0]))
    net(torch.zeros(1, 1, 8))
    assert heard[0][0, :, NODE:].tolist() == [[1.0] * 3, [2.0] * 3, [2.0] * 3, [1.0] * 3]
