"""What single models do, step by step: loops over their equations, exact windows and dilations,
the direction of gates, and what padding may not enter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models_by_hand import sigmoid, silu

from snnsim.baselines import RateNetwork
from snnsim.baselines.encoder import RateEncoder
from snnsim.baselines.models.fsmn import FSMN
from snnsim.baselines.models.jordan import Jordan
from snnsim.baselines.models.paragru import ParaGRU
from snnsim.baselines.models.rhn import RHN
from snnsim.baselines.models.softmax_attention import SoftmaxAttention
from snnsim.baselines.window import PIECE, WindowAttention


def arrays(net):
    """Parameters by name, as numpy arrays."""
    return {name: value.detach().numpy() for name, value in net.named_parameters()}


def assert_equal(found, expected):
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=1e-12)


# --- Jordan: the context is made of outputs -------------------------------------------------------


@pytest.mark.parametrize("hidden", [0, 7])
def test_jordan_feeds_back_its_own_outputs_of_all_steps_before(hidden):
    a = 0.7
    net, p = (made := Jordan(3, 4, decay=a, hidden=hidden)), arrays(made)
    x = torch.rand(9, 2, 3)
    outputs, wanted = [], []
    for now in x.numpy():
        # y one step ago counts fully, k steps ago a^(k - 1)
        ages = range(len(outputs) - 1, -1, -1)
        context = sum((a**k * y for k, y in zip(ages, outputs, strict=True)), np.zeros((2, 4)))
        drive = now @ p["w_in.weight"].T + p["w_in.bias"] + context @ p["w_context.weight"].T
        outputs.append(np.tanh(np.tanh(drive) @ p["w_out.weight"].T + p["w_out.bias"]))
        wanted.append(context)
    y, state = net(x)
    assert_equal(y, np.stack(outputs))
    assert_equal(state["y"], outputs[-1])
    assert_equal(state["context"], wanted[-1])


# --- attention: how far back ------------------------------------------------------------------


@pytest.mark.parametrize(("reach", "ahead"), [(1, 0), (3, 0), (5, 2)])
@pytest.mark.parametrize("steps", [12, PIECE + 7])
def test_attention_sees_exactly_the_steps_of_its_window(reach, ahead, steps):
    net = WindowAttention(4, 2, reach, ahead)
    x = torch.randn(steps, 1, 4, requires_grad=True)
    y, _ = net(x, net.empty(1))
    for t in (0, reach, min(PIECE, steps) - 1, steps - 1):  # a piece ends before the last
        (g,) = torch.autograd.grad(y[t].square().sum(), x, retain_graph=True)
        seen = g.abs().amax((1, 2)).nonzero().flatten().tolist()
        assert seen == list(range(max(t - reach, 0), min(t + ahead, steps - 1) + 1))


def test_attention_is_a_softmax_of_scaled_products_and_a_bias_by_distance():
    heads, reach, size = 2, 3, 3
    net = WindowAttention(heads * size, heads, reach)
    with torch.no_grad():
        net.distance.normal_()
    p, x = arrays(net), torch.randn(8, 1, 6)
    q, k, v = (
        (x[:, 0].numpy() @ p[f"{name}.weight"].T).reshape(8, heads, size)
        for name in ("query", "key", "value")
    )
    expected = np.zeros((8, heads, size))
    for t in range(8):
        for h in range(heads):
            window = range(max(t - reach, 0), t + 1)
            scores = [q[t, h] @ k[j, h] / np.sqrt(size) + p["distance"][h, t - j] for j in window]
            shares = np.exp(scores) / np.exp(scores).sum()
            expected[t, h] = sum(s * v[j, h] for s, j in zip(shares, window, strict=True))
    y, _ = net(x, net.empty(1))
    assert_equal(y[:, 0], expected.reshape(8, 6) @ p["out.weight"].T)


@pytest.mark.parametrize("cut", [1, 4, 7])
def test_attention_goes_on_with_the_same_window(cut):
    net, x = SoftmaxAttention(3, 8, heads=2, reach=4), torch.randn(10, 2, 3)
    with torch.no_grad():
        net.attention.distance.normal_()
    whole, _ = net(x)
    first, state = net(x[:cut])
    second, _ = net(x[cut:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-12, atol=1e-12)


# --- FSMN: layers that look back twice as far each -----------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 4])
def test_an_fsmn_is_its_equations_with_dilations_1_2_and_4(order):
    steps, n = 20, 3
    net = FSMN(2, n, order=order, layers=3)
    with torch.no_grad():
        for layer in net.layers:
            layer.mix.normal_()
    p, x = arrays(net), torch.randn(steps, 1, 2)
    entered = x[:, 0].numpy() @ p["enter.weight"].T + p["enter.bias"]
    size = np.sqrt((entered**2).mean(1, keepdims=True) + torch.finfo(torch.float64).eps)
    normal = entered / size * p["norm.weight"]
    parts = [silu(normal @ p["memory.weight"].T + p["memory.bias"])]
    for level in range(3):
        mixed = sum(m * part for m, part in zip(p[f"layers.{level}.mix"], parts, strict=True))
        memory = mixed.copy()
        for i, tap in enumerate(p[f"layers.{level}.taps"]):
            lag = i * 2**level
            for t in range(lag, steps):
                memory[t] += tap * mixed[t - lag]
        parts.append(memory)
    gate = silu(normal @ p["gate.weight"].T + p["gate.bias"])
    assert_equal(net(x)[0][:, 0], entered + gate * parts[-1])


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_taps_of_an_fsmn_layer_are_two_to_the_level_steps_apart(level):
    order, layer = 3, FSMN(2, 1, order=3, layers=4).layers[level]
    impulse = torch.zeros(30, 1, 1)
    impulse[0] = 1
    parts = [torch.zeros_like(impulse)] * level + [impulse]
    y, _ = layer(parts, torch.zeros(layer.reach, 1, 1), None)
    assert y.flatten().nonzero().flatten().tolist() == [i * 2**level for i in range(order)]


# --- RHN: transform and carry -------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 3])
def test_an_rhn_adds_what_it_transforms_to_what_it_carries(depth):
    net, n = RHN(3, 4, depth=depth), 4
    p, x = arrays(net), torch.randn(7, 2, 3)
    s, expected = np.full((2, n), 0.5), []
    for now in x.numpy():
        for level in range(depth):
            w, b = p[f"w_rec.{level}.weight"], p[f"w_rec.{level}.bias"]
            entry = now @ p["w_in.weight"].T if level == 0 else np.zeros((2, 2 * n))
            proposal = np.tanh(entry[:, :n] + s @ w[:n].T + b[:n])
            transform = sigmoid(entry[:, n:] + s @ w[n:].T + b[n:])
            s = proposal * transform + s * (1 - transform)
        expected.append(s)
    y, end = net(x, torch.full((2, n), 0.5))
    assert_equal(y, np.stack(expected))
    assert_equal(end, s)


def test_an_rhn_carries_at_first_and_an_open_gate_replaces_the_state():
    net = RHN(3, 4, depth=2)
    for layer in net.w_rec:
        assert layer.bias[4:].tolist() == [-2.0] * 4
        assert bool((layer.bias[:4].abs() <= 0.5).all())  # drawn within 1 / sqrt(4)
    with torch.no_grad():
        for layer in net.w_rec:
            layer.bias[4:] = 60.0
            layer.weight[:4] = 0.0
    x = torch.rand(5, 2, 3)
    states = (torch.zeros(2, 4), torch.ones(2, 4))
    one, other = (net(x, state)[1] for state in states)
    torch.testing.assert_close(one, torch.tanh(net.w_rec[1].bias[:4]).expand(2, 4))
    torch.testing.assert_close(one, other)


# --- ParaGRU: which way the gates go --------------------------------------------------------------


@pytest.mark.parametrize("parallel", [False, True])
def test_a_paragru_is_its_equations(parallel):
    net, n = ParaGRU(3, 4, parallel=parallel), 4
    p, x = arrays(net), torch.randn(12, 2, 3)
    (a_z, a_r, a_h), w, b = p["diagonal"], p["w_in.weight"], p["w_in.bias"]
    h, expected = np.full((2, n), -0.4), []
    for now in x.numpy():
        z = sigmoid(a_z * h + now @ w[:n].T + b[:n])
        r = sigmoid(a_r * h + now @ w[n : 2 * n].T + b[n : 2 * n])
        new = np.tanh(a_h * (h * r) + now @ w[2 * n :].T + b[2 * n :])
        h = (1 - z) * h + z * new
        expected.append(h)
    y, _ = net(x, torch.full((2, n), -0.4))
    np.testing.assert_allclose(y.detach(), np.stack(expected), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("bias", "keeps"), [(-60.0, True), (60.0, False)])
def test_a_closed_update_gate_of_a_paragru_keeps_the_state_and_an_open_one_replaces_it(bias, keeps):
    net, state = ParaGRU(3, 4), torch.rand(2, 4)
    with torch.no_grad():
        net.diagonal.zero_()
        net.w_in.weight.zero_()
        net.w_in.bias[:4] = bias
    _, end = net(torch.rand(6, 2, 3), state)
    wanted = state if keeps else torch.tanh(net.w_in.bias[8:]).expand(2, 4)
    torch.testing.assert_close(end, wanted, rtol=1e-12, atol=1e-12)


def test_the_update_gates_of_a_paragru_start_between_a_half_and_closed():
    net = ParaGRU(3, 5)
    assert net.w_in.bias[:5].tolist() == pytest.approx([0.0, -0.25, -0.5, -0.75, -1.0])


# --- the encoder: the last merged bin ---------------------------------------------------------


@pytest.mark.parametrize("steps", [4, 5, 7, 8])
def test_the_encoder_adds_up_bins_and_fills_the_last_one_with_nothing(steps):
    x = torch.rand(steps, 2, 3)
    y, _ = RateEncoder(3, bins=4)(x)
    expected = [x[first : first + 4].sum(0) for first in range(0, steps, 4)]
    torch.testing.assert_close(y, torch.stack(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", ["none", "sqrt", "layer"])
@pytest.mark.parametrize("model", ["gru", "bidirectional", "fsmn"])
@pytest.mark.parametrize("length", [1, 3, 4, 5])
def test_no_padding_enters_the_last_merged_bin_of_any_sample(model, norm, length):
    net = RateNetwork(6, 3, model, width=8, encoder={"bins": 4, "norm": norm}).eval()
    x = torch.rand(9, 2, 6)
    noise = torch.rand(9, 2, 6)
    noise[:length, 0] = x[:length, 0]
    noise[:, 1] = x[:, 1]  # a sample that goes to the end
    lengths = torch.tensor([length, 9])
    one, _ = net(x, lengths=lengths)
    other, _ = net(noise, lengths=lengths)
    ends = net.output_lengths(lengths).tolist()
    assert ends == [-(-length // 4), 3]
    alone, _ = net(x[:length, :1], lengths=lengths[:1])
    for found in (one[: ends[0], :1], other[: ends[0], :1]):
        torch.testing.assert_close(found, alone, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(one[:, 1], other[:, 1], rtol=1e-10, atol=1e-12)
