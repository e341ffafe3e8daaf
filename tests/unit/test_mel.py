"""The mel front end against its formulas: filters, spectrum, resampling, number of steps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from snnsim_datasets.tools.mel import MelFrontEnd, mel_filters, resample_kernel

from snnsim.errors import ConfigError


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tone(frequency: float, rate: int, seconds: float = 1.0) -> torch.Tensor:
    n = torch.arange(round(rate * seconds), dtype=torch.float64)
    return torch.sin(2 * math.pi * frequency * n / rate).float()[None]


def mel_of(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def triangles(n_mels: int, n_fft: int, rate: int, f_min: float, f_max: float) -> np.ndarray:
    """The filters by their definition: for each band and frequency one point of a triangle."""
    step = (mel_of(f_max) - mel_of(f_min)) / (n_mels + 1)
    edges = [700 * (10 ** ((mel_of(f_min) + i * step) / 2595) - 1) for i in range(n_mels + 2)]
    out = np.zeros((n_mels, n_fft // 2 + 1))
    for k in range(n_mels):
        left, centre, right = edges[k : k + 3]
        for b in range(n_fft // 2 + 1):
            f = b * rate / n_fft
            if left < f <= centre:
                out[k, b] = (f - left) / (centre - left)
            elif centre < f < right:
                out[k, b] = (right - f) / (right - centre)
    return out


def naive_power(wave: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """Centred, reflected, Hann-windowed DFT by matrix product in float64: ``[F, T]``."""
    n = np.arange(n_fft)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / n_fft)
    dft = np.exp(-2j * np.pi * np.outer(np.arange(n_fft // 2 + 1), n) / n_fft)
    reach = n_fft // 2
    padded = np.concatenate([wave[reach:0:-1], wave, wave[-2 : -reach - 2 : -1]])
    frames = [padded[m * hop : m * hop + n_fft] * window for m in range(len(wave) // hop + 1)]
    return np.abs(dft @ np.stack(frames, 1)) ** 2


# Filters


@pytest.mark.parametrize(("n_mels", "f_max"), [(140, 14000.0), (140, 4000.0), (40, 3500.0)])
def test_filters_equal_the_definition(n_mels, f_max):
    filters = mel_filters(n_mels, 256, 8000, 50.0, f_max).numpy()
    np.testing.assert_allclose(filters, triangles(n_mels, 256, 8000, 50.0, f_max), atol=1e-6)


@pytest.mark.parametrize(
    ("n_mels", "f_max", "empty"),
    [(140, 14000.0, range(87, 140)), (80, None, ()), (40, None, ())],
)
def test_bands_without_support(n_mels, f_max, empty):
    filters = MelFrontEnd(n_mels=n_mels, f_max=f_max).filters
    assert torch.nonzero(filters.sum(1) == 0).flatten().tolist() == list(empty)


def test_seven_low_bands_of_140_are_narrower_than_the_spectrum_below_4_khz():
    empty = torch.nonzero(MelFrontEnd(f_max=4000.0).filters.sum(1) == 0).flatten()
    assert len(empty) == 7
    assert empty.max() < 70


def test_the_default_upper_end_is_the_nyquist_frequency():
    assert torch.equal(MelFrontEnd().filters, MelFrontEnd(f_max=4000.0).filters)


@pytest.mark.parametrize("level", [0.0, 1e-3, 1.0, 30.0])
def test_bands_above_nyquist_are_exactly_minus_100_db_on_any_input(level):
    y = MelFrontEnd(f_max=14000.0)(level * noise(2, 16000, seed=1))
    assert (y[:, :, 87:] == -100).all()
    if level > 0:
        assert (y[:, :, 86] > -100).all()


def test_silence_is_exactly_minus_100_db_everywhere():
    assert (MelFrontEnd()(torch.zeros(1, 4000)) == -100).all()


# Spectrum


@pytest.mark.parametrize(("n_fft", "hop_ms", "n_mels"), [(256, 10.0, 140), (128, 5.0, 40)])
def test_the_front_end_equals_a_naive_float64_transform(n_fft, hop_ms, n_mels):
    wave = noise(1, 1999, seed=2)
    front_end = MelFrontEnd(8000, 8000, n_mels, n_fft=n_fft, hop_ms=hop_ms)
    power = naive_power(wave[0].double().numpy(), n_fft, round(8 * hop_ms))
    expected = triangles(n_mels, n_fft, 8000, 50.0, 4000.0) @ power
    found = 10 ** (front_end(wave)[0].double().numpy().T / 10)
    supported = expected.max(1) > 0
    assert supported.sum() > n_mels // 2
    # float32: relative to a band, and to the loudest for the smallest values
    np.testing.assert_allclose(
        found[supported], expected[supported], rtol=1e-4, atol=1e-6 * expected.max()
    )


@pytest.mark.parametrize("frequency", [750.0, 1000.0, 2000.0, 3000.0])  # none between two bands
@pytest.mark.parametrize("n_mels", [40, 140])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_tone_peaks_in_the_band_nearest_to_it(frequency, n_mels, rate):
    y = MelFrontEnd(rate, 8000, n_mels)(tone(frequency, rate))
    step = (mel_of(4000.0) - mel_of(50.0)) / (n_mels + 1)
    nearest = round((mel_of(frequency) - mel_of(50.0)) / step) - 1
    assert y[0, 5:-5].argmax(1).unique().tolist() == [nearest]


def test_a_click_is_loudest_in_its_own_frame():
    wave = torch.zeros(1, 16000)
    wave[0, 6400] = 1.0  # 400 ms
    assert MelFrontEnd()(wave)[0].sum(1).argmax() == 40


def test_ten_times_the_amplitude_is_20_db_more():
    wave = noise(1, 8000, seed=3)
    quiet, loud = (MelFrontEnd()(a * wave) for a in (1.0, 10.0))
    supported = MelFrontEnd().filters.sum(1) > 0
    difference = (loud - quiet)[..., supported]
    torch.testing.assert_close(difference, torch.full_like(difference, 20.0), rtol=0, atol=1e-3)


def test_clips_of_a_batch_do_not_see_each_other():
    wave, other = noise(3, 5000, seed=4), 100 * noise(3, 5000, seed=5)
    other[1] = wave[1]
    assert torch.equal(MelFrontEnd()(wave)[1], MelFrontEnd()(other)[1])


# Number of steps


def test_one_second_at_16_khz_is_101_steps():
    assert MelFrontEnd()(torch.zeros(1, 16000)).shape == (1, 101, 140)
    assert MelFrontEnd().steps(16000) == 101


RATES = [8000, 16000, 48000]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("size", [81, 159, 160, 161, 255, 257, 319, 321, 1119, 1121, 7999, 8001])
def test_steps_is_the_real_number_of_frames(rate, size):
    front_end = MelFrontEnd(rate, 8000, 40)
    for samples in (size * rate // 8000 - 1, size * rate // 8000):
        assert front_end(torch.zeros(1, samples)).shape[1] == front_end.steps(samples)


@pytest.mark.parametrize("rate", RATES)
def test_steps_is_the_real_number_of_frames_of_a_clip_shorter_than_one_hop(rate):
    front_end = MelFrontEnd(rate, 8000, 40)
    for samples in (1, 2, 79):
        assert front_end(torch.zeros(1, samples)).shape[1] == front_end.steps(samples)


# Resampling


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize("frequency", [100.0, 1000.0, 2000.0])
def test_a_tone_in_the_band_survives_resampling_within_a_tenth_of_a_decibel(rate, frequency):
    resampled = MelFrontEnd(rate, 8000)._resample(tone(frequency, rate))
    native = tone(frequency, 8000)
    assert resampled.shape == native.shape
    inner = slice(200, -200)
    gain = (resampled[0, inner] * native[0, inner]).sum() / (native[0, inner] ** 2).sum()
    assert abs(20 * math.log10(gain)) < 0.1
    rest = resampled[0, inner] - gain * native[0, inner]  # no delay, no distortion
    assert rest.abs().max() < 0.01


@pytest.mark.parametrize("frequency", [5000.0, 6000.0, 7000.0])
def test_a_tone_above_the_band_is_suppressed_by_30_db(frequency):
    resampled = MelFrontEnd(16000, 8000)._resample(tone(frequency, 16000))[0, 200:-200]
    assert 20 * math.log10(resampled.square().mean().sqrt() / math.sqrt(0.5)) < -30


def test_the_front_end_hears_a_tone_alike_at_both_rates():
    high, low = (MelFrontEnd(r, 8000)(tone(1000.0, r))[0, 5:-5] for r in (16000, 8000))
    band = int(low[0].argmax())
    assert (high[:, band] - low[:, band]).abs().max() < 0.1


@pytest.mark.parametrize("factor", [2, 6])
def test_the_resampling_kernel_is_a_sinc_under_a_hann_window_of_six_zeros(factor):
    kernel = resample_kernel(8000 * factor, 8000).double().numpy()
    cutoff = 0.99 / factor  # of the old Nyquist frequency
    expected = []
    for n in range(-(len(kernel) // 2), len(kernel) // 2 + 1):
        zeros = cutoff * n  # how many zeros of the sinc lie before this place
        hann = 0.5 + 0.5 * math.cos(math.pi * zeros / 6) if abs(zeros) < 6 else 0.0
        expected.append(cutoff * np.sinc(zeros) * hann)
    np.testing.assert_allclose(kernel, expected, atol=1e-7)
    assert len(kernel) // 2 >= math.floor(6 / cutoff)


@pytest.mark.parametrize("factor", [2, 3, 6])
def test_the_resampling_kernel_is_symmetric_and_keeps_a_constant(factor):
    kernel = resample_kernel(8000 * factor, 8000)
    assert torch.equal(kernel, kernel.flip(0))
    assert abs(20 * math.log10(kernel.sum())) < 0.1


@pytest.mark.parametrize(("rate", "target"), [(44100, 8000), (8000, 16000)])
def test_rates_that_do_not_divide_are_refused(rate, target):
    with pytest.raises(ConfigError, match=f"{rate} Hz cannot be resampled to {target} Hz"):
        MelFrontEnd(rate, target)
