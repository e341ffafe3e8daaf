"""A head that adapts to a speaker."""

from __future__ import annotations

import itertools

import pytest
import torch

from snnsim.baselines.models.neural_process import NeuralProcess
from snnsim.errors import ConfigError


def test_a_context_has_no_order_and_every_utterance_makes_it_surer():
    net = NeuralProcess(4, 8, classes=3, slots=6).eval()
    utterances, labels = torch.rand(7, 5, 4), torch.tensor([0, 1, 2, 0, 1])
    order = torch.tensor([3, 0, 4, 1, 2])
    empty = net.initial_state(1)
    a = net.observe(empty, utterances, labels)
    b = net.observe(empty, utterances[:, order], labels[order])
    query = torch.rand(6, 1, 4)
    torch.testing.assert_close(net(query, a)[0], net(query, b)[0])
    assert not torch.allclose(net(query, a)[0], net(query)[0])
    swapped = net.observe(empty, utterances, labels.flip(0))
    assert not torch.allclose(net(query, a)[0], net(query, swapped)[0])
    state, widths = empty, [net.latent_of(empty)[1]]
    for i in range(5):
        state = net.observe(state, utterances[:, i : i + 1], labels[i : i + 1])
        widths.append(net.latent_of(state)[1])
    assert all(bool((w < v).all()) for v, w in itertools.pairwise(widths))
    with pytest.raises(ConfigError, match="room for 6"):
        net.observe(state, utterances, labels)
