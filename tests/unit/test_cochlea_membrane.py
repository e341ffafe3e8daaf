"""The basilar membrane of the cochlea model, against independent calculations."""

from __future__ import annotations

from functools import cache

import mpmath
import numpy as np
import pytest

from snnsim.kernels.cochlea import membrane
from snnsim.kernels.cochlea.filters import filters
from snnsim.kernels.cochlea.parameters import Membrane

RATE = 48000
MODEL = Membrane()
NODES, WEIGHTS = np.polynomial.legendre.leggauss(600)


# --- Hankel functions -----------------------------------------------------------------------------


@pytest.mark.parametrize("angle", [0.0, 0.01, 0.4, 0.8, 1.2, 1.57])
@pytest.mark.parametrize("size", [1e-4, 0.3, 2.0, 3.999, 4.001, 5.0, 9.0, 14.0, 30.0, 80.0])
def test_hankel_functions_are_those_of_mpmath(size, angle):
    z = complex(size * np.exp(1j * angle))
    found = membrane.hankel(z)
    for order in (0, 1):
        with mpmath.workdps(100):  # it subtracts numbers that are large against the result
            expected = complex(mpmath.hankel1(order, z))
        assert abs(found[order] - expected) <= 1e-10 * abs(expected)


# --- tones ----------------------------------------------------------------------------------------


def wave_number(w: float, x: float) -> complex:
    stiffness = 1e9 * np.exp(-3.0 * x) - 3500
    resistance = 0.15 * np.sqrt(1e9 * 0.05) * np.exp(-1.5 * x)
    return w / np.sqrt(0.1 * (stiffness - 0.05 * w**2 - 1j * w * resistance))


def velocity_by_integration(w: float, x: float) -> complex:
    """The equations of Sieroka et al. with a numerical integral of the wave number."""
    travelled = x / 2 * np.sum(WEIGHTS * wave_number(w, x / 2 * (NODES + 1)))
    g, base = wave_number(w, x), wave_number(w, 0.0)
    start = 2 / 3 * base
    pressure = np.sqrt((start + travelled) / g) * complex(mpmath.hankel1(0, start + travelled))
    entrance = np.sqrt(start / base) * complex(mpmath.hankel1(0, start))
    t = 2 * w / 3 * np.sqrt(2 / (0.1 * 1e9))
    j0, j1 = (float(mpmath.besselj(n, t)) for n in (0, 1))
    y0, y1 = (float(mpmath.bessely(n, t)) for n in (0, 1))
    stapes = np.sqrt(2e9 / 0.1) * (1j * j0 + y0) / (j1 - 1j * y1)
    impedance = 0.1 * g**-2 * w**2 / 0.01
    return 2 * w / impedance * pressure / entrance * stapes


@cache
def responses(rate: int, bins: int, channels: int) -> np.ndarray:
    """Velocities at ``bins`` multiples of a frequency, up to half the rate."""
    factor, constant = np.zeros((2, bins), dtype=complex)
    out = np.zeros((channels, bins), dtype=complex)
    spacing = rate / 2 / (bins - 1)
    places = membrane.places(channels, MODEL)
    membrane.entrance(spacing, MODEL, factor, constant, 0, bins)
    membrane.responses(places, spacing, MODEL, factor, constant, out, 0, channels)
    return out


@pytest.mark.parametrize("frequency", [60, 300, 1200, 5100, 18000])
@pytest.mark.parametrize("place", range(8))
def test_velocity_of_a_tone_is_that_of_the_integrated_equations(place, frequency):
    out = responses(RATE, 801, 8)[place]
    expected = velocity_by_integration(2 * np.pi * frequency, 0.5 * place)
    assert abs(out[frequency // 30] - expected) <= 1e-8 * np.abs(out).max()


def test_best_frequencies_fall_along_the_membrane_and_lie_near_the_resonances():
    best = np.abs(responses(RATE, 4801, 15)).argmax(1) * 5
    resonances = membrane.resonance(membrane.places(15, MODEL), MODEL)
    assert np.all(np.diff(best) < 0)
    assert (best / resonances).min() > 0.85 and (best / resonances).max() < 1.05


# --- blocks of sound ------------------------------------------------------------------------------


def sound(steps: int) -> np.ndarray:
    """Noise below 20 kHz, as recordings are, two samples for each step."""
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=2 * steps))
    spectrum[int(len(spectrum) * 20 / 24) :] = 0
    return np.fft.irfft(spectrum)


def filtered(samples: np.ndarray, causal: bool, channels: int) -> np.ndarray:
    """Every second sample of the whole sound after the exact filters, in float64."""
    spectra = responses(RATE, len(samples) // 2 + 1, channels)
    spectra = spectra.conj() if causal else spectra
    return np.fft.irfft(spectra * np.fft.rfft(samples), n=len(samples))[:, ::2].T


@pytest.mark.parametrize("causal", [False, True])
def test_a_block_is_the_exact_filter_of_the_whole_sound(causal):
    apply = filters(RATE, 8, causal)
    samples = sound(1 << 16)
    start = 30000
    window = slice(2 * (start - apply.before), 2 * (start + apply.count + apply.after))
    found = apply(samples[window].astype(np.float32))
    expected = filtered(samples, causal, 8)[start : start + apply.count]
    errors = np.sqrt(((found - expected) ** 2).mean(0) / (expected**2).mean(0))
    assert errors[0] < 1e-2  # cut off at half the rate, so that its ringing is long
    assert errors[1:].max() < 1e-3


@pytest.mark.parametrize("rate", [32000, 44100, 96000])
def test_a_tone_moves_each_place_as_much_at_any_rate(rate):
    apply = filters(rate, 8, False)
    time = np.arange(2 * apply.period) / rate
    moved = apply(np.sin(2 * np.pi * 900 * time).astype(np.float32))
    expected = [abs(velocity_by_integration(2 * np.pi * 900, 0.5 * n)) for n in range(8)]
    found = np.sqrt(2 * (moved**2).mean(0))
    np.testing.assert_allclose(found[:5], expected[:5], rtol=0.02)


@pytest.mark.parametrize("causal", [False, True])
def test_published_filters_ring_before_a_click_and_causal_ones_after_it(causal):
    apply = filters(RATE, 8, causal)
    samples = np.zeros(2 * apply.period, dtype=np.float32)
    samples[2 * (apply.before + apply.count // 2)] = 1
    energy = apply(samples)[:, 2:] ** 2
    before, after = energy[: apply.count // 2].sum(0), energy[apply.count // 2 + 1 :].sum(0)
    assert np.all(after > 5 * before if causal else before > 5 * after)


@pytest.mark.parametrize("channels", [1, 49, 51, 101])
def test_any_number_of_places_is_grouped(channels):
    apply = filters(RATE, channels, False)
    assert apply.channels == channels
    assert apply(np.zeros(2 * apply.period, dtype=np.float32)).shape == (apply.count, channels)
