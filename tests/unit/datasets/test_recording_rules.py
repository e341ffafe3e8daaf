"""Recordings: rounding, headers, batches; who is in which part of Speech Commands and FSDD."""

from __future__ import annotations

import hashlib
import itertools
import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from dataset_files import PARTS, load_all, write_clip
from snnsim_datasets import gsc
from snnsim_datasets.tools import audio, files
from snnsim_datasets.tools.audio import Recordings, is_audio, read_audio, warn_passed_over
from snnsim_datasets.tools.mel import MelFrontEnd, resample_kernel
from snnsim_datasets.tools.splits import hash_fraction

from snnsim.errors import ConfigError, DataError

# --- one file ---------------------------------------------------------------------------------


def test_sound_is_told_by_its_ending():
    for name in ("a.wav", "a.WAV", "a.b.flac", "a.aifc", "a.w64", "a.Snd"):
        assert is_audio(Path(name))
    for name in ("wav", "a.txt", "a.wav.bak", "a.m4a", ".wav"):
        assert not is_audio(Path(name))


def told_of(*over: Path) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_passed_over(Path("folder"), [Path("notes.txt"), *over], "others")
    return caught


def test_files_that_are_no_recordings_are_passed_over_in_silence():
    assert told_of() == []


@pytest.mark.parametrize("number", [1, 5, 6])
def test_recordings_passed_over_are_counted_and_the_first_five_named(number):
    over = [Path(f"{i}.{'m4a' if i % 2 else 'WAV'}") for i in range(number)]
    named = ", ".join(p.name for p in over[:5])
    more = " ..." if number > 5 else ""
    (told,) = told_of(*over)
    expected = f"{number} recordings in folder are ignored: {named}{more}; expected others"
    assert str(told.message) == expected


def test_samples_of_more_digits_are_rounded_to_the_nearest_of_16_bits(tmp_path):
    values = np.asarray([0.0, 0.4, 0.6, -0.4, -0.6, 1000.5, 1001.5, 32766.6, 32768.0, -32768.0])
    soundfile.write(tmp_path / "a.wav", values / 32768, 8000, subtype="DOUBLE")
    samples, rate = read_audio(tmp_path / "a.wav")
    assert samples.tolist() == [0, 0, 1, 0, -1, 1000, 1002, 32767, 32767, -32768]
    assert (samples.dtype, samples.ndim, rate) == (np.int16, 1, 8000)


OVERSHOT = np.asarray([0.0, -1.0, 1.0 + 1e-6, -1.25])


def test_codecs_that_lose_something_may_overshoot_full_scale():
    found = audio.sixteen_bits(Path("a"), OVERSHOT, "VORBIS")
    assert found.tolist() == [0, -32768, 32767, -32768] and found.dtype == np.int16


@pytest.mark.parametrize(("samples", "loudest"), [(OVERSHOT, "1.25"), (OVERSHOT[[0, 2]], "1")])
def test_codecs_that_keep_everything_may_not_overshoot_full_scale(samples, loudest):
    with pytest.raises(DataError, match=f"^a has samples up to {loudest}, beyond full scale"):
        audio.sixteen_bits(Path("a"), samples, "DOUBLE")


def test_what_a_codec_is_said_to_do():
    assert set(audio.LOSSY) == {"VORBIS", "OPUS"} | {f"MPEG_LAYER_{n}" for n in ("I", "II", "III")}
    assert set(audio.WHOLE) == {"PCM_S8", "PCM_U8", "PCM_16", "ULAW", "ALAW", "ALAC_16"}


def header(**changes) -> SimpleNamespace:
    return SimpleNamespace(
        **({"channels": 1, "samplerate": 8000, "frames": 10, "extra_info": ""} | changes)
    )


