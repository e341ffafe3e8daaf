"""Models of places, channels, items and graphs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snnsim.baselines.models.lrcn import LRCN
from snnsim.baselines.models.regenn import ReGENN
from snnsim.baselines.models.sasrec import SASRec
from snnsim.baselines.relational import RelationalStep, neighbours
from snnsim.errors import ConfigError


def test_the_convolution_of_lrcn_sees_one_step_at_a_time_and_shifts_with_its_input():
    net = LRCN(12, 4, pool=1)
    x = torch.rand(6, 2, 12)
    whole = net.features(x)
    torch.testing.assert_close(whole, torch.cat([net.features(f[None]) for f in x]))
    places = whole.unflatten(-1, (16, 12))
    shifted = net.features(x.roll(1, 2)).unflatten(-1, (16, 12))
    torch.testing.assert_close(shifted[..., 4:-2], places[..., 3:-3])
    with pytest.raises(ConfigError, match="odd"):
        LRCN(12, 4, kernel=4)


def test_messages_follow_edges_only():
    step = RelationalStep(4, [(0, 1), (1, 2)], 3, 5)
    x, h, c = (torch.rand(1, 4, 3, requires_grad=True) for _ in range(3))
    out, _ = step(x, h, c)
    (g,) = torch.autograd.grad(out[0, 2].sum(), h)
    assert [bool((g[0, i] != 0).any()) for i in range(4)] == [False, True, True, False]
    assert neighbours(4, 2) == [(0, 1), (0, 2), (1, 0), (1, 2), (1, 3), (2, 0), (2, 1), (2, 3),
                                (3, 1), (3, 2)]  # fmt: skip
    with pytest.raises(ConfigError, match=r"0 \.\. 3"):
        RelationalStep(4, [(0, 4)], 3, 5)


# ---- SASRec


def test_an_item_is_scored_by_its_own_embedding():
    net = SASRec(5, 8)
    y = net.embedding.weight.t()[None, :1]
    assert net.next_scores(y).shape == (1, 1, 5)
    torch.testing.assert_close(
        net.next_scores(y)[0, 0, 0], net.embedding.weight[:, 0].square().sum()
    )


# ---- ReGENN


def test_the_graph_of_channels_is_counted_from_the_data_and_mixes_them():
    net = ReGENN(4, 5)
    x = torch.zeros(10, 1, 4)
    x[::2, 0, :2] = 1
    net.mixer.count_together(x)
    expected = torch.zeros(4, 4)
    expected[:2, :2] = 1
    mixer = net.mixer
    torch.testing.assert_close(mixer.together, expected)
    codes = nn.functional.normalize(mixer.code(mixer.together)[0], dim=-1)
    torch.testing.assert_close(mixer.graph(), codes @ codes.t() * mixer.scale + mixer.shift)
