"""Options around models, and the contract of all models."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from models_by_hand import arrays, attention, close, dense, normal, randomised, sigmoid, softmax
from torch import nn

from snnsim.baselines import (
    Baseline,
    get,
    multiple_of,
    names,
)
from snnsim.baselines.baseline import (
    Cell,
    count,
    linear,
    mean_within,
    own_generator,
    within,
)
from snnsim.baselines.models.bidirectional import Bidirectional
from snnsim.baselines.models.gru import GRU
from snnsim.baselines.models.leaky import Leaky
from snnsim.baselines.models.quasi_lstm import QuasiLSTM
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
