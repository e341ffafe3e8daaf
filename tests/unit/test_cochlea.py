"""The cochlea as an encoder: whole recordings, streams, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from toolbox import refusal

from snnsim.encoders import Cochlea, Spikes
from snnsim.errors import ConfigError, NonFiniteError, ShapeError, SnnsimError
from snnsim.kernels.cochlea import reference
from snnsim.kernels.cochlea.filters import filters
from snnsim.kernels.cochlea.parameters import HairCell, Nerve
from snnsim.kernels.cochlea.state import at_rest

RATE = 48000
SMALL = Cochlea(channels=24)
STREAM = Cochlea(channels=24, gain=0.5)


def sound(samples: int, seed: int = 0) -> np.ndarray:
    """Noise that comes and goes, mostly of low frequencies as in speech."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=samples))
    spectrum /= 1 + np.arange(len(spectrum)) * RATE / samples / 200
    return 5 * np.fft.irfft(spectrum, n=samples) * np.sin(np.arange(samples) / 2000) ** 2


def tone(frequency: float, rate: int = RATE, seconds: float = 0.3) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


def assert_equal(found: Spikes, expected: Spikes) -> None:
    np.testing.assert_array_equal(found.times, expected.times)
    np.testing.assert_array_equal(found.units, expected.units)


def in_pieces(cochlea: Cochlea, samples: np.ndarray, sizes: list[int], seed: int) -> Spikes:
    """Spikes of a stream whose chunks have the sizes, again and again."""
    state, parts, start, turn = cochlea.start(seed), [], 0, 0
    while start < len(samples):
        size = sizes[turn % len(sizes)]
        spikes, state = cochlea.push(samples[start : start + size], state)
        parts.append(spikes)
        start, turn = start + size, turn + 1
    parts.append(cochlea.finish(state))
    return Spikes(*(np.concatenate(each) for each in zip(*parts, strict=True)))


# --- whole recordings -----------------------------------------------------------------------------


def test_spikes_are_in_order_within_the_recording_and_on_steps_of_two_samples():
    times, units = SMALL(sound(20001))
    assert len(times) == len(units) > 50
    assert np.all(np.diff(times) >= 0)
    assert times.min() >= 0 and times.max() < 20001 / RATE
    assert units.min() >= 0 and units.max() < 24
    np.testing.assert_allclose(times * RATE / 2, np.round(times * RATE / 2), atol=1e-6)


@pytest.mark.parametrize("rate", [32000, 44100, 48000, 96000])
@pytest.mark.parametrize("frequency", [250, 1000, 4000])
def test_a_tone_excites_places_up_to_the_one_that_it_resonates_with(frequency, rate):
    cochlea = Cochlea(rate, channels=24, level=1.0)
    units = cochlea(tone(frequency, rate)).units
    resonant = np.abs(np.log(cochlea.frequencies / frequency)).argmin()
    assert 0 <= resonant - np.median(units) <= 4  # the wave passes the higher frequencies first
    assert np.mean(units > resonant + 1) < 0.15


def test_low_units_have_high_frequencies():
    loud = replace(SMALL, level=1.0)
    means = [loud(tone(frequency)).units.mean() for frequency in (4000, 1000, 250)]
    assert means == sorted(means)
    assert np.all(np.diff(SMALL.frequencies) < 0)


def test_equal_seeds_give_equal_spikes_and_others_do_not():
    samples = sound(20000)
    assert_equal(SMALL(samples, seed=4), SMALL(samples, seed=4))
    assert_equal(SMALL(samples, seed=(4, 1)), SMALL(samples, seed=[4, 1]))
    trains = [SMALL(samples, seed=seed).times.tobytes() for seed in (0, 1, (0, 1), (1, 0), 2**62)]
    assert len(set(trains)) == len(trains)


@pytest.mark.parametrize("factor", [2.0**-30, 8.0, 2.0**500, 2.0**-900])
def test_loudness_of_a_whole_recording_does_not_matter(factor):
    assert_equal(SMALL(factor * sound(20000)), SMALL(sound(20000)))


def test_level_matters():
    counts = [len(replace(SMALL, level=level)(sound(20000)).times) for level in (0.03, 0.3, 3.0)]
    assert counts == sorted(set(counts))


