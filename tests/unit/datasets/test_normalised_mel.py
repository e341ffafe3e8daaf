"""Level and mean spectrum are taken out of recordings."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import snnsim_datasets
import soundfile
import torch
from snnsim_datasets.tools.mel import FLOOR, TOP, MelFrontEnd, levelled, without_mean


def plainly(z, steps, fraction):
    """The equations as loops in float64, for one recording ``z [T, K]``."""
    z = z.astype(np.float64)
    kept = [max(0.0, v) for v in z[:steps].ravel()]
    mean = np.asarray(kept).reshape(steps, -1).sum(0) / steps
    out = np.zeros_like(z)
    for t, k in itertools.product(range(steps), range(z.shape[1])):
        out[t, k] = max(0.0, z[t, k] - fraction * (mean[k] - sum(mean) / len(mean)))
    return out


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_the_mean_spectrum_is_taken_out_of_each_recording_by_itself(fraction):
    z = np.random.default_rng(0).normal(0.3, 0.5, (9, 3, 5)).astype(np.float32)
    lengths = [9, 4, 1]
    y = without_mean(torch.from_numpy(z), torch.tensor(lengths), fraction).numpy()
    for i, steps in enumerate(lengths):
        np.testing.assert_allclose(y[:, i], plainly(z[:, i], steps, fraction), atol=1e-6)


def test_a_level_is_a_root_mean_square_and_silence_stays_silent():
    wave = np.random.default_rng(0).normal(0, 0.02, 4000).astype(np.float32)
    for scale in (0.1, 1.0, 30.0):
        found = levelled(wave * np.float32(scale))
        assert np.sqrt(np.mean(found.astype(np.float64) ** 2)) == pytest.approx(0.1, rel=1e-5)
    assert not levelled(np.zeros(10, np.float32)).any()
    quiet = levelled(np.full(10, 1e-6, np.float32))
    assert quiet == pytest.approx(1e-4, rel=1e-5)  # raised by 40 dB and no more


def sounds(folder, filtered=False, gain=1.0):
    """Two classes of chirps of different lengths; a filter colours all of them alike."""
    random = np.random.default_rng(1)
    for label, (low, high) in {"up": (300, 3000), "down": (3000, 300)}.items():
        (folder / label).mkdir(parents=True)
        for i in range(4):
            time = np.arange(4000 + 400 * i) / 16000
            phase = 2 * np.pi * np.cumsum(np.linspace(low, high, len(time))) / 16000
            wave = 0.1 * np.sin(phase) + 0.003 * random.normal(size=len(time))
            if filtered:
                wave = np.convolve(wave, [1.0, -0.7], "same")
            soundfile.write(folder / label / f"{i}.wav", gain * wave, 16000, subtype="FLOAT")
    return folder


def features(folder, **options):
    return snnsim_datasets.load("recordings", "train", folder, n_mels=40, **options).batch([0, 3])


def difference(one, other):
    inside = (one.x > 0) | (other.x > 0)
    return float((one.x - other.x)[inside].abs().mean())


def test_loudness_does_not_matter_and_colour_matters_less(tmp_path):
    plain = sounds(tmp_path / "a")
    quiet, coloured = sounds(tmp_path / "b", gain=0.1), sounds(tmp_path / "c", filtered=True)
    ways = {True: {"equalised": 1.0}, False: {"normalised": False}}
    found = {
        each: [difference(features(plain, **way), features(other, **way))
               for other in (quiet, coloured)]
        for each, way in ways.items()
    }  # fmt: skip
    assert found[True][0] < 0.02 < 0.1 < found[False][0]  # of 16 bits
    scale = (TOP - FLOOR) / 100  # of one dB in both
    assert found[True][1] * scale < 0.6 * found[False][1]


def test_a_recording_is_the_same_in_any_batch_and_padded_or_not(tmp_path):
    data = snnsim_datasets.load("recordings", "train", sounds(tmp_path / "a"), n_mels=40)
    alone = data.batch([0])
    together = data.batch(range(len(data)), steps=90)
    steps = int(alone.lengths[0])
    torch.testing.assert_close(together.x[:steps, 0], alone.x[:steps, 0], atol=1e-5, rtol=1e-5)
    assert not together.x[steps:, 0].any()
    for i, length in enumerate(together.lengths.tolist()):
        assert not together.x[length:, i].any()


def test_the_front_end_says_so():
    front_end = MelFrontEnd(16000, 16000, 40, n_fft=512, scaled=True, normalised=True)
    wave = torch.randn(1, 8000) * 0.1
    plain = MelFrontEnd(16000, 16000, 40, n_fft=512)
    torch.testing.assert_close(front_end(wave), (plain(wave) - FLOOR) / (TOP - FLOOR))
