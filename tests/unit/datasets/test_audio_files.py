"""Every recording that can be written is read as it was written, or refused by its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from snnsim_datasets.tools.audio import read_audio

from snnsim.errors import DataError

INT16 = 2.0**-15  # nothing finer need be kept
QUANTUM = {  # half of it is lost by rounding, all of it by cutting off
    "PCM_S8": 2.0**-7,
    "PCM_U8": 2.0**-7,
    "PCM_16": INT16,
    "PCM_24": INT16,
    "PCM_32": INT16,
    "FLOAT": INT16,
    "DOUBLE": INT16,
    "ALAC_16": INT16,
    "ALAC_20": INT16,
    "ALAC_24": INT16,
    "ALAC_32": INT16,
    "ULAW": 2.0**-5,
    "ALAW": 2.0**-5,
}
CODECS = ("VORBIS", "OPUS", "MPEG_LAYER_III")  # equal to the ear only
ENDINGS = {"WAVEX": ".wav", "RF64": ".wav", "AU": ".au", "AIFF": ".aiff", "OGG": ".ogg"}
CONTAINERS = ("WAV", "WAVEX", "RF64", "AU", "CAF", "FLAC", "OGG", "MP3", "AIFF", "W64")
WRITABLE = [
    (container, subtype)
    for container in CONTAINERS
    for subtype in soundfile.available_subtypes(container)
    if subtype in QUANTUM or (subtype in CODECS and container in ("OGG", "MP3"))
]


def tone(samples: int, rate: int) -> np.ndarray:
    """Two tones that rise and fall, not symmetric in sign."""
    t = np.arange(samples) / rate
    return 0.4 * np.sin(2 * np.pi * 440 * t) * np.sin(np.pi * t * rate / samples) + 0.2 * np.sin(
        2 * np.pi * 150 * t + 0.5
    )


def write(path: Path, wave, rate=16_000, container="WAV", subtype="PCM_16") -> Path:
    soundfile.write(path, wave, rate, format=container, subtype=subtype)
    return path


def numbers(samples: np.ndarray) -> np.ndarray:
    """Samples between -1 and 1, whatever they are kept as."""
    samples = np.asarray(samples)
    return samples / 32768 if samples.dtype == np.int16 else samples.astype(np.float64)


def assert_right(path: Path, wave: np.ndarray, rate: int, subtype: str) -> None:
    samples, found = read_audio(path)
    assert found == rate
    got = numbers(samples)
    assert got.shape == wave.shape
    if subtype in CODECS:
        assert np.corrcoef(got, wave)[0, 1] > 0.98
        assert np.std(got) == pytest.approx(np.std(wave), rel=0.1)
    else:
        np.testing.assert_allclose(got, wave, rtol=0, atol=1.01 * QUANTUM[subtype])


def assert_refused(path: Path, call, *arguments, match: str = "") -> None:
    with pytest.raises(DataError, match=match or ".") as caught:
        call(*arguments)
    assert str(path) in str(caught.value)


def right_or_refused(path: Path, wave: np.ndarray, rate: int, subtype: str) -> None:
    try:
        read_audio(path)
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert_right(path, wave, rate, subtype)


@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
@pytest.mark.parametrize(("container", "subtype"), WRITABLE, ids=map("-".join, WRITABLE))
def test_what_is_written_is_read_whatever_the_subtype_and_container(
    tmp_path, container, subtype, rate
):
    path = tmp_path / f"clip{ENDINGS.get(container, '.' + container.lower())}"
    wave = tone(rate // 2, rate)
    assert_right(write(path, wave, rate, container, subtype), wave, rate, subtype)


@pytest.mark.parametrize("rate", [1, 7350, 11_025, 44_100, 96_000, 192_000])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "FLOAT"])
def test_any_rate_is_read_or_refused(tmp_path, rate, subtype):
    wave = tone(4000, rate)
    right_or_refused(write(tmp_path / "clip.wav", wave, rate, "WAV", subtype), wave, rate, subtype)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("FLAC", "PCM_24"), ("WAV", "DOUBLE"), ("OGG", "VORBIS")],
)
def test_several_channels_are_refused_by_their_number(tmp_path, container, subtype, channels):
    wave = tone(8000, 16_000)
    stack = np.stack([wave * (i + 1) / channels for i in range(channels)], 1)
    path = write(tmp_path / f"clip.{container.lower()}", stack, 16_000, container, subtype)
    if channels == 1:
        assert_right(path, wave, 16_000, subtype)
    else:
        assert_refused(path, read_audio, path, match=f"{channels} channels")


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64", "AU", "CAF", "AIFF"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 4321, -1])
def test_a_sample_that_is_not_a_number_is_refused(tmp_path, container, subtype, value, at):
    wave = tone(8000, 16_000)
    wave[at] = value
    path = write(tmp_path / "clip.wav", wave, 16_000, container, subtype)
    assert_refused(path, read_audio, path)


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("gain", [2.0, 4.0, 32_768.0])
def test_samples_beyond_full_scale_are_kept_or_refused_but_not_cut_off(tmp_path, subtype, gain):
    wave = gain * tone(8000, 16_000)
    path = write(tmp_path / "clip.wav", wave, 16_000, "WAV", subtype)
    try:
        samples, _ = read_audio(path)
    except DataError as error:
        assert str(path) in str(error)
    else:
        np.testing.assert_allclose(numbers(samples), wave, rtol=1e-6, atol=INT16)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT", "DOUBLE"])
def test_full_scale_keeps_its_sign(tmp_path, subtype):
    """1.0 is one more than a 16-bit number can hold; it must not turn into -1."""
    wave = np.where(np.arange(400) % 2, 1.0, -1.0)
    path = write(tmp_path / "clip.wav", wave, 16_000, "WAV", subtype)
    assert_right(path, wave, 16_000, subtype)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        *(("WAV", subtype) for subtype in ("PCM_U8", "PCM_16", "FLOAT")),
        ("WAVEX", "PCM_24"),
        *((container, "PCM_16") for container in ("RF64", "AU", "CAF", "AIFF", "W64", "FLAC")),
        ("OGG", "VORBIS"),
    ],
)
def test_a_truncated_recording_is_refused(tmp_path, container, subtype, kept):
    ending = ENDINGS.get(container, "." + container.lower())
    path = write(tmp_path / f"clip{ending}", tone(16_000, 16_000), 16_000, container, subtype)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    assert_refused(path, read_audio, path)


def test_silence_is_a_recording(tmp_path):
    path = write(tmp_path / "clip.wav", np.zeros(500))
    assert_right(path, np.zeros(500), 16_000, "PCM_16")


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")],
)
def test_a_recording_of_no_samples_is_refused(tmp_path, container, subtype):
    path = tmp_path / f"clip.{container.lower()}"
    assert_refused(write(path, np.zeros(0), 16_000, container, subtype), read_audio, path)


@pytest.mark.parametrize("ending", [".wav", ".flac", ".ogg", ".mp3", ".aiff", ".opus"])
@pytest.mark.parametrize("content", [b"", b"RIFF", b"\0" * 4096, b"hello" * 100], ids=len)
def test_a_file_that_is_no_recording_is_refused(tmp_path, ending, content):
    path = tmp_path / f"clip{ending}"
    path.write_bytes(content)
    assert_refused(path, read_audio, path)


def header(rate: int, size: int, blocks: int = 2) -> bytes:
    """A WAV header of 16-bit mono, whatever it claims."""
    claims = b"".join(
        n.to_bytes(4, "little") for n in (16, 1 | 1 << 16, rate, rate * 2 & 0xFFFFFFFF)
    )
    claims += (blocks | 16 << 16).to_bytes(4, "little")
    return (
        b"RIFF"
        + (size + 36 & 0xFFFFFFFF).to_bytes(4, "little")
        + b"WAVEfmt "
        + claims
        + (b"data" + size.to_bytes(4, "little"))
    )


@pytest.mark.parametrize(
    ("rate", "size"),
    [(16_000, 2_000_000_000), (16_000, 4000), (0, 200), (1 << 31, 200), (0xFFFF_FFFF, 200)],
)
def test_a_length_or_rate_that_cannot_be_is_refused(tmp_path, rate, size):
    """The header promises more than the file has, or a rate that nothing records at."""
    path = tmp_path / "clip.wav"
    path.write_bytes(header(rate, size) + b"\1\0" * 100)
    assert_refused(path, read_audio, path)


def test_the_header_of_these_tests_is_right(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(header(16_000, 200) + b"\1\0" * 100)
    assert_right(path, np.full(100, INT16), 16_000, "PCM_16")
