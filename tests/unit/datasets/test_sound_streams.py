"""Sound that arrives in pieces becomes what the whole recording becomes."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from snnsim_datasets.tools.audio import Recordings, read_mixed
from snnsim_datasets.tools.mel import MelFrontEnd
from snnsim_datasets.tools.sound_streams import FORMATS, Mixer, RawSamples

from snnsim.errors import ConfigError, DataError, ShapeError

OWN = MelFrontEnd(16000, 16000, 80, n_fft=512, scaled=True)  # of recordings of one's own
FRONT_ENDS = {
    "own": OWN,
    "8 kHz": MelFrontEnd(8000, 8000, 40),
    "gsc": MelFrontEnd(),
    "48 kHz": MelFrontEnd(48000, 8000, 20),
    "slow": MelFrontEnd(1000, 1000, 10, n_fft=32),
    "odd window": MelFrontEnd(8000, 8000, 20, n_fft=161),
}
SIZES = [1, 2, 79, 127, 128, 129, 130, 255, 256, 257, 1000, 7999, 8000, 16001]


def noise(size: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(size, generator=torch.Generator().manual_seed(seed))


def in_pieces(front_end: MelFrontEnd, wave: torch.Tensor, size: int, **options) -> torch.Tensor:
    state, found = front_end.start(), []
    for piece in wave.split(size):
        steps, state = front_end.push(piece, state)
        found.append(steps)
    return torch.cat([*found, front_end.finish(state, **options)])


def pieces_of(size: int) -> list[int]:
    return [piece for piece in (1, 7, 160, 999, 10**6) if size / piece < 1000]


# --- the mel front end ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", FRONT_ENDS)
@pytest.mark.parametrize("size", SIZES)
def test_pieces_with_a_reflected_end_are_what_a_call_returns(name, size):
    front_end, wave = FRONT_ENDS[name], noise(size)
    expected = front_end(wave[None])[0]
    for piece in pieces_of(size):
        found = in_pieces(front_end, wave, piece, reflected=True)
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)  # dB


@pytest.mark.parametrize("name", FRONT_ENDS)
@pytest.mark.parametrize("size", SIZES)
def test_pieces_are_what_a_call_returns_where_silence_follows(name, size):
    front_end, wave = FRONT_ENDS[name], noise(size)
    silence = torch.zeros(front_end.samples(8) + front_end.n_fft * front_end.factor)
    expected = front_end(torch.cat([wave, silence])[None])[0][: front_end.steps(size)]
    for piece in pieces_of(size):
        found = in_pieces(front_end, wave, piece)
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)  # dB


@pytest.mark.parametrize("size", [300, 8000, 30011])
def test_pieces_are_what_a_data_set_gives(size):
    clip = np.clip(32768 * noise(size).numpy(), -32768, 32767).astype(np.int16)
    data = Recordings(
        np.concatenate([clip, clip[:50]]), np.array([0, size, size + 50]), np.zeros(2, np.int64),
        np.full(2, -1), 80, ("a",), 10.0, OWN, one_length=False,
    )  # fmt: skip
    expected = data.batch([0], 400).x[: OWN.steps(size), 0]
    found = in_pieces(OWN, torch.from_numpy(clip.astype(np.float32) / 32768), 160)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


def test_a_step_is_returned_as_soon_as_its_window_is_complete():
    state, steps = OWN.start(), 0
    for count in range(1, 100):
        new, state = OWN.push(noise(160, count), state)
        steps += len(new)
        assert steps == max(0, (160 * count - OWN.reach) // OWN.hop + 1), count


def test_a_state_is_a_value_from_which_one_can_go_on_twice():
    _, state = OWN.push(noise(1000), OWN.start())
    first, second = (OWN.push(noise(1000, 1), state)[0] for _ in range(2))
    assert len(first) and torch.equal(first, second)


def test_hops_that_skip_samples_and_pieces_of_another_kind_are_refused():
    with pytest.raises(ConfigError, match="a hop of 80 samples is more than half a window of 128"):
        MelFrontEnd(8000, 8000, 40, n_fft=128).start()
    for piece in (torch.zeros(1, 9), torch.zeros(9, dtype=torch.float64)):
        with pytest.raises(ShapeError, match="must be float32"):
            OWN.push(piece, OWN.start())


# --- mixing and resampling ------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_mixer_makes_the_samples_that_are_read_of_a_file(tmp_path, rate, channels):
    samples = np.random.default_rng(0).integers(-9000, 9000, (rate + 7, channels)).astype(np.int16)
    soundfile.write(tmp_path / "x.wav", samples, rate)
    expected = read_mixed(tmp_path / "x.wav", 16000)
    for parts in (1, 10, 97):
        mixer = Mixer(rate, 16000)
        found = [mixer.push(part) for part in np.array_split(samples, parts)]
        assert np.array_equal(np.concatenate([*found, mixer.finish()]), expected), parts


@pytest.mark.parametrize("rate", [0, -1, 10**6])
def test_rates_out_of_range_are_refused(rate):
    with pytest.raises(ConfigError, match=f"the rate is {rate} but must be"):
        Mixer(rate, 16000)


# --- bytes ----------------------------------------------------------------------------------------


def as_bytes(samples: np.ndarray, form: str) -> bytes:
    scale = {"s16le": 1, "s32le": 65536, "f32le": 1 / 32768}[form]
    return (samples.astype(np.float64) * scale).astype(FORMATS[form]).tobytes()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_bytes_in_pieces_are_samples(form, channels, size):
    samples = np.random.default_rng(1).integers(-32768, 32768, (50, channels)).astype(np.int16)
    data, raw = as_bytes(samples, form), RawSamples(form, channels)
    found = [raw.push(data[i : i + size], "a pipe") for i in range(0, len(data), size)]
    assert np.array_equal(np.concatenate(found), samples) and raw.left == 0


def test_the_bytes_of_half_a_sample_are_counted():
    raw = RawSamples("s32le", 2)
    assert len(raw.push(b"\0" * 19, "a pipe")) == 2 and raw.left == 3


@pytest.mark.parametrize(
    ("value", "text"), [(np.nan, "NaN"), (np.inf, "infinite"), (1.5, "up to 1.5, beyond")]
)
def test_floats_that_are_no_sound_are_refused(value, text):
    with pytest.raises(DataError, match=f"a pipe has samples .*{text}"):
        RawSamples("f32le").push(np.array([0, value], "<f4").tobytes(), "a pipe")


@pytest.mark.filterwarnings("error")
def test_whole_numbers_that_are_read_as_floats_are_refused_without_a_warning():
    signalling = np.array([0x7F800001], "<u4").tobytes()
    with pytest.raises(DataError, match="a pipe has samples that are NaN"):
        RawSamples("f32le").push(signalling, "a pipe")


def test_formats_and_channels_that_are_unknown_are_refused():
    with pytest.raises(ConfigError, match="the format is 's24le' but must be one of s16le"):
        RawSamples("s24le")
    for channels in (0, 33):
        with pytest.raises(ConfigError, match=f"the number of channels is {channels}"):
            RawSamples("s16le", channels)
