"""Functions of delays against their equations, written out as loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from snnsim.errors import ConfigError
from snnsim.functional.delays import (
    EPSILON,
    OFFSET,
    PROFILES,
    check_length,
    clamp_delay,
    delay_channels,
    delay_kernel,
    delay_profile,
    round_delay,
    sigma_after,
    uniform_delay,
)


def tap(profile, d, p, sigma):
    """The unnormalised profile of the module's docstring."""
    if profile == "gauss":
        return math.exp(-(((d - p) / (abs(sigma) + 0.27)) ** 2) / 2)
    if profile == "triangle":
        return max(0.0, 1 + abs(sigma) - abs(d - p))
    if profile == "one_tap":
        return float(d == round(p))  # ties to even
    return max(0.0, 1 - abs(d - p))


def by_hand(profile, p, sigma, length):
    taps = np.array([tap(profile, d, p, sigma) for d in range(length)])
    return taps if profile == "linear" else taps / (taps.sum() + 1e-7)


def test_constants_and_names():
    assert (OFFSET, EPSILON) == ({"gauss": 0.27, "triangle": 1.0}, 1e-7)
    assert PROFILES == ("gauss", "triangle", "linear", "one_tap")


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("sigma", [0.0, 0.4, -1.7, 5.0])
def test_each_profile_is_its_equation(profile, sigma):
    delays = [0.0, 0.5, 1.5, 2.0, 3.2, 5.9, 6.0]
    found = delay_profile(torch.tensor(delays).double(), sigma, 7, profile)
    expected = np.stack([by_hand(profile, p, sigma, 7) for p in torch.tensor(delays).tolist()])
    np.testing.assert_allclose(found, expected, atol=1e-6 if profile == "linear" else 1e-7)


@pytest.mark.parametrize("profile", ["gauss", "triangle"])
def test_every_synapse_may_have_its_own_width(profile):
    delay = torch.tensor([[1.3, 2.0], [0.2, 3.9]]).double()
    sigma = torch.tensor([[0.1, 0.9], [1.8, -0.6]]).double()
    found = delay_profile(delay, sigma, 5, profile)
    for place in np.ndindex(2, 2):
        expected = by_hand(profile, delay[place].item(), sigma[place].item(), 5)
        np.testing.assert_allclose(found[place], expected, atol=1e-12)
    one_column = delay_profile(delay, sigma[:, :1], 5, profile)
    expected = by_hand(profile, 3.9, 1.8, 5)
    np.testing.assert_allclose(one_column[1, 1], expected, atol=1e-7)


def test_a_profile_of_another_name_or_an_even_length_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'gauss'"):
        delay_profile(torch.zeros(1), 0.0, 5, "gaus")
    with pytest.raises(ConfigError, match="4 taps"):
        delay_profile(torch.zeros(1), 0.0, 4, "gauss")
    with pytest.raises(ConfigError, match="use 5"):
        check_length(4)
    with pytest.raises(ConfigError, match="use 1"):
        check_length(-3)
    assert check_length(1) == 1


def test_the_linear_profile_has_the_slope_of_the_inside_at_the_last_tap():
    delay = torch.tensor([0.0, 1.0, 2.0, 1.25]).double().requires_grad_()
    taps = delay_profile(delay, 0.0, 3, "linear")
    assert taps.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0.75, 0.25]]
    (slope,) = torch.autograd.grad((taps * torch.tensor([1.0, 10.0, 100.0])).sum(), delay)
    assert slope.tolist() == [9, 90, 90, 90]
    assert delay_profile(torch.zeros(1), 0.0, 1, "linear").tolist() == [[1.0]]


def test_a_single_tap_gives_no_gradient_to_its_delay():
    delay = torch.tensor([1.2], requires_grad=True)
    assert not delay_profile(delay, 0.0, 3, "one_tap").requires_grad


def test_a_kernel_is_the_weighted_sum_of_its_elements():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2, 3, 4, generator=generator).double()
    delay = 6 * torch.rand(2, 3, 4, generator=generator).double()
    found = delay_kernel(weight, delay, 0.5, 7)
    assert found.shape == (2, 3, 7)
    for o, i in np.ndindex(2, 3):
        expected = sum(
            weight[o, i, k].item() * by_hand("gauss", delay[o, i, k].item(), 0.5, 7)
            for k in range(4)
        )
        np.testing.assert_allclose(found[o, i], expected, atol=1e-12)


def test_delays_are_brought_to_the_nearest_tap_inside():
    delay = torch.tensor([-0.6, -0.2, 0.5, 1.5, 2.5, 3.49, 4.2, 9.0])
    assert round_delay(delay, 5).tolist() == [0, 0, 0, 2, 2, 3, 4, 4]
    assert clamp_delay(delay, 5).tolist() == pytest.approx([0, 0, 0.5, 1.5, 2.5, 3.49, 4, 4])


def test_first_delays_are_uniform_over_the_kernel_and_a_step_beyond():
    torch.manual_seed(0)
    drawn = uniform_delay((20000,), 5)
    torch.manual_seed(0)
    assert torch.equal(drawn, (5 * torch.rand(20000)).clamp(max=4))
    shares = torch.histc(drawn, 4, 0, 4) / 20000
    assert shares[:3].tolist() == pytest.approx([0.2, 0.2, 0.2], abs=0.01)
    assert shares[3].item() == pytest.approx(0.4, abs=0.01)  # with those at the largest


def test_widths_of_fractions_of_epochs_lie_on_the_same_curve():
    assert sigma_after(0.5, 4.0, 1.0, 2.0) == pytest.approx(4.0 * 0.25**0.25, rel=1e-12)
    assert sigma_after(7, 4.0, 1.0, 2) == pytest.approx(1.0, rel=1e-12)
    assert sigma_after(3, 1.0, 1.0, 2) == 1.0
    assert sigma_after(3, 4.0, 1.0, 0) == 4.0


@pytest.mark.parametrize("tail", [0, 1, 2])
@pytest.mark.parametrize("steps", [1, 2, 6])
def test_channels_are_delayed_each_by_its_own_kernel(steps, tail):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(steps, 2, 3, generator=generator).double()
    taps = torch.randn(3, 3, generator=generator).double()
    expected = torch.zeros(steps + tail, 2, 3).double()
    for t in range(steps + tail):
        for d in range(3):
            if 0 <= t - d < steps:
                expected[t] += taps[:, d] * x[t - d]
    assert torch.allclose(delay_channels(x, taps, tail), expected, atol=1e-12)


def test_no_steps_stay_none():
    taps = torch.ones(3, 3)
    assert delay_channels(torch.zeros(0, 2, 3), taps).shape == (0, 2, 3)
    assert delay_channels(torch.zeros(0, 2, 3), taps, 2).tolist() == torch.zeros(2, 2, 3).tolist()
