"""Delay kernels, the convolution that applies them, and the connections built on it."""

from __future__ import annotations

import pytest
import torch
from toolbox import assert_same, named

from snnsim.errors import BackendError, ConfigError, ShapeError
from snnsim.functional import delays
from snnsim.kernels.delay_conv import choose_rung, delay_conv
from snnsim.synapses import Delayed

PROFILES = [("gauss", 0.23), ("gauss", 12.0), ("triangle", 0.0), ("triangle", 3.5), ("linear", 0.0)]


def test_published_taps():
    """D = 25, position 0.3, SIG 0.23, weight 1; taps 10 .. 15 in DCLS's order."""
    kernel = delays.delay_kernel(
        torch.ones(1).double(), torch.tensor([12 - 0.3]).double(), 0.23, 25
    )
    found = kernel.flip(-1)[10:16]
    expected = [2.0372e-05, 0.0272873, 0.669424, 0.300792, 0.00247544, 3.7313e-07]
    assert torch.allclose(found, torch.tensor(expected).double(), rtol=2e-5, atol=0)


def test_gauss_at_a_whole_position_is_not_one_hot_but_the_triangle_is():
    at = torch.tensor([7.0]).double()
    gauss = delays.delay_profile(at, 0.0, 25, "gauss")[0]
    assert gauss[7].item() == pytest.approx(0.9979, abs=1e-4)
    assert gauss[6].item() == pytest.approx(0.00105, abs=1e-5)
    triangle = delays.delay_profile(at.float(), 0.0, 25, "triangle")[0]
    assert triangle[7].item() == pytest.approx(0.99999988, abs=1e-8)
    assert int((triangle != 0).sum()) == 1


def test_wide_gauss_at_the_border_is_truncated_and_renormalised():
    """SIG 12 at the largest delay: taps fall from 0.0659 to 0.0097."""
    taps = delays.delay_profile(torch.tensor([24.0]).double(), 12.0, 25, "gauss")[0]
    assert taps[24].item() == pytest.approx(0.0659, abs=1e-4)
    assert taps[0].item() == pytest.approx(0.0097, abs=1e-4)
    assert taps.sum().item() == pytest.approx(1.0, abs=1e-7)


@pytest.mark.parametrize(("profile", "sigma"), PROFILES)
@pytest.mark.parametrize("length", [1, 3, 25])
def test_a_kernel_sums_to_its_weight_at_every_delay(profile, sigma, length):
    at = torch.linspace(0, length - 1, 61).double().unsqueeze(-1)
    weight = torch.linspace(-2, 2, 61).double().unsqueeze(-1)
    kernel = delays.delay_kernel(weight, at, sigma, length, profile)
    assert torch.allclose(kernel.sum(-1), weight.squeeze(-1), atol=3e-6)


@pytest.mark.parametrize(("profile", "sigma"), PROFILES)
def test_profiles_equal_the_installed_dcls(profile, sigma):
    modules = pytest.importorskip("DCLS.construct.modules")
    version = {"gauss": "gauss", "triangle": "max", "linear": "v0"}[profile]
    torch.manual_seed(0)
    peer = modules.Dcls1d(4, 3, 2, dilated_kernel_size=9, bias=False, version=version).double()
    position = (torch.rand(1, 3, 4, 2).double() - 0.5) * 7.9
    with torch.no_grad():
        peer.P.copy_(position)
        if version != "v0":
            peer.SIG.fill_(sigma)
    expected = peer.DCK(peer.weight, peer.P, None if version == "v0" else peer.SIG)
    found = delays.delay_kernel(peer.weight, 4 - peer.P[0], sigma, 9, profile).flip(-1)
    assert torch.allclose(found, expected, atol=1e-12)


def test_gradients_of_the_kernel_have_the_closed_form():
    """dK_d/dp = w x_d (a_d - sum_l x_l a_l) with a_d = (d - p) / s^2."""
    torch.manual_seed(0)
    weight = torch.randn(6, 1).double()
    at = (torch.rand(6, 1).double() * 8).requires_grad_()
    kernel = delays.delay_kernel(weight, at, 0.8, 9)
    g = torch.randn(kernel.shape).double()
    (found,) = torch.autograd.grad(kernel, at, g)
    x = delays.delay_profile(at.detach(), 0.8, 9, "gauss").squeeze(1)
    a = (torch.arange(9).double() - at.detach()) / (0.8 + 0.27) ** 2
    slope = weight * x * (a - (x * a).sum(-1, keepdim=True))
    assert torch.allclose(found.squeeze(1), (g * slope).sum(-1), atol=1e-7)  # 1e-7: the normaliser


@pytest.mark.parametrize("length", [0, 2, 24, -1])
def test_even_lengths_are_refused_with_the_reason(length):
    with pytest.raises(ConfigError, match="odd and positive"):
        delays.check_length(length)


