"""The loaders on real recordings, where they are present."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import snnsim_datasets
import soundfile
from camera_files import WRITERS
from snnsim_datasets.tools.cameras import read as read_camera

from snnsim.data.events import Events, bin_all
from snnsim.encoders import Cochlea

DATA = Path(os.environ.get("SNNSIM_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
PARTS = ("train", "validation", "test")


def needs(name: str) -> Path:
    """The folder of that name; without it the test is skipped, or fails if data are required."""
    if not (DATA / name).is_dir():
        message = f"real data: {name} is absent"
        if os.environ.get("SNNSIM_REQUIRE_DATA") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return DATA / name


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SNNSIM_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


def load(folder: str, name: str, splits=PARTS, **options) -> dict:
    root = needs(folder)
    return {s: snnsim_datasets.load(name, s, root, download=False, **options) for s in splits}


def sizes(parts: dict) -> dict[str, int]:
    return {split: len(part) for split, part in parts.items()}


def by_speaker_and_label(part) -> dict[tuple[int, int], int]:
    pairs, counts = np.unique(np.stack([part.speakers, part.labels]), axis=1, return_counts=True)
    return {(int(s), int(k)): int(n) for (s, k), n in zip(pairs.T, counts, strict=True)}


# Free Spoken Digits


@pytest.fixture(scope="module")
def fsdd_spikes():
    return load("fsdd_shd", "fsdd", (*PARTS, "train_all"))


@pytest.fixture(scope="module")
def fsdd_audio():
    return load("fsdd", "fsdd", (*PARTS, "train_all"), form="audio")


def test_fsdd_spikes_have_the_known_sizes(fsdd_spikes):
    expected = {"train": 1800, "validation": 450, "test": 250, "train_all": 2250}
    assert sizes(fsdd_spikes) == expected
    assert all(len(part.classes) == 10 for part in fsdd_spikes.values())
    assert all(part.channels == 140 for part in fsdd_spikes.values())


def test_fsdd_audio_has_the_known_sizes(fsdd_audio):
    expected = {"train": 1800, "validation": 450, "test": 250, "train_all": 2250}
    assert sizes(fsdd_audio) == expected


@pytest.mark.parametrize("form", ["fsdd_spikes", "fsdd_audio"])
def test_every_fsdd_digit_has_25_test_samples_5_of_each_speaker(form, request):
    test = request.getfixturevalue(form)["test"]
    assert np.bincount(test.labels).tolist() == [25] * 10
    assert set(by_speaker_and_label(test).values()) == {5}


@pytest.mark.parametrize("form", ["fsdd_spikes", "fsdd_audio"])
def test_fsdd_validation_is_one_whole_speaker(form, request):
    parts = request.getfixturevalue(form)
    (held,) = set(parts["validation"].speakers.tolist())
    assert held not in parts["train"].speakers
    assert (parts["train_all"].speakers == held).sum() == 450


def test_fsdd_spikes_and_audio_of_a_class_last_equally_long(fsdd_spikes, fsdd_audio):
    """The spikes were made from these recordings, so their lengths go together."""
    spikes, audio = fsdd_spikes["test"], fsdd_audio["test"]
    for label in range(10):
        ends = np.sort(spikes.lengths[spikes.labels == label])
        clips = np.sort(audio.lengths[audio.labels == label])
        assert np.corrcoef(ends, clips)[0, 1] > 0.9


def test_fsdd_audio_batches_are_spectra_of_the_longest_clip(fsdd_audio):
    test = fsdd_audio["test"]
    x, labels, lengths = test.batch([0, 100, 249])
    assert x.shape == (int(lengths.max()), 3, 140)
    assert labels.tolist() == test.labels[[0, 100, 249]].tolist()
    assert x.isfinite().all()
    assert (x[:10] > -60).any(2).any(0).all()


# Speech Commands


@pytest.fixture(scope="module")
def gsc():
    return load("gsc_v002_test", "gsc", protocol="speaker")


def test_gsc_clips_are_all_in_one_split_each(gsc):
    total = len(list(needs("gsc_v002_test").glob("*/*.flac")))
    assert all(n > 300 for n in sizes(gsc).values())
    assert sum(sizes(gsc).values()) == total


def test_gsc_has_12_classes_in_every_split(gsc):
    for part in gsc.values():
        assert len(part.classes) == 12
        assert np.unique(part.labels).tolist() == list(range(12))


def test_gsc_splits_share_no_speaker_hash():
    from snnsim_datasets.gsc import _by_speaker, speaker_of

    folder = needs("gsc_v002_test")
    voices = [{speaker_of(clip) for clip in _by_speaker(folder, split)[0]} for split in PARTS]
    assert all(len(v) > 20 for v in voices)
    assert len(set.union(*voices)) == sum(len(v) for v in voices)
    assert all("_" not in voice for v in voices for voice in v)


def test_gsc_clips_are_101_steps_of_140_channels(gsc):
    x, labels, lengths = gsc["test"].batch([0, 200, 400])
    assert x.shape == (101, 3, 140)
    assert lengths.tolist() == [101] * 3
    assert labels.tolist() == gsc["test"].labels[[0, 200, 400]].tolist()
    assert x.isfinite().all()


# N-MNIST


@pytest.mark.parametrize(("split", "number"), [("train_all", 600), ("test", 100)])
def test_nmnist_events_lie_within_34_by_34_pixels(split, number):
    from snnsim_datasets import nmnist

    file = needs("nmnist_small") / f"nmnist_{split.removesuffix('_all')}.npz"
    binned = load("nmnist_small", "nmnist", (split,))[split]
    assert len(binned) == number
    with np.load(file) as stored:
        assert stored["x"].max() < 34
        assert stored["y"].max() < 34
        assert int(binned.counts.sum()) == len(stored["x"])
        assert binned.labels.tolist() == stored["labels"].tolist()
    assert binned.channels == nmnist.CHANNELS == 2 * 34 * 34
    assert (binned.cells // binned.channels).max() < binned.lengths.max()
    assert 25 <= np.median(binned.lengths) <= 35  # three saccades of 100 ms


def test_nmnist_validation_is_carved_from_train():
    parts = load("nmnist_small", "nmnist", (*PARTS, "train_all"))
    assert len(parts["train"]) + len(parts["validation"]) == len(parts["train_all"]) == 600
    assert 30 <= len(parts["validation"]) <= 90


HEADERS = {
    "evt2.raw": ("% evt 2.0\n% geometry 34x34\n",),
    "evt3.raw": ("% evt 3.0\n% geometry 34x34\n",),
    "a.dat": ("% Version 2\n% Width 34\n% Height 34\n",),
}


@pytest.mark.parametrize("name", WRITERS)
def test_recordings_of_nmnist_are_the_same_in_files_of_every_format(name, tmp_path):
    with np.load(needs("nmnist_small") / "nmnist_test.npz") as stored:
        arrays = {key: stored[key] for key in ("dt_us", "x", "y", "p", "offsets")}
    for i in range(10):
        part = slice(*arrays["offsets"][i : i + 2])
        t = np.cumsum(arrays["dt_us"][part])
        given = np.stack([t, *(arrays[axis][part] for axis in "xyp")], 1).astype(np.int64)
        WRITERS[name](tmp_path / name, given, *HEADERS.get(name, ()))
        found = read_camera(tmp_path / name)
        assert (found.height, found.width) == ((34, 34) if name in HEADERS else (0, 0))
        given[:, 0] -= given[0, 0]
        assert np.array_equal(np.stack(found[:4], 1), given)


# Heidelberg Digits


def test_a_recording_of_the_original_cochlea_tool_can_be_binned():
    (path,) = needs("hd_sample").glob("*.npz")
    with np.load(path) as stored:
        seconds, units = stored["arr_0"]
    order = np.argsort(seconds, kind="stable")
    events = Events(
        times=seconds[order].astype(np.float32),
        units=units[order].astype(np.uint16),
        offsets=np.array([0, len(units)]),
        labels=np.array([2]),
        speakers=np.array([-1]),
        channels=700,
        classes=tuple("0123456789"),
    )
    x = bin_all(events, 10.0, pool=5).batch([0]).x
    assert x.shape == (int(events.times[-1] * 100) + 1, 1, 140)
    assert x.sum() == 6096
    assert x.sum(0)[0].tolist() == np.bincount(units.astype(int) // 5, minlength=140).tolist()


# The cochlea, on one of the Heidelberg Digits


def heard() -> tuple[np.ndarray, np.ndarray]:
    """The sound of one digit, and times and units of the published spikes."""
    folder = needs("hd_sample")
    wave, rate = soundfile.read(folder / "lang-english_speaker-00_trial-0_digit-2.flac")
    assert rate == 48000
    return wave, np.load(folder / "lauscher_700ch_digit-2.npz")["arr_0"]


def counts(times: np.ndarray, units: np.ndarray, shape: tuple[int, int] = (58, 70)) -> np.ndarray:
    """Spikes in pieces of 10 ms and 10 units, or as the shape says."""
    return np.histogram2d(times, units, shape, [[0, 0.58], [0, 700]])[0]


def test_the_cochlea_hears_what_the_published_one_heard():
    wave, published = heard()
    cochlea = Cochlea()
    ours = [cochlea(wave, seed=seed) for seed in range(5)]
    totals = np.array([len(spikes.times) for spikes in ours])
    assert abs(totals.mean() - published.shape[1]) < 4 * 43  # standard deviation of the published
    pictures = np.stack([counts(*published).ravel(), *(counts(*each).ravel() for each in ours)])
    alike = np.corrcoef(pictures)
    among_ours = alike[1:, 1:][np.triu_indices(5, 1)]
    spread = among_ours.max() - among_ours.min()
    assert alike[0, 1:].min() > among_ours.min() - spread
    regions = np.stack([counts(*each, shape=(1, 7)).ravel() for each in ours]).mean(0)
    print(f"spikes {totals.tolist()}, published {published.shape[1]}; by 100 units {regions}")
    print(f"alike published {alike[0, 1:].round(4)}, among ours {np.sort(among_ours).round(4)}")
    expected = counts(*published, shape=(1, 7)).ravel()
    assert np.all(np.abs(regions - expected) < 4 * np.sqrt(expected))


def test_a_cochlea_of_the_wrong_order_does_not():
    wave, published = heard()
    times, units = Cochlea()(wave)
    right = np.corrcoef(counts(*published).ravel(), counts(times, units).ravel())[0, 1]
    wrong = np.corrcoef(counts(*published).ravel(), counts(times, 699 - units).ravel())[0, 1]
    assert right > 0.9 and wrong < 0.3


def test_the_published_filters_ring_before_a_sound():
    wave, published = heard()
    early = published[0, published[1] >= 600].mean()
    backwards, forwards = (
        times[units >= 600].mean() for times, units in (Cochlea()(wave), Cochlea(causal=True)(wave))
    )
    assert abs(backwards - early) < 0.003 < forwards - early - 0.01
