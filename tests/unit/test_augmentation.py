"""Augmented samples: each transform against slow loops, and the same in every batch."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from snnsim_datasets.tools.audio import Recordings
from snnsim_datasets.tools.mel import MelFrontEnd
from toolbox import refusal

from snnsim.data import Arrays, Augmentation, Augmented, BinnedEvents
from snnsim.data.augmentation import draws
from snnsim.data.events import offsets_of
from snnsim.errors import ConfigError

KEY = (3, 7)
CHANNELS = 9
BOTH = Augmentation(
    time_stretch=0.4, time_shift_ms=6, channel_stretch=0.3, channel_shift=2.5, noise=0.1,
    time_masks=2, time_mask_ms=8, channel_masks=1, channel_mask=3, mix="same",
)  # fmt: skip
OF_VALUES = replace(BOTH, gain=0.5, level=0.2, tilt=0.1)
OF_COUNTS = replace(BOTH, jitter_ms=3, drop=0.3)
OF_SOUNDS = Augmentation(speed=0.2, audio_noise=0.3)
NAMES = [n for n in vars(BOTH) if not n.endswith(("mask_ms", "el_mask", "probability"))]


def values(samples: int = 12, seed: int = 0, longest: int = 15) -> Arrays:
    """Values above 0 of samples of 1 .. longest steps of 2 ms each."""
    random = np.random.default_rng(seed)
    lengths = [1, longest, *random.integers(1, longest + 1, samples - 2)]
    x = [0.5 + random.random((n, CHANNELS)) for n in lengths]
    return Arrays(x, random.integers(0, 3, samples), classes=("a", "b", "c"), dt=2.0)


def counts(samples: int = 12, seed: int = 0, longest: int = 15, mean: float = 0.8) -> BinnedEvents:
    """Numbers of events of samples of 1 .. longest steps of 2 ms each."""
    random = np.random.default_rng(seed)
    lengths = [1, longest, *random.integers(1, longest + 1, samples - 2)]
    x = [random.poisson(mean, (n, CHANNELS)) for n in lengths]
    cells = [np.flatnonzero(each) for each in x]
    return BinnedEvents(
        np.concatenate(cells).astype(np.uint32),
        np.concatenate([e.reshape(-1)[c] for e, c in zip(x, cells, strict=True)]).astype(np.uint16),
        offsets_of([len(c) for c in cells]), np.asarray(lengths), random.integers(0, 3, samples),
        np.full(samples, -1), CHANNELS, ("a", "b", "c"), 2.0,
    )  # fmt: skip


RATE = 8000


def sounds(sizes=(4000, 1, 1600, 900, 2), one_length=None) -> Recordings:
    """Tones of 440 Hz, of some numbers of samples."""
    tone = [12_000 * np.sin(2 * np.pi * 440 / RATE * np.arange(n)) for n in sizes]
    front_end = MelFrontEnd(RATE, RATE, 20, scaled=True)
    labels = np.arange(len(sizes)) % 2
    return Recordings(
        np.rint(np.concatenate(tone)).astype(np.int16), np.cumsum([0, *sizes]), labels,
        np.full(len(sizes), -1), 20, ("a", "b"), front_end.hop_ms, front_end, one_length,
    )  # fmt: skip


def shown(data, key=KEY, **options) -> Augmented:
    return Augmented(data, Augmentation(**options), key)


def between(name: str, largest: float, sample: int, samples: int) -> float:
    return largest * (2 * draws.of_samples(KEY, name, samples)[sample, 0] - 1)


def read(sample: np.ndarray, place: float, edge: bool) -> np.ndarray:
    """A sample ``[n, ...]`` between two of its entries; beyond the end 0, or the last entry."""
    last = len(sample) - 1
    if not edge and not -0.5 <= place <= last + 0.5:
        return np.zeros_like(sample[0])
    place = min(max(place, 0.0), float(last))
    low = math.floor(place)
    weight = place - low
    return (1 - weight) * sample[low] + weight * sample[min(low + 1, last)]


def assert_samples(augmented: Augmented, expected) -> None:
    """Every sample of the data is what a function of its number says, and 0 beyond its end."""
    batch = augmented.batch(np.arange(len(augmented)))
    assert len(batch.x) == augmented.lengths.max()
    for i, length in enumerate(augmented.lengths):
        wanted = expected(i)
        assert batch.lengths[i] == length == len(wanted)
        np.testing.assert_allclose(batch.x[:length, i].numpy(), wanted, atol=1e-5)
        assert not batch.x[length:, i].any()


# --- what each transform does ---------------------------------------------------------------------


def test_stretched_time_is_read_at_other_places():
    data = values()

    def expected(i):
        before = int(data.lengths[i])
        after = max(round(before * (1 + between("time_stretch", 0.4, i, len(data)))), 1)
        sample = data.x[i, :before].astype(np.float64)
        places = ((t + 0.5) * before / after - 0.5 for t in range(after))
        return np.stack([read(sample, place, edge=True) for place in places])

    augmented = shown(data, time_stretch=0.4)
    assert_samples(augmented, expected)
    assert (augmented.lengths != data.lengths).any()


def test_shifted_time_leaves_silence_and_keeps_lengths():
    data = values()

    def expected(i):
        sample = data.x[i, : data.lengths[i]].astype(np.float64)
        shift = between("time_shift_ms", 6, i, len(data)) / 2.0
        return np.stack([read(sample, t - shift, edge=False) for t in range(len(sample))])

    augmented = shown(data, time_shift_ms=6)
    assert_samples(augmented, expected)
    assert (augmented.batch([1]).x == 0).any()


def test_channels_are_stretched_about_the_middle_and_shifted():
    data = values()

    def expected(i):
        sample = data.x[i, : data.lengths[i]].astype(np.float64).T
        shift = between("channel_shift", 2.5, i, len(data))
        factor = 1 + between("channel_stretch", 0.3, i, len(data))
        middle = (CHANNELS - 1) / 2
        places = ((c - middle - shift) / factor + middle for c in range(CHANNELS))
        return np.stack([read(sample, place, edge=True) for place in places], 1)

    assert_samples(shown(data, channel_shift=2.5, channel_stretch=0.3), expected)


def test_gain_is_one_factor_for_a_sample():
    data = values()

    def expected(i):
        power = 2 * draws.of_samples(KEY, "gain", len(data))[i, 0] - 1
        return data.x[i, : data.lengths[i]] * 1.5**power

    assert_samples(shown(data, gain=0.5), expected)


def test_level_moves_all_but_zeros_and_none_below_zero():
    data = values()
    data.x[:, :, 2] = 0
    data.x[:, :, 3] = 0.05

    def expected(i):
        sample = data.x[i, : data.lengths[i]]
        level = between("level", 0.2, i, len(data))
        return np.where(sample == 0, 0, np.maximum(sample + level, 0))

    assert_samples(shown(data, level=0.2), expected)


def test_tilt_is_a_level_that_rises_with_the_channel():
    data = values()
    data.x[:, :, 2] = 0
    data.x[:, :, 1] = 0.05

    def expected(i):
        sample, found = data.x[i, : data.lengths[i]], []
        tilt = between("tilt", 0.2, i, len(data))
        for c in range(CHANNELS):
            more = tilt * (2 * c / (CHANNELS - 1) - 1)
            found.append(np.where(sample[:, c] == 0, 0, np.maximum(sample[:, c] + more, 0)))
        return np.stack(found, 1)

    assert_samples(shown(data, tilt=0.2), expected)


def test_level_moves_values_of_both_signs_freely():
    data = values()
    data.x[:] -= 1.0 * (data.x != 0)

    def expected(i):
        return data.x[i, : data.lengths[i]] + between("level", 0.2, i, len(data))

    assert_samples(shown(data, level=0.2), expected)


def test_noise_is_gaussian_and_independent():
    x = np.full((4, 400, 50), 0.25, np.float32)
    found = (shown(Arrays(x, [0, 1, 2, 3]), noise=0.5).batch(range(4)).x.double() - 0.25) / 0.5
    count = found.numel()
    assert abs(float(found.mean())) < 5 * count**-0.5
    assert abs(float(found.square().mean()) - 1) < 5 * (2 / count) ** 0.5
    assert abs(float((found.abs() > 2).double().mean()) - 0.0455) < 5 * (0.0455 / count) ** 0.5
    for other in (found.roll(1, 0), found.roll(1, 1), found.roll(1, 2)):
        assert abs(float((found * other).mean())) < 5 * count**-0.5


@pytest.mark.parametrize("events", [False, True])
def test_masks_cover_ranges_of_steps_and_channels(events):
    data = counts() if events else values()
    drawn = draws.of_samples(KEY, "time_masks", len(data), 4)
    across = draws.of_samples(KEY, "channel_masks", len(data), 2)

    def expected(i):
        sample = data.batch([i]).x[:, 0].numpy()
        fill = 0 if events else sample.mean()
        for wide, first in (drawn[i, [0, 2]], drawn[i, [1, 3]]):
            width = min(math.floor(wide * (4 + 1)), len(sample))  # 8 ms of 2 ms each
            start = math.floor(first * (len(sample) - width + 1))
            sample[start : start + width] = fill
        width = math.floor(across[i, 0] * (3 + 1))
        start = math.floor(across[i, 1] * (CHANNELS - width + 1))
        sample[:, start : start + width] = fill
        return sample

    masks = {"time_masks": 2, "time_mask_ms": 8, "channel_masks": 1, "channel_mask": 3}
    assert_samples(shown(data, **masks), expected)


def test_a_mask_that_is_wider_than_the_sample_is_as_wide_as_it():
    data = Arrays(np.ones((400, 3, 4)), np.zeros(400, int), dt=1.0)
    x = shown(data, time_masks=1, time_mask_ms=1000).batch(range(400)).x
    silent = (x == 0).all(2).sum(0)
    assert set(silent.tolist()) <= {0, 1, 2, 3}
    assert int((silent == 3).sum()) > 350  # 3 in 1000 masks are narrower
    assert shown(data, channel_masks=1, channel_mask=1000).batch(range(400)).x.shape == x.shape


def test_masks_are_everywhere_equally_often():
    data = Arrays(np.ones((20_000, 6, 1)), np.zeros(20_000, int), dt=1.0)
    x = shown(data, time_masks=1, time_mask_ms=2).batch(range(20_000)).x[:, :, 0]
    width = (x == 0).sum(0)
    for size in (0, 1, 2):
        assert abs(float((width == size).double().mean()) - 1 / 3) < 5 * (2 / 9 / 20_000) ** 0.5
    single = x[:, width == 1]
    share = (single == 0).double().mean(1)
    assert (share - 1 / 6).abs().max() < 5.5 * (5 / 36 / single.shape[1]) ** 0.5


def test_silence_of_mel_bands_in_decibels_is_no_sound():
    class Decibels(Arrays):
        encoder = {"kind": "mel", "scaled": False}

    data = Decibels(np.full((1, 30, 4), 20.0), [0], dt=1.0)
    x = shown(data, time_shift_ms=20).batch([0]).x
    assert x.min() == -100
    assert set(x.unique().tolist()) == {-100.0, 20.0}


# --- events ---------------------------------------------------------------------------------------


def events_of(x: torch.Tensor) -> np.ndarray:
    """The events of a sample ``[T, C]``, as ``[n, 2]`` steps and channels in order."""
    found = [(t, c) for t in range(len(x)) for c in range(x.shape[1]) for _ in range(int(x[t, c]))]
    return np.asarray(found).reshape(-1, 2)


def again(places, length: int) -> np.ndarray:
    """Counts of events at (step, channel), without those that are elsewhere."""
    found = np.zeros((length, CHANNELS))
    for step, channel in places:
        if 0 <= step < length and 0 <= channel < CHANNELS:
            found[step, channel] += 1
    return found


def test_events_are_moved_in_time_one_by_one():
    data = counts()

    def expected(i):
        before, samples = int(data.lengths[i]), len(data)
        after = max(round(before * (1 + between("time_stretch", 0.4, i, samples))), 1)
        events = events_of(data.batch([i]).x[:, 0])
        within = draws.generator(KEY, "time", i).random(len(events))
        moved = draws.generator(KEY, "jitter_ms", i).standard_normal(len(events)) * 3 / 2
        shift = between("time_shift_ms", 6, i, samples) / 2
        places = [
            (math.floor((t + u) * after / before + shift + jitter), c)
            for (t, c), u, jitter in zip(events, within, moved, strict=True)
        ]
        return again(places, after)

    assert_samples(shown(data, time_stretch=0.4, time_shift_ms=6, jitter_ms=3), expected)


def test_events_are_moved_across_channels_one_by_one():
    data = counts()

    def expected(i):
        events, samples = events_of(data.batch([i]).x[:, 0]), len(data)
        factor = 1 + between("channel_stretch", 0.3, i, samples)
        shift = round(between("channel_shift", 2.5, i, samples))
        within = draws.generator(KEY, "channel", i).random(len(events))
        middle = CHANNELS / 2
        places = [
            (t, math.floor((c + v - middle) * factor + middle) + shift)
            for (t, c), v in zip(events, within, strict=True)
        ]
        return again(places, int(data.lengths[i]))

    assert_samples(shown(data, channel_stretch=0.3, channel_shift=2.5), expected)


def test_a_shift_of_channels_keeps_events_together():
    data = counts()
    batch, moved = data.batch(range(12)), shown(data, channel_shift=3).batch(range(12))
    for i in range(12):
        shift = round(between("channel_shift", 3, i, 12))
        there = slice(max(shift, 0), CHANNELS + min(shift, 0))
        here = slice(max(-shift, 0), CHANNELS + min(-shift, 0))
        assert torch.equal(moved.x[:, i, there], batch.x[:, i, here])


def test_dropped_events_are_a_binomial_part():
    data = Arrays(np.full((50, 40, 5), 4), np.zeros(50, int))
    x = shown(data, drop=0.3).batch(range(50)).x.double()
    count = x.numel()
    for kept in range(5):
        share = math.comb(4, kept) * 0.7**kept * 0.3 ** (4 - kept)
        found = float((x == kept).double().mean())
        assert abs(found - share) < 5.5 * (share * (1 - share) / count) ** 0.5
    assert not shown(data, drop=1).batch(range(50)).x.any()


def test_added_events_are_a_poisson_process():
    data = Arrays(np.zeros((50, 40, 5)), np.zeros(50, int), lengths=np.r_[np.full(49, 40), 20])
    batch = shown(data, noise=0.5).batch(range(50))
    assert not batch.x[20:, 49].any()
    x = batch.x[:, :49].double()
    for number in range(4):
        share = math.exp(-0.5) * 0.5**number / math.factorial(number)
        found = float((x == number).double().mean())
        assert abs(found - share) < 5.5 * (share * (1 - share) / x.numel()) ** 0.5
    for other in (x.roll(1, 0), x.roll(1, 1), x.roll(1, 2)):
        both = float(((x - 0.5) * (other - 0.5)).mean())
        assert abs(both) < 5.5 * 0.5 * x.numel() ** -0.5


def test_stretched_events_are_spread_evenly():
    """Steps that become longer have no gaps, and none is lost."""
    data = Arrays(np.full((200, 20, 4), 3), np.zeros(200, int))
    augmented = shown(data, time_stretch=0.9)
    batch = augmented.batch(range(200))
    assert (batch.x.sum((0, 2)) == 20 * 4 * 3).all()
    longer = augmented.lengths > 25
    rate = 20 * 4 * 3 / augmented.lengths[longer]
    found = batch.x.sum(2)[:25].double()[:, longer] / torch.from_numpy(rate)
    error = (1 / rate / longer.sum()).mean() ** 0.5  # of a mean over samples
    assert (found.mean(1) - 1).abs().max() < 5.5 * error
    assert (augmented.lengths < 10).any()


@pytest.mark.parametrize("seed", range(5))
def test_counts_stay_whole_numbers_and_are_zero_beyond_the_end(seed):
    data = counts(20, seed)
    batch = Augmented(data, OF_COUNTS, (seed, 0)).batch(range(20))
    assert torch.equal(batch.x, batch.x.round().clamp(min=0))
    assert batch.x.dtype == torch.float32
    for i, length in enumerate(batch.lengths):
        assert not batch.x[length:, i].any()


def test_samples_without_events_stay_empty():
    data = Arrays(np.zeros((3, 4, CHANNELS)), [0, 1, 1], classes=("a", "b"))
    given = replace(OF_COUNTS, noise=0)
    batch = Augmented(data, given, KEY).batch([0, 1, 2])
    assert not batch.x.any()


def test_what_is_numbers_of_events_is_found_out():
    whole = np.arange(24.0).reshape(2, 4, 3)
    for x, events in ((whole, True), (whole - 1, False), (whole + 0.5, False)):
        data = Arrays(x, [0, 1])
        wrong = {"gain": 0.1} if events else {"drop": 0.1}
        said = refusal(ConfigError, lambda data=data, wrong=wrong: shown(data, **wrong))
        assert ("is numbers of events" in said) == events


def test_no_more_events_are_added_than_memory_holds():
    said = refusal(ConfigError, lambda: shown(counts(), noise=1e6))
    assert "augmentation.noise, of events, is 1000000.0 but must be" in said
    assert shown(values(), noise=1e6).batch([0]).x.isfinite().all()


# --- sounds ---------------------------------------------------------------------------------------


def heard(monkeypatch, augmented: Augmented) -> list[np.ndarray]:
    """The waves of all clips as they become features."""
    found = []

    def listen(self, waves, steps=None):
        found.extend(waves)
        return features(self, waves, steps)

    features = Recordings.features
    monkeypatch.setattr(Recordings, "features", listen)
    augmented.batch(range(len(augmented)))
    monkeypatch.undo()
    return found


def test_a_sound_that_is_played_faster_is_shorter_and_higher(monkeypatch):
    data = sounds((4000,) * 20 + (3000,))
    augmented = shown(data, speed=0.2)
    waves = heard(monkeypatch, augmented)
    for i, wave in enumerate(waves[:20]):
        factor = 1 + between("speed", 0.2, i, 21)
        assert len(wave) == round(4000 / factor)
        assert augmented.lengths[i] == len(wave) // 80 + 1
        exact = 4000 / len(wave)
        time = np.arange(200, len(wave) - 200) / RATE
        tone = 12_000 / 2**15 * np.sin(2 * np.pi * 440 * exact * time)
        np.testing.assert_allclose(wave[200:-200], tone, rtol=0, atol=0.004)
    assert min(map(len, waves[:20])) < 3600 and max(map(len, waves[:20])) > 4400
    batch = augmented.batch(range(21))
    assert torch.equal(batch.lengths, torch.from_numpy(augmented.lengths))
    assert torch.equal(batch.target, torch.from_numpy(data.labels))


def test_sounds_of_one_length_keep_it(monkeypatch):
    data = sounds((800,) * 12)
    augmented = shown(data, speed=0.4)
    waves = heard(monkeypatch, augmented)
    assert {len(wave) for wave in waves} == {800}
    assert np.array_equal(augmented.lengths, data.lengths)
    for i, wave in enumerate(waves):
        size = round(800 / (1 + between("speed", 0.4, i, 12)))
        assert (wave[size:] == 0).all() and (size <= 0 or wave[: size // 2].any())


def test_noise_of_a_sound_is_relative_to_its_loudness(monkeypatch):
    data = sounds((4000,) * 30)
    data.samples[4000:8000] //= 10
    data.samples[8000:12000] = 0
    noise = [w - p for w, p in zip(heard(monkeypatch, shown(data, audio_noise=0.5)),
                                   data.waves(range(30)), strict=True)]  # fmt: skip
    assert not noise[2].any()
    for i in (*range(2), *range(3, 30)):
        level = 0.5 * draws.of_samples(KEY, "audio_noise", 30)[i, 0]
        loud = level * np.sqrt(np.mean(data.waves([i])[0].astype(float) ** 2))
        found = noise[i].std() / loud
        assert abs(found - 1) < 5.5 / 8000**0.5
        for lag in (1, 2, 40):
            own = float(np.mean(noise[i][lag:] * noise[i][:-lag])) / loud**2
            assert abs(own) < 5.5 / (4000 - lag) ** 0.5


@pytest.mark.parametrize("seed", range(3))
def test_short_sounds_stay_sounds(seed):
    data = sounds((1, 2, 3, 5, 80, 81))
    augmented = Augmented(data, replace(OF_SOUNDS, speed=0.9, time_stretch=0.9), (seed, 0))
    batch = augmented.batch(range(6))
    assert torch.equal(batch.lengths, torch.from_numpy(augmented.lengths))
    assert int(batch.lengths.min()) >= 1 and bool(batch.x.isfinite().all())


def test_a_sound_is_the_same_in_every_batch():
    data = sounds()
    given = replace(OF_VALUES, speed=0.2, audio_noise=0.3, mix="cutmix", noise=0, channel_mask=5)
    whole = Augmented(data, given, KEY).batch(range(5))
    for rows in ([2], [4, 0], [3, 1]):
        batch = Augmented(data, given, KEY).batch(rows)
        for place, i in enumerate(rows):
            length = whole.lengths[i]
            assert batch.lengths[place] == length
            torch.testing.assert_close(
                batch.x[:length, place], whole.x[:length, i], rtol=0, atol=1e-4
            )


def test_only_sounds_can_be_played_otherwise():
    for data in (values(), counts()):
        for name in ("speed", "audio_noise"):
            said = refusal(ConfigError, lambda d=data, n=name: shown(d, **{n: 0.1}))
            assert f"augmentation.{name} is 0.1, but the data are not sounds" in said


# --- mixing ---------------------------------------------------------------------------------------


def partner_of(data, name: str, probability: float, i: int) -> int | None:
    """The sample that one is mixed with: one of the others, each as likely."""
    drawn = draws.of_samples(KEY, "mix", len(data), 4)[i]
    if drawn[0] >= probability:
        return None
    among = [j for j in range(len(data)) if name == "cutmix" or data.labels[j] == data.labels[i]]
    if len(among) < 2:
        return None
    place = among.index(i)
    return among[(place + 1 + math.floor(drawn[1] * (len(among) - 1))) % len(among)]


def padded(sample: np.ndarray, length: int) -> np.ndarray:
    return np.concatenate([sample, np.zeros((length - len(sample), *sample.shape[1:]))])


def test_values_are_mixed_within_a_class():
    data = values()
    drawn = draws.of_samples(KEY, "mix", len(data), 4)
    samples = [data.x[i, :n].astype(np.float64) for i, n in enumerate(data.lengths)]

    def expected(i):
        j = partner_of(data, "same", 0.8, i)
        if j is None:
            return samples[i]
        length, weight = max(len(samples[i]), len(samples[j])), drawn[i, 2]
        return weight * padded(samples[i], length) + (1 - weight) * padded(samples[j], length)

    augmented = shown(data, mix="same", mix_probability=0.8)
    assert_samples(augmented, expected)
    assert torch.equal(augmented.batch(range(12)).target, torch.from_numpy(data.labels))
    assert sum(partner_of(data, "same", 0.8, i) is not None for i in range(12)) > 5


def test_events_are_mixed_by_keeping_a_part_of_each():
    count = 400
    x = np.zeros((count, 30, 4), int)
    x[:, :, :2], x[1::2, :, :2], x[1::2, :, 2:] = 5, 0, 5  # every other sample is of other channels
    data = Arrays(x, np.zeros(count, int), classes=("a",))
    batch = shown(data, mix="same", mix_probability=1).batch(range(count))
    weight = draws.of_samples(KEY, "mix", count, 4)[:, 2]
    share = batch.x.double().sum((0, 2)) / (30 * 2 * 5)
    for i in range(count):
        own, other = (batch.x[:, i, :2], batch.x[:, i, 2:])
        own, other = (own, other) if i % 2 == 0 else (other, own)
        j = partner_of(data, "same", 1, i)
        wanted = [(own, weight[i]), (other, 1 - weight[i])] if (i + j) % 2 else [(own, 1.0)]
        for part, mean in wanted:
            found = float(part.double().mean()) / 5
            # two binomial parts of the same cells add up to 1 in the mean
            spread = (2 * max(mean * (1 - mean), 0.02) / 300) ** 0.5
            spread = spread if (i + j) % 2 else (2 * 0.25 / 300) ** 0.5
            assert abs(found - mean) < 6 * spread
    assert 0.9 < float(share.mean()) < 1.1


def test_steps_are_cut_out_of_another_sample_and_targets_shared():
    data = values(40)
    drawn = draws.of_samples(KEY, "mix", len(data), 4)
    samples = [data.x[i, :n] for i, n in enumerate(data.lengths)]
    augmented = shown(data, mix="cutmix", mix_probability=0.8)
    targets = augmented.batch(range(40)).target
    assert targets.shape == (40, 3)

    def expected(i):
        j, found, share = partner_of(data, "cutmix", 0.8, i), samples[i].copy(), np.zeros(3)
        share[data.labels[i]] = 1
        if j is not None:
            shorter = min(len(samples[i]), len(samples[j]))
            width = math.floor(drawn[i, 2] * (shorter + 1))
            start = math.floor(drawn[i, 3] * (shorter - width + 1))
            found[start : start + width] = samples[j][start : start + width]
            share *= 1 - width / len(found)
            share[data.labels[j]] += width / len(found)
        np.testing.assert_allclose(targets[i].numpy(), share, atol=1e-6)
        return found

    assert_samples(augmented, expected)
    assert (targets.max(1).values < 1).sum() > 3


def test_a_sample_that_is_alone_in_its_class_is_not_mixed_within_it():
    data = Arrays(np.full((3, 4, 2), 0.5) + np.arange(3)[:, None, None], [0, 1, 1],
                  classes=("a", "b"))  # fmt: skip
    batch = shown(data, mix="same", mix_probability=1).batch([0, 1, 2])
    assert torch.equal(batch.x[:, 0], data.batch([0]).x[:, 0])
    assert not torch.equal(batch.x[:, 1], data.batch([1]).x[:, 0])


def test_partners_are_all_others_equally_often():
    data = Arrays(np.full((7, 3, 2), 0.5), [0, 0, 0, 0, 0, 1, 1], classes=("a", "b"))
    found = np.zeros((7, 7))
    for epoch in range(2000):
        partner = shown(data, (0, epoch), mix="same", mix_probability=0.5)._partners
        for i in np.flatnonzero(partner >= 0):
            found[i, partner[i]] += 1
    assert not found[:5, 5:].any() and not found[5:, :5].any() and not np.diag(found).any()
    among = found[:5, :5][~np.eye(5, dtype=bool)] / 2000
    assert np.abs(among - 1 / 8).max() < 5.5 * (1 / 8 * 7 / 8 / 2000) ** 0.5
    assert abs(found[5, 6] / 2000 - 0.5) < 5.5 * (0.25 / 2000) ** 0.5


def test_mixing_needs_classes():
    for data in (
        Arrays(np.full((2, 4, 2), 0.5), np.ones((2, 3))),
        Arrays(np.full((2, 4, 2), 0.5), [0, 1]),
    ):
        said = refusal(ConfigError, lambda data=data: shown(data, mix="same"))
        assert "augmentation.mix is 'same', but the data do not say the classes" in said


# --- where random numbers come from ---------------------------------------------------------------


@pytest.mark.parametrize("mix", ["", "same", "cutmix"])
@pytest.mark.parametrize(("data", "given"), [(values(30), OF_VALUES), (counts(30), OF_COUNTS)])
def test_a_sample_is_the_same_in_every_batch(data, given, mix):
    given = replace(given, mix=mix)
    augmented = Augmented(data, given, KEY)
    whole = augmented.batch(np.arange(30))
    for rows in ([4], [29, 4, 0], [4, 4], list(range(29, -1, -1))):
        batch = Augmented(data, given, KEY).batch(rows)
        assert torch.equal(batch.target, whole.target[rows])
        for place, i in enumerate(rows):
            length = whole.lengths[i]
            assert batch.lengths[place] == length
            assert torch.equal(batch.x[:length, place], whole.x[:length, i])


@pytest.mark.parametrize("steps", [1, 5, 40])
def test_batches_are_padded_or_cut(steps):
    augmented = Augmented(values(), OF_VALUES, KEY)
    whole, batch = augmented.batch([0, 5, 1]), augmented.batch([0, 5, 1], steps)
    assert len(batch.x) == steps
    same = min(steps, len(whole.x))
    assert torch.equal(batch.x[:same], whole.x[:same])
    assert torch.equal(batch.lengths, whole.lengths.clamp(max=steps))
    assert not batch.x[same:].any()


@pytest.mark.parametrize("other", [(4, 7), (3, 8), (3, 0, 7)])
@pytest.mark.parametrize("name", NAMES)
def test_other_seeds_and_epochs_give_other_samples(name, other):
    among = ((counts(), OF_COUNTS), (values(), OF_VALUES), (sounds(), OF_SOUNDS))
    data, whole = next((each, given) for each, given in among if vars(given)[name])
    kept = {n: v for n, v in vars(whole).items() if n.startswith(name.rstrip("s"))}
    one, two = (Augmented(data, Augmentation(**kept), key) for key in (KEY, other))
    x, y = (each.batch(range(len(data))) for each in (one, two))
    assert x.x.shape != y.x.shape or not torch.equal(x.x, y.x)


def test_numbers_of_a_sample_do_not_depend_on_how_many_follow():
    few, many = (draws.of_samples(KEY, "gain", n, 3) for n in (5, 500))
    assert np.array_equal(few, many[:5])
    assert not np.array_equal(many, draws.of_samples(KEY, "level", 500, 3))
    drawn = [draws.generator(KEY, "noise", i).random() for i in range(100)]
    assert len(set(drawn)) == 100
    assert drawn[3] == draws.generator(KEY, "noise", 3).random()


def test_nothing_is_changed_by_default():
    assert not Augmentation().acts
    assert all(Augmentation(**{n: v}).acts for n, v in {"gain": 0.1, "noise": 0.1}.items())
    data = values()
    plain, batch = data.batch(range(12)), shown(data).batch(range(12))
    assert torch.equal(plain.x, batch.x)
    assert torch.equal(plain.lengths, batch.lengths)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(vars(BOTH)))
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "much", 1e300, None])
def test_values_out_of_range_are_refused_by_name(name, value):
    assert refusal(ConfigError, lambda: Augmentation(**{name: value})).startswith(
        f"augmentation.{name} is "
    )


def test_masks_need_a_number_and_a_width():
    for given, missing in (("time_masks", "time_mask_ms"), ("channel_mask", "channel_masks")):
        for one, other in ((given, missing), (missing, given)):
            said = refusal(ConfigError, lambda one=one: Augmentation(**{one: 2}))
            assert f"augmentation.{one} is 2" in said
            assert f"augmentation.{other} is 0" in said


def test_options_that_cannot_act_on_the_data_are_refused():
    images = Arrays(np.full((2, 5, 3, 4), 0.5), [0, 1])
    said = refusal(ConfigError, lambda: shown(images, channel_shift=1))
    assert "augmentation.channel_shift is 1, but a step has the shape [3, 4]" in said
    per_step = Arrays(np.full((2, 5, 3), 0.5), np.zeros((2, 5), int), per_step=True)
    said = refusal(ConfigError, lambda: shown(per_step, time_stretch=0.1))
    assert "augmentation.time_stretch is 0.1, but every step has its own target" in said
    one_by_one = replace(counts(), binning="events")
    said = refusal(ConfigError, lambda: shown(one_by_one, jitter_ms=1))
    assert "augmentation.jitter_ms is 1, but every step is an event" in said
    assert shown(one_by_one, channel_shift=1, drop=0.1).batch([0]).x.shape[2] == CHANNELS
    assert shown(images, time_stretch=0.5).batch([0, 1]).x.shape[2:] == (3, 4)
    assert shown(per_step, gain=0.5).batch([0, 1]).target.shape == (5, 2)
