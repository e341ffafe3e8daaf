"""Delay kernels called by their names: refusals, the choice of a rung, spectra."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from toolbox import normal

from snnsim.errors import BackendError, ConfigError, ShapeError
from snnsim.kernels import threads
from snnsim.kernels.delay_conv import choose_rung, delay_conv, events, most_spikes, spectral
from snnsim.kernels.delay_conv import dispatch as delay_dispatch
from snnsim.kernels.delay_conv.one_tap import accumulate, forward_shifts, one_tap_conv
from snnsim.kernels.delay_conv.profiles import fits_window
from snnsim.kernels.delay_conv.taps import flat_widths, kernel_taps
from snnsim.kernels.delay_conv.transforms import good_period

ops = torch.ops.snnsim


# --- delays --------------------------------------------------------------------------------------


def synapses():
    x, weight = normal(6, 2, 3), normal(4, 3, 2, seed=1)
    return x, weight, torch.full((4, 3, 2), 1.0).double()


def test_the_convolution_refuses_what_does_not_fit():
    x, weight, delay = synapses()
    for given, reason in (
        ((x[0], weight, delay), "with the same I"),
        ((x, weight[0], delay[0]), "with the same I"),
        ((x[..., :2], weight, delay), "with the same I"),
        ((x, weight, delay[..., :1]), "delay has shape"),
        ((x.float(), weight, delay), "float64"),
    ):
        with pytest.raises(ShapeError, match=reason):
            delay_conv(*given, 0.1, length=5)
    for tail in (-1, 5):
        with pytest.raises(
            ShapeError, match=rf"tail is {tail} but must lie in 0 .. length - 1 = 4"
        ):
            delay_conv(x, weight, delay, 0.1, length=5, tail=tail)
    assert len(delay_conv(x, weight, delay, 0.1, length=5, tail=4)) == 10


@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (6, 0, 3, 4), (6, 2, 0, 4), (6, 2, 3, 0)])
def test_empty_convolutions_are_zero_with_gradients_of_zero(shape):
    steps, batch, n_in, n_out = shape
    leaves = [torch.ones(s).double().requires_grad_() for s in (
        (steps, batch, n_in), (n_out, n_in, 1), (n_out, n_in, 1),
    )]  # fmt: skip
    y = delay_conv(*leaves, 0.1, length=5, tail=2)
    assert y.shape == (steps + 2, batch, n_out) and not y.any()
    for g in torch.autograd.grad(y.sum(), leaves):
        assert not g.any()


def test_rungs_called_by_name_refuse_what_does_not_fit():
    x, weight, delay = synapses()
    sigma = torch.tensor([0.1]).double()
    taps = kernel_taps(weight, delay, 0.1, 5, "gauss")
    for frames in (-1, 11):
        with pytest.raises(ShapeError, match="frames is"):
            ops.one_tap_conv(x, weight, delay, 5, frames)
        with pytest.raises(ShapeError, match="frames is"):
            ops.event_conv(x, weight, delay, sigma, 5, "gauss", frames)
        with pytest.raises(ShapeError, match="frames is"):
            ops.spectral_conv(x, taps, frames)
    with pytest.raises(ShapeError, match="frames is 0"):
        ops.spectral_conv(x, taps, 0)
    with pytest.raises(ShapeError, match="is empty"):
        ops.spectral_conv(x[:0], taps, 1)
    with pytest.raises(ShapeError, match="taps has shape"):
        ops.spectral_conv(x, taps[..., :2], 6)
    with pytest.raises(ShapeError, match=r"taps has shape .*\[D, O, I\]"):
        ops.spectral_conv(x, taps[0], 6)
    with pytest.raises(ShapeError, match="weight has shape"):
        ops.event_conv(x[..., :2], weight, delay, sigma, 5, "gauss", 6)
    with pytest.raises(ConfigError, match="too wide to be summed spike by spike"):
        ops.event_conv(x, weight, delay, sigma + 2, 5, "gauss", 6)
    with pytest.raises(ConfigError, match="delays reach"):
        ops.one_tap_conv(x, weight, delay + 9, 5, 6)
    for name in ("linear", "one_tap"):
        with pytest.raises(ConfigError, match="profile"):
            ops.delay_taps(weight, delay, sigma, 5, name)
    with pytest.raises(ConfigError, match="4 taps"):
        ops.delay_taps(weight, delay, sigma, 4, "gauss")
    with pytest.raises(ShapeError, match="must be flat"):
        ops.delay_taps(weight, delay, sigma[0], 5, "gauss")
    with pytest.raises(ShapeError, match="delay has shape"):
        ops.delay_taps(weight, delay[:2], sigma, 5, "gauss")


def test_their_backward_operators_refuse_it_as_well():
    x, weight, delay = synapses()
    sigma, g = torch.tensor([0.1]).double(), normal(6, 2, 4)
    taps = kernel_taps(weight, delay, 0.1, 5, "gauss")
    calls = (
        lambda g: ops.one_tap_conv_backward(x, weight, delay, g, 5, True, True),
        lambda g: ops.event_conv_backward(x, weight, delay, sigma, g, 5, "gauss", True, True),
        lambda g: ops.spectral_conv_backward(x, taps, g, True, True),
    )
    for call in calls:
        call(g)
        for wrong, reason in (
            (g[..., :3], "g has shape"), (g[:, :1], "g has shape"), (g.float(), "float32"),
            (normal(11, 2, 4), "is 11 but must lie in"),
        ):  # fmt: skip
            with pytest.raises(ShapeError, match=reason):
                call(wrong)
    for wrong in (normal(5, 4, 2), normal(5, 3, 3)):
        with pytest.raises(ShapeError, match="g has shape"):
            ops.delay_taps_backward(weight, delay, sigma, wrong, "gauss", True)
    with pytest.raises(ShapeError, match="float32"):
        ops.delay_taps_backward(weight, delay, sigma, normal(5, 4, 3).float(), "gauss", True)


@pytest.mark.parametrize("wants", list(itertools.product([True, False], repeat=2)))
def test_gradients_that_are_not_wanted_come_back_empty(wants):
    x, weight, delay = synapses()
    sigma, g = torch.tensor([0.1]).double(), normal(6, 2, 4)
    taps = kernel_taps(weight, delay, 0.1, 5, "gauss")
    found = [
        ops.one_tap_conv_backward(x, weight, delay, g, 5, *wants),
        ops.spectral_conv_backward(x, taps, g, *wants),
    ]
    for pair, second in zip(found, (weight, taps), strict=True):
        for one, like, wanted in zip(pair, (x, second), wants, strict=True):
            assert one.shape == (like.shape if wanted else (0,))
    g_x, _, _, g_sigma = ops.event_conv_backward(x, weight, delay, sigma, g, 5, "gauss", *wants)
    assert g_x.shape == (x.shape if wants[0] else (0,))
    assert g_sigma.shape == ((1,) if wants[1] else (0,))


def test_widths_are_laid_out_flat():
    weight = normal(4, 3, 2)
    assert flat_widths(0.5, weight).tolist() == [0.5]
    assert flat_widths(torch.tensor([[[0.5]]]), weight).tolist() == [0.5]
    per_copy = torch.tensor([0.1, 0.2])
    assert flat_widths(per_copy, weight).tolist() == pytest.approx([0.1, 0.2] * 12)
    assert flat_widths(per_copy, weight).dtype == torch.float64


def test_whole_steps_are_added_with_a_bias():
    weight, x = normal(2, 3, 2), normal(7, 2, 3, seed=1)
    delay = torch.tensor([0, 1, 2, 3, 4, 2.0]).view(1, 3, 2).expand(2, 3, 2).double()
    bias = torch.tensor([10.0, -20.0]).double()
    shifts = forward_shifts(weight, delay, 5)
    plain = one_tap_conv(x, weight, delay, 5, 7)
    found = accumulate(x, 4, shifts, 5, 7, bias)
    assert torch.allclose(found, plain + bias, atol=1e-12)
    with pytest.raises(ShapeError, match="bias has shape"):
        accumulate(x, 4, shifts, 5, 7, bias[:1])
    with pytest.raises(ShapeError, match="float32"):
        accumulate(x, 4, shifts, 5, 7, bias.float())
    for wrong in (x[..., :0], torch.cat([x, x], 2)[..., :5], x.float()):
        with pytest.raises(ShapeError, match="has 6 columns of float64"):
            accumulate(wrong, 4, shifts, 5, 7)
    with pytest.raises(ShapeError, match=r"must be \[T, B, I\]"):
        accumulate(x[0], 4, shifts, 5, 7)
    with pytest.raises(ConfigError, match="delays reach"):
        forward_shifts(weight, delay + 1, 5)


# --- which rung ----------------------------------------------------------------------------------


def cost_by_hand(shape, length, frames):
    """Of the spectral rung, and of the reference."""
    steps, samples, inputs, outputs = shape
    _, cost = spectral.best_period(steps, frames, length, (samples, inputs, outputs))
    return cost + 1e5, length * frames * samples * inputs * outputs


def test_the_constants_of_the_costs():
    assert (delay_dispatch.OVERHEAD, delay_dispatch.ONE_TAP) == (1e5, 2.2)
    assert (delay_dispatch.EVENT, delay_dispatch.EVENT_VALUE) == (30.0, 40.0)
    assert threads.SMALLEST_PARALLEL_WORK == 1 << 15


@pytest.mark.parametrize("shape", [(101, 256, 140, 256), (101, 4, 30, 8), (50, 2, 3, 4)])
def test_the_share_of_spikes_below_which_they_are_added_one_by_one(shape):
    spectral_cost, dense = cost_by_hand(shape, 25, 113)
    steps, samples, inputs, outputs = shape
    values = 40.0 * samples * (steps * inputs + 113 * outputs)
    each = 30.0 * steps * samples * inputs * outputs
    expected = max((min(spectral_cost, dense) - values) / each, 0.0)
    most = most_spikes(shape, 25, 113)
    assert most == pytest.approx(expected, rel=1e-12)
    assert most_spikes((0, *shape[1:]), 25, 12) == 0.0
    options = {"rate": most * 0.999}
    chosen = choose_rung("auto", "gauss", "cpu", shape, 25, 113, **options)
    assert (chosen == "events") == (most > 0)
    dense_input = {**options, "rate": most * 1.001 + 1e-9}
    assert choose_rung("auto", "gauss", "cpu", shape, 25, 113, **dense_input) != "events"
    assert choose_rung("auto", "gauss", "cuda", shape, 25, 113, **options) != "events"
    assert choose_rung("auto", "gauss", "cpu", shape, 25, 113, rate=None) != "events"


@pytest.mark.parametrize("samples", [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64])
def test_the_cheaper_of_spectra_and_the_reference_runs(samples):
    shape = (60, samples, 10, 10)
    spectral_cost, dense = cost_by_hand(shape, 9, 60)
    expected = "spectral" if spectral_cost < dense else "reference"
    assert choose_rung("auto", "gauss", "cpu", shape, 9, 60) == expected
    whole = {"trains": True}
    expected = "one_tap" if 2.2 * dense / 9 < spectral_cost else expected
    assert choose_rung("auto", "one_tap", "cpu", shape, 9, 60, **whole) == expected
    assert choose_rung("auto", "one_tap", "cpu", shape, 9, 60) == "one_tap"


def test_named_rungs_run_where_they_can():
    shape = (60, 2, 10, 10)
    assert choose_rung("auto", "gauss", "cpu", (0, 2, 10, 10), 9, 4) == "reference"
    for device in ("cpu", "cuda"):
        assert choose_rung("one_tap", "one_tap", device, shape, 9, 60) == "one_tap"
    for profile, device in (("one_tap", "meta"), ("gauss", "cpu")):
        with pytest.raises(BackendError, match="only whole-step delays"):
            choose_rung("one_tap", profile, device, shape, 9, 60)
    assert choose_rung("events", "gauss", "cpu", shape, 9, 60, rate=1.0) == "events"
    for rate, device in ((None, "cpu"), (1.0, "cuda")):
        with pytest.raises(BackendError, match="it runs only on the CPU"):
            choose_rung("events", "gauss", device, shape, 9, 60, rate=rate)


def test_a_traced_convolution_has_no_costs(monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    shape = (60, 2, 10, 10)
    assert choose_rung("auto", "gauss", "cpu", shape, 9, 60) == "spectral"
    assert choose_rung("auto", "one_tap", "cpu", shape, 9, 60) == "one_tap"
    assert choose_rung("auto", "one_tap", "cpu", shape, 9, 60, trains=True) == "spectral"
    assert choose_rung("auto", "one_tap", "cuda", shape, 9, 60) == "spectral"


def test_kernels_that_lie_within_eight_taps_are_narrow():
    for wide, root in ((False, math.sqrt(40)), (True, math.sqrt(80))):
        limit = 4 / root - 0.27
        dtype = torch.float64 if wide else torch.float32
        for width, fits in ((limit - 1e-4, True), (limit + 1e-4, False)):
            assert fits_window(width, 0, wide) == fits
            assert events.fits(-width, "gauss", dtype) == fits
            assert events.fits(torch.tensor([0.1, -width]), "gauss", dtype) == fits
            both = torch.tensor([0.0, width])
            assert events.fits(both, "gauss", dtype) == fits
    assert events.fits(3.0, "triangle", torch.float32)
    assert not events.fits(3.01, "triangle", torch.float32)
    for name in ("linear", "one_tap"):
        assert not events.fits(0.0, name, torch.float32)


def test_the_rate_of_spikes_is_that_of_one_sample_of_eight():
    x = torch.zeros(5, 17, 4)
    x[0, 8], x[1, 16, 0], x[2, 3] = 2.0, -1.0, 1.0
    assert events.spike_rate(x) == pytest.approx(5 / 60, rel=1e-12)
    assert events.spike_rate(x[:, :0]) == 0.0


def test_several_kernels_per_pair_count_as_more_spikes(monkeypatch):
    seen = []
    original = delay_dispatch.choose_rung

    def noting(*given):
        seen.append(given)
        return original(*given)

    monkeypatch.setattr(delay_dispatch, "choose_rung", noting)
    x = (torch.rand(9, 8, 3, generator=torch.Generator().manual_seed(0)) < 0.5).double()
    weight = normal(4, 3, 2)
    delay_conv(x, weight, torch.ones(4, 3, 2).double(), 0.1, length=5, tail=2)
    share = float(x[:, 0].mean())
    assert seen[0][:6] == ("auto", "gauss", "cpu", (9, 8, 3, 4), 5, 11)
    assert seen[0][6] is False and seen[0][7] == pytest.approx(2 * share)
    leaf = weight.clone().requires_grad_()
    delay_conv(x, leaf, torch.ones(4, 3, 2).double(), 3.0, length=5)
    assert seen[1][5] == 9 and seen[1][6:] == (True, None)
    with torch.no_grad():
        delay_conv(x, leaf, torch.ones(4, 3, 2).double(), 3.0, length=5)
    assert seen[2][6] is False
    delay_conv(x.clone().requires_grad_(), weight, torch.ones(4, 3, 2).double(), 3.0, length=5)
    assert seen[3][6] is True


# --- spectra -------------------------------------------------------------------------------------


def test_periods_are_even_with_halves_of_small_factors():
    def good(period):
        half = period // 2
        for radix in (2, 3, 5):
            while half % radix == 0:
                half //= radix
        return period % 2 == 0 and half == 1

    for least in range(1, 300):
        expected = next(p for p in itertools.count(max(least, 2)) if good(p))
        assert good_period(least) == expected


def test_the_best_period_is_the_cheapest_candidate():
    for steps, length, tail in ((9, 5, 0), (101, 25, 12), (1000, 25, 0), (3000, 201, 100)):
        period, cost = spectral.best_period(steps, steps + tail, length, (8, 20, 30))

        def by_hand(p, steps=steps, length=length, tail=tail):
            blocks = len(spectral.cut(steps, steps + tail, length, p))
            return p * (blocks * 8 * (1.5 * 600 + 25 * 50) + 25 * 600)

        assert cost == pytest.approx(by_hand(period), rel=1e-12)
        whole = good_period(steps + length - 1)
        longest = max(512, 4 * length)
        candidates, p = ([whole] if whole <= longest else []), good_period(max(2 * length, 16))
        while p < min(whole, longest):
            candidates.append(p)
            p = good_period(p + p // 4)
        assert period in candidates and cost == min(by_hand(p) for p in candidates)


@pytest.mark.parametrize("most", [1, 2, 3, 5, 7, 100])
def test_work_is_grouped_in_no_more_rows_than_fit(most):
    blocks = spectral.cut(100, 110, 11, 50)
    groups = list(spectral.parts(blocks, 7, most))
    done = [(p.block.out0, s) for g in groups for p in g for s in range(p.sample0, p.sample1)]
    assert sorted(done) == sorted((b.out0, s) for b in blocks for s in range(7))
    for group in groups:
        rows = [r for p in group for r in range(p.row, p.row + p.sample1 - p.sample0)]
        assert rows == list(range(len(rows))) and 0 < len(rows) <= most
    for one, two in itertools.pairwise(groups):  # no two would have fitted together
        first = two[0].sample1 - two[0].sample0
        assert one[-1].row + one[-1].sample1 - one[-1].sample0 + first > most


def test_scratch_memory_is_used_again_and_grows():
    scratch, like = spectral._Scratch(), torch.zeros(1)
    first = scratch.take("a", like, 2, 3)
    assert first.shape == (2, 3) and first.dtype == like.dtype
    assert scratch.take("a", like, 3, 2).data_ptr() == first.data_ptr()
    assert scratch.take("b", like, 2, 3).data_ptr() != first.data_ptr()
    assert scratch.take("a", like.double(), 2, 3).dtype == torch.float64
    larger = scratch.take("a", like, 7)
    assert larger.shape == (7,)
    assert scratch.take("a", like, 1).data_ptr() == larger.data_ptr()
