"""Delayed connections: starts, kernels, ranges, states and widths."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from toolbox import random
from torch import nn

from snnsim.errors import ConfigError, NonFiniteError, ShapeError
from snnsim.functional import delays
from snnsim.synapses import Delayed, narrow_delays
from snnsim.synapses.delayed import delayed_layers

GRANULARITIES = ("synaptic", "axonal", "dendritic")


each_granularity = pytest.mark.parametrize("granularity", GRANULARITIES)


def delayed(n_in=3, n_out=4, **changes):
    torch.manual_seed(0)
    return Delayed(n_in, n_out, **{"dt": 2.0, "max_delay_ms": 16.0, **changes})


def set_delay(layer, value):
    with torch.no_grad():
        layer.delay.copy_(torch.as_tensor(value, dtype=torch.float64).expand_as(layer.delay))


# --- delayed: how it starts ----------------------------------------------------------------------


def test_defaults_of_a_delayed_connection():
    layer = delayed()
    assert (layer.granularity, layer.padding, layer.profile) == ("synaptic", "causal", "gauss")
    assert (layer.backend, layer.learn_delay, layer.tail) == ("auto", True, 0)
    assert (layer.n_in, layer.n_out, layer.dt, layer.length) == (3, 4, 2.0, 9)
    assert layer.weight.shape == layer.delay.shape == (4, 3, 1)
    assert (layer.initial_sigma, float(layer.sigma)) == (4.0, 4.0)
    assert {n for n, _ in layer.named_parameters()} == {"weight", "delay"}
    assert {n for n, _ in layer.named_buffers()} == {"sigma"}
    assert delayed(max_delay_ms=0).length == 1 and delayed(max_delay_ms=0).initial_sigma == 0.0


@each_granularity
@pytest.mark.parametrize("count", [1, 5])
def test_shapes_and_sizes_of_weights_and_delays(granularity, count):
    layer = delayed(40, 30, granularity=granularity, kernel_count=count)
    shape = {"synaptic": (30, 40, count), "axonal": (40, count), "dendritic": (30, count)}
    assert layer.weight.shape == (30, 40, count)
    assert layer.delay.shape == shape[granularity]
    bound = math.sqrt(6 / (40 * count))
    assert 0.99 * bound < float(layer.weight.detach().abs().max()) <= bound
    assert float(layer.delay.min()) >= 0 and float(layer.delay.max()) <= 8
    assert float(layer.delay.detach().std()) > 1.5


def test_fixed_delays_have_no_profile_and_no_width():
    layer = delayed(20, 20, learn_delay=False, learn_sigma=True, sigma=3.0, profile="triangle")
    assert (layer.profile, layer.initial_sigma, float(layer.sigma)) == ("one_tap", 0.0, 0.0)
    assert {n for n, p in layer.named_parameters() if p.requires_grad} == {"weight"}
    assert {n for n, _ in layer.named_buffers()} == {"sigma"}
    assert set(layer.delay.detach().flatten().tolist()) == set(map(float, range(9)))
    layer.narrow_(2.0)
    assert float(layer.sigma) == 0.0


def test_a_width_is_that_given_and_learnt_only_if_asked_for():
    assert delayed(sigma=0).initial_sigma == 0.0 and float(delayed(sigma=0).sigma) == 0.0
    assert type(delayed(sigma=2).initial_sigma) is float
    learnt = delayed(sigma=2.5, learn_sigma=True)
    assert {n for n, _ in learnt.named_parameters()} == {"weight", "delay", "sigma"}
    learnt.narrow_(0.3)
    assert float(learnt.sigma) == 2.5
    fixed = delayed(sigma=2.5)
    fixed.narrow_(0.3)
    assert (float(fixed.sigma), fixed.initial_sigma) == (pytest.approx(0.3), 2.5)
    for wrong in (-0.1, math.nan, math.inf):
        with pytest.raises(ConfigError, match="sigma is"):
            fixed.narrow_(wrong)
        with pytest.raises(ConfigError, match="sigma is"):
            delayed(sigma=wrong)
    fixed.narrow_(0.0)
    assert float(fixed.sigma) == 0.0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"granularity": "synapse"}, "granularity is 'synapse'.*did you mean 'synaptic'"),
        ({"padding": "same"}, "padding is 'same' but must be one of causal, lengthen"),
        ({"profile": "gaus"}, "profile is 'gaus'.*did you mean 'gauss'"),
        ({"profile": "gaus", "learn_delay": False}, "profile is 'gaus'"),
        ({"backend": "spectrl"}, "backend is 'spectrl'.*did you mean 'spectral'"),
        ({"kernel_count": 0}, "kernel_count is 0"),
        ({"n_in": 0}, "n_in is 0"),
        ({"n_out": 0}, "n_out is 0"),
        ({"dt": 0.0}, "dt is 0.0"),
        ({"max_delay_ms": -4.0}, "max_delay_ms is -4 but must not be negative"),
        ({"max_delay_ms": 5.0}, "max_delay_ms = 5 is not a whole number of steps of 2 ms"),
        ({"max_delay_ms": 4.0001}, "max_delay_ms = 4.0001 is not a whole number"),
        ({"max_delay_ms": 10.0}, "max_delay_ms = 10 is 5 steps of 2 ms.* 6 taps.*=8 or 12"),
        ({"max_delay_ms": 2.0}, "max_delay_ms = 2 is 1 steps of 2 ms.* 2 taps.*=0 or 4"),
        ({"max_delay_ms": math.inf}, "max_delay_ms is inf"),
        ({"max_delay_ms": 1e30}, "max_delay_ms in steps is 5e.29 but must be .* at most 1e.09"),
    ],
)
def test_a_delayed_connection_refuses_what_it_does_not_know(options, text):
    with pytest.raises(ConfigError, match=text):
        delayed(**options)


@pytest.mark.parametrize(
    ("padding", "max_delay_ms", "tail"),
    [("lengthen", 16.0, 4), ("lengthen", 20.0, 5), ("lengthen", 0.0, 0), ("causal", 16.0, 0)],
)
def test_a_tail_is_half_the_largest_delay(padding, max_delay_ms, tail):
    layer = delayed(padding=padding, max_delay_ms=max_delay_ms)
    assert layer.tail == tail
    y, state = layer(torch.ones(6, 2, 3))
    assert y.shape == (6 + tail, 2, 4)
    assert (state == {}) == (padding == "lengthen")


@each_granularity
def test_a_lengthened_output_is_the_beginning_of_that_to_silence_after_it(granularity):
    options = {"granularity": granularity, "kernel_count": 2}
    long, short = (delayed(padding=p, **options).double() for p in ("lengthen", "causal"))
    x = random(6, 2, 3)
    expected, _ = short(torch.cat([x, torch.zeros(4, 2, 3).double()]))
    torch.testing.assert_close(long(x)[0], expected, rtol=1e-10, atol=1e-12)


def test_delays_in_milliseconds():
    layer = delayed()
    set_delay(layer, 2.25)
    found = layer.delay_ms()
    assert found.shape == (4, 3, 1) and set(found.flatten().tolist()) == {4.5}
    assert not found.requires_grad


def test_a_delayed_connection_says_what_it_is():
    layer = delayed(granularity="axonal", learn_delay=False, padding="lengthen")
    assert repr(layer) == (
        "Delayed(3, 4, dt=2, max_delay_ms=16, granularity='axonal', learn_delay=False, "
        "padding='lengthen')"
    )
    assert "granularity='synaptic', learn_delay=True, padding='causal'" in repr(delayed())


# --- delayed: which kernel runs ------------------------------------------------------------------


def test_the_rung_that_will_run_is_named():
    small, large = (2, 1), (100, 64)
    layer = delayed(100, 100, max_delay_ms=60.0, profile="triangle")
    assert layer.rung(*small).startswith("reference")
    said, _, share = layer.rung(*large).partition(", events below ")
    assert said == "spectral" and share.endswith("% of spikes once narrow")
    assert 0 < float(share.split("%")[0]) < 100
    assert layer.eval().rung(*large) == "one_tap"
    assert layer.train().rung(100, 8).split(",")[0] == "spectral"
    for backend in ("reference", "spectral"):
        assert delayed(100, 100, max_delay_ms=60.0, backend=backend).rung(*large) == backend
    for granularity in ("axonal", "dendritic"):
        assert delayed(granularity=granularity).rung(*large) == "shift"
    assert delayed(100, 100, max_delay_ms=60.0, profile="linear").rung(*large) == "spectral"


def test_the_rung_is_chosen_for_steps_samples_inputs_and_outputs_and_the_tail(monkeypatch):
    from snnsim.synapses import delayed as module

    seen = []
    monkeypatch.setattr(module, "choose_rung", lambda *a: seen.append(a) or "spectral")
    monkeypatch.setattr(module, "most_spikes", lambda *a: seen.append(a) or 0.123)
    layer = delayed(padding="lengthen", profile="triangle")
    text = layer.rung(10, 5)
    assert seen == [
        ("auto", "triangle", "cpu", (10, 5, 3, 4), 9, 14, True),
        ((10, 5, 3, 4), 9, 14),
    ]
    assert text == "spectral, events below 12.3% of spikes once narrow"
    seen.clear()
    assert layer.eval().rung(10, 5) == "spectral"
    assert seen[0] == ("auto", "one_tap", "cpu", (10, 5, 3, 4), 9, 14, False)
    assert delayed(profile="triangle", backend="spectral").rung(10, 5) == "spectral"
    monkeypatch.setattr(module, "most_spikes", lambda *a: 0.0)
    assert layer.train().rung(10, 5) == "spectral"


# --- delayed: range ------------------------------------------------------------------------------


@each_granularity
@pytest.mark.parametrize(("given", "kept"), [(-0.3, 0.0), (8.3, 8.0), (8.9, 8.0), (50.0, 8.0)])
def test_a_call_in_training_brings_delays_back_into_range(granularity, given, kept):
    layer = delayed(granularity=granularity).double()
    set_delay(layer, 3.5)
    with torch.no_grad():
        layer.delay.view(-1)[1] = given
    x, before = random(12, 2, 3), layer.delay
    y, _ = layer(x)
    assert layer.delay is before
    others = layer.delay.detach().flatten().tolist()
    assert others.pop(1) == kept and set(others) == {3.5}
    again = delayed(granularity=granularity).double()
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(x)[0], y)
    (slope,) = torch.autograd.grad(y.square().sum(), layer.delay)
    assert float(slope.abs().min()) > 0


def test_delays_within_their_range_are_left_alone():
    layer = delayed().double()
    set_delay(layer, torch.linspace(0, 8, 12).view(4, 3, 1).double())
    before = layer.delay.detach().clone()
    version = layer.delay._version
    layer(random(12, 2, 3))
    assert torch.equal(layer.delay, before) and layer.delay._version == version


def test_in_evaluation_delays_are_not_written_to():
    layer = delayed().double().eval()
    set_delay(layer, 8.7)
    expected = delayed().double().eval()
    set_delay(expected, 8.0)
    x = random(12, 2, 3)
    assert torch.equal(layer(x)[0], expected(x)[0])
    assert set(layer.delay.detach().flatten().tolist()) == {8.7}


@pytest.mark.parametrize("value", [-2.0, 11.0, 3.4])
def test_a_tensor_in_place_of_the_delays_is_clamped_without_being_written_to(value):
    layer, x = delayed().double(), random(12, 2, 3)
    given = torch.full((4, 3, 1), value, dtype=torch.float64, requires_grad=True)
    y, _ = torch.func.functional_call(layer, {"delay": given}, (x,))
    assert set(given.detach().flatten().tolist()) == {value}
    set_delay(layer, min(max(value, 0.0), 8.0))
    expected, _ = layer(x)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    (found,) = torch.autograd.grad(y.square().sum(), given)
    (wanted,) = torch.autograd.grad(expected.square().sum(), layer.delay)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    assert float(found.abs().sum()) > 0


def test_clamping_and_rounding_by_hand():
    layer = delayed(1, 6, max_delay_ms=8.0)
    values = torch.tensor([-3.0, 0.4, 1.5, 2.5, 3.7, 9.0]).view(6, 1, 1)
    set_delay(layer, values)
    layer.clamp_()
    assert layer.delay.flatten().tolist() == pytest.approx([0, 0.4, 1.5, 2.5, 3.7, 4])
    set_delay(layer, values)
    layer.round_()
    assert layer.delay.flatten().tolist() == [0, 0, 2, 2, 4, 4]
    assert layer.delay.requires_grad


# --- delayed: what it computes, and its state ----------------------------------------------------


@each_granularity
@pytest.mark.parametrize("training", [True, False])
def test_an_impulse_comes_out_as_the_kernel(granularity, training):
    options = {"granularity": granularity, "kernel_count": 2, "profile": "triangle", "sigma": 1.3}
    layer = delayed(**options).double().train(training)
    delay = layer.delay.detach()
    each = {
        "synaptic": lambda o, i: delay[o, i], "axonal": lambda o, i: delay[i],
        "dendritic": lambda o, i: delay[o],
    }[granularity]  # fmt: skip
    for i in range(3):
        x = torch.zeros(12, 1, 3).double()
        x[2, 0, i] = 1.0
        y = layer(x)[0].detach()
        for o in range(4):
            at, kernel = each(o, i), torch.zeros(9).double()
            for k in range(2):
                if training:
                    spread = torch.relu(2.3 - (torch.arange(9) - at[k]).abs())
                    spread = spread / (spread.sum() + 1e-7)
                else:
                    spread = torch.eye(9)[round(float(at[k]))]
                kernel += layer.weight.detach()[o, i, k] * spread
            torch.testing.assert_close(y[2:11, 0, o], kernel, rtol=1e-6, atol=1e-6)
            assert float(y[:2, 0, o].abs().max()) < 1e-12


@each_granularity
@pytest.mark.parametrize("steps", [0, 1, 7, 8, 9, 15])
def test_a_state_is_the_last_inputs_and_a_value_of_its_own(granularity, steps):
    layer = delayed(granularity=granularity).double()
    x, before = random(steps, 2, 3), random(8, 2, 3, seed=1)
    for state, start in ((None, torch.zeros_like(before)), ({"history": before}, before)):
        _, after = layer(x, state)
        assert list(after) == ["history"]
        assert torch.equal(after["history"], torch.cat([start, x])[-8:])
        kept = after["history"].clone()
        x.add_(1.0)
        before.add_(1.0)
        assert torch.equal(after["history"], kept)


@each_granularity
def test_a_history_is_heard_in_the_steps_after_it(granularity):
    layer = delayed(granularity=granularity).double()
    before, x = random(8, 2, 3), random(5, 2, 3, seed=1)
    whole, _ = layer(torch.cat([before, x]))
    y, _ = layer(x, {"history": before})
    assert y.shape == (5, 2, 4)
    torch.testing.assert_close(y, whole[8:], rtol=1e-12, atol=1e-12)


def test_a_history_that_does_not_fit_is_refused():
    layer, x = delayed(), torch.zeros(5, 2, 3)
    for state in ({}, {"history": None}, (x,), x, {"histories": x}):
        with pytest.raises(ShapeError, match=r"state of Delayed is {'history': \[max_delay_steps"):
            layer(x, state)
    for shape in ((7, 2, 3), (9, 2, 3), (8, 1, 3), (8, 2, 4)):
        with pytest.raises(ShapeError, match=r"history has shape .* but x needs \(8, 2, 3\)"):
            layer(x, {"history": torch.zeros(shape)})
    with pytest.raises(ShapeError, match=r"history is torch.float64 on cpu but x is torch.float32"):
        layer(x, {"history": torch.zeros(8, 2, 3).double()})
    with pytest.raises(ShapeError, match="history is torch.float32 on meta"):
        layer(x, {"history": torch.zeros(8, 2, 3, device="meta")})
    for shape in ((5, 2, 4), (5, 3), (5, 2, 3, 1)):
        with pytest.raises(ShapeError, match=r"x has shape .* Delayed was built for \[T, B, 3\]"):
            layer(torch.zeros(shape))
    long = delayed(padding="lengthen")
    for state in ({}, {"history": torch.zeros(8, 2, 3)}):
        with pytest.raises(ConfigError, match="cannot continue from a state"):
            long(x, state)


def test_options_of_a_connection_reach_its_kernel(monkeypatch):
    from snnsim.synapses import delayed as module

    seen = {}
    monkeypatch.setattr(
        module, "delay_conv", lambda x, w, p, s, **k: seen.update(k, sigma=s) or x.new_zeros(1)
    )
    layer = delayed(profile="linear", backend="reference", padding="lengthen", sigma=1.5)
    layer(torch.zeros(5, 2, 3))
    expected = {"length": 9, "profile": "linear", "tail": 4, "backend": "reference"}
    assert float(seen.pop("sigma")) == 1.5 and seen == expected
    layer.eval()(torch.zeros(5, 2, 3))
    assert seen.pop("sigma") is layer.sigma and seen == expected | {"profile": "one_tap"}


@each_granularity
def test_a_delay_that_is_not_a_number_is_refused_even_where_it_is_fixed(granularity):
    layer = delayed(granularity=granularity, learn_delay=False)
    with torch.no_grad():
        layer.delay.view(-1)[0] = math.nan
    with pytest.raises(NonFiniteError, match="delay"):
        layer(torch.zeros(5, 2, 3))


# --- delayed: width ------------------------------------------------------------------------------


def evaluated(layer):
    """What is said when a connection is evaluated."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        layer.eval()(torch.ones(3, 1, 3))
    return [str(w.message) for w in said]