FULL = 2**32 - 1


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"channels": 2}, "a has 2 channels but mono was expected"),
        ({"samplerate": 0}, "sampled at 0 Hz; it is damaged"),
        ({"samplerate": 768_001}, "sampled at 768001 Hz"),
        ({"frames": 2**25 + 1}, "SNNSIM_MAX_RATIO"),
        ({"extra_info": "data : 100 (should be 98)"}, "98 of 100 bytes are there"),
        ({"extra_info": "RIFF : 500 (should be 9)\ndata : 5"}, "9 of 500 bytes"),
        ({"extra_info": f"data : {FULL - 1} (should be 9)"}, f"9 of {FULL - 1} bytes"),
        ({"samplerate": 1}, None),
        ({"samplerate": 768_000}, None),
        ({"frames": 2**25}, None),
        ({"extra_info": "data : 100 (should be 99)"}, None),
        ({"extra_info": "data : 98 (should be 100)"}, None),
        ({"extra_info": f"data : {FULL} (should be 9)"}, None),
        ({"extra_info": "fmt : 100 (should be 9)"}, None),
    ],
    ids=str,
)
def test_what_a_header_says_must_be_possible(changes, match):
    """10 bytes may hold 256 MB, which are 2^25 numbers of 8 bytes."""
    if match is None:
        audio._check_header(Path("a"), header(**changes), 10)
    else:
        with pytest.raises(DataError, match=match):
            audio._check_header(Path("a"), header(**changes), 10)


# --- batches ----------------------------------------------------------------------------------


def recordings(sizes, one_length=None, n_mels=20, rate=8000) -> Recordings:
    random = np.random.default_rng(1)
    samples = random.integers(-30_000, 30_000, sum(sizes)).astype(np.int16)
    front_end = MelFrontEnd(rate, 8000, n_mels)
    count = len(sizes)
    return Recordings(
        samples, np.cumsum([0, *sizes]), np.arange(count) + 3, np.full(count, 7), n_mels,
        tuple("abcdef"), front_end.hop_ms, front_end, one_length,
    )  # fmt: skip


def features(data: Recordings, i: int, silence: int) -> np.ndarray:
    wave = torch.zeros(1, int(np.diff(data.offsets)[i]) + silence)
    clip = data.samples[data.offsets[i] : data.offsets[i + 1]]
    wave[0, : len(clip)] = torch.from_numpy(clip / np.float32(32768))
    return data.front_end(wave)[0].numpy()


