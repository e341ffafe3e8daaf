"""Convolutions over space with learnable delays, against plain loops in float64."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from toolbox import random

import snnsim as sn
from snnsim.data import Arrays
from snnsim.errors import ConfigError, NonFiniteError, ShapeError
from snnsim.networks import Sequential
from snnsim.plotting import delay_histogram
from snnsim.sparsity import sparsify
from snnsim.synapses import DelayedConv2d
from snnsim.synapses.delayed import delayed_layers
from snnsim.training import Optimizers, Recipe
from snnsim.training.optimizers import parameter_groups, split_parameters


def made(channels_in=2, channels_out=3, kernel_size=2, **changes):
    torch.manual_seed(0)
    options = {"dt": 2.0, "max_delay_ms": 8.0, "sigma": 0.8, **changes}
    return DelayedConv2d(channels_in, channels_out, kernel_size, **options).double()


def spread(p, sigma, length, profile):
    """The taps of one delay, by the formulas of the papers."""
    taps = torch.arange(length, dtype=torch.float64)
    if profile == "gauss":
        height = torch.exp(-(((taps - p) / (sigma.abs() + 0.27)) ** 2) / 2)
    elif profile == "triangle":
        height = torch.relu(sigma.abs() + 1 - (taps - p).abs())
    else:
        return torch.relu(1 - (taps - p).abs())
    return height / (height.sum() + 1e-7)


def by_loops(x, weight, delay, sigma, profile, layer):
    """y[t, b, o, h, w], one product after another."""
    steps, samples, _, height, width = x.shape
    size, stride, margin = layer.kernel_size, layer.stride, layer.margin
    rows, columns = ((n + 2 * margin - size) // stride + 1 for n in (height, width))
    y = [[] for _ in range(steps + layer.tail)]
    taps = {
        place: spread(delay[place], sigma, layer.length, profile)
        for place in np.ndindex(*weight.shape)
    }
    for t in range(steps + layer.tail):
        for b, o, r, c in np.ndindex(samples, weight.shape[0], rows, columns):
            total = torch.zeros((), dtype=torch.float64)
            for i, a, d, k in np.ndindex(weight.shape[1], size, size, layer.length):
                at, h, w = t - k, r * stride + a - margin, c * stride + d - margin
                if 0 <= at < steps and 0 <= h < height and 0 <= w < width:
                    total = total + weight[o, i, a, d] * taps[o, i, a, d][k] * x[at, b, i, h, w]
            y[t].append(total)
    return torch.stack([torch.stack(now) for now in y]).view(
        -1, samples, len(weight), rows, columns
    )


@pytest.mark.parametrize("profile", ["gauss", "triangle", "linear"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "margin": 1, "learn_sigma": True},
        {"padding": "lengthen", "kernel_size": 1},
        {"margin": 2, "channels_in": 1, "channels_out": 1, "kernel_size": 3, "padding": "lengthen"},
    ],
)
def test_outputs_and_gradients_are_those_of_a_plain_loop(profile, options):
    layer = made(profile=profile, **options)
    with torch.no_grad():
        layer.delay.clamp_(0.01, 3.99)  # a linear profile has a kink at whole steps
    x = random(5, 1, layer.channels_in, 3, 4).requires_grad_()
    y, _ = layer(x)
    expected = by_loops(x, layer.weight, layer.delay, layer.sigma, profile, layer)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    wanted = [x, layer.weight, layer.delay]
    wanted += [layer.sigma] if layer.sigma.requires_grad and profile != "linear" else []
    upstream = random(*y.shape, seed=3)
    found = torch.autograd.grad((y * upstream).sum(), wanted)
    for mine, theirs in zip(
        found, torch.autograd.grad((expected * upstream).sum(), wanted), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)
        assert float(mine.abs().max()) > 0


def test_gradients_of_delays_are_finite_differences():
    layer, x = made(), random(6, 2, 2, 4, 4)
    upstream = random(*layer(x)[0].shape, seed=1)
    with torch.no_grad():
        layer.delay.clamp_(0.01, 3.99)
    (found,) = torch.autograd.grad((layer(x)[0] * upstream).sum(), layer.delay)
    flat, step = layer.delay.detach().view(-1), 1e-5
    for place in range(flat.numel()):
        ends = []
        for sign in (1, -1):
            flat[place] += sign * step
            ends.append(float((layer(x)[0].detach() * upstream).sum()))
            flat[place] -= sign * step
        slope = (ends[0] - ends[1]) / (2 * step)
        assert abs(slope - float(found.flatten()[place])) < 1e-7


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("steps", [0, 1, 3, 4, 5, 9])
def test_pieces_of_a_stream_are_the_whole(training, steps):
    layer = made(margin=1).train(training)
    layer.narrow_(0.8)
    x = random(9, 2, 2, 3, 3)
    whole, last = layer(x)
    first, state = layer(x[:steps])
    second, after = layer(x[steps:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-12, atol=1e-12)
    assert torch.equal(after["history"], last["history"]) and torch.equal(last["history"], x[-4:])


def test_in_evaluation_a_narrow_kernel_is_one_tap_at_the_rounded_delay():
    narrow = made(profile="triangle")
    narrow.narrow_(0.0)
    with torch.no_grad():
        narrow.delay.copy_(narrow.delay.round())
    x = random(7, 2, 2, 4, 4)
    trained, _ = narrow(x)
    torch.testing.assert_close(narrow.eval()(x)[0], trained, rtol=1e-6, atol=1e-6)
    wide = made(profile="triangle").eval()
    wide.load_state_dict(narrow.state_dict() | {"sigma": torch.tensor(3.0)})
    wide.narrow_(3.0)
    assert torch.equal(wide(x)[0], narrow(x)[0])


@pytest.mark.parametrize("at", [0.4, 0.5, 1.5, 3.6, 9.0, -1.0])
def test_an_impulse_comes_out_at_the_rounded_delay_in_evaluation(at):
    layer = made(1, 1, 1).eval()
    with torch.no_grad():
        layer.delay.fill_(at)
        layer.weight.fill_(2.0)
    x = torch.zeros(8, 1, 1, 1, 1).double()
    x[2] = 1.0
    y = layer(x)[0].detach().flatten()
    assert int(y.argmax()) == 2 + min(max(round(at), 0), 4)
    assert float(y.sum()) == pytest.approx(2.0, rel=1e-6) and int((y != 0).sum()) == 1


def test_how_it_starts():
    layer = made(20, 30, 3, sigma=None)
    assert layer.weight.shape == layer.delay.shape == (30, 20, 3, 3)
    bound = math.sqrt(6 / 180)
    assert 0.99 * bound < float(layer.weight.detach().abs().max()) <= bound
    assert 0 <= float(layer.delay.detach().min()) <= float(layer.delay.detach().max()) <= 4
    assert (layer.initial_sigma, float(layer.sigma), layer.length) == (2.0, 2.0, 5)
    assert layer.rung(10, 4) == "conv3d"
    fixed = made(20, 30, 3, learn_delay=False)
    assert not fixed.delay.requires_grad
    assert set(fixed.delay.flatten().tolist()) == {0.0, 1.0, 2.0, 3.0, 4.0}
    assert repr(made(stride=2, margin=1)) == (
        "DelayedConv2d(2, 3, 2, dt=2, max_delay_ms=8, stride=2, margin=1, learn_delay=True, "
        "padding='causal')"
    )


def test_a_call_in_training_brings_delays_back_into_range():
    layer = made()
    with torch.no_grad():
        layer.delay.view(-1)[:2] = torch.tensor([-1.0, 7.0]).double()
    layer(random(3, 1, 2, 4, 4))
    assert layer.delay.view(-1)[:2].tolist() == [0.0, 4.0]


def test_bool_input_autocast_and_empty_sizes():
    layer = made(margin=1).float()
    x = torch.rand(6, 2, 2, 4, 4) < 0.3
    expected, _ = layer(x.float())
    assert torch.equal(layer(x)[0], expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(x.float())[0], expected)
    assert layer(torch.zeros(0, 2, 2, 4, 4))[0].shape == (0, 2, 3, 5, 5)
    assert layer(torch.zeros(6, 0, 2, 4, 4))[0].shape == (6, 0, 3, 5, 5)
    longer = made(padding="lengthen").float()
    assert longer(torch.zeros(0, 2, 2, 4, 4))[0].shape == (2, 2, 3, 3, 3)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"padding": "same"}, "padding is 'same' but must be one of causal, lengthen"),
        ({"profile": "gaus"}, "profile is 'gaus'.*did you mean 'gauss'"),
        ({"channels_in": 0}, "channels_in is 0"),
        ({"channels_out": -1}, "channels_out is -1"),
        ({"kernel_size": 0}, "kernel_size is 0"),
        ({"kernel_size": 2.5}, "kernel_size is 2.5"),
        ({"stride": 0}, "stride is 0"),
        ({"margin": -1}, "margin is -1"),
        ({"dt": 0.0}, "dt is 0.0"),
        ({"max_delay_ms": 6.0}, "max_delay_ms = 6 is 3 steps of 2 ms.* 4 taps"),
        ({"sigma": -1.0}, "sigma is -1"),
    ],
)
def test_what_cannot_be_is_refused(options, text):
    with pytest.raises(ConfigError, match=text):
        made(**options)


def test_input_that_does_not_fit_is_refused():
    layer = made(kernel_size=3)
    for shape in ((5, 2, 3, 4, 4), (5, 2, 2, 4), (5, 2, 2, 4, 4, 1)):
        with pytest.raises(ShapeError, match=r"built for \[T, B, 2, H, W\]"):
            layer(torch.zeros(shape).double())
    with pytest.raises(ShapeError, match="images of 2 x 4 pixels .* kernel .* has 3 x 3"):
        layer(torch.zeros(5, 2, 2, 2, 4).double())
    x = torch.zeros(5, 2, 2, 4, 4).double()
    with pytest.raises(ShapeError, match="built for|is torch.float32"):
        layer(x.float())
    with pytest.raises(ShapeError, match=r"state of DelayedConv2d is .*channels_in, H, W"):
        layer(x, {})
    with pytest.raises(ShapeError, match="history has shape"):
        layer(x, {"history": torch.zeros(4, 2, 2, 4, 5).double()})
    with pytest.raises(ConfigError, match="cannot continue from a state"):
        made(padding="lengthen")(x, {})
    with torch.no_grad():
        layer.delay.view(-1)[0] = math.nan
    with pytest.raises(NonFiniteError):
        layer(x)


# --- wherever delayed connections are known ------------------------------------------------------


def network():
    torch.manual_seed(0)
    return Sequential(
        DelayedConv2d(1, 2, 3, dt=1.0, max_delay_ms=4, margin=1),
        sn.BatchNorm(2),
        sn.LIF((2, 4, 4), dt=1.0),
        torch.nn.Flatten(2),
        sn.Dense(32, 2),
        sn.LI(2, dt=1.0),
    )


def test_it_trains_like_other_delayed_connections(tmp_path):
    net = network()
    layer = net[0]
    assert list(delayed_layers(net)) == [layer]
    weights, plain, delays = split_parameters(net)
    assert [id(p) for p in delays] == [id(layer.delay)]
    assert any(p is layer.weight for p in weights) and not any(p is layer.delay for p in plain)
    assert parameter_groups(net, lr=1e-3)[-1]["lr"] == pytest.approx(0.1)
    optimizers = Optimizers(net, Recipe(epochs=100))
    optimizers.start_epoch(50)
    assert float(layer.sigma) == pytest.approx(0.23)
    sn.narrow_delays(net, 0, 100)
    assert float(layer.sigma) == layer.initial_sigma == 2.0
    assert delay_histogram(net, net.state_dict()) is not None
    sn.save(net, tmp_path / "net.safetensors")
    x = (torch.rand(6, 2, 1, 4, 4) < 0.3).float()
    again = sn.load(tmp_path / "net.safetensors")
    assert torch.equal(again(x)[0], net.eval()(x)[0])
    assert isinstance(again[0], DelayedConv2d)


def test_evaluating_wide_kernels_is_warned_of_once():
    layer = made(sigma=3.0)
    layer(random(3, 1, 2, 4, 4))
    with pytest.warns(UserWarning, match="evaluating a DelayedConv2d whose kernels are 3 steps"):
        layer.eval()(random(3, 1, 2, 4, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(random(3, 1, 2, 4, 4))


def test_its_synapses_can_be_cut():
    net = network()
    sparsify(net, 0.5)
    assert int((net[0].weight != 0).sum()) == 9


def test_what_cannot_have_it_says_so():
    with pytest.raises(ConfigError, match="DelayedConv2d.*no event-driven form"):
        sn.compile(network())


# --- what it is for ------------------------------------------------------------------------------


def moving_bars(samples, seed):
    """A bar of one column that moves to the left or right over 8 columns, from any place."""
    draw = np.random.default_rng(seed)
    labels = np.arange(samples) % 2
    steps = np.arange(8) * np.where(labels, 1, -1)[:, None]
    column = (draw.integers(0, 8, samples)[:, None] + steps) % 8
    x = np.zeros((samples, 8, 1, 3, 8), np.float32)
    rows = np.arange(3)
    x[np.arange(samples)[:, None, None], np.arange(8)[:, None], 0, rows, column[..., None]] = 1
    return Arrays(x, labels, classes=("left", "right"))


def accuracy_with(delays, seed):
    """A net whose read-out sums over time and places, so that only delays see a direction."""
    torch.manual_seed(seed)
    options = {"max_delay_ms": 4.0 if delays else 0.0, "learn_delay": delays, "margin": 1}
    net = Sequential(
        DelayedConv2d(1, 4, 3, dt=1.0, **options),
        sn.BatchNorm(4),
        sn.LIF((4, 3, 8), dt=1.0, tau_mem=1.0, discretization="euler"),
        sn.AvgPool2d((3, 8)),
        torch.nn.Flatten(2),
        sn.Dense(4, 2, bias=True),
    )
    train, test = moving_bars(128, 1), moving_bars(64, 2)
    optimizer = torch.optim.Adam(parameter_groups(net, lr=0.02, lr_delay=0.2))
    for epoch in range(30):
        sn.narrow_delays(net, epoch, 30)
        x, target, _ = train.batch(range(128))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x)[0].mean(0), target).backward()
        optimizer.step()
    x, target, _ = test.batch(range(64))
    net.eval()
    return float((net(x)[0].mean(0).argmax(1) == target).double().mean())


@pytest.mark.parametrize("seed", range(5))
def test_with_delays_a_network_sees_where_a_bar_moves_and_without_it_does_not(seed):
    """Chance is 0.5; the control is the same network and training without delays."""
    assert accuracy_with(True, seed) > 0.9
    assert accuracy_with(False, seed) < 0.65
