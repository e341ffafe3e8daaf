"""Heads, encoders, networks, what they cost and forecasts, against loops over what they are."""

from __future__ import annotations

import dataclasses
import inspect
import math

import numpy as np
import pytest
import torch
from models_by_hand import arrays, close, dense, normal, randomised
from torch import nn

from snnsim.baselines import (
    LinearModel,
    Matrices,
    RateEncoder,
    RateNetwork,
    cost_of,
    simulate,
    size,
    width_for,
)
from snnsim.baselines import heads as in_heads
from snnsim.baselines.baseline import (
    count,
)
from snnsim.baselines.forecast import Forecaster
from snnsim.baselines.ltv import CACHED_VALUES, in_pieces, memory_steps
from snnsim.baselines.models.elman import Elman
from snnsim.baselines.models.leaky import Leaky
from snnsim.baselines.models.regenn import GraphMixer
from snnsim.baselines.options.additions import Additions
from snnsim.baselines.options.attend import Attend
from snnsim.baselines.options.chunks import ChunkRecurrent
from snnsim.baselines.options.sparse import sparsify
from snnsim.baselines.options.think import Think
from snnsim.errors import ConfigError

T, B = 9, 2


# --- heads and matrices --------------------------------------------------------------------------


def test_channels_are_shared_out_among_heads_in_order():
    x = torch.arange(12.0).view(2, 6)
    assert in_heads.split(x, 3)[0].tolist() == [[0, 1], [2, 3], [4, 5]]
    for wrong in (0, 4):
        with pytest.raises(ConfigError, match=f"6 channels cannot be split into {wrong} heads"):
            in_heads.split(x, wrong)
    assert in_heads.grouped(torch.arange(1.0, 6.0), 2).tolist() == [[1, 2, 0], [3, 4, 5]]
    assert in_heads.grouped(x, 2)[1].tolist() == [[6, 7, 8], [9, 10, 11]]
    assert in_heads.grouped(torch.ones(3), 3).tolist() == [[1], [1], [1]]
    k, v = normal(2, 3, 4), normal(2, 3, 5)
    close(in_heads.outer(k, v), np.einsum("bhn,bhd->bhnd", k, v))
    s = normal(2, 3, 4, 5)
    close(in_heads.recall(k, s), np.einsum("bhn,bhnd->bhd", k, s).reshape(2, 15))
    assert in_heads.NOTHING == -1e30


@pytest.mark.parametrize("gained", [False, True])
def test_matrices_of_keys_and_queries_reproduce_their_recurrence(gained):
    k, q, x = normal(T, B, 2, 3), normal(T, B, 2, 3, seed=2), normal(T, B, 5, seed=3)
    decay, gain = normal(T, B, 2, 1, seed=4).sigmoid(), normal(T, B, 2, seed=5)
    w = normal(8, 5, seed=6)
    made = in_heads.matrices_of(decay, k, q, w, gain if gained else None)
    assert made.direct is None and made.transition.shape == (T, B, 24)
    s, outputs = np.zeros((B, 2, 3, 4)), []
    for t in range(T):
        v = (x[t] @ w.t()).view(B, 2, 4)
        s = decay[t].numpy()[..., None] * s + np.einsum("bhn,bhd->bhnd", k[t], v)
        y = np.einsum("bhn,bhnd->bhd", q[t], s)
        outputs.append((y * gain[t].numpy()[..., None] if gained else y).reshape(B, 8))
    close(simulate(made, x), np.stack(outputs))


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("direct", [False, True])
def test_a_simulation_is_the_recurrence_of_its_matrices(full, direct):
    L = normal(T, B, 4, 4) if full else normal(T, B, 4)
    entry, read, d = normal(T, B, 4, 3, seed=2), normal(T, B, 2, 4, seed=3), normal(T, B, 2, 3)
    x, expected = normal(T, B, 3, seed=5), np.zeros((T, B, 2))
    for b in range(B):
        h = np.zeros(4)
        for t in range(T):
            kept = L[t, b].numpy() @ h if full else L[t, b].numpy() * h
            h = kept + (entry[t, b] @ x[t, b]).numpy()
            expected[t, b] = read[t, b].numpy() @ h
            if direct:
                expected[t, b] += (d[t, b] @ x[t, b]).numpy()
    found = simulate(Matrices(L, entry, read, d if direct else None), x)
    close(found, expected, 1e-8)