def test_edges_are_faded_as_said():
    samples = tone(1000, seconds=0.5)

    def at_the_ends(edges: float | None) -> int:
        times, _ = replace(SMALL, edges=edges)(samples)
        return int(((times < 0.02) | (times > 0.48)).sum())

    assert at_the_ends(None) < at_the_ends(0.03) < at_the_ends(0.0)
    assert_equal(replace(SMALL, edges=0.25)(samples), SMALL(samples))
    assert_equal(replace(SMALL, edges=9.0)(samples), SMALL(samples))


def test_numbers_of_threads_do_not_matter():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = SMALL(sound(20000))
        torch.set_num_threads(3)
        assert_equal(SMALL(sound(20000)), alone)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floating_point_samples_of_any_width_are_taken(kind):
    assert len(SMALL(sound(9600).astype(kind)).times) > 10
    assert_equal(SMALL(torch.from_numpy(sound(9600))), SMALL(sound(9600)))


def test_silence_has_spontaneous_spikes_only():
    times, _ = SMALL(np.zeros(48000))
    assert len(times) < 24 * 20  # in one second
    assert_equal(STREAM(np.zeros(48000), seed=2), replace(STREAM, gain=7.0)(np.zeros(48000), 2))


def test_samples_are_not_changed():
    samples = sound(9600)
    before = samples.copy()
    SMALL(samples)
    in_pieces(STREAM, samples, [1000], 0)
    np.testing.assert_array_equal(samples, before)