def trained(**changes):
    layer = delayed(**changes)
    layer(torch.ones(3, 1, 3))
    return layer


def test_wide_kernels_are_spoken_of_once_where_they_were_trained():
    layer = trained(sigma=2.5)
    (said,) = evaluated(layer)
    assert "kernels are 2.5 steps wide" in said and "narrow_delays(net, epoch, epochs)" in said
    assert evaluated(layer) == []
    assert evaluated(delayed(sigma=2.5)) == []
    assert evaluated(trained(learn_delay=False)) == []


@pytest.mark.parametrize(("sigma", "wide"), [(1.0, False), (1.01, True), (0.0, False)])
def test_kernels_are_wide_beyond_one_step(sigma, wide):
    assert bool(evaluated(trained(sigma=sigma))) == wide


def test_of_a_learnt_width_the_size_counts():
    layer = trained(sigma=2.0, learn_sigma=True)
    with torch.no_grad():
        layer.sigma.fill_(-3.0)
    (said,) = evaluated(layer)
    assert "-3 steps wide" in said


def test_a_connection_has_trained_once_gradients_were_wanted_of_it():
    layer = delayed(sigma=2.5)
    with torch.no_grad():
        layer(torch.ones(3, 1, 3))
    assert evaluated(layer) == []
    layer.train()(torch.ones(3, 1, 3))
    with torch.no_grad():  # does not undo it
        layer(torch.ones(3, 1, 3))
    assert len(evaluated(layer)) == 1


