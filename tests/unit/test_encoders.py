"""The encoders against their equations as plain loops, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import snnsim as sn
from snnsim.encoders import Delta, Latency, LevelCrossing, Population, Rate
from snnsim.errors import ShapeError


def walk(*shape: int, seed: int, step: float = 0.3) -> np.ndarray:
    return np.cumsum(step * np.random.default_rng(seed).standard_normal(shape), 0)


def run(encoder, x: np.ndarray) -> np.ndarray:
    return encoder(torch.from_numpy(x))[0].numpy()


# Delta


def delta(x: np.ndarray, threshold: float, most: float, start: float | None) -> np.ndarray:
    steps, batch, channels = x.shape
    y = np.zeros((steps, batch, 2 * channels))
    for b in range(batch):
        for c in range(channels):
            reference = x[0, b, c] if start is None else start
            for t in range(steps):
                count = min(math.floor(abs(x[t, b, c] - reference) / threshold), most)
                rising = x[t, b, c] > reference
                y[t, b, c if rising else channels + c] = count
                reference += count * threshold * (1 if rising else -1)
    return y


@pytest.mark.parametrize("most", [None, 1, 3])
@pytest.mark.parametrize("start", [None, 0.0, -2.5])
@pytest.mark.parametrize("seed", range(5))
def test_delta_equals_its_equations(most, start, seed):
    x = walk(60, 3, 4, seed=seed)
    expected = delta(x, 0.25, most or math.inf, start)
    np.testing.assert_array_equal(run(Delta(0.25, most, start), x), expected)
    assert expected.max() == (most or expected.max()) and expected.sum() > 100


def test_what_delta_sends_follows_the_value_to_within_a_threshold_however_long_it_is():
    x = walk(5000, 1, 2, seed=1).astype(np.float32)
    y = run(Delta(0.07), x).astype(np.float64)
    followed = x[0] + 0.07 * np.cumsum(y[:, :, :2] - y[:, :, 2:], 0)
    assert np.abs(followed - x).max() < 0.07 * (1 + 1e-3)


def test_changes_too_small_for_a_spike_add_up():
    x = np.linspace(0, 1, 101).reshape(-1, 1, 1)  # rises by 0.01 in each step
    y = run(Delta(0.25), x)
    assert np.flatnonzero(y[:, 0, 0]).tolist() == [25, 50, 75, 100] and not y[:, 0, 1].any()


def test_a_jump_beyond_the_limit_is_sent_in_the_steps_that_follow():
    x = torch.tensor([0.0, 1.0, 1.0, 1.0, 1.0, 1.0]).view(-1, 1, 1)
    assert Delta(0.25, max_spikes=1)(x)[0][:, 0, 0].tolist() == [0, 1, 1, 1, 1, 0]
    assert Delta(0.25, max_spikes=3)(x)[0][:, 0, 0].tolist() == [0, 3, 1, 0, 0, 0]


def test_around_a_threshold_delta_does_not_chatter():
    """A fall has to undo a whole threshold before it is sent: there is hysteresis."""
    x = torch.tensor([0.0, 1.01, 0.99, 1.01, 0.99, 1.01]).view(-1, 1, 1)
    assert Delta(1.0)(x)[0].sum() == 1


# Level crossing


@pytest.mark.parametrize("start", [None, 0.0, 9.0])
@pytest.mark.parametrize("seed", range(5))
def test_level_crossing_equals_its_equations(start, seed):
    x, levels = walk(60, 3, 2, seed=seed), [-1.0, 0.0, 0.5]
    x[20:25] = 0.5  # on a level is above it
    y = np.zeros((60, 3, 12))
    for t, b, c in np.ndindex(x.shape):
        before = x[t - 1, b, c] if t else (x[0, b, c] if start is None else start)
        for place, level in enumerate(levels):
            y[t, b, place * 2 + c] = before < level <= x[t, b, c]
            y[t, b, (3 + place) * 2 + c] = x[t, b, c] < level <= before
    np.testing.assert_array_equal(run(LevelCrossing(levels, start), x), y)
    assert y.sum() > 20


def test_a_value_goes_through_the_levels_in_both_directions_alternately():
    y = run(LevelCrossing([0.0], start=-1.0), walk(500, 1, 1, seed=3))[:, 0]
    signs = (y[:, 0] - y[:, 1])[y.sum(1) > 0]
    assert len(signs) > 10 and signs[0] == 1 and (signs[1:] == -signs[:-1]).all()


# Rate


def mix(z: int) -> int:
    mask = 2**64 - 1
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def drawn(seed: int, *keys: int) -> float:
    h = mix(seed)
    for key in keys:
        h = mix((h + (key + 1) * 0x9E3779B97F4A7C15) % 2**64)
    return (h >> 11) / 2**53


def test_the_finaliser_is_that_of_splitmix64():
    """The first outputs for the seed 1234567, as published with the algorithm."""
    found = [mix((1234567 + n * 0x9E3779B97F4A7C15) % 2**64) for n in (1, 2, 3)]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize(("seed", "most"), [(0, 1.0), (12, 0.3), (2**63 - 1, 1.0)])
def test_rate_equals_its_equations(seed, most):
    x = np.random.default_rng(0).random((15, 3, 2, 2))
    y = np.zeros_like(x)
    for t, b, i, j in np.ndindex(x.shape):
        y[t, b, i, j] = drawn(seed, b, t, 2 * i + j) < most * x[t, b, i, j]
    np.testing.assert_array_equal(run(Rate(seed, most), x), y)


@pytest.mark.parametrize("seed", range(5))
def test_a_unit_fires_as_often_as_its_value_says_and_independently(seed):
    levels = torch.linspace(0, 1, 11)
    y, _ = Rate(seed)(levels.expand(4000, 1, 11))
    rates = y.mean((0, 1))
    error = (levels * (1 - levels) / 4000).sqrt()
    assert ((rates - levels).abs() <= 4.5 * error).all()
    x = y[:, 0, 1:-1] - rates[1:-1]
    next_step = (x[1:] * x[:-1]).mean(0) / x.var(0)
    neighbours = torch.corrcoef(x.T).triu(1)
    assert next_step.abs().max() < 4.5 / 4000**0.5
    assert neighbours.abs().max() < 4.5 / 4000**0.5


def test_samples_have_spikes_of_their_own_which_their_number_gives():
    x = torch.full((50, 3, 4), 0.5)
    y, _ = Rate(1)(x)
    assert not torch.equal(y[:, 0], y[:, 1])
    one, state = Rate(1)(x[:20, :1], Rate(1).initial([2]))
    two, _ = Rate(1)(x[20:, :1], state)
    assert torch.equal(torch.cat([one, two]), y[:, 2:])
    assert not torch.equal(Rate(2)(x)[0], y)


@pytest.mark.parametrize("encoder", [Rate(), Latency(4)])
@pytest.mark.parametrize("bad", [-0.01, 1.01, 255.0])
def test_values_outside_of_0_to_1_are_refused(encoder, bad):
    x = torch.full((3, 1, 2), 0.5)
    x[1, 0, 1] = bad
    with pytest.raises(ShapeError, match=r"values from .* needs values in 0 .. 1; scale them"):
        encoder(x)


# Latency


@pytest.mark.parametrize(("tau", "threshold"), [(None, 0.0), (None, 0.2), (3.0, 0.1), (0.5, 0.01)])
def test_latency_equals_its_equations(tau, threshold):
    window = 7
    x = np.random.default_rng(0).random((45, 3, 4))  # the last window is cut short
    y = np.zeros_like(x)
    for first in range(0, 45, window):
        for b, c in np.ndindex(3, 4):
            value = x[first, b, c]
            if value <= threshold:
                continue
            if tau is None:
                step = round((window - 1) * (1 - value))
            else:
                step = math.floor(tau * math.log(value / (value - threshold)))
            if step < window and first + step < 45:
                y[first + step, b, c] = 1
    np.testing.assert_array_equal(run(Latency(window, tau, threshold), x), y)
    assert y.sum() > 40


def test_larger_values_are_never_later():
    x = torch.linspace(0.011, 1, 200, dtype=torch.float64).expand(300, 1, 200)
    for tau in (None, 40.0):
        y, _ = Latency(300, tau)(x)
        assert (y.sum(0) == 1).sum() > 150
        steps = y[:, 0].argmax(0)[y[:, 0].sum(0) == 1]
        assert (steps[1:] <= steps[:-1]).all() and steps[-1] < steps[0]


def test_the_logarithmic_law_is_when_a_leaky_membrane_reaches_the_threshold():
    tau, threshold, value = 20.0, 0.3, 0.35
    v, step, fine = 0.0, 0, 1e-3
    while v < threshold:
        v += fine / tau * (value - v)
        step += 1
    y, _ = Latency(100, tau, threshold)(torch.full((100, 1, 1), value, dtype=torch.float64))
    assert int(y.argmax()) == math.floor(step * fine)


def test_a_still_image_is_repeated_and_sends_each_pixel_once():
    image = torch.rand(1, 2, 1, 4, 4, generator=torch.Generator().manual_seed(0)).clamp(min=0.1)
    y, _ = sn.Sequential(sn.Repeat(10), Latency(10))(image)
    assert y.shape == (10, 2, 1, 4, 4) and (y.sum(0) == 1).all()


# Population


@pytest.mark.parametrize(("fields", "low", "high", "beta"), [(3, 0, 1, 1.5), (8, -2.0, 5.0, 1.0)])
def test_population_equals_its_equations(fields, low, high, beta):
    x = np.random.default_rng(0).uniform(low - 1, high + 1, (9, 2, 3))
    y = np.zeros((9, 2, 3 * fields))
    for t, b, c in np.ndindex(x.shape):
        for i in range(1, fields + 1):  # Bohte et al. 2002
            centre = low + (2 * i - 3) / 2 * (high - low) / (fields - 2)
            sigma = 1 / beta * (high - low) / (fields - 2)
            y[t, b, (i - 1) * 3 + c] = math.exp(-((x[t, b, c] - centre) ** 2) / (2 * sigma**2))
    found = run(Population(fields, low, high, beta=beta), x)
    np.testing.assert_allclose(found, y, rtol=1e-12, atol=0)


def test_spikes_of_a_population_are_drawn_from_its_answers():
    x = torch.rand(20, 2, 3, generator=torch.Generator().manual_seed(0))
    graded, state = Population(4)(x)
    assert state is None
    spikes, _ = Population(4, graded=False, seed=9)(x)
    assert torch.equal(spikes, Rate(9)(graded)[0])


def test_a_population_before_latency_is_the_input_of_spikeprop():
    y, _ = sn.Sequential(sn.Repeat(11), Population(8), Latency(11, threshold=0.05))(
        torch.tensor([[[0.5]]])
    )
    first = y[:, 0].argmax(0)
    assert y.sum() == 4 and first[3] == first[4] < first[2] == first[5]