def test_blocks_are_filtered_where_they_are_and_follow_each_other():
    samples = sound(3 * 8192 + 101)
    apply = filters(RATE, STREAM.channels, STREAM.causal)
    silence = np.zeros(2 * apply.period)
    padded = np.concatenate([silence[: 2 * apply.before], STREAM.gain * samples, silence])
    parts = [
        apply(padded[start : start + 2 * apply.period].astype(np.float32))
        for start in range(0, len(samples), 2 * apply.count)
    ]
    velocity = np.concatenate(parts)[: (len(samples) + 1) // 2]
    state = at_rest(STREAM.channels, RATE // 2, HairCell(), Nerve())
    expected, _ = reference.respond(velocity, RATE // 2, (STREAM.start(7).key, 0), state)
    steps, units = np.nonzero(expected)
    assert len(parts) == 4 and len(steps) > 50
    assert_equal(STREAM(samples, seed=7), Spikes(steps / (RATE // 2), units))


# --- streams --------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "sizes", [[30011], [1, 2, 3, 9000], [512], [0, 8191, 1], [8192], [100000]], ids=str
)
def test_a_stream_gives_the_spikes_of_the_whole(sizes, causal):
    cochlea = replace(STREAM, causal=causal)
    samples = sound(30011)
    whole = cochlea(samples, seed=5)
    assert len(whole.times) > 50
    assert_equal(in_pieces(cochlea, samples, sizes, 5), whole)


@pytest.mark.parametrize("seed", range(5))
def test_random_chunks_give_the_spikes_of_the_whole(seed):
    random = np.random.default_rng(seed)
    cochlea = Cochlea(int(random.choice([32000, 44100, 48000])), channels=24, gain=0.4)
    samples = sound(int(random.integers(500, 60000)), seed)
    sizes = random.integers(1, 20000, 7).tolist()
    assert_equal(in_pieces(cochlea, samples, sizes, seed), cochlea(samples, seed))


@pytest.mark.parametrize("samples", [1, 2, 7])
def test_the_shortest_streams_end_within_themselves(samples):
    state = STREAM.start()
    _, state = STREAM.push(np.ones(samples), state)
    assert np.all(STREAM.finish(state).times < samples / RATE)


def test_a_stream_of_nothing_has_no_spikes():
    assert len(STREAM.finish(STREAM.start()).times) == 0
    spikes, _ = STREAM.push(np.zeros(0), STREAM.start())
    assert len(spikes.times) == 0


def test_a_state_is_a_value():
    samples = sound(60000)
    _, state = STREAM.push(samples[:30000], STREAM.start(1))
    first, after = STREAM.push(samples[30000:], state)
    again, _ = STREAM.push(samples[30000:], state)
    assert len(first.times) > 50
    assert_equal(first, again)
    assert_equal(STREAM.finish(after), STREAM.finish(after))


@pytest.mark.parametrize("causal", [False, True])
def test_spikes_come_within_the_latency(causal):
    cochlea = replace(STREAM, causal=causal)
    state, heard, waits = cochlea.start(), 0, []
    samples = sound(60000)
    for start in range(0, 60000, 1000):
        spikes, state = cochlea.push(samples[start : start + 1000], state)
        heard += 1000
        waits += (heard / RATE - spikes.times).tolist()
    assert min(waits) > 0 and max(waits) <= cochlea.latency + 1000 / RATE
    assert cochlea.latency < (0.36 if causal else 0.51)


def test_a_gain_takes_the_place_of_the_level():
    samples = sound(30000)
    few, many = (len(replace(STREAM, gain=gain)(samples).times) for gain in (0.01, 1.0))
    assert few < many


# --- what it refuses ------------------------------------------------------------------------------

SOUNDS = {
    "stereo": (np.zeros((9600, 2)), ShapeError, r"\(9600, 2\).*average"),
    "number": (0.5, ShapeError, r"shape \(\)"),
    "int16": (np.zeros(9600, dtype=np.int16), ShapeError, "int16.*32768"),
    "bool": (np.zeros(9600, dtype=bool), ShapeError, "bool"),
    "complex": (np.zeros(9600, dtype=complex), ShapeError, "complex128"),
    "text": ("hello", ShapeError, "sound"),
    "ragged": ([[1.0], [2.0, 3.0]], ShapeError, "array"),
    "NaN": (np.where(np.arange(9600) == 17, np.nan, 0.0), NonFiniteError, "sample 17.*nan"),
    "infinite": (np.full(9600, -np.inf), NonFiniteError, "sample 0.*-inf"),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_what_is_not_a_sound_of_one_channel_is_refused(name):
    given, error, expected = SOUNDS[name]
    with pytest.raises(error, match=expected):
        SMALL(given)
    with pytest.raises(error, match=expected):
        STREAM.push(given, STREAM.start())


@pytest.mark.parametrize("samples", [0, 1, 479])
def test_recordings_of_no_length_are_refused(samples):
    assert f"{samples} samples" in refusal(ShapeError, SMALL, np.zeros(samples))


def test_recordings_that_are_too_long_are_refused(monkeypatch):
    monkeypatch.setenv("SNNSIM_MAX_SECONDS", "0.5")
    message = refusal(ShapeError, SMALL, np.zeros(24001))
    assert "24001 samples" in message and "SNNSIM_MAX_SECONDS" in message


@pytest.mark.parametrize(
    "options",
    [
        {"rate": 16000},
        {"rate": 192000},
        {"rate": 44101},
        {"rate": 48000.0},
        {"channels": 0},
        {"channels": 2.5},
        {"channels": 10**6},
        {"level": 0.0},
        {"level": float("nan")},
        {"level": "loud"},
        {"edges": -0.1},
        {"edges": float("inf")},
        {"gain": 0},
        {"gain": -1.0},
        {"causal": 1},
        {"causal": "yes"},
    ],
    ids=str,
)
def test_impossible_options_are_refused_by_their_names(options):
    (name,) = options
    with pytest.raises(ConfigError, match=f"{name} is "):
        Cochlea(**options)


@pytest.mark.parametrize("seed", [-1, 1.5, "one", None, (1, -2), (), 2**64], ids=str)
def test_impossible_seeds_are_refused(seed):
    assert "seed" in refusal(ConfigError, SMALL, sound(9600), seed)


def test_a_stream_needs_a_gain():
    assert "gain" in refusal(ConfigError, SMALL.start)


@pytest.mark.parametrize("state", [None, (), 3])
def test_what_is_not_a_state_is_refused(state):
    assert "start()" in refusal(ConfigError, STREAM.push, np.zeros(10), state)
    assert "start()" in refusal(ConfigError, STREAM.finish, state)


@pytest.mark.parametrize("change", [{"rate": 44100}, {"channels": 25}, {"gain": 2.0}], ids=str)
def test_the_state_of_another_cochlea_is_refused(change):
    state = replace(STREAM, **change).start()
    assert "belongs to" in refusal(ConfigError, STREAM.push, np.zeros(10), state)


def test_all_refusals_are_errors_of_this_project():
    assert issubclass(ShapeError, SnnsimError) and issubclass(NonFiniteError, SnnsimError)


def test_the_encoders_are_imported_without_numba():
    code = "import sys, snnsim.encoders; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
