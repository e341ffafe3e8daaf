"""Dense, delayed, recurrent and convolutional connections: starts, options, states, refusals."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import snnsim as sn
from snnsim.errors import ConfigError, NonFiniteError, ShapeError
from snnsim.functional import delays
from snnsim.synapses import Delayed, Dense, OverTime, Recurrent, narrow_delays
from snnsim.synapses.delayed import delayed_layers
from snnsim.synapses.dense import kaiming_uniform

GRANULARITIES = ("synaptic", "axonal", "dendritic")
each_granularity = pytest.mark.parametrize("granularity", GRANULARITIES)


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)).double()


def delayed(n_in=3, n_out=4, **changes):
    torch.manual_seed(0)
    return Delayed(n_in, n_out, **{"dt": 2.0, "max_delay_ms": 16.0, **changes})


def set_delay(layer, value):
    with torch.no_grad():
        layer.delay.copy_(torch.as_tensor(value, dtype=torch.float64).expand_as(layer.delay))


# --- dense ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fan_in", [1, 24])
def test_weights_start_uniformly_on_both_sides_of_zero(fan_in):
    torch.manual_seed(0)
    weight, bound = kaiming_uniform((100, 300), fan_in), math.sqrt(6 / fan_in)
    assert weight.shape == (100, 300)
    assert -bound <= float(weight.min()) < -0.999 * bound
    assert 0.999 * bound < float(weight.max()) <= bound
    assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_a_dense_connection_is_a_product_and_a_bias():
    torch.manual_seed(0)
    layer, x = Dense(3, 5, bias=True).double(), random(4, 2, 3)
    assert layer.bias.tolist() == [0.0] * 5 and layer.bias.requires_grad
    with torch.no_grad():
        layer.bias.copy_(torch.arange(5.0))
    expected = np.einsum("tbi,oi->tbo", x.numpy(), layer.weight.detach().numpy()) + np.arange(5)
    y, state = layer(x)
    np.testing.assert_allclose(y.detach(), expected, rtol=1e-12, atol=1e-12)
    assert state is None and torch.equal(layer(x[0])[0], y[0])
    assert Dense(3, 5).bias is None
    assert (
        repr(layer) == "Dense(3, 5, bias=True)" and repr(Dense(2, 1)) == "Dense(2, 1, bias=False)"
    )


def test_the_weights_of_a_dense_connection_start_by_its_inputs():
    torch.manual_seed(0)
    weight = Dense(600, 50).weight.detach()
    assert weight.shape == (50, 600)
    assert 0.99 * 0.1 < float(weight.abs().max()) <= 0.1


@pytest.mark.parametrize("shape", [(2, 1, 4), (), (3, 2)])
def test_a_dense_connection_refuses_other_channels(shape):
    with pytest.raises(ShapeError, match=r"x has shape .* but Dense was built for 3 channels"):
        Dense(3, 5)(torch.zeros(shape))


# --- at every step --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "options", "kind"),
    [
        (sn.Conv1d, {"stride": 2, "padding": 1}, nn.Conv1d),
        (sn.Conv1d, {"bias": True, "dilation": 2}, nn.Conv1d),
        (sn.Conv2d, {"stride": 2, "padding": (1, 0)}, nn.Conv2d),
        (sn.Conv2d, {"bias": True, "groups": 2}, nn.Conv2d),
    ],
)
def test_convolutions_are_torchs_at_every_step_with_a_bias_only_if_asked_for(make, options, kind):
    torch.manual_seed(0)
    layer = make(2, 4, 3, **options)
    module = layer.module
    assert isinstance(layer, OverTime) and type(module) is kind
    assert (module.in_channels, module.out_channels) == (2, 4)
    assert (module.bias is not None) == options.get("bias", False)
    other = kind(2, 4, 3, **{"bias": False, **options})
    other.load_state_dict(module.state_dict())
    x = random(5, 3, 2, *[7] * (1 if kind is nn.Conv1d else 2)).float()
    y, state = layer(x)
    assert state is None
    for t in range(5):
        torch.testing.assert_close(y[t], other(x[t]), rtol=1e-5, atol=1e-6)


def test_there_is_no_bias_by_default():
    assert sn.Conv1d(2, 3, 3).module.bias is None and sn.Conv2d(2, 3, 3).module.bias is None


@pytest.mark.parametrize(
    ("make", "kind", "options"),
    [
        (sn.AvgPool1d, nn.AvgPool1d, {"stride": 1}), (sn.AvgPool2d, nn.AvgPool2d, {"stride": 3}),
        (sn.MaxPool1d, nn.MaxPool1d, {"padding": 1}), (sn.MaxPool2d, nn.MaxPool2d, {"stride": 1}),
        (sn.AvgPool2d, nn.AvgPool2d, {"padding": 1, "count_include_pad": False}),
    ],
)  # fmt: skip
def test_options_of_pooling_are_torchs(make, kind, options):
    x = random(4, 3, 2, *[6] * (1 if kind in (nn.AvgPool1d, nn.MaxPool1d) else 2))
    y, _ = make(2, **options)(x)
    for t in range(4):
        assert torch.equal(y[t], kind(2, **options)(x[t]))
    assert not torch.equal(y[0], y[1])


def test_windows_are_summed_with_the_options_of_torch():
    x = random(3, 2, 1, 5, 5)
    y, _ = sn.SumPool2d(3, stride=2)(x)
    expected = [[x[..., i : i + 3, j : j + 3].sum((-1, -2)) for j in (0, 2)] for i in (0, 2)]
    for i in range(2):
        for j in range(2):
            torch.testing.assert_close(y[..., i, j], expected[i][j])
    halved, _ = sn.SumPool2d(3, stride=2, divisor_override=2)(x)
    torch.testing.assert_close(halved, y / 2)


# --- recurrent ------------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [None, 2.5, 0.0])
def test_feedback_starts_as_a_scaled_rotation(gain):
    torch.manual_seed(0)
    layer = Recurrent(sn.LIF(6, dt=1.0), *([] if gain is None else [gain])).double()
    square = (1.0 if gain is None else gain) ** 2
    found = layer.w_rec @ layer.w_rec.t()
    expected = square * torch.eye(6).double()
    torch.testing.assert_close(found.detach(), expected, rtol=1e-5, atol=1e-5)
    assert bool((layer.mask == 1).all()) and layer.w_rec.requires_grad
    assert list(layer.state_dict()) == [
        "w_rec", "neuron.fixed_tau_mem", "neuron.fixed_v_threshold", "neuron.fixed_v_reset",
    ]  # fmt: skip


def test_without_self_connections_the_diagonal_is_zero_and_stays_out():
    torch.manual_seed(0)
    layer = Recurrent(sn.LI(3, dt=1.0), self_connections=False).double()
    assert layer.w_rec.diagonal().tolist() == [0.0] * 3
    assert int((layer.w_rec != 0).sum()) == 6
    assert torch.equal(layer.mask, 1 - torch.eye(3).double())
    x = random(4, 2, 3)
    expected, _ = layer(x)
    with torch.no_grad():
        layer.w_rec.fill_diagonal_(5.0)
    assert torch.equal(layer(x)[0], expected)


def test_feedback_comes_one_step_later_and_goes_on_from_the_last_output():
    layer = Recurrent(sn.LI(2, dt=1.0, tau_mem=2.0), gain=0.7).double()
    weight, d = layer.w_rec.detach().numpy(), math.exp(-0.5)
    x, v0, z0 = random(5, 3, 2), random(3, 2, seed=1), random(3, 2, seed=2)
    v, z, expected = v0.numpy(), z0.numpy(), []
    for now in x.numpy():
        v = d * v + now + z @ weight.T
        z = v
        expected.append(z)
    y, state = layer(x, {"v": v0, "z": z0})
    np.testing.assert_allclose(y.detach(), np.stack(expected), rtol=1e-6, atol=1e-6)
    assert sorted(state) == ["v", "z"] and torch.equal(state["z"], y[-1])
    nothing, kept = layer(x[:0], {"v": v0, "z": z0})
    assert nothing.shape == (0, 3, 2)
    assert torch.equal(kept["z"], z0) and torch.equal(kept["v"], v0)
    fresh, _ = layer(x)
    same, _ = layer(x, {"v": torch.zeros_like(v0), "z": torch.zeros_like(z0)})
    assert torch.equal(fresh, same)


def test_what_cannot_be_fed_back_is_refused():
    class WithZ(sn.Neuron):
        state = ("z",)

        @staticmethod
        def step(x, z):
            return x, (x + z,)

    with pytest.raises(ConfigError, match="as state 'z'"):
        Recurrent(WithZ(2, dt=1.0))
    with pytest.raises(ConfigError, match=r"flat layer of neurons, not \(2, 3\)"):
        Recurrent(sn.LIF((2, 3), dt=1.0))
    for gain in (math.nan, math.inf, "1", None):
        with pytest.raises(ConfigError, match="gain is"):
            Recurrent(sn.LIF(2, dt=1.0), gain=gain)
    layer, x = Recurrent(sn.LIF(2, dt=1.0)), torch.zeros(4, 3, 2)
    v = torch.zeros(3, 2)
    for state in ({"v": v}, v, ("z",), [("z", v)]):
        with pytest.raises(ShapeError, match="state of Recurrent must hold 'z'"):
            layer(x, state)
    for z in (torch.zeros(1, 2), torch.zeros(3), 0.0, None):
        with pytest.raises(ShapeError, match=r"state 'z' has shape .* but x needs \(3, 2\)"):
            layer(x, {"v": v, "z": z})
    with pytest.raises(ShapeError, match="x has 3 channels"):
        layer(torch.zeros(4, 3, 3))


# --- delayed: how it starts -----------------------------------------------------------------------


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


# --- delayed: which kernel runs -------------------------------------------------------------------


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


# --- delayed: range -------------------------------------------------------------------------------


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


# --- delayed: what it computes, and its state -----------------------------------------------------


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


# --- delayed: width -------------------------------------------------------------------------------


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