@pytest.mark.parametrize("rate", [8000, 16_000])
@pytest.mark.parametrize("steps", [None, 3, 12, 15])
def test_a_batch_of_clips_has_the_features_of_each_followed_by_silence(rate, steps):
    sizes = [n * rate // 8000 for n in (700, 160, 399)]
    data = recordings(sizes, rate=rate)
    lengths = [700 // 80 + 1, 3, 5]
    assert data.lengths.tolist() == lengths and data.lengths.dtype == np.int64
    order = [1, 0, 2]
    batch = data.batch(order, steps)
    frames = max(lengths) if steps is None else steps
    assert batch.x.shape == (frames, 3, 20) and batch.x.is_contiguous()
    assert batch.labels.tolist() == [4, 3, 5]
    assert batch.lengths.tolist() == [min(lengths[i], frames) for i in order]
    for row, i in enumerate(order):
        kept = min(lengths[i], frames)
        expected = features(data, i, 8000)[:kept]
        found = batch.x[:kept, row].numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3)
        assert not batch.x[kept:, row].any()


@pytest.mark.parametrize("one_length", [None, True])
def test_clips_of_one_length_are_transformed_as_they_are_with_reflected_ends(one_length):
    data = recordings([480, 480], one_length)
    batch = data.batch([1, 0])
    assert batch.x.shape == (7, 2, 20) and batch.lengths.tolist() == [7, 7]
    for row, i in enumerate((1, 0)):
        expected = features(data, i, 0)
        np.testing.assert_allclose(batch.x[:, row].numpy(), expected, rtol=0, atol=2e-3)
    silent = features(data, 0, 8000)[:7]
    assert np.abs(silent - features(data, 0, 0)).max() > 0.1
    cut = data.batch([1, 0], 4)
    torch.testing.assert_close(cut.x, batch.x[:4], rtol=0, atol=2e-3)
    longer = data.batch([1, 0], 9)  # asks for silence behind them
    np.testing.assert_allclose(longer.x[:7, 1].numpy(), silent, rtol=0, atol=2e-3)
    assert not longer.x[7:].any() and longer.lengths.tolist() == [7, 7]


def test_clips_of_a_set_of_several_lengths_are_followed_by_silence_even_if_these_are_alike():
    for sizes, one_length in (([480, 480, 900], None), ([480, 480], False)):
        data = recordings(sizes, one_length)
        found = data.batch([0, 1]).x[:, 0].numpy()
        np.testing.assert_allclose(found, features(data, 0, 8000)[:7], rtol=0, atol=2e-3)


def test_the_samples_that_clips_are_padded_to():
    """Longest, or what is asked for, and eight steps of silence."""
    data = recordings([480, 900])
    for longest, frames, expected in (
        *((900, 12, 960 + 640), (900, 11, 900 + 640), (480, 7, 560 + 640)),
        (480, 20, 1600 + 640),
    ):
        assert data._extent(longest, frames) == expected
    alike = recordings([480, 480])
    for frames, expected in ((5, 480), (7, 480), (8, 640 + 640)):
        assert alike._extent(480, frames) == expected


def test_waves_are_the_samples_in_units_of_full_scale_and_silence(monkeypatch):
    heard = []

    def listen(self, wave):
        heard.append(wave.clone())
        return torch.zeros(len(wave), self.steps(wave.shape[1]), self.n_mels)

    monkeypatch.setattr(MelFrontEnd, "__call__", listen)
    data = recordings([480, 900, 333])
    data.batch([2, 0])
    (wave,) = heard
    assert wave.shape == (2, 560 + 640) and wave.dtype == torch.float32
    for row, i in zip(wave, (2, 0), strict=True):
        clip = data.samples[data.offsets[i] : data.offsets[i + 1]]
        assert (row[: len(clip)] * 2**15).tolist() == clip.tolist()
        assert not row[len(clip) :].any()


def test_a_batch_of_no_clips_is_refused():
    data = recordings([480])
    assert len(data) == 1 and data.checksums == {}
    with pytest.raises(ConfigError, match="at least one sample"):
        data.batch([])


# --- the front end ----------------------------------------------------------------------------


def test_the_front_end_is_that_of_its_source_unless_told_otherwise():
    stated = MelFrontEnd(16_000, 8000, 140, 50.0, None, 256, 10.0)
    assert MelFrontEnd() == stated
    assert stated.hop == 80 and stated.filters.shape == (140, 129)


@pytest.mark.parametrize(("rate", "hop_ms", "per_step"), [(8000, 10, 80), (16_000, 5, 80),
                                                          (48_000, 10, 480)])  # fmt: skip
def test_steps_and_samples_are_those_of_hops(rate, hop_ms, per_step):
    front_end = MelFrontEnd(rate, 8000, 20, hop_ms=hop_ms)
    for steps in (0, 1, 7):
        assert front_end.samples(steps) == steps * per_step
        assert front_end.steps(steps * per_step) == steps + 1
        assert front_end.steps(steps * per_step + per_step - 1) == steps + 1 + (rate > 8000)


@pytest.mark.parametrize("size", [1, 7, 60, 61])
def test_a_wave_of_the_wanted_rate_stays_as_it_is(size):
    wave = torch.randn(2, size, generator=torch.Generator().manual_seed(3))
    assert MelFrontEnd(8000, 8000)._resample(wave) is wave


@pytest.mark.parametrize("size", [1, 7, 60, 61])
@pytest.mark.parametrize("factor", [2, 3])
def test_resampling_is_a_sum_under_the_kernel_with_silence_at_both_ends(size, factor):
    wave = torch.randn(2, size, generator=torch.Generator().manual_seed(3))
    found = MelFrontEnd(8000 * factor, 8000)._resample(wave)
    kernel = resample_kernel(8000 * factor, 8000).double().numpy()
    reach = len(kernel) // 2
    expected = np.zeros((2, -(-size // factor)))
    for m, n in itertools.product(range(expected.shape[1]), range(-reach, reach + 1)):
        if 0 <= m * factor + n < size:
            expected[:, m] += kernel[n + reach] * wave[:, m * factor + n].double().numpy()
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("zeros", "rolloff"), [(6, 0.99), (4, 0.8)])
def test_the_kernel_reaches_as_many_zeros_as_asked_for(zeros, rolloff):
    kernel = resample_kernel(16_000, 8000, zeros, rolloff).double().numpy()
    cutoff = rolloff / 2
    reach = int(np.ceil(zeros / cutoff))
    n = np.arange(-reach, reach + 1) * cutoff
    hann = np.where(np.abs(n) <= zeros, np.cos(np.pi * n / zeros / 2) ** 2, 0)
    np.testing.assert_allclose(kernel, cutoff * np.sinc(n) * hann, rtol=0, atol=1e-7)
    if zeros == 6:
        np.testing.assert_array_equal(kernel, resample_kernel(16_000, 8000).double().numpy())


@pytest.mark.parametrize("size", [1, 80, 127, 128, 129, 130, 200])
def test_a_clip_too_short_to_be_reflected_is_followed_by_silence(size):
    """129 samples of it and of silence are enough; the rest is reflected."""
    front_end = MelFrontEnd(8000, 8000, 20)
    wave = torch.randn(1, size, generator=torch.Generator().manual_seed(4))
    whole = np.pad(wave[0].double().numpy(), (0, max(0, 129 - size)))
    reflected = np.pad(whole, 128, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(256) / 256)
    frames = [reflected[80 * m : 80 * m + 256] * window for m in range(size // 80 + 1)]
    power = np.abs(np.fft.rfft(frames)) ** 2
    mel = power @ front_end.filters.double().numpy().T
    expected = 10 * np.log10(np.maximum(mel, 1e-10))
    np.testing.assert_allclose(front_end(wave)[0].numpy(), expected, rtol=0, atol=1e-3)


# --- Speech Commands --------------------------------------------------------------------------


def voices(low: float, high: float, number: int) -> list[str]:
    """Hashes of speakers that fall between two shares."""
    names = (f"{i:08x}" for i in itertools.count(1))
    mine = (n for n in names if low <= _share(n) < high)
    return list(itertools.islice(mine, number))


def _share(voice: str) -> float:
    return int(hashlib.sha1(f"snnsim-gsc:{voice}".encode()).hexdigest()[:12], 16) / 16**12


BORDERS = {  # of shares, with a border at one end each
    (0.0, 0.02): "test",
    (0.198, 0.2): "test",
    (0.2, 0.202): "validation",
    (0.298, 0.302): "validation",
    (0.348, 0.35): "validation",
    (0.35, 0.352): "train",
    (0.98, 1.0): "train",
}


def test_speakers_are_a_fifth_for_test_and_three_twentieths_for_validation(tmp_path):
    expected = {split: set() for split in PARTS}
    for (low, high), split in BORDERS.items():
        for voice in voices(low, high, 2):
            expected[split].add(voice)
            write_clip(tmp_path / "up" / f"{voice}_nohash_0.wav", 20)
    for split in PARTS:
        clips, every = gsc._by_speaker(tmp_path, split)
        assert {gsc.speaker_of(clip) for clip in clips} == expected[split]
        assert len(every) == 2 * len(BORDERS)


@pytest.mark.parametrize(("at", "split"), [(0.2, "validation"), (0.35, "train"), (0.0, "test")])
def test_a_share_at_a_border_belongs_to_the_part_behind(tmp_path, monkeypatch, at, split):
    write_clip(tmp_path / "up" / "00000001_nohash_0.wav", 20)
    monkeypatch.setattr(gsc, "hash_fraction", lambda name, salt: at)
    for part in PARTS:
        assert len(gsc._by_speaker(tmp_path, part)[0]) == (part == split)


def test_the_hash_of_a_name_is_the_beginning_of_its_sha1():
    for name, salt in (("a60a09cf", "snnsim-gsc"), ("", ""), ("ü", "x")):
        digits = hashlib.sha1(f"{salt}:{name}".encode()).hexdigest()[:12]
        assert hash_fraction(name, salt) == int(digits, 16) / 16**12


@pytest.mark.parametrize(
    ("name", "speaker"),
    [
        ("a60a09cf_nohash_1.flac", "a60a09cf"),
        ("tree_a60a09cf_nohash_12.wav", "a60a09cf"),
        ("a60a09_nohash_0.wav", "a60a09"),
        ("a60a0_nohash_0.wav", "a60a0_nohash_0"),
        ("a60a09cf1_nohash_0.wav", "a60a09cf1_nohash_0"),
        ("a60a09cf_nohash_.wav", "a60a09cf_nohash_"),
        ("A60A09CF_nohash_0.wav", "A60A09CF_nohash_0"),
        ("a60a09cf_nohash_0.copy.wav", "a60a09cf_nohash_0.copy"),
        ("12.wav", "12"),
    ],
)
def test_the_speaker_is_the_hash_in_a_clips_name(name, speaker):
    assert gsc.speaker_of(Path("on") / name) == speaker


@pytest.fixture
def commands(tmp_path) -> Path:
    """Two voices and two words for each part by speaker; the word "zoo" is of a test voice only."""
    folder = tmp_path / "words"
    for number, (low, high) in enumerate(((0.3, 0.35), (0.5, 0.6), (0.1, 0.2))):
        for word, voice in itertools.product(("up", "bed"), voices(low, high, 2)):
            write_clip(folder / word / f"{voice}_nohash_0.wav", 30 + number, value=5 + number)
    write_clip(folder / "zoo" / f"{voices(0.1, 0.2, 1)[0]}_nohash_0.wav", 30, value=99)
    return folder


def test_parts_by_speaker_have_all_words_as_classes_and_voices_numbered_as_they_come(commands):
    parts = load_all("gsc", commands, protocol="speaker", n_mels=20)
    sizes = {split: len(part) for split, part in parts.items()}
    assert sizes == {"train": 4, "validation": 4, "test": 5}
    for part in parts.values():
        assert part.classes == ("bed", "up", "zoo")
        assert part.labels.tolist() == [0, 0, 1, 1, 2][: len(part)]
        assert part.speakers.tolist()[:4] == [0, 1, 0, 1]
        assert part.labels.dtype == part.speakers.dtype == np.int64
        assert part.offsets.tolist() == [16_000 * i for i in range(len(part) + 1)]
        assert part.front_end == MelFrontEnd(16_000, 8000, 20)
        assert (part.channels, part.dt, part.one_length) == (20, 10.0, True)
    assert parts["test"].speakers.tolist()[4] in (0, 1)
    every = sorted(commands.rglob("*.wav"))
    assert parts["train"].checksums == {"words/": files.digest_all(commands, every)}
    assert parts["train"].checksums == parts["test"].checksums
    values = {split: set(part.samples.tolist()) for split, part in parts.items()}
    assert values == {"train": {0, 6}, "validation": {0, 5}, "test": {0, 7, 99}}


def test_the_front_end_of_speech_commands_takes_its_options(commands):
    part = gsc.load("train", commands, protocol="speaker", n_mels=30, f_max=3000.0)
    assert part.front_end == MelFrontEnd(16_000, 8000, 30, f_max=3000.0)
    plain = gsc.load("train", commands, protocol="speaker")
    assert (plain.channels, plain.front_end) == (140, MelFrontEnd())


def test_a_part_without_clips_is_named(tmp_path):
    write_clip(tmp_path / "up" / f"{voices(0.5, 0.6, 1)[0]}_nohash_0.wav", 20)
    assert len(gsc.load("train", tmp_path, protocol="speaker", n_mels=20)) == 1
    with pytest.raises(DataError, match="has no clips for split 'test'") as caught:
        gsc.load("test", tmp_path, protocol="speaker")
    assert str(tmp_path) in str(caught.value)


def test_the_official_protocol_is_the_default_and_knows_only_the_official_words(tmp_path):
    lists = {}
    for number, word in enumerate(("zero", "zoo", "bed")):
        for voice in (1, 2, 3):
            clip = tmp_path / word / f"{voice:08x}_nohash_0.wav"
            lists.setdefault(voice, []).append(write_clip(clip, 20, value=10 * number + voice))
    for voice, file in gsc.LISTS.items():
        assert file == {"validation": "validation_list.txt", "test": "testing_list.txt"}[voice]
    (tmp_path / "validation_list.txt").write_text("\n".join(lists[2]))
    (tmp_path / "testing_list.txt").write_text("\n".join(lists[3]))
    for split, voice in (("train", 1), ("validation", 2), ("test", 3)):
        part = gsc.load(split, tmp_path, n_mels=20)
        assert part.labels.tolist() == [gsc.WORDS.index("bed"), gsc.WORDS.index("zero")]
        assert part.samples.reshape(2, -1)[:, 0].tolist() == [20 + voice, voice]
        assert part.checksums == gsc.load("test", tmp_path, n_mels=20).checksums


def test_samples_of_speech_commands_are_read_from_the_cache_the_second_time(commands, monkeypatch):
    first = np.array(gsc.load("train", commands, protocol="speaker", n_mels=20).samples)
    (kept,) = files.cache_root().glob("gsc-*.npy")
    assert re.fullmatch(r"gsc-[0-9a-f]{24}-v2\.npy", kept.name)
    with monkeypatch.context() as patch:
        patch.setattr(gsc, "one_second", lambda clip: pytest.fail(f"{clip} was read again"))
        again = gsc.load("train", commands, protocol="speaker", n_mels=20).samples
        assert isinstance(again, np.memmap) and not again.flags.writeable
    np.testing.assert_array_equal(first, again)
    for damage in (np.zeros(5, np.int16), first.astype(np.float32), None):
        kept.unlink()  # the old one may still be mapped
        if damage is None:
            kept.write_bytes(b"hello")
        else:
            np.save(kept, damage)
        whole = gsc.load("train", commands, protocol="speaker", n_mels=20).samples
        np.testing.assert_array_equal(whole, first)
        assert whole.dtype == np.int16


def test_speech_commands_do_without_a_cache(commands, monkeypatch, tmp_path):
    first = gsc.load("train", commands, protocol="speaker", n_mels=20).samples
    (tmp_path / "file").touch()
    monkeypatch.setenv("SNNSIM_CACHE_DIR", str(tmp_path / "file"))
    files._warned.cache_clear()
    with pytest.warns(UserWarning, match="cannot be cached"):
        without = gsc.load("train", commands, protocol="speaker", n_mels=20).samples
    files._warned.cache_clear()
    np.testing.assert_array_equal(first, without)


@pytest.mark.parametrize("size", [15_998, 16_000, 16_003])
def test_of_a_clip_the_first_second_is_taken_with_silence_behind(tmp_path, size):
    ramp = (np.arange(size) + 1).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", ramp, 16_000, subtype="PCM_16")
    found = gsc.one_second(tmp_path / "a.wav")
    assert found.tolist() == [*ramp.tolist(), 0, 0][:16_000] and found.dtype == np.int16


def test_a_folder_that_is_being_unpacked_is_no_word_and_a_given_root_is_not_downloaded_to(tmp_path):
    (tmp_path / "speech_commands_v0.02.unpacking").mkdir()
    with pytest.raises(DataError, match="has no folders of words"):
        gsc.load("train", tmp_path, download=True)
    with pytest.raises(DataError, match="has no folders of words"):
        gsc.load("train", None, download=False)
