"""Options around models, networks of them, encoders, costs and forecasts, against loops over what
their docstrings say."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from models_by_hand import arrays, attention, close, dense, normal, randomised, sigmoid, softmax
from torch import nn

from snnsim.baselines import (
    Baseline,
    LinearModel,
    Matrices,
    RateEncoder,
    RateNetwork,
    cost_of,
    get,
    multiple_of,
    names,
    simulate,
    size,
    width_for,
)
from snnsim.baselines import heads as in_heads
from snnsim.baselines.baseline import (
    Cell,
    count,
    linear,
    mean_within,
    own_generator,
    within,
)
from snnsim.baselines.forecast import Forecaster
from snnsim.baselines.ltv import CACHED_VALUES, in_pieces, memory_steps
from snnsim.baselines.models.bidirectional import Bidirectional
from snnsim.baselines.models.elman import Elman
from snnsim.baselines.models.gru import GRU
from snnsim.baselines.models.leaky import Leaky
from snnsim.baselines.models.quasi_lstm import QuasiLSTM
from snnsim.baselines.models.regenn import GraphMixer
from snnsim.baselines.models.rhn import RHN
from snnsim.baselines.models.universal import Universal
from snnsim.baselines.options.attend import Attend
from snnsim.baselines.options.chunks import ChunkRecurrent
from snnsim.baselines.options.join import Join
from snnsim.baselines.options.recode import Recode
from snnsim.baselines.options.sparse import Mask, matrices, sparsify
from snnsim.baselines.options.think import Think
from snnsim.errors import ConfigError, ShapeError
from snnsim.layer import add_auxiliary_loss, auxiliary_losses

T, B = 9, 2


# --- options around one model --------------------------------------------------------------------


def test_attention_over_own_outputs_is_added_to_them():
    inner = randomised(GRU(3, 4))
    net, x = Attend(inner, reach=3, heads=2), normal(T, B, 3)
    randomised(net.attention, seed=2)
    y, _ = inner(x)
    p = {f"a.{k}": v for k, v in arrays(net.attention).items()}
    close(net(x)[0], y.detach().numpy() + attention(p, "a", y.detach().numpy(), 2, 3))
    assert net.source == inner.source and Attend(inner, reach=3).attention.heads == 4
    ahead = Attend(Bidirectional(3, 4), reach=2)
    assert (ahead.causal, ahead.streaming) == (False, "none")
    state = net.initial_state(5)
    assert state[0]["h"].shape == (5, 4) and state[1][0].shape == (3, 5, 4)


def cosine(a, b):
    return a @ b / max(np.linalg.norm(a), 1e-8) / max(np.linalg.norm(b), 1e-8)


@pytest.mark.parametrize(("chunk", "similar", "slots"), [(2, 1, 3), (3, 2, 2), (2, 3, 5)])
def test_a_chunk_sees_the_mean_of_the_last_and_of_those_most_like_it(chunk, similar, slots):
    net = ChunkRecurrent(3, 4, GRU, chunk=chunk, similar=similar, slots=slots)
    randomised(net, 0.8)
    x, wanted = normal(13, B, 3), np.zeros((13, B, 4))
    for b in range(B):
        recent = found = np.zeros(4)
        codes = [np.zeros(4)] * slots
        for first in range(0, 13, chunk):
            now = x[first : first + chunk, b : b + 1]
            memory = torch.from_numpy(np.concatenate([recent, found]))
            y, _ = net.inner(torch.cat([now, memory.expand(len(now), 1, 8)], -1))
            wanted[first : first + len(now), b] = y[:, 0].detach().numpy()
            recent = y[:, 0].detach().numpy().sum(0) / chunk
            likeness = [cosine(code, recent) for code in codes]
            best = np.argsort(likeness, kind="stable")[::-1][:similar]
            found = np.mean([codes[i] for i in best], axis=0)
            codes = [*codes[1:], recent]
    close(net(x)[0], wanted)
    y, state = net(x[:1])
    close(state["total"], y[0].detach().numpy())
    assert state["place"].tolist() == [1.0 % chunk]


def test_chunks_have_the_defaults_they_say_and_refuse_nonsense():
    net = ChunkRecurrent(3, 4, GRU, chunk=2)
    assert (net.similar, net.slots, net.inner.n_in) == (2, 16, 11)
    assert net.source == net.inner.source
    for wrong in ({"chunk": 0}, {"similar": 0}, {"similar": 4, "slots": 3}):
        with pytest.raises(
            ConfigError, match=r"similar, 4, must be between 1 and slots, 3|(chunk|similar) is 0"
        ):
            ChunkRecurrent(3, 4, GRU, **{"chunk": 2, **wrong})
    ChunkRecurrent(3, 4, GRU, chunk=1, similar=3, slots=3)
    with pytest.raises(ConfigError, match="Bidirectional does not stream"):
        ChunkRecurrent(3, 4, Bidirectional, chunk=2)


def test_losses_of_chunks_count_by_their_steps_within_samples():
    net = ChunkRecurrent(3, 4, Universal, chunk=4)
    x, lengths = normal(10, B, 3), torch.tensor([10, 5])
    seen, inner = [], net.inner.run

    def noting(piece, state, own):
        with auxiliary_losses() as extra:
            found = inner(piece, state, own)
        seen.append((None if own is None else own.tolist(), float(extra["ponder"].detach())))
        add_auxiliary_loss("ponder", extra["ponder"])
        return found

    net.inner.run = noting
    for given in (lengths, None):
        seen.clear()
        with auxiliary_losses() as extra:
            net(x, lengths=given)
        owns = [own for own, _ in seen]
        assert owns == ([[4, 4], [4, 1], [2, 0]] if given is not None else [None] * 3)
        steps = [8, 5, 2] if given is not None else [4, 4, 2]
        mean = sum(s * ponder for s, (_, ponder) in zip(steps, seen, strict=True)) / sum(steps)
        assert float(extra["ponder"].detach()) == pytest.approx(mean, rel=1e-9)


class Twin(Cell):
    """A leaky sum whose state is a tuple of a dict."""

    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out)
        self.w = linear(n_in, n_out)

    def initial_state(self, batch):
        return ({"h": self.zeros(batch, self.n_out)}, self.zeros(batch, self.n_out))

    def cell(self, p, state):
        h = torch.tanh(0.5 * state[0]["h"] + self.w(p)[0])
        return h, ({"h": h}, state[1] + h)


@pytest.mark.parametrize("steps", [1, 3])
def test_thinking_is_a_weighted_mean_over_applications_with_a_flag_on_the_first(steps):
    net = randomised(Think(3, 4, Twin, steps=steps, ponder=0.2))
    with torch.no_grad():
        net.halting.score.bias.fill_(-0.7)
        net.halting.score.weight.mul_(3)
    x, lengths, p = normal(T, B, 3), torch.tensor([T, 4]), arrays(net)
    h0, s0 = normal(B, 4, seed=2), normal(B, 4, seed=3)
    outputs, costs = np.zeros((T, B, 4)), np.zeros((T, B))
    ends = np.zeros((2, B, 4))
    for b in range(B):
        h, s = h0[b].numpy(), s0[b].numpy()
        for t in range(T):
            given, total, mixed_h, mixed_s = 0.0, 0.0, 0.0, 0.0
            for n in range(steps):
                entry = np.append(x[t, b].numpy(), float(n == 0))
                h = np.tanh(0.5 * h + dense(p, "inner.w", entry))
                s = s + h
                share = sigmoid(dense(p, "halting.score", h))[0]
                last = given + share >= 0.99 or n + 1 == steps
                share = 1 - given if last else share
                given += share
                total, mixed_h = total + share * h, mixed_h + share * h
                mixed_s = mixed_s + share * s
                if last:
                    costs[t, b] = n + 1 + share
                    break
            h, s = mixed_h, mixed_s
            outputs[t, b] = total
        ends[:, b] = h, s
    if steps > 1:
        assert len({int(c) for c in costs.flatten()}) > 1
    with auxiliary_losses() as extra:
        y, end = net(x, ({"h": h0}, s0), lengths)
    close(y[:, 0], outputs[:, 0])
    close(y[:4, 1], outputs[:4, 1])
    close(end[0]["h"], ends[0])
    close(end[1], ends[1])
    mean = (costs[:, 0].mean() + costs[:4, 1].mean()) / 2
    assert float(extra["ponder"].detach()) == pytest.approx(0.2 * mean, rel=1e-9)


def test_thinking_refuses_no_steps_and_counts_losses_of_the_model_once():
    with pytest.raises(ConfigError, match="steps is 0"):
        Think(3, 4, GRU, steps=0)
    assert Think(3, 4, GRU, steps=2).ponder == 0.01
    assert Think(3, 4, GRU, steps=2).source == GRU.source
    with pytest.raises(ConfigError, match="Bidirectional does not go step by step"):
        Think(3, 4, Bidirectional, steps=2)


def test_recoding_moves_every_state_down_the_entropy_and_goes_on_from_there():
    inner, decoder = randomised(RHN(3, 4)), randomised(nn.Linear(4, 3), seed=2)
    net, x = Recode(inner, decoder, alpha=0.3).eval(), normal(T, B, 3)
    p, state, outputs = arrays(net), normal(B, 4, seed=4), []
    start = state
    for frame in x:
        y, _ = inner.step(frame, state)
        h = y.detach().numpy()
        share = softmax(h @ p["decoder.weight"].T + p["decoder.bias"])
        entropy = -(share * np.log(share)).sum(-1, keepdims=True)
        slope = -(share * (np.log(share) + entropy)) @ p["decoder.weight"]
        state = torch.from_numpy(h - 0.3 * slope)
        outputs.append(state)
        close(net.entropy(torch.from_numpy(h)), entropy[:, 0])
    y, end = net(x, start)
    close(y, torch.stack(outputs).numpy())
    assert torch.equal(end, y[-1])
    assert Recode(Leaky(3, 4), decoder, alpha=0.1)(x)[1]["h"].shape == (B, 4)
    with torch.no_grad():
        assert torch.allclose(net(x, start)[0], y)
    assert net.source == inner.source


def test_a_mask_is_of_all_matrices_together_or_the_same_share_of_each():
    def made():
        return nn.ModuleDict({"a": nn.Linear(10, 10), "b": nn.Linear(10, 5, bias=True)})

    for way in ("random", "magnitude"):
        net = made()
        with torch.no_grad():
            net["a"].weight.copy_(torch.linspace(1, 2, 100).view(10, 10))
            net["b"].weight.copy_(-torch.linspace(3, 4, 50).view(5, 10))
            biases = [m.bias.clone() for m in net.values()]
        kept = sparsify(net, 0.4, way, seed=3)
        shares = [float((m.weight != 0).double().mean()) for m in net.values()]
        assert shares == pytest.approx([0.4, 0.4] if way == "random" else [0.1, 1.0])
        assert kept == pytest.approx(0.4)
        if way == "magnitude":
            assert float(net["a"].weight.flatten()[-10:].min()) > 1.9
        assert all(torch.equal(m.bias, b) for m, b in zip(net.values(), biases, strict=True))
    masks = []
    for seed in (3, 3, 4):
        net = made()
        sparsify(net, 0.4, seed=seed)
        masks.append(net["a"].parametrizations.weight[0].mask)
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])
    assert sparsify(made(), 1.0) == sparsify(made(), 1.0, "magnitude") == 1.0
    assert [name for _, name, _ in matrices(made())] == ["weight", "weight"]
    mask = Mask(torch.tensor([1.0, 0.0]))
    assert mask(torch.tensor([3.0, 4.0])).tolist() == [3.0, 0.0]
    with pytest.raises(ConfigError, match="density is 1.5"):
        sparsify(made(), 1.5)
    with pytest.raises(ConfigError, match="no matrix"):
        sparsify(nn.LayerNorm(3), 0.5)
    with pytest.raises(ConfigError, match="way"):
        sparsify(made(), 0.5, "largest")


def test_a_rate_starts_as_a_sum():
    x, f = normal(3, 4), normal(3, 4, seed=2)
    assert torch.equal(Join(4, "rate")(x, f), x + f)
    assert Join(4).kind == "add" and not list(Join(4).parameters())


# --- the contract of all models ------------------------------------------------------------------


class Odd(Baseline):
    """A model with options of every kind."""

    multiple: ClassVar[int] = 2
    may_be_none: ClassVar[tuple[str, ...]] = ("maybe",)

    def __init__(self, n_in, n_out, *, heads=3, number=2, maybe=2, none=0, share=0.5, flag=True,
                 name="x", nothing=None):  # fmt: skip
        super().__init__(n_in, n_out, heads)
        self.w = linear(n_in, n_out)
        self.given = (heads, number, maybe, none, share, flag, name, nothing)

    def initial_state(self, batch):
        return {"a": self.zeros(batch, 2), "b": (self.zeros(batch, 3, fill=7.0), None)}

    def run(self, x, state, lengths):
        return self.w(x)[0], state


def test_outputs_are_a_multiple_of_what_the_model_and_its_heads_need():
    assert Odd(1, 12).n_out == 12 and Odd(1, 4, heads=4).n_in == 1
    for n_in, n_out in ((0, 6), (1, 0), (1, 3), (1, 4)):
        with pytest.raises(ShapeError, match=rf"Odd\({n_in}, {n_out}\).*multiple of 6"):
            Odd(n_in, n_out)
    assert Odd.multiple_of({}) == 6 and Odd.multiple_of({"heads": 4}) == 4
    assert GRU.multiple_of({}) == 1 and Bidirectional.multiple_of({}) == 2
    with pytest.raises(ConfigError, match="heads is 0"):
        Odd.multiple_of({"heads": 0})
    assert multiple_of("aaren") == 4 and multiple_of("aaren", {"heads": 3}, attend=1) == 12
    assert multiple_of("bidirectional") == 2


def test_options_that_are_numbers_are_checked_against_their_defaults():
    Odd(1, 6, none=0, maybe=0, share=0.0, flag=False, number=1)
    for name, value in (("number", 0), ("maybe", -1), ("none", -1), ("share", -0.1), ("heads", 0)):
        with pytest.raises(ConfigError, match=f"{name} is {value}"):
            Odd(1, 6, **{name: value})
    assert Odd(1, 6, name="y", nothing=-3).given[-2:] == ("y", -3)


def test_a_state_is_counted_for_one_sample_and_made_like_the_parameters():
    net = Odd(2, 6).float()
    assert net.state_size == 2 + 3
    state = net.initial_state(2)
    assert state["b"][0].tolist() == [[7.0] * 3] * 2 and state["a"].dtype is torch.float32
    assert not state["a"].any()
    assert count(state) == 10 and count(None) == 0 and count(((torch.zeros(2, 3),), {})) == 6
    assert Bidirectional(2, 6).state_size is None
    assert net.extra_repr() == "2, 6"
    y, same = net.forward(torch.zeros(0, 4, 2), state)
    assert y.shape == (0, 4, 6) and same is state
    for wrong in (torch.zeros(3, 2), torch.zeros(3, 1, 3)):
        with pytest.raises(ShapeError, match=r"Odd needs \[T, B, 2\]"):
            net(wrong)


def test_outputs_beyond_the_samples_are_nothing():
    net, x = Odd(2, 6), normal(4, 3, 2)
    whole, _ = net(x)
    y, _ = net(x, lengths=torch.tensor([4, 0, 2]))
    close(y[:, 0], whole[:, 0].detach().numpy())
    assert not y[:, 1].any() and not y[2:, 2].any()
    close(y[:2, 2], whole[:2, 2].detach().numpy())
    assert within(3, torch.tensor([0, 2]), x).dtype is torch.float64


def test_means_are_over_each_samples_own_steps_and_then_over_samples():
    x = torch.tensor([[1.0, 2.0, 9.0], [3.0, 4.0, 9.0], [100.0, 6.0, 9.0]])
    assert float(mean_within(x, None)) == pytest.approx(float(x.mean()))
    assert float(mean_within(x, torch.tensor([2, 3, 3]))) == pytest.approx((2 + 4 + 9) / 3)
    assert float(mean_within(x, torch.tensor([2, 3, 0]))) == pytest.approx((2 + 4 + 0) / 3)


def test_connections_start_within_their_bound_and_fill_it():
    for gain, bound in ((1.0, 0.25), (2.0, 0.5)):
        layer = linear(16, 300, gain=gain)
        for p in (layer.weight, layer.bias):
            assert 0.95 * bound < float(p.max()) <= bound and -bound <= float(p.min())
            assert float(p.min()) < -0.95 * bound
    assert linear(2, 3, bias=False).bias is None and linear(2, 3).bias is not None


def test_generators_are_of_their_seed_or_of_torchs():
    draws = []
    for seed in (5, 5, 6, 0):
        draws.append(torch.rand(2, generator=own_generator(seed)).tolist())
    assert draws[0] == draws[1] != draws[2] != draws[3]
    torch.manual_seed(1)
    one, two = (torch.rand(2, generator=own_generator(None)) for _ in range(2))
    torch.manual_seed(1)
    assert torch.equal(torch.rand(2, generator=own_generator(None)), one)
    assert not torch.equal(one, two)


def test_the_registry_names_files_with_dashes_and_finds_their_classes():
    assert names() == sorted(names()) and "quasi-lstm" in names()
    assert get("quasi-lstm") is QuasiLSTM
    with pytest.raises(ConfigError, match="quasi-lstm"):
        get("quasi-lst")


def test_torchs_layers_run_in_their_own_type_under_autocast():
    net, x = GRU(3, 4).float(), normal(5, 2, 3).float()
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = net(x.bfloat16())
    assert y.dtype is torch.float32


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

    with pytest.raises(NotImplementedError, match="Silent does not say its matrices"):
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
    with pytest.raises(ConfigError, match="must be 1 or more"):
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
    with pytest.raises(ConfigError, match="fit a width of 4096 and more"):
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
