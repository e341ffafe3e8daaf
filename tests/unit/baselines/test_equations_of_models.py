"""Whole models against loops in numpy over the equations of their docstrings.

All parameters are random, the start is not empty where there is a state, and what a model starts
from is pinned apart.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from models_by_hand import (
    arrays,
    close,
    dense,
    heads,
    layer_norm,
    lstm_cell,
    normal,
    randomised,
    rms_norm,
    sigmoid,
    silu,
    softmax,
    softplus,
    torch_gru,
    torch_lstm,
    unit,
)

from snnsim.baselines.models.aaren import Aaren
from snnsim.baselines.models.bidirectional import Bidirectional
from snnsim.baselines.models.elman import Elman
from snnsim.baselines.models.fsmn import FSMN
from snnsim.baselines.models.gru import GRU
from snnsim.baselines.models.leaky import Leaky
from snnsim.baselines.models.lightnet import LightNet, running_average
from snnsim.baselines.models.lightnet2d import LightNet2d
from snnsim.baselines.models.linear_attention import LinearAttention
from snnsim.baselines.models.lrcn import LRCN
from snnsim.baselines.models.lstm import LSTM
from snnsim.baselines.models.mbat import MBAT
from snnsim.baselines.models.paralstm import ParaLSTM
from snnsim.baselines.models.peephole_lstm import PeepholeLSTM
from snnsim.baselines.models.plstm import PLSTM
from snnsim.baselines.models.plstm2d import PLSTM2d
from snnsim.baselines.models.quasi_lstm import QuasiLSTM
from snnsim.baselines.models.regenn import GraphMixer, ReGENN
from snnsim.baselines.models.rrn import RRN
from snnsim.baselines.models.s6 import S6
from snnsim.baselines.models.titans import Titans
from snnsim.baselines.models.workspace import Workspace
from snnsim.baselines.relational import RelationalStep
from snnsim.errors import ConfigError, ShapeError

T, B = 9, 2


def groups_of(x, count):
    """Neighbouring channels; smaller groups end in silence."""
    n = x.shape[-1]
    wide = -(-n // count)
    out = np.zeros((*x.shape[:-1], count, wide))
    for i in range(count):
        a, b = i * n // count, (i + 1) * n // count
        out[..., i, : b - a] = x[..., a:b]
    return out


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
    two = PLSTM2d(6, 8, heads=2)
    start = [3.0, 3.0, 0.0, 0.0, 3.0, 3.0] + [0.0] * 12
    assert two.gates.bias.tolist() == start
    net, x = PLSTM(3, 4, heads=2, keys=2), normal(5, 1, 3)
    with torch.no_grad():
        net.gates.bias[2:4] = -1e4  # a transition of 0, whose logarithm is not finite
    assert bool(torch.isfinite(net(x)[0]).all())


@pytest.mark.parametrize("channels", [6, 7])
def test_a_plstm_on_a_grid_is_its_three_equations_node_by_node(channels):
    groups, count, n, d = 3, 2, 3, 2
    net = randomised(PLSTM2d(channels, 4, groups=groups, heads=count, keys=n))
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
    net = randomised(Titans(3, count * d, heads=count, keys=n, chunk=chunk))
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


# --- running averages ----------------------------------------------------------------------------


def test_aaren_goes_on_from_largest_score_normaliser_and_sum():
    net, x = randomised(Aaren(3, 6, heads=2)), normal(T, B, 3)
    p, m0, w0 = arrays(net), normal(B, 2, seed=2), normal(B, 2, 3, seed=3)
    u0 = 0.5 + normal(B, 2, seed=4).abs()
    k, v = (heads(dense(p, n, x.numpy()), 2) for n in ("key", "value"))
    score = (k * p["query"]).sum(-1) / math.sqrt(3)
    weight, total = np.exp(m0.numpy()) * u0.numpy(), np.exp(m0.numpy())[..., None] * w0.numpy()
    largest, outputs = m0.numpy(), []
    for t in range(T):
        weight, total = weight + np.exp(score[t]), total + np.exp(score[t])[..., None] * v[t]
        largest = np.maximum(largest, score[t])
        outputs.append((total / weight[..., None]).reshape(B, 6))
    y, (m, u, w) = net(x, (m0, u0, w0))
    close(y, np.stack(outputs))
    close(m, largest)
    close(u, weight / np.exp(largest))
    close(w, total / np.exp(largest)[..., None])


@pytest.mark.parametrize("gated", [True, False])
def test_a_lightnet_averages_and_then_gates_its_normed_output(gated):
    net = randomised(LightNet(3, 16, heads=2, keys=3, gated=gated))
    x, p, z0, s = normal(T, B, 3), arrays(net), normal(B, 2, 3), normal(B, 2, 3, 8).numpy()
    q, k, v = (heads(dense(p, n, x.numpy()), 2) for n in ("query", "key", "value"))
    z, outputs, start = z0.numpy(), [], torch.from_numpy(s)
    for t in range(T):
        after = np.logaddexp(z, k[t])
        written = np.exp(k[t] - after)[..., None] * v[t][..., None, :]
        s, z = np.exp(z - after)[..., None] * s + written, after
        outputs.append(np.einsum("bhn,bhnd->bhd", silu(q[t]), s).reshape(B, 16))
    expected = np.stack(outputs)
    if gated:
        gate = silu(dense(p, "finish.up", dense(p, "finish.down", x.numpy())))
        expected = dense(p, "finish.out", rms_norm(p, "finish.norm", expected) * gate)
        assert p["finish.down.weight"].shape == (2, 3)  # a rank of an eighth
    y, end = net(x, {"z": z0, "s": start})
    close(y, expected)
    close(end["z"], z)
    close(end["s"], s)
    assert LightNet(3, 4).finish.down.weight.shape == (1, 3)


def test_a_running_average_in_single_steps_is_the_one_in_pieces(monkeypatch):
    q, k, v = normal(70, B, 2, 3), normal(70, B, 2, 3, seed=2), normal(70, B, 2, 4, seed=3)
    z = torch.cat([normal(1, B, 2, 3, seed=4), k]).logcumsumexp(0)
    s, found = normal(B, 2, 3, 4, seed=5), []
    for most in (60.0, -1.0):
        monkeypatch.setattr("snnsim.baselines.models.lightnet.MOST_GROWTH", most)
        found.append(running_average(q, k, v, z, s))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)
    y, same = running_average(q[:0], k[:0], v[:0], z[:1], s)
    assert y.shape == (0, B, 2, 4) and same is s


@pytest.mark.parametrize("channels", [6, 7])
@pytest.mark.parametrize("ahead", [False, True])
def test_a_lightnet_on_a_grid_averages_over_all_tokens_within_a_sample(ahead, channels):
    groups, n = 3, 3
    net = LightNet2d(channels, 4, groups=groups, heads=2, keys=n, look_ahead=ahead)
    x, p, lengths = normal(T, B, channels), arrays(randomised(net)), [T, 4]
    nodes = dense(p, "enter", groups_of(x.numpy(), groups)) + p["place"]
    q, k, v = (heads(dense(p, name, nodes), 2) for name in ("query", "key", "value"))
    expected = np.zeros((T, B, 4))
    for b, length in enumerate(lengths):
        for t in range(length):
            seen = slice(0, length if ahead else t + 1)
            keys, values = (a[seen, b].reshape(-1, 2, a.shape[-1]) for a in (k, v))
            s = np.einsum("jhn,jhd->hnd", softmax(keys, 0), values)
            expected[t, b] = np.einsum("ghn,hnd->ghd", silu(q[t, b]), s).reshape(3, 4).mean(0)
    y, _ = net(x, lengths=torch.tensor(lengths))
    close(y[:, 0], dense(p, "out", expected[:, 0]))
    close(y[:4, 1], dense(p, "out", expected[:4, 1]))
    assert not y[4:, 1].any()
    assert (net.causal, net.streaming) == ((False, "none") if ahead else (True, "exact"))


# --- FSMN ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "ahead"), [(3, True), (1, True), (3, False)])
@pytest.mark.parametrize("fill", [0.0, 50.0])
def test_an_fsmn_sees_neither_padding_nor_steps_beyond_its_taps(order, ahead, fill):
    """Padding is what a biased entry makes something of: no input is not no signal."""
    net = randomised(FSMN(2, 4, order=order, layers=3, look_ahead=ahead))
    x, p, lengths = normal(T, B, 2), arrays(net), [T, 5]
    x[5:, 1] = fill
    entered = dense(p, "enter", x.numpy())
    usual = rms_norm(p, "norm", entered)
    u = silu(dense(p, "memory", usual))
    back = order - 1 if ahead else 0
    for b, length in enumerate(lengths):
        parts = [u[:length, b]]
        for level in range(3):
            mixed = sum(m * part for m, part in zip(p[f"layers.{level}.mix"], parts, strict=True))
            memory = mixed.copy()
            for t in range(length):
                for i, tap in enumerate(p[f"layers.{level}.taps"]):
                    at = t - (i - back) * 2**level
                    if 0 <= at < length:
                        memory[t] += tap * mixed[at]
            parts.append(memory)
        gate = silu(dense(p, "gate", usual[:length, b]))
        y, _ = net(x, lengths=torch.tensor(lengths))
        close(y[:length, b], entered[:length, b] + gate * parts[-1])


def test_an_fsmn_starts_with_an_even_mix_and_small_taps():
    net = FSMN(2, 500, order=4, layers=2)
    assert [layer.mix.tolist() for layer in net.layers] == [[[1.0] * 500], [[0.5] * 500] * 2]
    assert [layer.taps.shape for layer in net.layers] == [(4, 500)] * 2
    assert float(net.layers[0].taps.std()) == pytest.approx(1 / 4, rel=0.05)
    assert [a.shape for a in net.initial_state(3)] == [(3, 3, 500), (6, 3, 500)]
    assert len(FSMN(2, 4).layers) == 2 and FSMN(2, 4).reach == 24
    ahead = FSMN(2, 4, order=4, look_ahead=True)
    assert ahead.layers[0].taps.shape == (7, 4)
    assert not ahead.causal and ahead.streaming == "none"


# --- convolution and graphs in front of an LSTM --------------------------------------------------


@pytest.mark.parametrize(
    ("pool", "layers", "frames", "kernel"), [(2, 1, 1, 3), (2, 2, 3, 5), (0, 1, 2, 3), (3, 1, 2, 1)]
)
def test_an_lrcn_convolves_an_image_of_the_last_steps_and_pools_neighbours(
    pool, layers, frames, kernel
):
    channels, filters = 8, 3
    options = {"pool": pool, "layers": layers, "frames": frames, "kernel": kernel}
    net = randomised(LRCN(channels, 4, filters=filters, **options))
    x, p = normal(T, B, channels), arrays(net)
    past = normal(frames - 1, B, channels, seed=2)
    h, c = normal(B, 4, seed=3), normal(B, 4, seed=4)
    whole = np.concatenate([past.numpy(), x.numpy()])
    features = []
    for t in range(T):
        image = np.stack([whole[t + i] for i in range(frames)], 1)  # [B, frames, channels]
        for layer in range(layers):
            w, b = (p[f"convolutions.{layer}.module.{k}"] for k in ("weight", "bias"))
            side = kernel // 2
            padded = np.pad(image, ((0, 0), (0, 0), (side, side)))
            places = image.shape[2]
            out = np.stack(
                [np.einsum("fik,bik->bf", w, padded[:, :, a : a + kernel]) for a in range(places)],
                2,
            )
            out = np.maximum(out + b[:, None], 0)
            size = pool or places
            image = np.stack(
                [out[:, :, a * size : (a + 1) * size].max(2) for a in range(places // size)], 2
            )
        features.append(image.reshape(B, -1))
    expected, last, cell = torch_lstm(p, "lstm.module.", np.stack(features), h.numpy(), c.numpy())
    y, (later, inner) = net(x, (past, {"h": h, "c": c}))
    close(y, expected)
    close(inner["h"], last)
    close(inner["c"], cell)
    assert torch.equal(later, torch.cat([past, x])[T:])


def test_an_lrcn_refuses_images_that_do_not_fit_its_pooling():
    LRCN(4, 3, pool=2, layers=2)
    with pytest.raises(ConfigError, match="need 4 channels, but there are 3"):
        LRCN(3, 3, pool=2, layers=2)
    with pytest.raises(ConfigError, match="kernel is 2 and must be odd"):
        LRCN(3, 3, pool=0, kernel=2)
    for name in ("layers", "frames", "filters"):  # also where one is the default
        with pytest.raises(ConfigError, match=f"{name} is 0"):
            LRCN(12, 5, **{name: 0})
    net = LRCN(12, 5)
    assert net.convolutions[0].module.weight.shape == (16, 1, 5)
    assert (net.pool, net.frames, len(net.convolutions)) == (2, 1, 1)
    assert net.initial_state(3)[0].shape == (0, 3, 12)


def test_a_graph_is_of_channels_active_together_relative_to_how_often_each_is():
    x = torch.zeros(4, 2, 3)
    x[:, :, 0] = torch.tensor([1.0, 1, 1, 0])[:, None]  # six times
    x[:2, 0, 1] = 5.0  # twice, always with the first
    x[3, 1, 1] = 2.0  # and once without
    x[0, 0, 2] = -1.0  # never
    mixer = randomised(GraphMixer(3, code=4))
    assert torch.equal(mixer.together, torch.eye(3))
    mixer.count_together(x)
    shared = 2 / math.sqrt(6 * 3)
    close(mixer.together, [[1, shared, 0], [shared, 1, 0], [0, 0, 0]])
    with pytest.raises(ShapeError, match="x has 4 channels but the graph has 3"):
        mixer.count_together(torch.zeros(2, 1, 4))
    p = arrays(mixer)
    code = unit(dense(p, "code", mixer.together.numpy()), 1e-12)
    graph = code @ code.T * p["scale"] + p["shift"]
    close(mixer.graph(), graph)
    x = normal(5, 2, 3)
    close(mixer(x), np.maximum(x.numpy() + np.einsum("ij,tbj->tbi", graph, x.numpy()), 0))
    fresh = GraphMixer(200)
    assert not fresh.shift.any() and fresh.code.weight.shape == (8, 200)
    assert float(fresh.scale.std()) == pytest.approx(0.1 / math.sqrt(200), rel=0.05)


def test_a_regenn_is_an_lstm_behind_its_mixer():
    net, x = randomised(ReGENN(3, 4, code=5)), normal(T, B, 3)
    state = {"h": normal(B, 4, seed=2), "c": normal(B, 4, seed=3)}
    expected, after = net.lstm(net.mixer(x), state)
    y, end = net(x, state)
    assert torch.equal(y, expected) and torch.equal(end["c"], after["c"])
    assert net.mixer.code.weight.shape == (5, 3) and ReGENN(3, 4).mixer.code.weight.shape[0] == 8
    assert not torch.allclose(y, net.lstm(x, state)[0])


# --- both directions -----------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_half_of_a_bidirectional_network_reads_each_sample_from_its_own_end(cell):
    net, x, lengths = randomised(Bidirectional(3, 6, cell=cell)), normal(T, B, 3), [T, 4]
    kinds = {"elman": Elman, "gru": GRU, "lstm": LSTM}
    assert type(net.ahead) is type(net.back) is kinds[cell]
    y, _ = net(x, lengths=torch.tensor(lengths))
    for b, length in enumerate(lengths):
        one = x[:length, b : b + 1]
        expected = torch.cat([net.ahead(one)[0], net.back(one.flip(0))[0].flip(0)], -1)
        torch.testing.assert_close(y[:length, b : b + 1], expected)
        assert not y[length:, b].any()
    torch.testing.assert_close(net(x)[0][:, 0], y[:, 0])


def test_a_bidirectional_network_is_of_lstms_and_halves_its_outputs():
    assert type(Bidirectional(3, 6).ahead) is LSTM
    with pytest.raises(ConfigError, match="cell"):
        Bidirectional(3, 6, cell="rnn")
    with pytest.raises(ShapeError, match="a multiple of 2"):
        Bidirectional(3, 5)


# --- messages ------------------------------------------------------------------------------------


def network(p, name, x):
    """Three layers, with a ReLU between."""
    for i in range(3):
        x = dense(p, f"{name}.{i}", x)
        x = np.maximum(x, 0) if i < 2 else x
    return x


def relate(p, prefix, edges, x, h, c):
    heard = np.zeros_like(h)
    for i, j in edges:
        heard[:, j] += network(p, f"{prefix}message", np.concatenate([h[:, i], h[:, j]], -1))
    drive = network(p, f"{prefix}update", np.concatenate([x, heard], -1))
    return lstm_cell(dense(p, f"{prefix}gates", np.concatenate([drive, h], -1)), c, 1.0)


def test_a_relational_step_sums_messages_from_source_to_target():
    edges = [(0, 1), (2, 1), (1, 3), (3, 0)]
    step = randomised(RelationalStep(4, edges, 3, 5))
    x, h, c = (normal(B, 4, 3, seed=i) for i in range(3))
    found = step(x, h, c)
    for one, two in zip(found, relate(arrays(step), "", edges, x, h.numpy(), c.numpy()),
                        strict=True):  # fmt: skip
        close(one, two)
    for wrong in ([], [(0, 4)], [(-1, 0)]):
        with pytest.raises(ConfigError, match=r"nodes 0 \.\. 3, at least one"):
            RelationalStep(4, wrong, 3, 5)
    assert step.message[0].weight.shape == (5, 6) and step.message[2].weight.shape == (3, 5)


@pytest.mark.parametrize(("channels", "rounds"), [(6, 2), (7, 3)])
def test_a_relational_network_exchanges_messages_between_neighbouring_groups(channels, rounds):
    net = randomised(RRN(channels, 5, groups=3, rounds=rounds, node=4))
    x, p = normal(T, B, channels), arrays(net)
    h, c = normal(B, 3, 4, seed=2), normal(B, 3, 4, seed=3)
    a, b, outputs = h.numpy(), c.numpy(), []
    for now in x.numpy():
        entered = dense(p, "enter", groups_of(now, 3)) + p["place"]
        for _ in range(rounds):
            edges = [(0, 1), (1, 0), (1, 2), (2, 1)]
            a, b = relate(p, "relate.", edges, entered, a, b)
        outputs.append(dense(p, "out", a.reshape(B, 12)))
    y, end = net(x, (h, c))
    close(y, np.stack(outputs))
    close(end[0], a)
    close(end[1], b)


def test_nodes_of_a_relational_network_share_its_outputs_out_but_have_four_channels_at_least():
    assert [RRN(8, n, groups=4).node for n in (8, 16, 24)] == [4, 4, 6]
    net = RRN(8, 24)
    assert (net.groups, net.rounds) == (4, 2)
    assert net.relate.message[0].weight.shape == (12, 12)  # twice a node within
    RRN(8, 8, groups=2)


def test_a_workspace_keeps_or_is_written_by_whom_its_controller_chooses():
    channels, n, groups, inner, control = 7, 5, 3, 2, 4
    options = {"groups": groups, "inner": inner, "steps": 3, "control": control}
    net = randomised(Workspace(channels, n, **options))
    x, p = normal(T, B, channels), arrays(net)
    start = (normal(B, n, seed=2), normal(B, control, seed=3), normal(B, control, seed=4))
    w, h, c = (a.numpy() for a in start)
    outputs = []
    for now in x.numpy():
        parts = groups_of(now, groups)
        drive = dense(p, "w_in", now)
        said = [np.tanh(dense(p, f"encoders.{i}", parts[:, i])) for i in range(groups)]
        for _ in range(3):
            h, c = lstm_cell(drive + dense(p, "w_rec", np.concatenate([w, h], -1)), c, 1.0)
            share = softmax(dense(p, "route", h))
            own = [np.tanh(dense(p, f"inner.{i}", w)) for i in range(inner)]
            choices = np.stack([w, *said, *own], 1)
            w = np.einsum("bm,bmn->bn", share, choices)
        outputs.append(w)
    y, end = net(x, start)
    close(y, np.stack(outputs))
    for one, two in zip(end, (w, h, c), strict=True):
        close(one, two)


def test_a_workspace_keeps_at_first_and_has_a_controller_half_as_wide():
    assert [Workspace(4, n).control for n in (1, 6, 9)] == [1, 3, 4]
    net = Workspace(4, 400, control=300)
    assert net.control == 300
    bias = net.route.bias.detach()
    assert bias.shape == (1 + 4 + 2,) and net.steps == 2
    assert float(bias[0]) > 1 - 300**-0.5 and bool((bias[1:].abs() <= 300**-0.5).all())


def test_norms_of_blocks_are_those_of_torch():
    """The plain ones that tests compare with."""
    x = normal(4, 5)
    norm, root = randomised(torch.nn.LayerNorm(5)), randomised(torch.nn.RMSNorm(5))
    close(norm(x), layer_norm({f"n.{k}": v for k, v in arrays(norm).items()}, "n", x.numpy()))
    close(root(x), rms_norm({f"n.{k}": v for k, v in arrays(root).items()}, "n", x.numpy()))