def slow_delay_conv(x, weight, delay, sigma, length, profile, tail):
    """Five nested loops in place of a convolution."""
    steps, batch, n_in = x.shape
    y = torch.zeros(steps + tail, batch, weight.shape[0], dtype=x.dtype)
    for o in range(weight.shape[0]):
        for i in range(n_in):
            kernel = delays.delay_kernel(weight[o, i], delay[o, i], sigma, length, profile)
            for t in range(steps):
                for d in range(length):
                    if t + d < steps + tail:
                        y[t + d, :, o] += kernel[d] * x[t, :, i]
    return y


def problem(steps, batch=2, n_in=3, n_out=4, count=2, length=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(steps, batch, n_in, generator=generator) < 0.4).double()
    weight = torch.randn(n_out, n_in, count, generator=generator).double()
    delay = torch.rand(n_out, n_in, count, generator=generator).double() * (length - 1)
    return x, weight, delay


@pytest.mark.parametrize("backend", ["reference", "spectral"])
@pytest.mark.parametrize(("profile", "sigma"), PROFILES)
@pytest.mark.parametrize(("steps", "tail"), [(1, 0), (1, 2), (2, 4), (7, 0), (12, 2)])
def test_every_rung_equals_the_loops(backend, profile, sigma, steps, tail):
    x, weight, delay = problem(steps)
    expected = slow_delay_conv(x, weight, delay, sigma, 5, profile, tail)
    found = delay_conv(
        x, weight, delay, sigma, length=5, profile=profile, tail=tail, backend=backend
    )
    assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("steps", "length", "tail"), [(9, 5, 2), (4, 25, 12), (30, 1, 0), (6, 7, 6)]
)
def test_spectral_gradients_equal_the_reference(steps, length, tail):
    x, weight, delay = problem(steps, length=length, seed=1)
    results = []
    for backend in ("reference", "spectral"):
        leaves = [a.clone().requires_grad_() for a in (x, weight, delay)]
        sigma = torch.tensor(1.3).double().requires_grad_()
        y = delay_conv(*leaves, sigma, length=length, tail=tail, backend=backend)
        generator = torch.Generator().manual_seed(2)
        g = torch.randn(y.shape, generator=generator).double()
        found = [y, *torch.autograd.grad(y, [*leaves, sigma], g)]
        results.append(named("y x.grad weight.grad delay.grad sigma.grad", found))
    assert_same(*results, rtol=1e-5, atol=1e-11)


def test_finite_differences_confirm_weight_delay_sigma_and_input():
    x, weight, delay = problem(4, batch=1, n_in=2, n_out=2, count=1)
    sigma = torch.tensor(0.9).double()
    leaves = [a.requires_grad_() for a in (x, weight, delay, sigma)]
    for backend in ("reference", "spectral"):
        assert torch.autograd.gradcheck(
            lambda *a, backend=backend: delay_conv(*a, length=5, tail=2, backend=backend), leaves
        )


def test_float32_spectral_error_is_a_rounding():
    x, weight, delay = (a.float() for a in problem(100, 8, 40, 40, 1, 25))
    exact = delay_conv(
        x.double(), weight.double(), delay.double(), 0.23, length=25, backend="reference"
    )
    found = delay_conv(x, weight, delay, 0.23, length=25, backend="spectral")
    assert float((found - exact).abs().max() / exact.abs().max()) < 2e-6


SHD = ((101, 256, 140, 256), 25, 113)


def test_the_choice_of_rung_depends_on_shapes_and_profile_alone():
    assert choose_rung("auto", "gauss", "cpu", *SHD) == "spectral"
    assert choose_rung("auto", "one_tap", "cpu", *SHD) == "one_tap"
    assert choose_rung("auto", "one_tap", "cpu", *SHD, trains=True) == "spectral"
    assert choose_rung("auto", "one_tap", "cuda", *SHD) == "spectral"
    assert choose_rung("auto", "gauss", "cpu", (100, 4, 8, 8), 1, 100) == "reference"
    assert choose_rung("reference", "gauss", "cpu", *SHD) == "reference"
    with pytest.raises(ConfigError, match="backend"):
        choose_rung("fft", "gauss", "cpu", *SHD)
    with pytest.raises(BackendError, match="whole-step"):
        choose_rung("one_tap", "gauss", "cpu", *SHD)


def test_shapes_are_checked_at_the_door():
    x, weight, delay = problem(4)
    with pytest.raises(ShapeError, match="same I"):
        delay_conv(x[..., :2], weight, delay, 0.0, length=5)
    with pytest.raises(ShapeError, match="delay has shape"):
        delay_conv(x, weight, delay[:1], 0.0, length=5)
    with pytest.raises(ShapeError, match="tail is 5"):
        delay_conv(x, weight, delay, 0.0, length=5, tail=5)


