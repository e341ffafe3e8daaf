"""ReGENN's graph soft evolution: Spadon et al. 2021, section 3, and each of its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, normal, randomised, sigmoid

from snnsim.baselines.models.regenn import GraphMixer, ReGENN

pytestmark = pytest.mark.usefixtures("float64")


def graph(p, together):
    """Channel by channel: ``cosine(phi_i, phi_j) * W_c + b_c``."""
    n = len(together)
    codes = [p["mixer.code.weight"] @ a + p["mixer.code.bias"] for a in together]
    found = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            lengths = np.linalg.norm(codes[i]) * np.linalg.norm(codes[j])
            cosine = codes[i] @ codes[j] / lengths
            found[i, j] = cosine * p["mixer.scale"][i, j] + p["mixer.shift"][i, j]
    return found


def by_hand(p, x, together):
    """One sample: mixed channels drive an LSTM."""
    s = graph(p, together)
    w, u = p["lstm.module.weight_ih_l0"], p["lstm.module.weight_hh_l0"]
    bias = p["lstm.module.bias_ih_l0"] + p["lstm.module.bias_hh_l0"]
    h, c, outputs = np.zeros(len(u) // 4), np.zeros(len(u) // 4), []
    for now in x:
        mixed = np.maximum(now + s @ now, 0)
        i, f, g, o = np.split(w @ mixed + u @ h + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs)


def test_a_regenn_is_its_equations():
    net, x = randomised(ReGENN(3, 4, code=5)), normal(9, 2, 3)
    net.mixer.count_together(normal(20, 2, 3, seed=4))
    y, _ = net(x)
    for b in range(2):
        expected = by_hand(arrays(net), x[:, b].numpy(), net.mixer.together.numpy())
        close(y[:, b], expected, 1e-12)


def test_the_graph_counts_steps_at_which_channels_are_active_together():
    x, mixer = normal(30, 2, 4).clamp(min=0), GraphMixer(4)
    mixer.count_together(x)
    steps = x.reshape(-1, 4).numpy() > 0
    for i in range(4):
        for j in range(4):
            both = np.sum(steps[:, i] & steps[:, j])
            expected = both / np.sqrt(steps[:, i].sum() * steps[:, j].sum())
            assert float(mixer.together[i, j]) == pytest.approx(expected, abs=1e-12)


def test_what_the_data_say_changes_what_is_mixed():
    net, x = randomised(ReGENN(3, 4)), normal(9, 1, 3)
    before = net(x)[0]
    net.mixer.count_together(normal(20, 2, 3, seed=4))
    assert float((net(x)[0] - before).detach().abs().max()) > 1e-3


def test_only_the_graph_carries_activity_between_channels():
    mixer, x = randomised(GraphMixer(3)), normal(9, 1, 3).abs()
    changed = x.clone()
    changed[..., 0] += 1.0
    assert float((mixer(changed) - mixer(x)).detach()[..., 1:].abs().max()) > 1e-3
    with torch.no_grad():
        mixer.scale.zero_()
        mixer.shift.zero_()
    close(mixer(x), x.numpy(), 1e-12)


def test_the_graph_compares_directions_of_codes_and_not_their_lengths():
    mixer = randomised(GraphMixer(3))
    before = mixer.graph().detach().numpy()
    with torch.no_grad():
        mixer.code.weight *= 7.0
        mixer.code.bias *= 7.0
    close(mixer.graph(), before, 1e-12)


def test_a_row_of_the_graph_is_what_a_channel_takes():
    mixer = GraphMixer(2)
    with torch.no_grad():
        mixer.scale.zero_()
        mixer.shift.copy_(torch.tensor([[0.0, 3.0], [0.0, 0.0]]))
    assert mixer(torch.tensor([1.0, 2.0])).tolist() == [7.0, 2.0]
    assert mixer(torch.tensor([-9.0, 2.0])).tolist() == [0.0, 2.0]  # rectified
