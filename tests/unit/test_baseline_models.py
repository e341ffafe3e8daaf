"""Each model's own mechanism, against its equations in their plainest form."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

import snnsim as sn
from snnsim.baselines.heads import outer
from snnsim.baselines.ltv import Matrices, memory_steps, simulate
from snnsim.baselines.models.aaren import Aaren
from snnsim.baselines.models.bidirectional import Bidirectional
from snnsim.baselines.models.elman import Elman
from snnsim.baselines.models.fsmn import FSMN
from snnsim.baselines.models.leaky import Leaky
from snnsim.baselines.models.lightnet import LightNet
from snnsim.baselines.models.lightnet2d import LightNet2d
from snnsim.baselines.models.linear_attention import NORMALISERS, LinearAttention
from snnsim.baselines.models.lrcn import LRCN
from snnsim.baselines.models.lstm import LSTM
from snnsim.baselines.models.mbat import MBAT
from snnsim.baselines.models.neural_process import NeuralProcess
from snnsim.baselines.models.paragru import ParaGRU
from snnsim.baselines.models.paralstm import ParaLSTM
from snnsim.baselines.models.peephole_lstm import PeepholeLSTM
from snnsim.baselines.models.plstm2d import grid
from snnsim.baselines.models.recurrent_depth import RecurrentDepth
from snnsim.baselines.models.regenn import ReGENN
from snnsim.baselines.models.rhn import RHN
from snnsim.baselines.models.sasrec import SASRec
from snnsim.baselines.models.titans import Titans
from snnsim.baselines.models.universal import Universal
from snnsim.baselines.newton import run_diagonal, solve
from snnsim.baselines.relational import RelationalStep, neighbours
from snnsim.errors import ConfigError
from snnsim.functional.vectors import RecordEncoder, nearest, random_orthogonal


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


# ---- classical networks (Lipton et al. 2015)


def test_the_original_lstm_carries_its_cell_without_loss():
    net = PeepholeLSTM(3, 4, peepholes=False, forget_gate=False)
    with torch.no_grad():  # gates that do not see h, so the carousel is all there is
        net.w_rec.weight.zero_()
    state = net.initial_state(1)
    c = state["c"].clone().requires_grad_()
    _, end = net(torch.rand(60, 1, 3), {**state, "c": c})
    (g,) = torch.autograd.grad(end["c"].sum(), c)
    assert torch.equal(g, torch.ones_like(g))


def gradient_at_lag(net, lag: int) -> float:
    x = torch.rand(lag + 1, 1, 3, requires_grad=True)
    y, _ = net(x)
    (g,) = torch.autograd.grad(y[-1].sum(), x)
    return float(g[0].abs().max())


def test_gradients_of_elman_vanish_with_the_lag_and_those_of_lstm_last_longer():
    elman, lstm = Elman(3, 20), LSTM(3, 20)
    with torch.no_grad():
        lstm.module.bias_ih_l0[20:40] = 5.0  # a forget gate that is open
    falls = [gradient_at_lag(net, 60) / gradient_at_lag(net, 5) for net in (elman, lstm)]
    assert falls[0] < 1e-6 < 1e-2 < falls[1]


def test_peepholes_see_the_cell():
    net = PeepholeLSTM(3, 4)
    x, zero = torch.rand(1, 2, 3), {k: torch.zeros(2, 4) for k in "hc"}
    seen = [net(x, {**zero, "c": c * torch.ones(2, 4)})[0] for c in (0.0, 1.0)]
    with torch.no_grad():
        net.peephole.fill_(3.0)
    other = [net(x, {**zero, "c": c * torch.ones(2, 4)})[0] for c in (0.0, 1.0)]
    assert not torch.allclose(other[0] - seen[0], other[1] - seen[1])


def test_the_way_back_starts_at_each_samples_own_end():
    net = Bidirectional(3, 4, cell="gru")
    x = torch.rand(6, 2, 3)
    y, _ = net(x, lengths=torch.tensor([6, 4]))
    back, _ = net.back(x[:4, 1:].flip(0))
    torch.testing.assert_close(y[:4, 1, 2:], back.flip(0)[:, 0])


def test_the_leaky_network_has_no_self_connections_and_its_taus_stay_above_one():
    net = Leaky(3, 5)
    x, before = torch.rand(1, 1, 3), {"h": torch.rand(1, 5)}
    first, _ = net(x, before)
    with torch.no_grad():
        net.w_rec.weight.diagonal().sub_(7.0)
    torch.testing.assert_close(net(x, before)[0], first)
    with torch.no_grad():
        net.time_constant.fill_(-3.0)
    assert bool((net.tau == 1).all())


# ---- FSMN


def test_the_impulse_response_of_an_fsmn_layer_is_its_taps_and_ends_with_its_reach():
    net = FSMN(2, 4, order=5, layers=2)
    first = net.layers[0]
    impulse = torch.zeros(12, 1, 4)
    impulse[0] = 1
    y, _ = first([impulse], torch.zeros(first.reach, 1, 4))
    expected = torch.zeros(12, 1, 4)
    expected[:5, 0] = first.taps
    expected[0] += 1
    torch.testing.assert_close(y, expected * first.mix[0])
    assert net.reach == (5 - 1) * (2**2 - 1)
    x = torch.rand(30, 1, 2, requires_grad=True)
    (g,) = torch.autograd.grad(net(x)[0][-1].sum(), x)
    assert bool((g[: -net.reach - 1] == 0).all()) and bool((g[-net.reach - 1] != 0).any())


# ---- linear time-varying models


def test_a_lif_below_its_threshold_is_a_linear_model():
    net = sn.LIF(3, dt=1.0, tau_mem=10.0, v_threshold=1e9)
    x = torch.rand(20, 2, 3)
    decay = math.exp(-1 / 10)
    eye = torch.eye(3).expand(20, 2, 3, 3)
    matrices = Matrices(torch.full((20, 2, 3), decay), eye, eye)
    _, end = net(x)
    torch.testing.assert_close(simulate(matrices, x)[-1], end["v"])
    assert float(memory_steps(matrices)[0]) == pytest.approx(1 / (1 - decay))


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_every_normaliser_of_linear_attention_agrees_with_its_matrices(normaliser):
    net, x = LinearAttention(5, 8, keys=3, normaliser=normaliser), torch.rand(9, 2, 5)
    torch.testing.assert_close(simulate(net.ltv(x), x), net(x)[0])


def test_linear_attention_is_a_weighted_mean_of_values():
    net = LinearAttention(5, 4, heads=1, keys=3).eval()
    x = torch.rand(9, 1, 5)
    q, k = (nn.functional.elu(m(x)[0][:, 0]) + 1 for m in (net.query, net.key))
    weights = (q @ k.t()).tril()
    expected = weights / weights.sum(1, keepdim=True) @ net.value(x)[0][:, 0]
    torch.testing.assert_close(net(x)[0][:, 0], expected)


# ---- Aaren, LightNet


def test_aaren_is_softmax_attention_of_its_query_at_every_length():
    net, x = Aaren(5, 8), torch.randn(1000, 1, 5)
    y, _ = net(x)
    k, v = (m(x)[0][:, 0].unflatten(-1, (4, 2)) for m in (net.key, net.value))
    score = (k * net.query).sum(-1) / 2**0.5
    for t in (0, 3, 999):
        expected = (score[: t + 1].softmax(0).unsqueeze(-1) * v[: t + 1]).sum(0).flatten()
        torch.testing.assert_close(y[t, 0], expected)
    assert net.state_size == 4 + 4 + 8


def test_aaren_survives_scores_that_overflow_the_exponential():
    net = Aaren(5, 8)
    with torch.no_grad():
        net.query.mul_(1e4)
    assert bool(torch.isfinite(net(torch.randn(20, 1, 5))[0]).all())


def test_lightnet_is_a_running_softmax_average():
    net, x = LightNet(5, 8, heads=2, keys=3, gated=False), torch.randn(40, 1, 5)
    y, _ = net(x)
    q = nn.functional.silu(net.query(x)[0][:, 0].unflatten(-1, (2, 3)))
    k, v = net.key(x)[0][:, 0].unflatten(-1, (2, 3)), net.value(x)[0][:, 0].unflatten(-1, (2, 4))
    for t in (0, 7, 39):
        s = torch.einsum("jhn,jhd->hnd", k[: t + 1].softmax(0), v[: t + 1])
        torch.testing.assert_close(y[t, 0], torch.einsum("hn,hnd->hd", q[t], s).flatten())


def test_the_order_of_a_grid_does_not_matter_to_a_lightnet_that_looks_at_all_of_it():
    ahead, causal = (LightNet2d(6, 8, groups=3, look_ahead=a).eval() for a in (True, False))
    tokens = torch.randn(5, 2, 3, 8)
    order = torch.randperm(15)
    for net, same in ((ahead, True), (causal, False)):
        y, _ = net.mix(tokens, net.initial_state(2))
        shuffled = tokens.transpose(1, 2).flatten(0, 1)[order].unflatten(0, (5, 3)).transpose(1, 2)
        z, _ = net.mix(shuffled, net.initial_state(2))
        back = torch.empty_like(z.transpose(1, 2).flatten(0, 1))
        back[order] = z.transpose(1, 2).flatten(0, 1)
        again = back.unflatten(0, (5, 3)).transpose(1, 2)
        assert torch.allclose(again, y, atol=1e-10) == same
    y, _ = causal.mix(tokens, causal.initial_state(2))
    z, _ = causal.mix(tokens.flip(2), causal.initial_state(2))
    torch.testing.assert_close(z.flip(2), y)  # groups within a step have no order


# ---- pLSTM on a grid


def test_the_grid_recurrence_is_the_sum_over_all_paths():
    T, G, n, d = 5, 5, 2, 3
    q, k, v = (torch.randn(T, 1, G, 1, size) for size in (n, n, d))
    gates = torch.rand(T, 1, G, 9, 1)
    y, _ = grid(q, k, v, gates, torch.zeros(G, 1, 1, n, d))
    a_u, c_u, a_n, c_n, s_u, s_n, m_u, m_n, direct = gates[:, 0, :, :, 0].unbind(2)
    turn = {  # weight from an edge into a node to an edge out of it
        ("u", "u"): a_u * c_u, ("n", "u"): a_u * (1 - c_u),
        ("u", "n"): a_n * c_n, ("n", "n"): a_n * (1 - c_n),
    }  # fmt: skip
    start, mark = {"u": s_u, "n": s_n}, {"u": m_u, "n": m_n}
    for t, g in itertools.product(range(T), range(G)):
        total = direct[t, g] * (q[t, 0, g, 0] @ k[t, 0, g, 0]) * v[t, 0, g, 0]
        for t0, g0 in itertools.product(range(t + 1), range(g + 1)):
            weight = torch.zeros(())
            for ons in itertools.combinations(range(t - t0 + g - g0), t - t0):
                steps = ["n" if i in ons else "u" for i in range(t - t0 + g - g0)]
                weight = weight + path_weight(steps, (t0, g0), turn, start, mark)
            written = (q[t, 0, g, 0] @ k[t0, 0, g0, 0]) * v[t0, 0, g0, 0]
            total = total + weight * written
        torch.testing.assert_close(y[t, 0, g], total)


def path_weight(steps, node, turn, start, mark):
    if not steps:
        return torch.zeros(())
    weight = start[steps[0]][node]
    for before, after in itertools.pairwise(steps):
        node = moved(node, before)
        weight = weight * turn[before, after][node]
    return weight * mark[steps[-1]][moved(node, steps[-1])]


def moved(node, step):
    return (node[0] + 1, node[1]) if step == "n" else (node[0], node[1] + 1)


# ---- Newton (ParaRNN)


@pytest.mark.parametrize(("scale", "steps", "most"), [(0.1, 1000, 4), (0.5, 1000, 6)])
def test_newton_finds_the_loops_states_in_a_few_iterations(scale, steps, most):
    net = ParaGRU(5, 16)
    with torch.no_grad():
        net.diagonal.copy_(scale * torch.randn(3, 16))
    p = net.project(torch.randn(steps, 2, 5))
    found = solve(net.transition, p, torch.zeros(2, 16))
    assert found.converged and len(found.residuals) - 1 <= most + 1
    h, states = torch.zeros(2, 16), []
    for each in p:
        h = net.transition(each, h)
        states.append(h)
    torch.testing.assert_close(found.states, torch.stack(states), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("cls", [ParaGRU, ParaLSTM])
def test_the_implicit_gradient_is_that_of_backpropagation_through_time(cls):
    one, two = cls(5, 8), cls(5, 8, parallel=True)
    two.load_state_dict(one.state_dict())
    x = torch.randn(50, 2, 5, requires_grad=True)
    state = 0.1 * torch.randn(one.initial_state(2).shape)
    weights = torch.randn(50, 2, 8)
    results = []
    for net in (one, two):
        first = state.clone().requires_grad_()
        y, end = net(x, first)
        loss = (y * weights).sum() + end.square().sum()
        results.append((y, *torch.autograd.grad(loss, (x, first, *net.parameters()))))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_where_newton_does_not_converge_the_loop_takes_over():
    net = ParaGRU(5, 16, parallel=True)
    with torch.no_grad():
        net.diagonal.copy_(8.0 * torch.randn(3, 16))
        net.w_in.weight.mul_(5)
    x = torch.randn(200, 2, 5)
    p = net.project(x)
    assert not solve(net.transition, p, torch.zeros(2, 16)).converged
    net.parallel = False
    expected, _ = net(x)
    net.parallel = True
    assert torch.equal(net(x)[0], expected)


def test_a_threshold_has_no_slope_for_newton_to_use():
    def lif(p, v):
        u = 0.9 * v + p
        return torch.where(u > 1.0, torch.zeros_like(u), u)

    p = torch.rand(100, 4)
    assert not solve(lif, p, torch.zeros(4), iterations=5).converged
    expected, h = [], torch.zeros(4)
    for each in p:
        h = lif(each, h)
        expected.append(h)
    torch.testing.assert_close(run_diagonal(lif, p, torch.zeros(4)), torch.stack(expected))


# ---- Titans


def test_without_momentum_and_forgetting_titans_is_the_delta_rule():
    net = Titans(5, 4, heads=1, keys=3, chunk=1)
    with torch.no_grad():
        net.gates.weight.zero_()
        net.gates.bias.copy_(torch.tensor([-60.0, 0.0, -60.0]))  # eta, theta, alpha
    x = torch.randn(10, 1, 5)
    y, _ = net(x)
    q, k = (
        nn.functional.normalize(nn.functional.silu(m(x)[0][:, 0]), dim=-1)
        for m in (net.query, net.key)
    )
    v, M = nn.functional.silu(net.value(x)[0][:, 0]), torch.zeros(3, 4)
    for t in range(10):
        M = M - 2 * 0.5 * outer(k[t], M.t() @ k[t] - v[t])
        torch.testing.assert_close(y[t, 0], M.t() @ q[t])


def test_titans_reads_back_what_was_written_in_any_order():
    net = Titans(16 + 4, 4, heads=1, keys=16, chunk=1)
    with torch.no_grad():
        net.gates.weight.zero_()
        net.gates.bias.copy_(torch.tensor([-60.0, 0.0, -60.0]))
        for m in (net.key, net.query):
            m.weight.copy_(50 * torch.eye(16, 20))  # keys are one-hot
        net.value.weight.copy_(50 * torch.eye(20)[16:])
    keys, values = torch.eye(16), torch.rand(16, 4) + 0.5
    write = torch.cat([keys, values], 1)
    _, state = net(write[:, None])
    order = torch.randperm(16)
    memory = state["memory"][0, 0]
    torch.testing.assert_close(keys[order] @ memory, 50 * values[order], rtol=1e-6, atol=1e-6)


# ---- halting, loops


def test_halting_weights_sum_to_one_and_one_depth_is_one_block():
    net, x = Universal(5, 8, depths=5).eval(), torch.randn(11, 2, 5)
    with torch.no_grad():
        net.halting.score.bias.fill_(-1.0)
        net.halting.score.weight.mul_(5)
    halting = net.think(x)
    torch.testing.assert_close(halting.weights.sum(0), torch.ones(11, 2))
    used = (halting.weights > 0).sum(0)
    assert used.min() < used.max() <= 5
    assert bool((halting.ponder > used).all()) and bool((halting.ponder <= used + 1).all())
    one = Universal(5, 8, depths=1).eval()
    block, _ = one.block(one.enter(x)[0] + one.code[0], one.initial_state(2)[0])
    torch.testing.assert_close(one(x)[0], block)


def test_more_iterations_than_trained_may_be_asked_for():
    net, x = RecurrentDepth(5, 8, iterations=2).eval(), torch.randn(7, 2, 5)
    y, _ = net(x)
    net.iterations = 6
    assert not torch.allclose(net(x)[0], y)


def test_the_state_after_a_drawn_number_of_iterations_fits_the_usual_one():
    net, x = RecurrentDepth(5, 8, iterations=4), torch.randn(7, 2, 5)
    for _ in range(20):
        _, (_, pasts, _) = net.train()(x)
        assert len(pasts) == 4
    net.eval()(x, net.train()(x)[1])


def test_a_drawn_number_of_iterations_varies_around_its_mean():
    net = RecurrentDepth(5, 8, iterations=4)
    counts = [len(net._drawn(net.initial_state(1)[1])) for _ in range(400)]
    assert 4 < sum(counts) / 400 < 6.5 and len(set(counts)) > 5


# ---- RHN, LRCN, RRN


def test_a_closed_transform_gate_carries_the_state():
    net = RHN(3, 4)
    with torch.no_grad():
        for layer in net.w_rec:
            layer.bias[4:] = -60.0
    state = torch.rand(2, 4)
    torch.testing.assert_close(net(torch.rand(9, 2, 3), state)[1], state)


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


# ---- neural process


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


# ---- vectors of records


def test_orthogonal_binding_keeps_norms_and_angles_at_any_depth():
    D, depth = 64, 24
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, D, generator=generator)
    changes = {}
    for kind in ("orthogonal", "gaussian"):
        x, y = a / a.norm(), b / b.norm()
        for _ in range(depth):
            if kind == "orthogonal":
                M = random_orthogonal(D, generator)
            else:
                M = torch.randn(D, D, generator=generator) / D**0.5
            x, y = M @ x, M @ y
        before = float(a @ b / a.norm() / b.norm())
        changes[kind] = (abs(float(x.norm()) - 1), abs(float(x @ y / x.norm() / y.norm()) - before))
    assert max(changes["orthogonal"]) < 1e-10
    assert max(changes["gaussian"]) > 0.1


def test_twelve_pairs_are_taken_apart_again_among_a_hundred_fillers():
    encoder = RecordEncoder(512)
    fillers = torch.stack([encoder.encode(f"filler {i}") for i in range(100)])
    record = {f"role {i}": f"filler {7 * i}" for i in range(12)}
    vector = encoder.encode(record)
    for i in range(12):
        ((found, _),) = nearest(encoder.unbind(vector, f"role {i}"), fillers, 1)
        assert found == 7 * i


def test_records_that_differ_little_are_near():
    encoder = RecordEncoder(256)
    run = {"model": "gru", "width": 128, "lr": 1e-3, "layers": [1, 2, 3], "none": None}
    others = [
        {**run, "width": 136},
        {**run, "model": "lstm", "lr": 1.0},
        {"a": 1},
        {**run, "layers": [3, 2, 1]},
    ]
    vectors = torch.stack([encoder.encode(o) for o in others])
    assert nearest(encoder.encode(run), vectors, 1)[0][0] == 0
    assert float(encoder.encode(run) @ vectors[3]) < 0.99  # order counts
    with pytest.raises(ConfigError, match="set"):
        encoder.encode({"x": {1, 2}})


def test_the_reservoir_can_be_run_backwards():
    net = MBAT(3, 4, states=32)
    x = torch.rand(20, 1, 3)
    _, h = net(x)
    for frame in x.flip(0):
        h = (h - frame @ net.entry.t()) @ net.transition
    assert h.abs().max() < 1e-10
