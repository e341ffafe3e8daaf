"""Augmented samples: each transform against slow loops, and the same in every batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from toolbox import refusal

from snnsim.data import Arrays, Augmentation, Augmented
from snnsim.data.augmentation import draws
from snnsim.errors import ConfigError

KEY = (3, 7)
CHANNELS = 9
ALL = Augmentation(
    time_stretch=0.4, time_shift_ms=6, channel_stretch=0.3, channel_shift=2.5, gain=0.5, level=0.2,
    noise=0.1, time_masks=2, time_mask_ms=8, channel_masks=1, channel_mask=3,
)  # fmt: skip


def values(samples: int = 12, seed: int = 0, longest: int = 15) -> Arrays:
    """Values above 0 of samples of 1 .. longest steps of 2 ms each."""
    random = np.random.default_rng(seed)
    lengths = [1, longest, *random.integers(1, longest + 1, samples - 2)]
    x = [0.5 + random.random((n, CHANNELS)) for n in lengths]
    return Arrays(x, random.integers(0, 3, samples), classes=("a", "b", "c"), dt=2.0)


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


def test_level_moves_values_of_both_signs_freely():
    data = values()
    data.x[:] -= 1.0 * (data.x != 0)

    def expected(i):
        return data.x[i, : data.lengths[i]] + between("level", 0.2, i, len(data))

    assert_samples(shown(data, level=0.2), expected)


def test_noise_is_gaussian_and_independent():
    x = np.zeros((4, 400, 50), np.float32)
    found = shown(Arrays(x, [0, 1, 2, 3]), noise=0.5).batch(range(4)).x.double() / 0.5
    count = found.numel()
    assert abs(float(found.mean())) < 5 * count**-0.5
    assert abs(float(found.square().mean()) - 1) < 5 * (2 / count) ** 0.5
    assert abs(float((found.abs() > 2).double().mean()) - 0.0455) < 5 * (0.0455 / count) ** 0.5
    for other in (found.roll(1, 0), found.roll(1, 1), found.roll(1, 2)):
        assert abs(float((found * other).mean())) < 5 * count**-0.5


def test_masks_silence_ranges_of_steps_and_channels():
    data = values()
    drawn = draws.of_samples(KEY, "time_masks", len(data), 4)
    across = draws.of_samples(KEY, "channel_masks", len(data), 2)

    def expected(i):
        sample = data.x[i, : data.lengths[i]].copy()
        for wide, first in (drawn[i, [0, 2]], drawn[i, [1, 3]]):
            width = min(math.floor(wide * (4 + 1)), len(sample))  # 8 ms of 2 ms each
            start = math.floor(first * (len(sample) - width + 1))
            sample[start : start + width] = 0
        width = math.floor(across[i, 0] * (3 + 1))
        start = math.floor(across[i, 1] * (CHANNELS - width + 1))
        sample[:, start : start + width] = 0
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
    x = shown(data, channel_masks=3, channel_mask=2, time_shift_ms=20).batch([0]).x
    assert x.min() == -100
    assert set(x.unique().tolist()) == {-100.0, 20.0}


# --- where random numbers come from ---------------------------------------------------------------


def test_a_sample_is_the_same_in_every_batch():
    data = values(30)
    augmented = Augmented(data, ALL, KEY)
    whole = augmented.batch(np.arange(30))
    for rows in ([4], [29, 4, 0], [4, 4], list(range(29, -1, -1))):
        batch = Augmented(data, ALL, KEY).batch(rows)
        for place, i in enumerate(rows):
            length = whole.lengths[i]
            assert batch.lengths[place] == length
            assert torch.equal(batch.x[:length, place], whole.x[:length, i])


@pytest.mark.parametrize("steps", [1, 5, 40])
def test_batches_are_padded_or_cut(steps):
    augmented = Augmented(values(), ALL, KEY)
    whole, batch = augmented.batch([0, 5, 1]), augmented.batch([0, 5, 1], steps)
    assert len(batch.x) == steps
    same = min(steps, len(whole.x))
    assert torch.equal(batch.x[:same], whole.x[:same])
    assert torch.equal(batch.lengths, whole.lengths.clamp(max=steps))
    assert not batch.x[same:].any()


@pytest.mark.parametrize("other", [(4, 7), (3, 8), (3, 0, 7)])
@pytest.mark.parametrize("name", [n for n in vars(ALL) if not n.endswith(("mask_ms", "el_mask"))])
def test_other_seeds_and_epochs_give_other_samples(name, other):
    kept = {n: v for n, v in vars(ALL).items() if n.startswith(name.rstrip("s"))}
    data = values()
    one, two = (Augmented(data, Augmentation(**kept), key) for key in (KEY, other))
    x, y = one.batch(range(12)), two.batch(range(12))
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


@pytest.mark.parametrize("name", list(vars(ALL)))
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
    images = Arrays(np.ones((2, 5, 3, 4)), [0, 1])
    said = refusal(ConfigError, lambda: shown(images, channel_shift=1))
    assert "augmentation.channel_shift is 1, but a step has the shape [3, 4]" in said
    per_step = Arrays(np.ones((2, 5, 3)), np.zeros((2, 5), int), per_step=True)
    said = refusal(ConfigError, lambda: shown(per_step, time_stretch=0.1))
    assert "augmentation.time_stretch is 0.1, but every step has its own target" in said
    assert shown(images, time_stretch=0.5).batch([0, 1]).x.shape[2:] == (3, 4)
    assert shown(per_step, gain=0.5).batch([0, 1]).target.shape == (5, 2)
