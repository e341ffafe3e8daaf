"""Blocks of attention, loops over depth with and without halting, and heads that adapt, against
loops over their equations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from models_by_hand import (
    arrays,
    attention,
    block,
    close,
    dense,
    gelu,
    layer_norm,
    normal,
    randomised,
    sigmoid,
    silu,
    softmax,
    softplus,
    torch_gru,
)
from torch import nn

from snnsim.baselines.looped import AdaptiveHalting, loop
from snnsim.baselines.models.neural_process import NeuralProcess
from snnsim.baselines.models.recurrent_depth import RecurrentDepth
from snnsim.baselines.models.sasrec import SASRec
from snnsim.baselines.models.softmax_attention import SoftmaxAttention
from snnsim.baselines.models.universal import Universal
from snnsim.baselines.window import TransformerBlock, WindowAttention
from snnsim.errors import ConfigError
from snnsim.layer import auxiliary_losses

T, B = 9, 2


def relu(a):
    return np.maximum(a, 0)


# --- attention and its blocks --------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [0, 2])
def test_attention_leaves_out_steps_that_nobody_is_to_see_but_never_the_step_itself(ahead):
    net, x = randomised(WindowAttention(4, 2, 3, ahead)), normal(T, B, 4)
    inside = (torch.arange(T)[:, None] < torch.tensor([T, 4])).double()
    inside[2, 0] = 0
    y, later = net(x, net.empty(B), inside)
    p = {f"a.{k}": v for k, v in arrays(net).items()}
    close(y, attention(p, "a", x.numpy(), 2, 3, ahead, inside.numpy()))
    keys, values, known = later
    close(keys, dense(p, "a.key", x.numpy())[-3:])
    close(values, dense(p, "a.value", x.numpy())[-3:])
    assert torch.equal(known, inside[-3:])


def test_attention_has_no_past_at_first_and_no_preference_for_a_distance():
    net = WindowAttention(4, 2, 3, 1)
    assert [a.shape for a in net.empty(5)] == [(3, 5, 4), (3, 5, 4), (3, 5)]
    assert not any(a.any() for a in net.empty(5))
    assert net.distance.shape == (2, 5) and not net.distance.any()
    assert [m.bias for m in (net.query, net.key, net.value, net.out)] == [None] * 4
    for count in (0, 3):
        with pytest.raises(ConfigError, match=f"4 channels cannot be split into {count} heads"):
            WindowAttention(4, count, 3)


@pytest.mark.parametrize(
    ("expand", "activation", "by_hand"), [(2, nn.functional.gelu, gelu), (3, torch.relu, relu)]
)
def test_a_block_adds_attention_and_then_a_network_each_behind_its_norm(
    expand, activation, by_hand
):
    net = randomised(TransformerBlock(4, 2, 3, expand, activation))
    x, p = normal(T, B, 4), {f"b.{k}": v for k, v in arrays(net).items()}
    close(net(x, net.attention.empty(B))[0], block(p, "b", x.numpy(), 2, 3, by_hand))
    assert net.up.weight.shape == (expand * 4, 4)


def test_blocks_are_twice_as_wide_within_with_gelu_and_look_back_only():
    net = TransformerBlock(4, 2, 3)
    assert net.up.weight.shape == (8, 4) and net.activation is nn.functional.gelu
    assert net.attention.ahead == 0 and net.norms[0].weight is not net.norms[1].weight


def test_softmax_attention_is_attention_of_what_enters():
    net, x = randomised(SoftmaxAttention(3, 6, heads=2, reach=3)), normal(T, B, 3)
    p = arrays(net)
    close(net(x)[0], attention(p, "attention", dense(p, "enter", x.numpy()), 2, 3))
    default = SoftmaxAttention(3, 8).attention
    assert (default.heads, default.reach, default.ahead) == (4, 100, 0)


def test_sasrec_scales_its_embedding_and_norms_what_its_blocks_leave():
    net, x = randomised(SASRec(5, 6, blocks=3, heads=2, reach=3)), normal(T, B, 5).abs()
    p = arrays(net)
    h = math.sqrt(6) * dense(p, "embedding", x.numpy())
    for i in range(3):
        h = block(p, f"blocks.{i}", h, 2, 3, relu)
    y, state = net(x)
    close(y, layer_norm(p, "norm", h))
    assert len(state) == 3
    close(net.next_scores(y), y.detach().numpy() @ p["embedding.weight"])
    default = SASRec(5, 6)
    assert len(default.blocks) == 2 and default.embedding.bias is None
    attends = default.blocks[0].attention
    assert (attends.heads, attends.reach) == (1, 50)
    assert default.blocks[0].up.weight.shape == (6, 6)


# --- recurrent depth -----------------------------------------------------------------------------


def recurrent_depth(net, x, s, iterations):
    p, reach, count = arrays(net), net.reach, net.core.attention.heads
    e = block(p, "prelude", dense(p, "enter", x), count, reach)
    for _ in range(iterations):
        s = block(p, "core", dense(p, "adapter", np.concatenate([s, e], -1)), count, reach)
    return layer_norm(p, "norm", block(p, "coda", s, count, reach))


@pytest.mark.parametrize("random", [True, False])
def test_recurrent_depth_iterates_its_core_on_a_state_of_nothing_and_the_prelude(random):
    net = randomised(RecurrentDepth(3, 4, iterations=3, heads=2, reach=3, random=random), 0.3)
    x = normal(T, B, 3)
    expected = recurrent_depth(net, x.numpy(), np.zeros((T, B, 4)), 3)
    close(net.eval()(x)[0], expected)
    again = net.train()(x)[0]
    assert np.allclose(again.detach().numpy(), expected) is not random


def test_training_starts_from_noise_of_the_drawn_size_and_draws_its_iterations():
    net = randomised(RecurrentDepth(3, 4, iterations=3, heads=2, reach=3), 0.3).train()
    x, seen = normal(T, B, 3), set()
    for seed in range(8):
        torch.manual_seed(seed)
        y, state = net(x)
        torch.manual_seed(seed)
        noise = torch.randn(T, B, 4) / 2  # over the root of four channels
        rate = math.exp(math.log(3) - 0.125 + 0.5 * float(torch.randn(())))
        count = min(1 + int(torch.poisson(torch.tensor(rate))), 12)
        seen.add(count)
        close(y, recurrent_depth(net, x.numpy(), noise.numpy(), count))
        assert len(state[1]) == 3
    assert min(seen) < 3 < max(seen)


def test_pasts_of_iterations_not_run_are_those_of_the_last_that_was():
    net = randomised(RecurrentDepth(3, 4, iterations=3, heads=2, reach=3), 0.3).train()
    net._drawn = lambda pasts: pasts[:2]
    _, (_, later, _) = net(normal(T, B, 3))
    assert later[2] is later[1] and not torch.equal(later[0][0], later[1][0])
    del net._drawn
    filled = tuple(tuple(a + 1 + i for a in net.core.attention.empty(B)) for i in range(3))
    for seed in range(10):
        torch.manual_seed(seed)
        drawn = net._drawn(filled)
        assert all(one is two for one, two in zip(drawn, filled, strict=False))
        assert all(not a.any() for past in drawn[3:] for a in past)
    counts = [len(net._drawn(filled)) for _ in range(2000)]
    assert sum(counts) / 2000 == pytest.approx(1 + 3, abs=0.2) and max(counts) == 12


@pytest.mark.parametrize("through", [1, 2, 5])
def test_gradients_pass_the_last_iterations_only(through):
    net = RecurrentDepth(3, 4, iterations=3, through=through, heads=2, reach=2, random=False)
    seen, iterate = [], net.iterate
    net.iterate = lambda s, e, past: (seen.append(s), iterate(s, e, past))[1]
    net(normal(T, B, 3))
    # the first is a constant; what comes before the cut is cut off by it
    assert [s.requires_grad for s in seen] == [i > 0 and i != 3 - through for i in range(3)]


def test_recurrent_depth_has_the_defaults_it_says():
    net = RecurrentDepth(3, 8)
    assert (net.iterations, net.through, net.reach, net.random) == (4, 8, 50, True)
    assert net.core.attention.heads == 4 and net.adapter.bias is None
    first, pasts, last = net.initial_state(2)
    assert len(pasts) == 4 and first[0].shape == last[0].shape == (50, 2, 8)


# --- halting -------------------------------------------------------------------------------------


def test_a_place_stops_where_its_sum_reaches_one_less_epsilon_or_depths_end():
    halting = AdaptiveHalting(2, epsilon=0.1)
    assert halting.score.bias.tolist() == [1.0] and AdaptiveHalting(2).epsilon == 0.01
    with torch.no_grad():
        halting.score.weight.copy_(torch.tensor([[2.0, 0.0]]))
        halting.score.bias.fill_(-1.0)
    p = torch.tensor([0.3, 0.2, 0.5, 0.2, 0.6])
    h = torch.stack([(torch.logit(p) + 1) / 2, torch.full((5,), 9.0)], -1)[None]

    def after(last):
        depths = halting.begin(h)
        depths.given = torch.tensor([[0.7, 0.69, 0.5, 0.1, 0.0]])
        depths.running = torch.tensor([[True, True, True, True, False]])
        return depths.add(h, last), depths

    weight, depths = after(last=False)
    torch.testing.assert_close(weight, torch.tensor([[0.3, 0.2, 0.5, 0.2, 0.0]]))
    torch.testing.assert_close(depths.given, torch.tensor([[1.0, 0.89, 1.0, 0.3, 0.0]]))
    assert depths.running.tolist() == [[False, True, False, True, False]]
    torch.testing.assert_close(depths.ponder, torch.tensor([[1.3, 1.0, 1.5, 1.0, 0.0]]))
    weight, depths = after(last=True)
    torch.testing.assert_close(weight, torch.tensor([[0.3, 0.31, 0.5, 0.9, 0.0]]))
    assert not depths.running.any()
    torch.testing.assert_close(depths.remainder, weight)
    half = AdaptiveHalting(2, epsilon=0.5)
    with torch.no_grad():
        half.score.weight.zero_()
        half.score.bias.zero_()
    depths = half.begin(normal(1, 1, 2))
    weight = depths.add(normal(1, 1, 2), False)
    assert weight.item() == 1.0 and not depths.running.item()  # exactly there is enough
    depths = halting.begin(normal(3, 2, 2))
    assert depths.given.shape == depths.running.shape == (3, 2)
    assert not depths.given.any() and bool(depths.running.all())


def halted(p, x, codes, count, reach, epsilon, ahead=0, inside=None):
    """Outputs, weights ``[depth, T, B]`` and ponder costs, place by place."""
    depth, places = len(codes), x.shape[:2]
    given, used, left = np.zeros(places), np.zeros(places), np.zeros(places)
    running, total, weights = np.ones(places, bool), np.zeros_like(x), np.zeros((depth, *places))
    for n in range(depth):
        new = block(p, "block", x + codes[n], count, reach, gelu, ahead, inside)
        for place in np.ndindex(places):
            if not running[place]:
                continue
            x = x.copy()
            x[place] = new[place]
            share = sigmoid(dense(p, "halting.score", x[place]))[0]
            used[place] += 1
            if given[place] + share >= 1 - epsilon or n + 1 == depth:
                share = left[place] = 1 - given[place]
                running[place] = False
            given[place] += share
            weights[n][place] = share
            total[place] += share * x[place]
    return total, weights, used + left


def thinker(**options):
    net = randomised(Universal(3, 4, depths=4, heads=2, reach=3, **options), seed=2)
    with torch.no_grad():
        net.halting.score.bias.fill_(-1.0)
        net.halting.score.weight.copy_(torch.tensor([[2.0, -3.0, 2.0, -3.0]]))
    return net


@pytest.mark.parametrize("ahead", [False, True])
def test_a_universal_transformer_carries_places_that_stopped_along_as_they_were(ahead):
    net, x, lengths = thinker(look_ahead=ahead), normal(T, B, 3), torch.tensor([T, 4])
    p = arrays(net)
    inside = np.arange(T)[:, None] < lengths.numpy() if ahead else None
    expected, weights, ponder = halted(
        p, dense(p, "enter", x.numpy()), p["code"], 2, 3, 0.01, 3 if ahead else 0, inside
    )
    depths = (weights > 0).sum(0)
    assert set(depths.flatten()) >= {1, 2, 4}, "places of several depths"
    with auxiliary_losses() as extra:
        y, _ = net(x, lengths=lengths)
    close(y[:, 0], expected[:, 0])
    close(y[:4, 1], expected[:4, 1])
    mean = (ponder[:, 0].mean() + ponder[:4, 1].mean()) / 2
    assert float(extra["ponder"].detach()) == pytest.approx(0.01 * mean, rel=1e-9)
    if not ahead:
        halting = net.think(x)
        close(halting.weights, weights)
        close(halting.ponder, ponder)
        _, state = net(x[:4])
        later = net.think(x[4:], state)
        close(later.ponder, ponder[4:])


@pytest.mark.parametrize("ahead", [False, True])
def test_without_a_ponder_cost_all_depths_are_used(ahead):
    net = randomised(Universal(3, 4, depths=3, heads=2, reach=2, ponder=0, look_ahead=ahead))
    x, p, lengths = normal(T, B, 3), arrays(net), torch.tensor([T, 4])
    inside = np.arange(T)[:, None] < lengths.numpy() if ahead else None
    h = dense(p, "enter", x.numpy())
    for code in p["code"]:
        h = block(p, "block", h + code, 2, 2, gelu, 2 if ahead else 0, inside)
    with auxiliary_losses() as extra:
        y, _ = net(x, lengths=lengths)
    close(y[:, 0], h[:, 0])
    close(y[:4, 1], h[:4, 1])
    assert not extra and net.halting is None
    with pytest.raises(ConfigError, match="make it with a ponder above 0"):
        net.think(x)


def test_a_loop_returns_the_past_of_every_depth():
    made = randomised(TransformerBlock(4, 2, 3), seed=2)
    halting = randomised(AdaptiveHalting(4), seed=3)
    x, codes = normal(5, B, 4), normal(3, 4, seed=4)
    for each in (None, halting):
        _, pasts, found = loop(made, x, [made.attention.empty(B)] * 3, codes, each)
        assert len(pasts) == 3 and (found is None) == (each is None)
        close(pasts[0][0], made.attention.key(made.norms[0](x + codes[0]))[0][-3:].detach())
        assert not torch.equal(pasts[0][0], pasts[1][0])
        assert not torch.equal(pasts[1][0], pasts[2][0])


def test_a_universal_transformer_has_the_defaults_it_says():
    net = Universal(3, 400)
    assert (net.depths, net.ponder, net.causal, net.streaming) == (4, 0.01, True, "exact")
    assert net.block.attention.reach == 50 and net.block.attention.heads == 4
    assert net.code.shape == (4, 400)
    assert float(net.code.std()) == pytest.approx(1 / 20, rel=0.1)
    assert net.block.up.weight.shape == (800, 400)
    ahead = Universal(3, 4, reach=7, look_ahead=True)
    assert (ahead.causal, ahead.streaming) == (False, "none")
    assert ahead.block.attention.ahead == ahead.block.attention.reach == 7


# --- a head that adapts --------------------------------------------------------------------------


def process(**options):
    return randomised(
        NeuralProcess(3, 4, latent=2, classes=3, slots=4, decoder=0, **options), seed=2
    ).eval()


def codes_of(p, x, labels, lengths):
    """Of utterances: where each ends, and what it is labelled."""
    found = []
    for i, (label, length) in enumerate(zip(labels, lengths, strict=True)):
        outputs, _ = torch_gru(p, "encoder.module.", x[:, i : i + 1], np.zeros((1, 4)))
        last = outputs[length - 1, 0]
        found.append(np.tanh(dense(p, "code", last + p["label"][label])))
    return np.stack(found)


def test_an_utterance_is_observed_where_it_ends_and_behind_those_known():
    net, x, labels = process(), normal(7, 3, 3), torch.tensor([2, 0, 1])
    p = arrays(net)
    empty = net.initial_state(1)
    state = net.observe(empty, x, labels, torch.tensor([3, 7, 1]))
    close(state["context"][0, :3], codes_of(p, x.numpy(), labels.tolist(), [3, 7, 1]))
    assert state["known"].tolist() == [[1.0, 1.0, 1.0, 0.0]]
    assert not empty["known"].any() and not empty["context"].any()
    changed = x.clone()
    changed[3:, 0] = 9.0
    changed[1:, 2] = 9.0
    same = net.observe(empty, changed, labels, torch.tensor([3, 7, 1]))
    assert torch.equal(same["context"], state["context"])
    more = net.observe(state, x[:, :1], labels[:1])
    close(more["context"][0, 3], codes_of(p, x.numpy(), [2], [7])[0])
    assert torch.equal(more["context"][:, :3], state["context"][:, :3])
    assert more["known"].tolist() == [[1.0] * 4] and int(state["known"].sum()) == 3
    with pytest.raises(ConfigError, match="holds 4 utterances and has room for 4; 1 more"):
        net.observe(more, x[:, :1], labels[:1])
    with pytest.raises(ConfigError, match="holds 3 utterances and has room for 4; 2 more"):
        net.observe(state, x[:, :2], labels[:2])


@pytest.mark.parametrize("observed", [0, 3])
def test_a_neural_process_reads_its_context_by_attention_and_evidence(observed):
    net, x = process(), normal(T, B, 3)
    p, h, known = arrays(net), normal(B, 4, seed=3), torch.zeros(B, 4)
    known[:, :observed] = 1
    known[1, 1:] = 0  # another sample knows less
    state = {"h": h, "context": normal(B, 4, 4, seed=4), "known": known}
    c, last = torch_gru(p, "encoder.module.", x.numpy(), h.numpy())
    m, e = np.split(dense(p, "summary", state["context"].numpy()), 2, -1)
    before, spread = p["prior"][0], np.exp(p["prior"][1])
    expected = np.zeros((T, B, 4))
    for b in range(B):
        there = [i for i in range(4) if known[b, i]]
        evidence = softplus(e[b, there])
        precision = 1 / spread**2 + evidence.sum(0)
        z = (before / spread**2 + (evidence * m[b, there]).sum(0)) / precision
        mean, deviation = net.latent_of(state)
        close(mean[b], z)
        close(deviation[b], precision**-0.5)
        for t in range(T):
            read = np.zeros(4)
            if there:
                keys = dense(p, "key", state["context"][b, there].numpy())
                values = dense(p, "value", state["context"][b, there].numpy())
                read = softmax(keys @ dense(p, "query", c[t, b]) / math.sqrt(4)) @ values
            expected[t, b] = dense(p, "out", np.concatenate([c[t, b], read, z]))
    with auxiliary_losses() as extra:
        y, end = net(x, state)
    close(y, expected)
    close(end["h"], last)
    assert end["context"] is state["context"] and end["known"] is known and not extra


def test_training_draws_the_latent_and_adds_its_divergence_from_the_prior():
    net, x = process().train(), normal(T, B, 3)
    state = {"h": normal(B, 4), "context": normal(B, 4, 4, seed=4), "known": torch.ones(B, 4)}
    state["known"][1] = 0
    mean, deviation = net.latent_of(state)
    torch.manual_seed(5)
    with auxiliary_losses() as extra:
        y, _ = net(x, state)
    prior = torch.distributions.Normal(net.prior[0], net.prior[1].exp())
    found = torch.distributions.Normal(mean, deviation)
    kl = torch.distributions.kl_divergence(found, prior).sum(-1)
    assert float(kl[0]) > 0.1 and float(kl[1].abs()) < 1e-12
    torch.testing.assert_close(extra["divergence"], 1e-3 * kl.mean())
    torch.manual_seed(5)
    noise = torch.randn(B, 2)
    net.eval()
    drawn = mean + deviation * noise
    net.latent_of = lambda _: (drawn, deviation)
    torch.testing.assert_close(net(x, state)[0], y)


def test_a_neural_process_starts_from_a_standard_prior():
    net = NeuralProcess(3, 5)
    assert (net.latent, net.classes, net.slots) == (8, 10, 8)
    assert net.prior.shape == (2, 8) and not net.prior.any()
    wide = NeuralProcess(2, 400, classes=20)
    assert wide.label.shape == (20, 400)
    assert float(wide.label.std()) == pytest.approx(1 / 20, rel=0.05)
    mean, deviation = net.latent_of(net.initial_state(2))
    assert not mean.any() and torch.equal(deviation, torch.ones(2, 8))


def test_silu_and_softplus_by_hand_are_those_of_torch():
    x = normal(20)
    close(nn.functional.silu(x), silu(x.numpy()))
    close(nn.functional.softplus(x), softplus(x.numpy()))
    close(nn.functional.gelu(x), gelu(x.numpy()))
