"""Parallel generation against generation one by one."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from snnsim.baselines.models.recurrent_depth import RecurrentDepth
from snnsim.baselines.sampler import generate, generate_in_parallel
from snnsim.errors import ConfigError


def model(iterations=12):
    torch.manual_seed(0)
    net = RecurrentDepth(5, 16, iterations=iterations, reach=6).eval()
    with torch.no_grad():  # a core that contracts, so its iterations have one end
        net.adapter.weight.mul_(0.3)
    return net, torch.nn.Linear(16, 5)


def test_with_a_wave_of_one_position_it_is_generation_one_by_one():
    net, head = model()
    one = generate(net, head, [1, 2, 3], 12)
    wave = generate_in_parallel(net, head, [1, 2, 3], 12, inner=12, widest=1, limit=1e9)
    assert wave.tokens == one.tokens and len(one.tokens) == 12
    assert one.passes == 12 * 12 and wave.passes == 12 + 12 * 12


@pytest.mark.parametrize("inner", [1, 2, 4])
def test_a_wave_of_several_needs_fewer_passes_for_the_same_tokens(inner):
    net, head = model()
    one = generate(net, head, [1, 2, 3], 20)
    wave = generate_in_parallel(net, head, [1, 2, 3], 20, inner=inner, widest=5, limit=1e-4)
    assert wave.tokens == one.tokens
    assert wave.passes < one.passes


def test_a_round_goes_on_from_the_states_of_the_round_before():
    torch.manual_seed(1)
    net, head = RecurrentDepth(5, 16, iterations=6, reach=6).eval(), torch.nn.Linear(16, 5)

    def wave(inner, longest):
        options = {"inner": inner, "longest": longest, "limit": 0.0, "widest": 1}
        return generate_in_parallel(net, head, [1, 2, 3], 20, **options)

    assert wave(1, 6) == wave(2, 3) == wave(6, 1)
    assert wave(1, 1).tokens != wave(6, 1).tokens  # more iterations do matter to this model


def test_what_is_not_done_keeps_its_state_and_a_new_position_starts_from_nothing():
    net, head = model()
    entered, left = [], []
    net.adapter.register_forward_hook(lambda _, inputs, __: entered.append(inputs[0][:, 0, :16]))
    net.core.register_forward_hook(lambda _, __, outputs: left.append(outputs[0][:, 0]))
    options = {"inner": 1, "limit": 0.0, "longest": 3, "widest": 3}
    generate_in_parallel(net, head, [1, 2, 3], 6, **options)  # one is done in every third round
    entered, left = entered[net.iterations :], left[net.iterations :]  # without the prompt
    assert [len(each) for each in entered[:6]] == [1, 2, 3, 3, 3, 3]
    for number, (before, after) in enumerate(zip(left, entered[1:], strict=False), start=1):
        going_on = before[1:] if number % 3 == 0 else before
        assert torch.equal(after[: len(going_on)], going_on)
        assert not after[len(going_on) :].any()


@pytest.mark.parametrize("way", [generate, partial(generate_in_parallel, widest=4)])
def test_tokens_are_of_the_number_type_of_the_model(way):
    net, head = model()
    found = way(net.double(), head.double(), [1, 2, 3], 6)
    assert found.tokens == generate(*model(), [1, 2, 3], 6).tokens


def test_what_is_not_a_prompt_or_a_wave_is_refused():
    net, head = model()
    with pytest.raises(ConfigError, match=r"0 \.\. 4"):
        generate(net, head, [5], 3)
    with pytest.raises(ConfigError, match="reach, 6"):
        generate_in_parallel(net, head, [1], 3, widest=7)