def test_memory_is_the_mean_of_steps_over_time_and_samples():
    L = torch.tensor([[[0.5, -0.9]], [[0.75, 1.0]]])
    none = torch.zeros(1)
    steps = memory_steps(Matrices(L, none, none))
    assert steps.tolist() == pytest.approx([(2 + 4) / 2, (10 + 1e6) / 2])
    full = torch.zeros(1, 1, 2, 2)
    full[0, 0, 0] = torch.tensor([0.3, 0.4])
    assert memory_steps(Matrices(full, none, none)).tolist() == pytest.approx([2.0, 1.0])


def test_pieces_are_as_long_as_a_cache_holds_and_pass_their_state_on():
    seen = []

    def run(x, state):
        seen.append((len(x), int(state)))
        return x, state + len(x)

    x = torch.zeros(7, 1, 1)
    assert CACHED_VALUES == 1 << 19
    for values, pieces in (
        (CACHED_VALUES // 3, [3, 3, 1]),
        (CACHED_VALUES // 7, [7]),
        (CACHED_VALUES // 6, [6, 1]),
        (CACHED_VALUES * 9, [1] * 7),
        (0, [7]),
    ):
        seen.clear()
        y, end = in_pieces(run, x, torch.tensor(0), values)
        assert [n for n, _ in seen] == pieces and int(end) == 7 and len(y) == 7
        assert [s for _, s in seen] == [sum(pieces[:i]) for i in range(len(pieces))]


def test_a_linear_model_says_its_matrices_or_that_it_does_not():
    class Silent(LinearModel):
        pass

    with pytest.raises(NotImplementedError, match="Silent does not give its matrices"):
        Silent(1, 1).ltv(torch.zeros(1, 1, 1))


# --- the encoder ---------------------------------------------------------------------------------


def test_an_encoder_merges_channels_and_bins_up_to_the_last_ones():
    x = normal(5, 2, 7).abs()
    net = RateEncoder(7, bins=2, pool=3)
    assert net.n == 3
    expected = np.zeros((3, 2, 3))
    for t in range(5):
        for c in range(7):
            expected[t // 2, :, c // 3] += x[t, :, c].numpy()
    close(net(x)[0], expected)
    close(RateEncoder(7, bins=2, pool=3, clip=1.5)(x)[0], np.minimum(expected, 1.5))
    close(RateEncoder(7, bins=2, pool=3, clip=1.5, norm="log1p")(x)[0],
          np.log1p(np.minimum(expected, 1.5)))  # fmt: skip
    layer = RateEncoder(7, pool=3, norm="layer")
    assert layer.layer.normalized_shape == (3,)
    assert net.lengths(None) is None and net.lengths(torch.tensor([0, 1, 4])).tolist() == [0, 1, 2]
    root = RateEncoder(2, norm="sqrt")(torch.tensor([[[-4.0, 9.0]]]))[0]
    assert root.tolist() == [[[-2.0, 3.0]]]
    plain = RateEncoder(7)
    assert torch.equal(plain(x)[0], x) and plain.layer is None
    assert (plain.bins, plain.pool, plain.clip, plain.norm) == (1, 1, 0.0, "none")
    assert plain.extra_repr() == "7, bins=1, pool=1, clip=0.0, norm='none'"
    assert RateEncoder(3, clip=math.inf).clip == math.inf
    with pytest.raises(ConfigError, match="n_in is 0 but must be a whole number of at least 1"):
        RateEncoder(0)


# --- networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("join", ["", "rate", "input"])
@pytest.mark.parametrize("model", ["gru", "quasi-lstm"])
def test_a_network_is_its_parts_in_order(model, join):
    net = RateNetwork(5, 3, model, width=4, depth=2, join=join, encoder={"norm": "sqrt"})
    randomised(net)
    x, lengths = normal(T, B, 5).abs(), torch.tensor([T, 4])
    states = tuple(layer(normal(3, B, layer.n_in, seed=4))[1] for layer in net.layers)
    h = x.sqrt()
    residual = bool(join) or model == "quasi-lstm"
    assert net.residual is residual
    if residual:
        h = net.enter(h)[0]
        assert [each.kind for each in net.joins] == [join or "add"] * 2
    else:
        assert net.enter is None and len(net.norms) == len(net.joins) == 0
    for i, layer in enumerate(net.layers):
        y, _ = layer(net.norms[i](h) if residual else h, states[i], lengths)
        h = net.joins[i](h, y) if residual else y
    y, after = net(x, states, lengths)
    torch.testing.assert_close(y, net.head(h)[0])
    assert len(after) == 2
    assert net.state_size == sum(layer.state_size for layer in net.layers)
    assert count(net.initial_state(3)) == 3 * net.state_size
    headless = RateNetwork(5, 0, model, width=4)
    assert headless.head is None and headless(x)[0].shape == (T, B, 4)


def test_options_of_a_network_reach_its_layers():
    net = RateNetwork(6, 3, "leaky", width=8, depth=2, dropout=0.3, attend=5, think=3, chunk=4)
    assert [type(layer) for layer in net.layers] == [Attend, Attend]
    for layer, entry in zip(net.layers, (6, 8), strict=True):
        assert layer.attention.reach == 5
        chunks = layer.inner
        assert isinstance(chunks, ChunkRecurrent) and chunks.chunk == 4 and chunks.n_in == entry
        assert isinstance(chunks.inner, Think) and chunks.inner.steps == 3
        assert isinstance(chunks.inner.inner, Leaky)
    assert net.drop.p == 0.3 and RateNetwork(6, 3, "gru", width=8).drop.p == 0.0
    assert len(RateNetwork(6, 3, "gru", width=8).layers) == 1
    fsmn = RateNetwork(6, 3, "fsmn", width=8, options={"order": 3}, encoder={"pool": 2})
    assert fsmn.layers[0].layers[0].taps.shape == (3, 8) and fsmn.enter.weight.shape == (8, 3)
    for wrong in ({"width": 0}, {"width": 4, "depth": 0}, {"width": 6, "attend": 2}):
        with pytest.raises(ConfigError, match="width is .* and depth"):
            RateNetwork(6, 3, "gru", **wrong)
    for density in (0.0, 1.1):
        with pytest.raises(ConfigError, match="density"):
            RateNetwork(6, 3, "gru", width=4, density=density)
    sparse = RateNetwork(6, 3, "gru", width=8, density=0.5)
    weights = (sparse.head.weight, sparse.layers[0].module.weight_hh_l0)
    zeros = [float((w == 0).double().mean()) for w in weights]
    assert zeros == pytest.approx([0.5, 0.5])


def test_the_page_and_the_signature_of_a_network_name_what_can_be_added():
    shown = inspect.signature(RateNetwork).parameters
    for field in dataclasses.fields(Additions):
        assert shown[field.name].default == field.default
        assert f"    {field.name}: " in inspect.getdoc(RateNetwork)
    assert dataclasses.asdict(Additions()) == {
        "join": "", "attend": 0, "think": 0, "chunk": 0, "chunk_query": 0, "chunk_similar": 2,
        "chunk_slots": 16, "recode": 0.0, "density": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "answer"),
    [
        (
            {"attnd": 5},
            r"RateNetwork\(\) has no argument 'attnd'; did you mean 'attend'\?.*density",
        ),
        ({"widht": 5}, "did you mean 'width'"),
        ({"self": 5}, "self"),
    ],
)
def test_an_unknown_argument_of_a_network_is_refused_with_the_known_ones(wrong, answer):
    with pytest.raises(TypeError, match=answer):
        RateNetwork(6, 3, "gru", width=8, **wrong)


@pytest.mark.parametrize(
    ("wrong", "answer"),
    [
        ({"think": 2.5}, "think is 2.5 but must be a whole number"),
        ({"chunk": True}, "chunk is True"),
        ({"join": "rates"}, "join is 'rates'.*did you mean 'rate'"),
        ({"density": float("nan")}, "density is nan"),
    ],
)
def test_what_is_added_is_checked_before_anything_is_made(wrong, answer):
    with pytest.raises(ConfigError, match=answer):
        Additions(**wrong)
    with pytest.raises(ConfigError, match=answer):
        RateNetwork(6, 3, "gru", width=8, **wrong)


def test_dropout_is_behind_each_layer_while_training():
    net, x = RateNetwork(6, 0, "gru", width=50, dropout=0.5), normal(T, B, 6)
    dropped = net.train()(x)[0] == 0
    assert 0.3 < float(dropped.double().mean()) < 0.7
    assert not (net.eval()(x)[0] == 0).any()


def test_a_network_says_what_its_layers_say():
    ahead = RateNetwork(6, 3, "fsmn", width=4, options={"look_ahead": True}, encoder={"bins": 2})
    assert (ahead.causal, ahead.streaming, ahead.state_size) == (False, "none", None)
    merged = RateNetwork(6, 3, "gru", width=4, encoder={"bins": 2})
    assert (merged.causal, merged.streaming, merged.state_size) == (True, "chunked", 4)
    assert merged.output_lengths(torch.tensor([3])).tolist() == [2]
    plain = RateNetwork(6, 3, "gru", width=4)
    assert plain.streaming == "exact" and plain.output_lengths(None) is None
    x = normal(T, B, 6)
    y, state = plain.step(x[0])
    z, _ = plain.step(x[1], state)
    torch.testing.assert_close(torch.stack([y, z]), plain(x[:2])[0])
    with pytest.raises(ConfigError, match="gru here is causal and streams 'chunked'"):
        merged.step(x[0])


def test_a_graph_is_prepared_for_the_first_layer_from_pooled_data():
    net = RateNetwork(6, 3, "regenn", width=8, depth=2, encoder={"pool": 2})
    net.prepare(normal(T, B, 6).relu())
    assert net.layers[0].mixer.together.shape == (3, 3)
    assert torch.equal(net.layers[1].mixer.together, torch.eye(8))
    RateNetwork(6, 3, "gru", width=8).prepare(normal(T, B, 6))


# --- what a network costs ------------------------------------------------------------------------


def test_products_of_matrices_and_of_elements_are_counted_per_step_and_sample():
    net = RateNetwork(10, 4, "quasi-lstm", width=8, join="rate")
    # enter, gates, value, head; norm aside, products of decays and drives, read, rate
    products = 10 * 8 + 8 * 16 + 8 * 8 + 8 * 4
    for steps in (3, 50):
        assert products < cost_of(net, 10, steps).operations <= products + 6 * 8
    assert cost_of(net, 10) == cost_of(net, 10, steps=50)
    assert cost_of(net, 10).state == 8
    with size._Products() as counted:
        a = torch.ones(2, 3)
        _ = a * a, a / 2, torch.addcmul(a, a, a), a + a, a.mul_(a), a @ a.t(), a.exp()
    assert counted.count == 4 * 6


def test_whole_sequences_are_counted_where_all_of_them_are_kept():
    net = RateNetwork(10, 4, "bidirectional", width=8, options={"cell": "gru"})
    found = cost_of(net, 10)
    products = 2 * 3 * 4 * (10 + 4) + 8 * 4
    assert found.state is None and products <= found.operations <= products + 8 * 5


def test_attention_is_counted_by_its_queries_and_keys():
    q, k, v = torch.ones(2, 3, 5, 4), torch.ones(2, 3, 7, 4), torch.ones(2, 3, 7, 6)
    assert size._of_attention(q.shape, k.shape, v.shape) == 2 * 2 * 3 * 5 * 7 * (4 + 6)
    assert list(size.ATTENTION.values()) == [size._of_attention]


def test_counting_leaves_a_network_as_it_was():
    net = RateNetwork(6, 3, "paragru", width=8, think=3, options={"parallel": True}).train()
    halting, cell = net.layers[0].halting, net.layers[0].inner
    halting.epsilon = 0.07
    cost_of(net, 6)
    assert halting.epsilon == 0.07 and cell.parallel is True and net.training
    with size._at_most(net):
        assert halting.epsilon == -math.inf and cell.parallel is False
    assert halting.epsilon == 0.07 and cell.parallel is True


def test_weights_that_rest_or_are_masked_are_no_parameters():
    net = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 2))
    net[1].bias.requires_grad_(False)
    assert size.parameters_of(net) == 110 + 20
    sparsify(net, 0.5, seed=0)
    assert size.parameters_of(net) == 50 + 10 + 10


def test_the_width_for_a_budget_is_the_last_that_fits_to_the_number():
    def make(width):
        return nn.Linear(1, width, bias=False)

    for budget, width in ((1, 1), (2, 2), (3, 3), (17, 17), (64, 64), (100.5, 100)):
        assert width_for(make, 1, budget) == width
        if budget >= 3:
            assert width_for(make, 1, budget, multiple=3) == width // 3 * 3
    with pytest.raises(ConfigError, match="0 parameters is too small.*width 1, needs more"):
        width_for(make, 1, 0)
    with pytest.raises(ConfigError, match="2 parameters is too small.*width 3, needs more"):
        width_for(make, 1, 2, multiple=3)
    with pytest.raises(ConfigError, match="1e\\+09 parameters fits a width of 4096 and more"):
        width_for(make, 1, 1e9)
    assert size.WIDEST == 4096
    with pytest.raises(ConfigError, match="measure"):
        width_for(make, 1, 10, "time")


def test_a_width_is_looked_for_from_the_first_that_can_be_made():
    def make(width):
        if width < 12:
            raise ConfigError(f"width {width} is narrow")
        return nn.Linear(1, width, bias=False)

    assert width_for(make, 1, 30, multiple=3) == 30
    assert width_for(make, 1, 12, multiple=3) == 12
    with pytest.raises(ConfigError, match="too small.*width 12"):
        width_for(make, 1, 11, multiple=3)

    def never(width):
        raise ConfigError(f"width {width} is narrow")

    with pytest.raises(ConfigError, match="width 4096 is narrow"):
        width_for(never, 1, 30)


# --- forecasts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mixed", [False, True])
def test_a_forecast_is_a_linear_part_of_the_window_and_what_the_core_adds(mixed):
    window, stride, channels = 6, 2, 3
    mixer = GraphMixer(channels) if mixed else None
    net = Forecaster(Elman(1 if mixed else channels, 4), window, stride, mixer)
    assert torch.equal(net.own, torch.full((stride, window), 1 / window))
    randomised(net)
    x = normal(window, B, channels)
    seen = x if mixer is None else mixer(x)
    expected = np.zeros((stride, B, channels))
    p = arrays(net)
    for b in range(B):
        for c in range(channels):
            one = seen[:, b : b + 1] if mixer is None else seen[:, b : b + 1, c : c + 1]
            last = net.core(one)[0][-1, 0].detach().numpy()
            added = dense(p, "out", last).reshape(stride, -1)
            for s in range(stride):
                own = p["own"][s] @ seen[:, b, c].detach().numpy()
                expected[s, b, c] = max(own + added[s, 0 if mixed else c], 0)
    assert (expected == 0).any() and (expected > 0).any()
    close(net(x), expected)