def test_who_narrows_is_not_told():
    layer = delayed(sigma=2.5)
    layer.narrow_(2.0)
    layer(torch.ones(3, 1, 3))
    assert evaluated(layer) == []


@pytest.mark.parametrize("end", [None, 0.5])
@pytest.mark.parametrize(
    ("epochs", "fraction", "falling"),
    [(150, None, 37), (10, None, 2), (10, 0.59, 5), (3, 0.2, 0.6)],
)
def test_widths_fall_geometrically_from_those_of_each_layer(epochs, fraction, falling, end):
    layers = [delayed(), delayed(max_delay_ms=48.0), delayed(sigma=3.0, granularity="axonal")]
    net = nn.Sequential(layers[0], nn.Sequential(layers[1], nn.ReLU()), layers[2])
    assert list(delayed_layers(net)) == layers and list(delayed_layers(nn.ReLU())) == []
    options = {} if fraction is None else {"fraction": fraction}
    options |= {} if end is None else {"end": end}
    last = 0.23 if end is None else end
    for epoch in (0, 0.3, 1, 2, falling, epochs):
        narrow_delays(net, epoch, epochs, **options)
        share = min(epoch, falling) / falling
        for layer, start in zip(layers, (4.0, 12.0, 3.0), strict=True):
            expected = start ** (1 - share) * last**share
            assert float(layer.sigma) == pytest.approx(expected, rel=1e-5)


def test_widths_stay_where_nothing_falls():
    layer = delayed(sigma=0.1)
    narrow_delays(layer, 5, 10)  # below the end from the start
    assert float(layer.sigma) == pytest.approx(0.1)
    layer = delayed()
    narrow_delays(layer, 5, 10, fraction=0)
    assert float(layer.sigma) == 4.0
    narrow_delays(layer, 1, 1, fraction=1)
    assert float(layer.sigma) == pytest.approx(0.23)
    assert delays.sigma_after(0.5, 4.0, 1.0, 1.0) == pytest.approx(2.0)
    for wrong, text in (
        ((-1, 10, {}), "epoch is -1"),
        ((0, 0, {}), "epochs is 0"),
        ((0, 10, {"fraction": 1.1}), "fraction is 1.1"),
        ((0, 10, {"fraction": -0.1}), "fraction is -0.1"),
    ):
        with pytest.raises(ConfigError, match=text):
            narrow_delays(layer, *wrong[:2], **wrong[2])
