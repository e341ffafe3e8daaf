"""Generation in waves, round by round, against a plain account of the algorithm."""

from __future__ import annotations

import pytest
import torch

from snnsim.baselines import sampler
from snnsim.baselines.models.recurrent_depth import RecurrentDepth
from snnsim.errors import ConfigError


def model(iterations=6, reach=6, factor=0.3, seed=0):
    torch.manual_seed(seed)
    net = RecurrentDepth(5, 16, iterations=iterations, reach=reach).eval()
    with torch.no_grad():
        net.adapter.weight.mul_(factor)
    return net, torch.nn.Linear(16, 5)


def one_hot(tokens):
    return torch.eye(5)[torch.tensor(tokens)][:, None]


@torch.no_grad()
def by_hand(net, head, prompt, count, inner, limit, widest, longest):
    """The algorithm on lists: every position by itself, what it sees in front of it.

    Frozen positions keep the keys and values that they had when they were frozen.
    """
    blocks = (net.prelude, net.core, net.coda)
    first, cores, last = net.initial_state(1)
    if len(prompt) > 1:
        _, (first, cores, last) = net(one_hot(prompt[:-1]))
    pasts = [first, cores[-1], last]
    tokens, done, states, rounds, passes = list(prompt), len(prompt) - 1, [None], 0, net.iterations
    states = [torch.zeros(16)]
    while True:
        before = torch.stack(states)
        n = len(states)
        empty = [[a.clone() for a in past] for past in pasts]

        def through(block, x, past):
            y, _ = block(x[:, None], past)
            attends = block.attention
            normal = block.norms[0](x[:, None])
            keys, values = attends.key(normal)[0], attends.value(normal)[0]
            known = torch.ones(len(x), 1)
            whole = [torch.cat([a, b]) for a, b in zip(past, (keys, values, known), strict=True)]
            return y[:, 0], whole

        e, whole_first = through(blocks[0], net.enter(one_hot(tokens[done : done + n]))[0][:, 0],
                                 empty[0])  # fmt: skip
        s = before
        for _ in range(inner):
            s, whole_core = through(
                blocks[1], net.adapter(torch.cat([s, e], -1)[:, None])[0][:, 0], empty[1]
            )
            passes += 1
        y, whole_last = through(blocks[2], s, empty[2])
        tokens = tokens[: done + 1] + head(net.norm(y)).argmax(-1).tolist()
        rounds += 1
        moved = [float((a - b).norm() / a.norm()) for a, b in zip(s, before, strict=True)]
        ready = 0
        while ready < n and moved[ready] < limit:
            ready += 1
        if rounds >= longest and ready == 0:
            ready = 1
        states = list(s)
        if ready:
            rounds, done = 0, done + ready
            if done >= len(prompt) + count - 1:
                return tokens[len(prompt) : len(prompt) + count], passes
            pasts = [
                [a[ready : ready + net.reach] for a in whole]
                for whole in (whole_first, whole_core, whole_last)
            ]
            states = states[ready:]
        if len(states) < widest and done + len(states) < len(prompt) + count - 1:
            states.append(torch.zeros(16))


@pytest.mark.parametrize("prompt", [[2], [1, 2, 3]])
@pytest.mark.parametrize(
    ("inner", "limit", "widest", "longest"),
    [(1, 0.03, 5, 64), (2, 0.3, 3, 64), (2, 1e-12, 4, 3), (1, 1e-12, 2, 1), (3, 1e9, 6, 64)],
)
@pytest.mark.parametrize("factor", [0.3, 1.0])
def test_a_wave_is_its_account_round_by_round(prompt, inner, limit, widest, longest, factor):
    net, head = model(factor=factor)
    options = {"inner": inner, "limit": limit, "widest": widest, "longest": longest}
    found = sampler.generate_in_parallel(net, head, prompt, 9, **options)
    assert tuple(found) == by_hand(net, head, prompt, 9, **options)
    assert len(found.tokens) == 9


def test_every_leftmost_position_has_all_of_its_rounds():
    """Where nothing ever settles, each of the positions takes ``longest`` rounds of its own."""
    net, head = model()
    for longest in (1, 2, 5):
        found = sampler.generate_in_parallel(
            net, head, [1], 4, inner=1, limit=0.0, widest=3, longest=longest
        )
        assert found.passes == net.iterations + 4 * longest


def test_tokens_one_by_one_are_the_likeliest_after_all_before():
    net, head = model()
    found = sampler.generate(net, head, [3, 0], 4)
    tokens = [3, 0]
    for _ in range(4):
        y, _ = net(one_hot(tokens))
        tokens.append(int(head(y[-1]).argmax()))
    assert found.tokens == tokens[2:] and found.passes == 6 * 4
    assert len(set(found.tokens)) > 1 or found.tokens[0] != 0


@pytest.mark.parametrize("way", [sampler.generate, sampler.generate_in_parallel])
def test_generation_is_as_in_use_and_leaves_no_trace(way):
    net, head = model()
    expected = way(net, head, [1, 2], 5, **({} if way is sampler.generate else {"widest": 4}))
    net.train()
    again = way(net, head, [1, 2], 5, **({} if way is sampler.generate else {"widest": 4}))
    assert again == expected and net.training
    for prompt, count in (([], 3), ([0], 0), ([-1], 3), ([0, 5], 3)):
        with pytest.raises(ConfigError, match=rf"tokens 0 \.\. 4, and count, {count}"):
            way(net, head, prompt, count, **({} if way is sampler.generate else {"widest": 4}))


def test_a_wave_has_the_defaults_it_says_and_refuses_none():
    net, head = model(reach=40)
    options = {"inner": 4, "limit": 0.03, "widest": 32, "longest": 64}
    assert sampler.generate_in_parallel.__wrapped__.__kwdefaults__ == options
    found = sampler.generate_in_parallel(net, head, [1], 40)
    assert found == sampler.generate_in_parallel(net, head, [1], 40, **options)
    for name in ("inner", "widest", "longest"):
        with pytest.raises(ConfigError, match=f"{name} 0|{name} is 0"):
            sampler.generate_in_parallel(net, head, [1], 3, **{**options, name: 0})
    sampler.generate_in_parallel(net, head, [1], 1, widest=40)
    with pytest.raises(ConfigError, match="the model's reach, 40"):
        sampler.generate_in_parallel(net, head, [1], 1, widest=41)
