"""Running averages, FSMN, graphs, both directions and messages against loops in numpy."""

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
    layer_norm,
    lstm_cell,
    normal,
    randomised,
    rms_norm,
    silu,
    softmax,
    torch_lstm,
    unit,
)

from snnsim.baselines.models.aaren import Aaren
from snnsim.baselines.models.bidirectional import Bidirectional
from snnsim.baselines.models.elman import Elman
from snnsim.baselines.models.fsmn import FSMN
from snnsim.baselines.models.gru import GRU
from snnsim.baselines.models.lightnet import LightNet, running_average
from snnsim.baselines.models.lightnet2d import LightNet2d
from snnsim.baselines.models.lrcn import LRCN
from snnsim.baselines.models.lstm import LSTM
from snnsim.baselines.models.regenn import GraphMixer, ReGENN
from snnsim.baselines.models.rrn import RRN
from snnsim.baselines.models.workspace import Workspace
from snnsim.baselines.relational import RelationalStep
from snnsim.errors import ConfigError, ShapeError

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
    with pytest.raises(ConfigError, match="kernel is 2 but must be odd"):
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