def connection(granularity="synaptic", **changes):
    torch.manual_seed(0)
    options = {"dt": 10.0, "max_delay_ms": 80, "kernel_count": 2, **changes}
    return Delayed(3, 4, granularity=granularity, **options).double()


GRANULARITIES = ["synaptic", "axonal", "dendritic"]


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("profile", ["gauss", "triangle", "linear"])
@pytest.mark.parametrize("training", [True, False])
def test_axonal_and_dendritic_are_synaptic_with_shared_delays(granularity, profile, training):
    layer = connection(granularity, profile=profile, sigma=1.1).train(training)
    x, _, _ = problem(9)
    delay = {
        "synaptic": layer.delay,
        "axonal": layer.delay.unsqueeze(0),
        "dendritic": layer.delay.unsqueeze(1),
    }[granularity].expand(4, 3, 2)
    sigma = float(layer.sigma)
    if not training:
        delay, sigma, profile = delay.round(), 0.0, "triangle"
    expected = slow_delay_conv(x, layer.weight, delay, sigma, 9, profile, 0)
    assert torch.allclose(layer(x)[0], expected, atol=1e-12)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("cuts", [[3, 6], [1, 1, 7], [9, 0], [0, 9]])
def test_chunks_add_up(granularity, cuts):
    layer = connection(granularity)
    x, _, _ = problem(9)
    whole, final = layer(x)
    state, pieces = None, []
    for part in x.split(cuts):
        y, state = layer(part, state)
        pieces.append(y)
    assert torch.allclose(torch.cat(pieces), whole, atol=1e-12)
    assert torch.equal(state["history"], final["history"])


def test_lengthening_appends_half_the_largest_delay_and_cannot_stream():
    layer = connection(padding="lengthen")
    x, _, _ = problem(9)
    y, state = layer(x)
    assert y.shape[0] == 9 + 4
    with pytest.raises(ConfigError, match="padding='causal'"):
        layer(x, state)
    causal = connection(padding="causal")
    assert torch.allclose(y[:9], causal(x)[0], atol=1e-12)
    with pytest.raises(ConfigError, match="padding='causal'"):
        layer(x, {"history": x})


def test_evaluation_uses_one_tap_per_synapse():
    layer = connection(kernel_count=1).eval()
    impulse = torch.zeros(20, 1, 3).double()
    impulse[0, 0, 1] = 1.0
    y, _ = layer(impulse)
    for o in range(4):
        (at,) = (y[:, 0, o].abs() > 1e-9).nonzero(as_tuple=True)  # but for rounding
        assert at.tolist() == [round(layer.delay[o, 1, 0].item())]
        assert y[at, 0, o].item() == pytest.approx(layer.weight[o, 1, 0].item(), rel=1e-6)


def test_fixed_delays_are_whole_and_not_trained():
    layer = connection(learn_delay=False)
    assert torch.equal(layer.delay, layer.delay.round())
    assert not layer.delay.requires_grad
    x, _, _ = problem(9)
    assert torch.allclose(layer.train()(x)[0], layer.eval()(x)[0], atol=1e-12)


def test_initial_delays_cover_the_kernel_and_pile_up_at_the_maximum():
    torch.manual_seed(0)
    delay = delays.uniform_delay((400, 400), 25)
    assert float(delay.min()) >= 0
    assert float(delay.max()) == 24
    assert float((delay == 24).float().mean()) == pytest.approx(0.04, abs=0.003)


def test_clamping_and_rounding_stay_in_range():
    layer = connection()
    with torch.no_grad():
        layer.delay += 100
    layer.clamp_()
    assert layer.delay.max().item() == 8
    with torch.no_grad():
        layer.delay.fill_(2.5)
    layer.round_()
    assert set(layer.delay.flatten().tolist()) == {2.0}  # ties to even
    assert layer.delay_ms().max() == 20


def test_an_odd_number_of_steps_is_refused_with_the_reason():
    with pytest.raises(ConfigError, match=r"26 taps.*odd.*240 or 260"):
        Delayed(3, 4, dt=10.0, max_delay_ms=250)
    with pytest.raises(ConfigError, match="kernel_count is 0"):
        connection(kernel_count=0)
    with pytest.raises(ConfigError, match="did you mean 'axonal'"):
        connection("axonl")
    with pytest.raises(ShapeError, match=r"\[T, B, 3\]"):
        connection()(torch.zeros(2, 1, 5))


def test_sigma_can_be_learnt():
    layer = connection(learn_sigma=True, sigma=1.0)
    x, _, _ = problem(9)
    layer(x)[0].square().sum().backward()
    assert layer.sigma.grad is not None
    assert float(layer.sigma.grad) != 0
