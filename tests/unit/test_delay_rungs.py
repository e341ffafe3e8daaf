"""Every rung of the delay convolution against the reference: outputs and all gradients."""

import numpy as np
import pytest
import torch
from toolbox import assert_same, named

from snnsim.errors import BackendError
from snnsim.functional.delays import delay_kernel
from snnsim.kernels.delay_conv import delay_conv, events, spectral, transforms
from snnsim.kernels.delay_conv.one_tap import one_tap_conv
from snnsim.kernels.delay_conv.taps import fused_taps, kernel_taps

SIZES = [  # steps, samples, inputs, outputs, taps, tail
    (101, 3, 5, 70, 25, 12),
    (7, 2, 3, 2, 25, 0),
    (1, 1, 1, 1, 1, 0),
    (1300, 2, 3, 4, 25, 24),
    (333, 9, 2, 2, 7, 3),
    (5, 11, 2, 3, 9, 8),
    (64, 4, 3, 3, 3, 0),
]


def problem(size, seed, count=1, rate=None):
    steps, samples, n_in, n_out, length, _ = size
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(steps, samples, n_in, generator=generator).double()
    if rate is not None:
        x = x * (torch.rand(x.shape, generator=generator) < rate)
    weight = torch.randn(n_out, n_in, count, generator=generator).double()
    delay = torch.rand(n_out, n_in, count, generator=generator).double() * length
    return x, weight, delay.clamp(0, length - 1)


def gradients(function, leaves, seed):
    leaves = [a.clone().requires_grad_() for a in leaves]
    y = function(*leaves)
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)).to(y)
    return [y, *torch.autograd.grad(y, leaves, g)]


def assert_close(found, expected, tolerance):
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max().item() < tolerance * max(1.0, b.abs().max().item())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("device_kind", ["kernels", "matrices"])
def test_spectral_equals_reference(size, device_kind, monkeypatch):
    if device_kind == "matrices":  # what other devices run
        monkeypatch.setattr(transforms, "_few", lambda *_: True)
    leaves = problem(size, seed=0)
    length, tail = size[4:]
    found, expected = (
        gradients(
            lambda *a, backend=backend: delay_conv(
                *a, 0.7, length=length, tail=tail, backend=backend
            ),
            leaves,
            seed=1,
        )
        for backend in ("spectral", "reference")
    )
    assert_close(found, expected, 1e-11)


def test_spectra_that_do_not_fit_at_once_give_the_same(monkeypatch):
    monkeypatch.setattr(spectral, "PLANE_VALUES", 3 * 101 * 8 * 5)
    size = (700, 7, 5, 4, 25, 12)
    leaves = problem(size, seed=3)
    found, expected = (
        gradients(
            lambda *a, b=backend: delay_conv(*a, 0.7, length=25, tail=12, backend=b), leaves, 4
        )
        for backend in ("spectral", "reference")
    )
    assert_close(found, expected, 1e-11)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("rate", [0.0, 0.01, 0.06, 0.4])
def test_one_tap_equals_reference(size, count, rate):
    x, weight, delay = problem(size, seed=5, count=count, rate=rate)
    length, tail = size[4:]
    found, expected = (
        gradients(
            lambda a, w, b=backend: delay_conv(
                a, w, delay, 0.0, length=length, tail=tail, profile="one_tap", backend=b
            ),
            (x, weight),
            seed=6,
        )
        for backend in ("one_tap", "reference")
    )
    assert_close(found, expected, 1e-12)


@pytest.mark.parametrize("size", [*SIZES, (600, 9, 2, 17, 801, 0)])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("profile", ["gauss", "triangle"])
@pytest.mark.parametrize("rate", [0.0, 0.03, 0.4])
def test_events_equal_reference(size, count, profile, rate):
    x, weight, delay = problem(size, seed=12, count=count, rate=rate)
    length, tail = size[4:]
    for sigma in (torch.tensor(0.1).double(), torch.rand_like(delay) * 0.1):
        found, expected = (
            gradients(
                lambda *a, b=backend: delay_conv(
                    *a, length=length, tail=tail, profile=profile, backend=b
                ),
                (x, weight, delay, sigma),
                seed=13,
            )
            for backend in ("events", "reference")
        )
        assert_close(found, expected, 1e-12)


def test_few_spikes_through_a_narrow_kernel_take_the_events_rung(monkeypatch):
    seen = []
    original = events.event_conv
    monkeypatch.setattr(events, "event_conv", lambda *a: seen.append(1) or original(*a))
    x, weight, delay = problem((101, 16, 64, 64, 25, 0), seed=14, rate=0.02)
    dense = torch.ones_like(x)
    delay_conv(x, weight, delay, 0.1, length=25)
    assert seen == [1]
    delay_conv(dense, weight, delay, 0.1, length=25)
    delay_conv(x, weight, delay, 0.5, length=25)  # in float64 this width needs more taps
    assert seen == [1]
    delay_conv(x.float(), weight.float(), delay.float(), 0.23, length=25)
    assert seen == [1, 1]
    with pytest.raises(BackendError, match="no more than 8 taps"):
        delay_conv(x, weight, delay, 0.5, length=25, backend="events")


