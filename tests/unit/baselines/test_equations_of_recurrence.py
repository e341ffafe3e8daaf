"""Recurrent models against loops in numpy over the equations of their docstrings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from equation_cases import B, T, groups_of
from models_by_hand import (
    arrays,
    close,
    dense,
    heads,
    normal,
    randomised,
    sigmoid,
    silu,
    softplus,
    torch_gru,
    torch_lstm,
    unit,
)

from snnsim.baselines.models.elman import Elman
from snnsim.baselines.models.gru import GRU
from snnsim.baselines.models.leaky import Leaky
from snnsim.baselines.models.linear_attention import LinearAttention
from snnsim.baselines.models.lstm import LSTM
from snnsim.baselines.models.mbat import MBAT
from snnsim.baselines.models.paralstm import ParaLSTM
from snnsim.baselines.models.peephole_lstm import PeepholeLSTM
from snnsim.baselines.models.plstm import PLSTM
from snnsim.baselines.models.plstm2d import PLSTM2d
from snnsim.baselines.models.quasi_lstm import QuasiLSTM
from snnsim.baselines.models.s6 import S6
from snnsim.baselines.models.titans import Titans
from snnsim.errors import ConfigError

# --- recurrent networks of torch -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tanh", "relu"])
def test_an_elman_network_is_its_equation_with_either_nonlinearity(kind):
    net, x, h = randomised(Elman(3, 4, nonlinearity=kind)), normal(T, B, 3), normal(B, 4, seed=2)
    p, state, outputs = arrays(net), h.numpy(), []
    f = np.tanh if kind == "tanh" else lambda a: np.maximum(a, 0)
    for now in x.numpy():
        drive = now @ p["module.weight_ih_l0"].T + state @ p["module.weight_hh_l0"].T
        state = f(drive + p["module.bias_ih_l0"] + p["module.bias_hh_l0"])
        outputs.append(state)
    y, end = net(x, {"h": h})
    close(y, np.stack(outputs))
    assert list(end) == ["h"]
    close(end["h"], state)


def test_an_elman_network_is_tanh_by_itself_and_knows_no_other():
    assert Elman(2, 3).module.nonlinearity == "tanh"
    with pytest.raises(ConfigError, match="nonlinearity"):
        Elman(2, 3, nonlinearity="gelu")


def test_a_gru_and_an_lstm_go_on_from_their_states():
    x, h, c = normal(T, B, 3), normal(B, 4, seed=2), normal(B, 4, seed=3)
    gru, lstm = randomised(GRU(3, 4)), randomised(LSTM(3, 4), seed=5)
    y, end = gru(x, {"h": h})
    expected, last = torch_gru(arrays(gru), "module.", x.numpy(), h.numpy())
    close(y, expected)
    close(end["h"], last)
    y, end = lstm(x, {"h": h, "c": c})
    expected, last, cell = torch_lstm(arrays(lstm), "module.", x.numpy(), h.numpy(), c.numpy())
    close(y, expected)
    close(end["h"], last)
    close(end["c"], cell)
    assert list(lstm.initial_state(3)) == ["h", "c"] and list(gru.initial_state(3)) == ["h"]
    assert all(a.shape == (3, 4) and not a.any() for a in lstm.initial_state(3).values())


def test_the_forget_gate_of_an_lstm_starts_at_one_in_total_and_no_other_gate_does():
    lstm = LSTM(3, 4).module
    total = lstm.bias_ih_l0 + lstm.bias_hh_l0
    assert total[4:8].tolist() == [1.0] * 4
    assert bool((total[:4].abs() < 1).all()) and bool((total[8:].abs() < 1).all())
    assert bool((total[:4] != 0).all()) and bool((total[8:] != 0).all())


# --- starts of loops that are checked elsewhere --------------------------------------------------


def test_gates_and_weights_start_where_they_are_said_to():
    leaky = Leaky(3, 200)
    assert bool((leaky.time_constant >= 1).all()) and bool((leaky.time_constant < 2).all())
    assert float(leaky.time_constant.std()) > 0.2
    assert leaky.w_rec.bias is None and leaky.w_in.bias is not None
    plain, reversed_ = QuasiLSTM(3, 400), QuasiLSTM(3, 400, sharpness=2.0)
    for net, start in ((plain, 1.0), (reversed_, -1.0)):
        bias = net.gates.bias.detach()
        assert float(bias[:400].mean()) == pytest.approx(start, abs=0.1)
        assert float(bias[400:].mean()) == pytest.approx(0, abs=0.1)
        assert float((bias[:400] - start).abs().max()) <= 3**-0.5
    assert plain.sharpness == 0.0
    peephole = PeepholeLSTM(3, 5)
    assert peephole.w_in.bias[15:].tolist() == [1.0] * 5
    assert bool((peephole.w_in.bias[:15].abs() < 3**-0.5).all())
    assert peephole.peephole.shape == (3, 5) and not peephole.peephole.any()
    original = PeepholeLSTM(3, 5, forget_gate=False)
    assert original.peephole.shape == (2, 5)
    assert original.w_in.weight.shape == (*original.w_rec.weight.shape[:1], 3) == (15, 3)
    assert bool((original.w_in.bias.abs() < 3**-0.5).all())
    para = ParaLSTM(3, 5)
    assert para.w_in.bias[:5].tolist() == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])
    wide = ParaLSTM(2, 2000)
    assert float(wide.diagonal.std()) == pytest.approx((4 / (5 * 2000)) ** 0.5, rel=0.05)
    assert wide.diagonal.shape == (5, 2000) and not wide.parallel


# --- reservoirs ----------------------------------------------------------------------------------


def test_a_reservoir_is_four_times_its_outputs_and_drawn_from_its_seed():
    one, same, other = (MBAT(3, 4, seed=seed) for seed in (1, 1, 2))
    assert one.transition.shape == (16, 16) and one.entry.shape == (16, 3)
    assert MBAT(3, 4, states=6).initial_state(5).shape == (5, 6)
    for name in ("transition", "entry"):
        assert torch.equal(getattr(one, name), getattr(same, name))
        assert not torch.allclose(getattr(one, name), getattr(other, name))
    assert {n for n, _ in one.named_parameters()} == {"out.weight", "out.bias"}
    wide = MBAT(500, 2, states=50, seed=0).entry
    assert float(wide.std()) == pytest.approx(50**-0.5, rel=0.02)
    torch.manual_seed(3)
    drawn = MBAT(3, 4)
    torch.manual_seed(3)
    assert torch.equal(MBAT(3, 4).transition, drawn.transition)
    assert not torch.allclose(MBAT(3, 4).transition, drawn.transition)


# --- linear attention ----------------------------------------------------------------------------


def elu_plus_one(a):
    return np.where(a > 0, a + 1, np.exp(np.minimum(a, 0)))


ETA = {"exp": np.exp, "softplus": softplus, "sigmoid": sigmoid}


@pytest.mark.parametrize("normaliser", ["none", "sum", *ETA])
def test_linear_attention_goes_on_from_its_state_with_any_normaliser(normaliser):
    net = randomised(LinearAttention(3, 6, heads=2, keys=3, normaliser=normaliser))
    x, p = normal(T, B, 3), arrays(net)
    start = normal(B, 2, 3, 4, seed=2).abs()
    q, k, v = (heads(dense(p, n, x.numpy()), 2) for n in ("query", "key", "value"))
    q, k = elu_plus_one(q), elu_plus_one(k)
    s, sums, outputs = start[..., :-1].numpy(), start[..., -1].numpy(), []
    for t in range(T):
        s = s + np.einsum("bhn,bhd->bhnd", k[t], v[t])
        sums = sums + k[t]
        y = np.einsum("bhn,bhnd->bhd", q[t], s)
        if normaliser == "sum":
            y = y / (q[t] * sums).sum(-1)[..., None]
        elif normaliser in ETA:
            y = y / ETA[normaliser](dense(p, "scale", x[t].numpy()))[..., None]
        outputs.append(y.reshape(B, 6))
    y, end = net(x, start)
    close(y, np.stack(outputs))
    close(end, np.concatenate([s, sums[..., None]], -1))


def test_normalisers_of_linear_attention_are_bounded_and_known():
    x = normal(4, 1, 3)
    for normaliser, bias, eta in (("exp", 100.0, math.exp(60)), ("sigmoid", -100.0, 1e-6)):
        net = randomised(LinearAttention(3, 4, heads=2, keys=2, normaliser=normaliser))
        with torch.no_grad():
            net.scale.bias.fill_(bias)
        close(net._eta(x) / eta, np.ones((4, 1, 2)))
        plain = LinearAttention(3, 4, heads=2, keys=2, normaliser="none")
        plain.load_state_dict({k: v for k, v in net.state_dict().items() if "scale" not in k})
        torch.testing.assert_close(net(x)[0] * eta, plain(x)[0])
    default = LinearAttention(3, 8)
    assert (default.heads, default.keys, default.normaliser) == (4, 16, "sum")
    with pytest.raises(ConfigError, match="normaliser"):
        LinearAttention(3, 8, normaliser="max")


# --- pLSTM ---------------------------------------------------------------------------------------


def test_a_plstm_reads_its_past_by_the_mark_and_itself_directly():
    net, x = randomised(PLSTM(3, 6, heads=2, keys=3)), normal(T, B, 3)
    start, p = normal(B, 2, 3, 3, seed=2), arrays(net)
    q, k, v = (heads(dense(p, n, x.numpy()), 2) for n in ("query", "key", "value"))
    source, transition, mark, direct = np.split(sigmoid(dense(p, "gates", x.numpy())), 4, -1)
    q, c, outputs = q / math.sqrt(3), start.numpy(), []
    for t in range(T):
        read = mark[t][..., None] * np.einsum("bhn,bhnd->bhd", q[t], c)
        own = (direct[t] * (q[t] * k[t]).sum(-1))[..., None] * v[t]
        outputs.append((read + own).reshape(B, 6))
        written = source[t][..., None, None] * np.einsum("bhn,bhd->bhnd", k[t], v[t])
        c = transition[t][..., None, None] * c + written
    y, end = net(x, start)
    close(y, np.stack(outputs))
    close(end, c)


def test_plstms_start_with_a_long_memory():
    assert PLSTM(3, 8).gates.bias.tolist() == [0.0] * 4 + [3.0] * 4 + [0.0] * 8
    assert PLSTM2d(6, 8, heads=2).gates.bias.tolist() == [3.0, 3.0] + [0.0] * 12
    entering = PLSTM2d(6, 8, heads=2, bound="entering")
    assert entering.gates.bias.tolist() == [3.0, 3.0, 0.0, 0.0, 3.0, 3.0] + [0.0] * 12
    net, x = PLSTM(3, 4, heads=2, keys=2), normal(5, 1, 3)
    with torch.no_grad():
        net.gates.bias[2:4] = -1e4  # a transition of 0, whose logarithm is not finite
    assert bool(torch.isfinite(net(x)[0]).all())


@pytest.mark.parametrize("channels", [6, 7])
def test_a_plstm_that_bounds_what_enters_is_its_three_equations_node_by_node(channels):
    groups, count, n, d = 3, 2, 3, 2
    options = {"groups": groups, "heads": count, "keys": n}
    net = randomised(PLSTM2d(channels, 4, **options, bound="entering"))
    x, p, start = normal(T, B, channels), arrays(net), normal(groups, B, count, n, d, seed=2)
    nodes = dense(p, "enter", groups_of(x.numpy(), groups)) + p["place"]
    q, k, v = (heads(dense(p, name, nodes), count) for name in ("query", "key", "value"))
    gates = sigmoid(dense(p, "gates", nodes)).reshape(T, B, groups, 9, count)
    on, outputs = start.numpy().copy(), np.zeros((T, B, groups, 4))
    for t in range(T):
        up = np.zeros((B, count, n, d))
        for g in range(groups):
            a_u, c_u, a_n, c_n, s_u, s_n, m_u, m_n, direct = (
                gates[t, :, g, i][..., None, None] for i in range(9)
            )
            written = np.einsum("bhn,bhd->bhnd", k[t, :, g], v[t, :, g])
            seen = m_u * up + m_n * on[g] + direct * written
            read = np.einsum("bhn,bhnd->bhd", q[t, :, g] / math.sqrt(n), seen)
            outputs[t, :, g] = read.reshape(B, 4)
            before = on[g].copy()
            on[g] = a_n * c_n * up + a_n * (1 - c_n) * before + s_n * written
            up = a_u * c_u * up + a_u * (1 - c_u) * before + s_u * written
    y, end = net(x, start)
    close(y, dense(p, "out", outputs.mean(2)))
    close(end, on)


# --- selective state space -----------------------------------------------------------------------


@pytest.mark.parametrize("gated", [True, False])
def test_s6_is_its_equations_from_any_state(gated):
    net = randomised(S6(3, 32, states=4, gated=gated), 0.3)
    assert net.rank == 2 and S6(3, 8).rank == 1
    x, p, start = normal(T, B, 3), arrays(net), normal(B, 32, 4, seed=2)
    h, outputs = start.numpy(), []
    for now in x.numpy():
        u = dense(p, "enter", now)
        low, b, c = np.split(dense(p, "select", u), [2, 6], -1)
        step = softplus(dense(p, "rate", low))
        decay = np.exp(-step[..., None] * np.exp(p["log_decay"]))
        h = decay * h + (step * u)[..., None] * b[:, None]
        y = (h * c[:, None]).sum(-1) + p["skip"] * u
        outputs.append(y * silu(dense(p, "gate", now)) if gated else y)
    y, end = net(x, start)
    close(y, np.stack(outputs))
    close(end, h)


def test_s6_starts_with_the_published_rates_and_steps():
    net = S6(3, 400, states=5)
    rates = np.log(np.arange(1, 6))
    close(net.log_decay, np.broadcast_to(rates, (400, 5)))
    assert net.skip.tolist() == [1.0] * 400 and net.gate is not None
    steps = torch.nn.functional.softplus(net.rate.bias)
    assert 0.001 - 1e-9 <= float(steps.min()) < 0.0015 and 0.07 < float(steps.max()) <= 0.1 + 1e-9
    assert float(steps.log10().mean()) == pytest.approx(-2, abs=0.1)
    assert S6(3, 4).states == 16


# --- Titans --------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 4])
@pytest.mark.parametrize("place", [0, 3])
def test_titans_measures_surprise_at_the_memory_where_the_chunk_began(chunk, place):
    count, n, d = 2, 3, 2
    place = place % chunk
    net = randomised(Titans(3, count * d, heads=count, keys=n, chunk=chunk, division="even"))
    x, p = normal(T, B, 3), arrays(net)
    x[4] *= 1e-3  # hardly anything: keys shorter than what is given unit length
    shape = (B, count, n, d)
    given = {k: normal(*shape, seed=i) for i, k in enumerate(("memory", "momentum", "start"))}
    q, k = (unit(silu(heads(dense(p, m, x.numpy()), count)), 1e-2) for m in ("query", "key"))
    v = silu(heads(dense(p, "value", x.numpy()), count))
    eta, theta, alpha = np.split(sigmoid(dense(p, "gates", x.numpy())), 3, -1)
    memory, momentum, start = (a.numpy() for a in given.values())
    outputs, at = [], place
    for t in range(T):
        if at == 0:
            start = memory
        step = theta[t] if chunk == 1 else theta[t] * (1 - eta[t]) / chunk
        error = np.einsum("bhn,bhnd->bhd", k[t], start) - v[t]
        slope = 2 * np.einsum("bhn,bhd->bhnd", k[t], error)
        momentum = eta[t][..., None, None] * momentum - step[..., None, None] * slope
        memory = (1 - alpha[t])[..., None, None] * memory + momentum
        outputs.append(np.einsum("bhn,bhnd->bhd", q[t], memory).reshape(B, -1))
        at = (at + 1) % chunk
    y, end = net(x, {**given, "place": torch.full((1,), float(place))})
    close(y, np.stack(outputs))
    for name, expected in (("memory", memory), ("momentum", momentum), ("start", start)):
        close(end[name], expected)
    assert end["place"].tolist() == [at]


def test_titans_starts_with_little_momentum_small_steps_and_hardly_any_forgetting():
    net = Titans(3, 8)
    assert net.gates.bias.tolist() == [-1.0] * 8 + [-4.0] * 4
    assert (net.heads, net.keys, net.chunk) == (4, 16, 16)
    assert [m.bias for m in (net.query, net.key, net.value)] == [None] * 3
