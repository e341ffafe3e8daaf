"""Extreme inputs, options and lengths: nothing overflows, grows with the square, or is ignored."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snnsim.baselines import RateNetwork, cost_of, get, multiple_of, width_for
from snnsim.baselines.heads import grouped
from snnsim.baselines.models.gru import GRU
from snnsim.baselines.models.linear_attention import LinearAttention
from snnsim.baselines.models.paragru import ParaGRU
from snnsim.baselines.models.quasi_lstm import QuasiLSTM
from snnsim.baselines.models.rrn import RRN
from snnsim.baselines.models.s6 import S6
from snnsim.baselines.models.titans import Titans
from snnsim.baselines.models.universal import Universal
from snnsim.baselines.options.recode import Recode
from snnsim.baselines.window import PIECE, WindowAttention
from snnsim.errors import ConfigError
from snnsim.layer import auxiliary_losses


@pytest.mark.parametrize("chunk", [2, 4, 16])
@pytest.mark.parametrize("gates", [(0.3, 0.99), (0.5, 0.9), (0.9, 0.99), (0.0, 0.99)])
@pytest.mark.parametrize("division", ["new", "even"])
def test_titans_stays_bounded_whatever_its_gates(chunk, gates, division):
    net = Titans(3, 8, heads=1, chunk=chunk, division=division)
    eta, theta = gates
    with torch.no_grad():
        net.gates.weight.zero_()
        net.gates.bias.copy_(torch.logit(torch.tensor([eta, theta, 1e-9]), 1e-12))
        x = torch.cat([torch.ones(1000, 1, 3), 30 * torch.rand(1000, 1, 3)], 1)
        y, _ = net(x)
        values = nn.functional.silu(net.value(x)[0])
    assert y[:, 0].abs().max() < 4 * values[:, 0].abs().max()
    assert y[:, 1].abs().max() < 10 * values[:, 1].abs().max()


@pytest.mark.parametrize(
    "net",
    [LinearAttention(3, 8, normaliser="exp"), QuasiLSTM(3, 8, sharpness=0.5)],
    ids=["linear-attention", "quasi-lstm"],
)
def test_gates_that_saturate_have_gradients(net):
    x = (500 * torch.randn(9, 2, 3, dtype=torch.float32)).requires_grad_()
    y, _ = net(x)
    y.sum().backward()
    assert bool(torch.isfinite(y).all()) and bool(torch.isfinite(x.grad).all())


def test_groups_differ_by_one_channel_at_most_and_none_is_silent():
    x = torch.arange(1.0, 11.0)
    sizes = (grouped(x, 8) > 0).sum(-1).tolist()
    assert sum(sizes) == 10 and set(sizes) == {1, 2}
    assert grouped(x, 8)[grouped(x, 8) > 0].tolist() == x.tolist()
    with pytest.raises(ConfigError, match="3 channels"):
        grouped(torch.ones(3), 4)
    with pytest.raises(ConfigError, match="groups is 1"):
        RRN(6, 8, groups=1)


def test_all_of_s6_is_double_where_that_is_the_default():
    assert {p.dtype for p in S6(3, 4).parameters()} == {torch.float64}


@pytest.mark.parametrize("ahead", [0, 3])
def test_attention_in_pieces_is_attention_at_once(ahead, monkeypatch):
    net, steps = WindowAttention(8, 2, 5, ahead).double(), 2 * PIECE + 17
    with torch.no_grad():
        net.distance.normal_()
    x = torch.randn(steps, 2, 8, dtype=torch.float64, requires_grad=True)
    inside = (torch.arange(steps)[:, None] < torch.tensor([steps, 40])).double()
    found = []
    for piece in (PIECE, 10 * steps):
        monkeypatch.setattr("snnsim.baselines.window.PIECE", piece)
        y, later = net(x, net.empty(2), inside)
        (g,) = torch.autograd.grad(y.square().sum(), x)
        found.append((y, g, *later))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("model", "options", "attend"),
    [("gru", {}, 5), ("sasrec", {"heads": 2}, 0), ("aaren", {"heads": 8}, 0), ("aaren", {}, 2)],
)
def test_a_budget_knows_the_heads_of_options(model, options, attend):
    def make(width: int) -> RateNetwork:
        return RateNetwork(14, 4, model, width=width, attend=attend, options=options)

    multiple = multiple_of(model, options, attend)
    width = width_for(make, 14, 10_000, multiple=multiple)
    assert multiple > 1 and width % multiple == 0
    make(width)(torch.rand(3, 2, 14))


@pytest.mark.parametrize("option", ["attend", "think", "chunk"])
def test_options_of_the_network_are_not_negative(option):
    with pytest.raises(ConfigError, match=f"{option} is -1"):
        RateNetwork(6, 3, "gru", width=8, **{option: -1})
    with pytest.raises(ConfigError, match="density is 2"):
        RateNetwork(6, 3, "gru", width=8, density=2.0)


@pytest.mark.parametrize("model", ["lightnet2d", "plstm2d", "rrn", "workspace"])
def test_more_groups_than_channels_are_refused_before_anything_runs(model):
    with pytest.raises(ConfigError, match="3 channels cannot be divided into 4 groups"):
        get(model)(3, 8)
    with pytest.raises(ConfigError, match="give at most 3 groups"):
        RateNetwork(6, 3, model, width=8, encoder={"pool": 2})
    assert get(model)(3, 8, groups=3)(torch.rand(2, 1, 3))[0].shape == (2, 1, 8)


def test_options_are_checked_without_a_network_too():
    with pytest.raises(ConfigError, match="depths is 0"):
        Universal(3, 8, depths=0)
    with pytest.raises(ConfigError, match="states is 0"):
        S6(3, 8, states=0)


@pytest.mark.parametrize("options", [{"model": "universal"}, {"model": "gru", "think": 3}])
def test_what_a_layer_adds_to_the_loss_does_not_grow_with_the_number_of_chunks(options):
    x, ponder = torch.rand(24, 2, 6), {}
    for chunk in (4, 24):
        torch.manual_seed(0)
        net = RateNetwork(6, 3, width=8, chunk=chunk, **options).eval()
        with auxiliary_losses() as extra:
            net(x)
        ponder[chunk] = float(extra["ponder"].detach())
        with auxiliary_losses() as extra:
            padded = torch.cat([x, 50 * torch.rand(40, 2, 6)])
            net(padded, lengths=torch.tensor([24, 24]))
        assert float(extra["ponder"].detach()) == pytest.approx(ponder[chunk])
    assert ponder[4] == pytest.approx(ponder[24], rel=0.3)


def test_padding_does_not_enter_the_last_merged_bin_of_a_sample():
    net = RateNetwork(6, 3, "gru", width=8, encoder={"bins": 4})
    x = torch.rand(5, 1, 6)
    padded = torch.cat([x, torch.rand(7, 1, 6)])
    y, _ = net(padded, lengths=torch.tensor([5]))
    torch.testing.assert_close(y[:2], net(x)[0])


def test_costs_are_those_of_the_longest_way_and_of_a_whole_chunk():
    once, thrice, plain = (
        cost_of(RateNetwork(6, 3, "gru", width=8, think=think), 6).operations for think in (1, 3, 0)
    )
    assert plain < once and thrice == pytest.approx(3 * once, rel=0.1)
    costs = [cost_of(RateNetwork(6, 3, "gru", width=8, chunk=c), 6).operations for c in (50, 51)]
    assert costs[0] == pytest.approx(costs[1], rel=0.01)
    loop, newton = (
        cost_of(RateNetwork(6, 3, "paragru", width=8, options={"parallel": p}), 6).operations
        for p in (False, True)
    )
    assert loop == newton


def test_second_derivatives_through_newton_are_refused():
    net, x = ParaGRU(3, 4, parallel=True), torch.rand(9, 2, 3, requires_grad=True)
    (g,) = torch.autograd.grad(net(x)[0].square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.sum().backward()


@pytest.mark.parametrize(
    "net",
    [ParaGRU(3, 4, parallel=True), Recode(GRU(3, 4), nn.Linear(4, 2), alpha=0.1)],
    ids=["paragru", "recode"],
)
def test_inference_mode_gives_the_same(net):
    x = torch.rand(9, 2, 3, dtype=torch.float32)
    expected, _ = net(x)
    with torch.inference_mode():
        torch.testing.assert_close(net(x)[0], expected)


@pytest.mark.parametrize("model", ["rrn", "lstm", "bidirectional", "regenn", "gru", "s6"])
def test_autocast_runs_on_cpus(model):
    net, x = RateNetwork(6, 3, model, width=8).float(), torch.rand(9, 2, 6).float()
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = net(x)
        y.float().square().sum().backward()
    torch.testing.assert_close(y.float(), net(x)[0], rtol=0.02, atol=0.005)