@pytest.mark.parametrize("period", [2, 4, 6, 10, 16, 30, 50, 90, 128, 144, 150, 160, 1024])
def test_transform_equals_numpy_and_leaves_no_undefined_value(period):
    steps, lanes = max(period - 3, 1), 261
    x = np.random.default_rng(7).standard_normal((steps, 1, lanes))
    out = torch.full((3 * (period // 2 + 1), 2, lanes), torch.nan).double()
    span = transforms.Span(0, steps, 0)
    transforms.analyse(torch.from_numpy(x), span, 1, out, 1, period)
    re, im, both = out.view(3, -1, 2, lanes)[:, :, 1].numpy()
    expected = np.fft.rfft(x[:, 0], period, axis=0)
    assert np.abs(re - expected.real).max() < 1e-12 * period
    assert np.abs(im - expected.imag).max() < 1e-12 * period
    assert np.abs(both - expected.imag - expected.real).max() < 1e-12 * period


@pytest.mark.parametrize(
    ("steps", "length", "period"), [(1000, 25, 128), (101, 25, 128), (9, 9, 32)]
)
def test_blocks_cover_every_step_once_and_nothing_wraps_around(steps, length, period):
    frames = steps + length // 2
    blocks = spectral.cut(steps, frames, length, period)
    assert [b.out0 for b in blocks] == [0, *(b.out1 for b in blocks[:-1])]
    assert blocks[-1].out1 == frames
    for b in blocks:
        distances = np.subtract.outer(np.arange(b.out0, b.out1), np.arange(b.in0, b.in1))
        reached = distances % period < length
        assert np.array_equal(reached, (distances >= 0) & (distances < length))
        outside = [s for s in range(steps) if not b.in0 <= s < b.in1]
        for s in outside:
            assert not any(0 <= t - s < length for t in range(b.out0, b.out1))


@pytest.mark.parametrize("profile", ["gauss", "triangle"])
@pytest.mark.parametrize("sigma", [12.0, 0.5, 0.23, 0.0, -2.0, "per synapse"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 2e-5)])
def test_fused_kernel_and_its_gradients_equal_the_reference(profile, sigma, dtype, tolerance):
    _, weight, delay = problem((1, 1, 5, 7, 25, 0), seed=8, count=2)
    width = torch.rand(7, 5, 2).double() * 5 if sigma == "per synapse" else torch.tensor(sigma)
    leaves = [a.to(dtype) for a in (weight, delay, width)]
    found = gradients(lambda *a: kernel_taps(*a, 25, profile), leaves, seed=9)
    expected = gradients(lambda *a: delay_kernel(*a, 25, profile).permute(2, 0, 1), leaves, seed=9)
    assert_close(found, expected, tolerance)


def test_taps_out_of_reach_are_exactly_zero():
    weight, delay = torch.ones(1, 1, 1), torch.full((1, 1, 1), 11.7)
    taps = kernel_taps(weight, delay, 0.23, 25, "gauss").flatten()
    assert [d for d in range(25) if taps[d] != 0] == [8, 9, 10, 11, 12, 13, 14, 15]
    assert abs(float(taps.sum()) - 1) < 1e-6


def test_operators_follow_the_rules_of_torch():
    x, weight, delay = problem((12, 2, 3, 4, 5, 2), seed=10)
    x, weight, delay = (a.requires_grad_() for a in (x, weight, delay))
    sigma = torch.tensor([0.8]).double().requires_grad_()
    taps = kernel_taps(weight, delay, 0.8, 5, "gauss").detach().requires_grad_()
    torch.library.opcheck(torch.ops.snnsim.spectral_conv.default, (x, taps, 14))
    torch.library.opcheck(torch.ops.snnsim.delay_taps.default, (weight, delay, sigma, 5, "gauss"))
    sigma = torch.tensor([0.1]).double().requires_grad_()
    torch.library.opcheck(
        torch.ops.snnsim.event_conv.default, (x, weight, delay, sigma, 5, "gauss", 14)
    )
    torch.library.opcheck(torch.ops.snnsim.one_tap_conv.default, (x, weight, delay.detach(), 5, 14))


def test_results_do_not_depend_on_the_number_of_threads():
    size = (101, 40, 40, 40, 25, 12)
    x, weight, delay = problem(size, seed=11, rate=0.2)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            one = one_tap_conv(x, weight, delay, 25, 113)
            taps = fused_taps(weight, delay, torch.tensor([0.5]).double(), 25, "gauss")
            leaves = [a.requires_grad_() for a in (weight.clone(), delay.clone())]
            y = delay_conv(x, *leaves, 0.1, length=25, backend="events")
            found = (one, taps, y, *torch.autograd.grad(y.square().sum(), leaves))
            results.append(named("one_tap taps y weight.grad delay.grad", found))
    finally:
        torch.set_num_threads(before)
    assert_same(*results)
