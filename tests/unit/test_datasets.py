"""Every data set on small files of its official form: splits, contents, faults.

Nothing here reaches a network: opening an address is an error.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import urllib.request
import zipfile
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
import snnsim_datasets
import soundfile
import torch
from snnsim_datasets import fsdd, gsc, nmnist, shd
from snnsim_datasets.tools.audio import read_audio
from snnsim_datasets.tools.events import BinnedEvents
from snnsim_datasets.tools.mel import MelFrontEnd
from snnsim_datasets.tools.splits import hash_fraction, held_out_speakers

from snnsim.errors import ConfigError, DataError

NAMES = snnsim_datasets.names()
PARTS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def no_network_and_a_cache_of_its_own(tmp_path, monkeypatch):
    def opened(request, *_, **__):
        raise AssertionError(f"a test reached for {getattr(request, 'full_url', request)}")

    monkeypatch.setattr(urllib.request, "urlopen", opened)
    monkeypatch.setenv("SNNSIM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SNNSIM_DATA", str(tmp_path / "default"))


def load_all(name: str, root: Path | None, splits=PARTS, **options) -> dict:
    return {s: snnsim_datasets.load(name, s, root, **options) for s in splits}


def listing(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


# Registry


def test_the_known_data_sets_are_there():
    assert {"fsdd", "gsc", "nmnist", "shd", "spoken-digits", "ssc"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_info_is_complete(name):
    info = snnsim_datasets.get(name).INFO
    assert info.name == name
    for text in (info.title, info.kind, info.licence, info.citation, info.note):
        assert text.strip()
    assert info.channels > 0
    assert len(info.classes) == len(set(info.classes)) >= 2
    assert set(info.splits) >= set(PARTS)
    for remote in info.remotes:
        assert remote.urls
        assert len(remote.checksum) == 2 * hashlib.new(remote.algorithm).digest_size
        assert set(remote.checksum) <= set("0123456789abcdef")


@pytest.mark.parametrize("name", NAMES)
def test_a_split_that_does_not_exist_is_a_config_error_before_anything_is_sought(name, tmp_path):
    root = None if name == "spoken-digits" else tmp_path
    with pytest.raises(ConfigError, match=r"'tset' .* did you mean 'test'"):
        snnsim_datasets.load(name, "tset", root, download=False)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "spoken-digits"])
@pytest.mark.parametrize("split", PARTS)
def test_absent_files_are_a_data_error_that_names_the_folder(name, split, tmp_path):
    with pytest.raises(DataError, match="--root") as caught:
        snnsim_datasets.load(name, split, tmp_path / "nowhere", download=False)
    assert str(tmp_path / "nowhere") in str(caught.value)
    assert not (tmp_path / "nowhere").exists()


def test_an_unknown_data_set_is_a_config_error_with_a_hint():
    with pytest.raises(ConfigError, match="did you mean 'spoken-digits'"):
        snnsim_datasets.load("spoken_digit", "test")


# Splits by speaker


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_held_out_speakers_reach_the_fraction_and_no_more_than_needed(fraction, seed):
    speakers = np.random.default_rng(seed).integers(0, 12, 300)
    held = held_out_speakers(speakers, fraction, seed)
    share = np.isin(speakers, held).mean()
    largest = max((speakers == s).mean() for s in held)
    assert held.tolist() == sorted(set(held.tolist()))
    assert fraction <= share < fraction + largest
    assert held.tolist() == held_out_speakers(speakers[::-1], fraction, seed).tolist()


def test_another_seed_holds_out_other_speakers():
    speakers = np.arange(100) % 20
    assert len({tuple(held_out_speakers(speakers, 0.2, seed)) for seed in range(5)}) > 1


@pytest.mark.parametrize("fraction", [0.9, 1.0])
def test_at_least_one_speaker_stays(fraction):
    assert len(held_out_speakers(np.array([1, 1, 1, 2]), fraction)) == 1


def test_one_speaker_cannot_be_split():
    with pytest.raises(ConfigError, match="at least 2 speakers, but the data have 1"):
        held_out_speakers(np.zeros(5, int))


def test_hash_fractions_are_spread_evenly_and_depend_on_the_salt():
    at = np.array([hash_fraction(str(i), "a") for i in range(2000)])
    assert np.histogram(at, 10, (0, 1))[0].min() > 150
    assert hash_fraction("1", "a") != hash_fraction("1", "b")


# SHD and SSC


def write_heidelberg(path: Path, labels, speakers=None) -> None:
    """Sample i has i + 1 spikes of unit i at 25 ms, so that it can be recognised."""
    with h5py.File(path, "w") as file:
        times = file.create_dataset("spikes/times", len(labels), h5py.vlen_dtype(np.float16))
        units = file.create_dataset("spikes/units", len(labels), h5py.vlen_dtype(np.uint16))
        for i in range(len(labels)):
            times[i] = np.full(i + 1, 0.025, np.float16)
            units[i] = np.full(i + 1, i, np.uint16)
        file["labels"] = np.asarray(labels, np.uint64)
        if speakers is not None:
            file["extra/speaker"] = np.asarray(speakers, np.uint64)


def identities(binned: BinnedEvents) -> list[int]:
    return [int(n) - 1 for n in np.add.reduceat(binned.counts, binned.offsets[:-1], dtype=int)]


@pytest.fixture
def shd_folder(tmp_path):
    folder = tmp_path / "shd"
    folder.mkdir()
    write_heidelberg(folder / "shd_train.h5", np.arange(40) % 20, np.arange(40) % 8)
    write_heidelberg(folder / "shd_test.h5", np.arange(6), np.full(6, 9))
    return folder


def test_shd_is_binned_and_pooled(shd_folder):
    train = shd.load("train_all", shd_folder)
    x, labels, lengths = train.batch([7, 13])
    assert x.shape == (3, 2, 140)
    assert torch.nonzero(x).tolist() == [[2, 0, 1], [2, 1, 2]]
    assert (x[2, 0, 1], x[2, 1, 2]) == (8, 14)
    assert (labels.tolist(), lengths.tolist()) == ([7, 13], [3, 3])
    checksum = hashlib.sha256((shd_folder / "shd_train.h5").read_bytes()).hexdigest()
    assert train.checksums == {"shd_train.h5": checksum}


def test_shd_takes_step_pool_and_binning(shd_folder):
    options = {"dt": 4.0, "pool": 7, "binning": "event_anchored"}
    train = shd.load("train_all", shd_folder, **options)
    assert torch.nonzero(train.batch([13], 9).x).tolist() == [[0, 0, 1]]
    assert (train.channels, train.dt) == (100, 4.0)


def test_shd_validation_is_whole_speakers_out_of_train(shd_folder):
    parts = load_all("shd", shd_folder, (*PARTS, "train_all"))
    train, validation = parts["train"], parts["validation"]
    assert set(train.speakers.tolist()).isdisjoint(validation.speakers.tolist())
    assert sorted(identities(train) + identities(validation)) == list(range(40))
    assert identities(parts["train_all"]) == list(range(40))
    assert len(validation) == 10  # 2 speakers of 8: the first number that reaches a fifth
    assert identities(parts["test"]) == list(range(6))
    for part in (train, validation):
        assert part.labels.tolist() == [i % 20 for i in identities(part)]
        assert part.speakers.tolist() == [i % 8 for i in identities(part)]


def test_shd_validation_is_the_same_every_time(shd_folder, monkeypatch):
    first = identities(shd.load("validation", shd_folder))
    monkeypatch.setenv("SNNSIM_CACHE_DIR", str(shd_folder / "other cache"))
    np.random.seed(1)  # noqa: NPY002  the global generator must not matter
    assert identities(shd.load("validation", shd_folder)) == first


def test_a_folder_with_a_fault_in_one_file_names_that_file(shd_folder):
    (shd_folder / "shd_test.h5").write_bytes(b"")
    with pytest.raises(DataError, match=r"shd_test\.h5 is empty"):
        shd.load("test", shd_folder)


def test_ssc_splits_are_its_three_files(tmp_path):
    for number, part in enumerate(("train", "valid", "test"), 1):
        write_heidelberg(tmp_path / f"ssc_{part}.h5", [35 - number] * number)
    labels = {s: p.labels.tolist() for s, p in load_all("ssc", tmp_path).items()}
    assert labels == {"train": [34], "validation": [33] * 2, "test": [32] * 3}


# The embedded set


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SNNSIM_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        return load_all("spoken-digits", None, (*PARTS, "train_all"))


def test_spoken_digits_have_the_stated_sizes(digits):
    sizes = {split: len(part) for split, part in digits.items()}
    assert sizes == {"train": 380, "validation": 100, "test": 120, "train_all": 480}


@pytest.mark.parametrize("split", [*PARTS, "train_all"])
def test_spoken_digits_are_20_equally_frequent_classes_of_140_channels(digits, split):
    part = digits[split]
    assert len(part.classes) == 20
    assert np.bincount(part.labels, minlength=20).tolist() == [len(part) // 20] * 20
    assert part.batch([0, 1]).x.shape[1:] == (2, 140)
    assert (np.diff(part.offsets) > 0).all()


def test_spoken_digits_share_no_voice_between_splits(digits):
    voices = {split: set(part.speakers.tolist()) for split, part in digits.items()}
    assert voices["test"].isdisjoint(voices["train_all"])
    assert voices["train"].isdisjoint(voices["validation"])
    assert voices["train"] | voices["validation"] == voices["train_all"]
    assert sum(len(voices[split]) for split in PARTS) == 30


def test_spoken_digits_take_no_root(tmp_path):
    with pytest.raises(ConfigError, match="takes no root"):
        snnsim_datasets.load("spoken-digits", "test", tmp_path)


# N-MNIST


def event(x: int, y: int, polarity: int, microseconds: int) -> bytes:
    return bytes([x, y]) + (polarity << 23 | microseconds).to_bytes(3, "big")


OVERFLOW = event(0, 240, 0, 0)


def test_a_recording_gives_times_and_channels():
    times, units = nmnist.read_bin(event(3, 33, 0, 5) + event(33, 2, 1, 70_000))
    assert times == pytest.approx([5e-6, 0.07], rel=1e-6)
    assert units.tolist() == [33 * 34 + 3, 1156 + 2 * 34 + 33]


def test_the_polarity_bit_is_no_part_of_the_time():
    largest = (1 << 23) - 1
    for polarity in (0, 1):
        times, units = nmnist.read_bin(event(0, 0, polarity, largest))
        assert times == pytest.approx([largest / 1e6], rel=1e-6)
        assert units.tolist() == [1156 * polarity]


def test_an_overflow_adds_8192_microseconds_to_all_that_follows():
    times, units = nmnist.read_bin(
        event(1, 0, 0, 100) + OVERFLOW + event(2, 0, 0, 100) + OVERFLOW + event(3, 0, 0, 7)
    )
    assert (times * 1e6).round().tolist() == [100, 8292, 16391]
    assert units.tolist() == [1, 2, 3]


def test_random_recordings_survive_a_round_trip():
    rng = np.random.default_rng(5)
    x, y, p = rng.integers(0, 34, 500), rng.integers(0, 34, 500), rng.integers(0, 2, 500)
    t = rng.integers(0, 300_000, 500)
    content = b"".join(map(event, x.tolist(), y.tolist(), p.tolist(), t.tolist()))
    times, units = nmnist.read_bin(content)
    order = np.argsort(t, kind="stable")
    assert (times * 1e6).round().tolist() == t[order].tolist()
    assert units.tolist() == (p * 1156 + y * 34 + x)[order].tolist()


@pytest.mark.parametrize("content", [b"", OVERFLOW])
def test_a_recording_may_be_silent(content):
    times, units = nmnist.read_bin(content)
    assert (len(times), len(units)) == (0, 0)


@pytest.mark.parametrize("rest", [1, 4])
def test_a_truncated_recording_is_named(rest):
    content = event(1, 1, 0, 1) + event(1, 1, 0, 1)[:rest]
    with pytest.raises(DataError, match=f"00007.bin has {5 + rest} bytes.* truncated"):
        nmnist.read_bin(content, "00007.bin")


@pytest.mark.parametrize(("x", "y"), [(34, 0), (0, 34), (0, 239), (255, 255)])
def test_pixels_outside_the_camera_are_refused(x, y):
    with pytest.raises(DataError, match="outside 34 x 34"):
        nmnist.read_bin(event(x, y, 0, 1))


NUMBER = 60


def recording(i: int) -> bytes:
    """Recording i has i + 1 events at pixel (i, 7), 12 ms."""
    return event(i % 34, 7, 1, 12_000) * (i + 1)


def write_archive(folder: Path, part: str = "Train", spoil: bytes = b"") -> Path:
    """``Train/3/00001.bin`` and so on; the digit is the last of the recording's number."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{part}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir(part)
        for i in np.random.default_rng(6).permutation(NUMBER):
            archive.writestr(f"{part}/{(i + 3) % 10}/{i + 1:05d}.bin", recording(i) + spoil)
    return folder / f"{part}.zip"


def write_npz(folder: Path, part: str = "train", **changes) -> Path:
    folder.mkdir(exist_ok=True)
    sizes = np.arange(NUMBER) + 1
    arrays = {
        "x": np.repeat(np.arange(NUMBER) % 34, sizes).astype(np.uint8),
        "y": np.full(sizes.sum(), 7, np.uint8),
        "p": np.ones(sizes.sum(), np.uint8),
        "dt_us": np.concatenate([[12_000] + [0] * (n - 1) for n in sizes]).astype(np.int32),
        "offsets": np.concatenate([[0], np.cumsum(sizes)]),
        "labels": ((np.arange(NUMBER) + 3) % 10).astype(np.uint8),
    } | changes
    arrays = {name: array for name, array in arrays.items() if array is not None}
    np.savez_compressed(folder / f"nmnist_{part}.npz", **arrays)
    return folder / f"nmnist_{part}.npz"


@pytest.mark.parametrize("write", [write_archive, write_npz])
def test_nmnist_labels_and_channels_belong_to_their_recordings(tmp_path, write):
    write(tmp_path)
    for _ in range(2):  # the second time from the cache
        binned = nmnist.load("train_all", tmp_path, download=False)
        assert sorted(identities(binned)) == list(range(NUMBER))
        assert binned.labels.tolist() == [(i + 3) % 10 for i in identities(binned)]
        x = binned.batch(np.arange(NUMBER)).x
        expected = [[1, row, 1156 + 7 * 34 + i % 34] for row, i in enumerate(identities(binned))]
        assert torch.nonzero(x).tolist() == expected
        assert len(binned.checksums) == 1


@pytest.mark.parametrize("write", [write_archive, write_npz])
def test_nmnist_validation_is_carved_from_train_alike_every_time(tmp_path, write, monkeypatch):
    write(tmp_path)
    parts = load_all("nmnist", tmp_path, ("train", "validation"), download=False)
    train, validation = (identities(parts[s]) for s in ("train", "validation"))
    assert sorted(train + validation) == list(range(NUMBER))
    assert 0 < len(validation) < NUMBER / 4
    monkeypatch.setenv("SNNSIM_CACHE_DIR", str(tmp_path / "other cache"))
    assert identities(nmnist.load("validation", tmp_path, download=False)) == validation


def test_nmnist_test_is_a_file_of_its_own(tmp_path):
    write_archive(tmp_path, "Test")
    assert len(nmnist.load("test", tmp_path, download=False)) == NUMBER
    with pytest.raises(DataError, match=r"no Train\.zip"):
        nmnist.load("train", tmp_path, download=False)


def test_a_truncated_recording_in_the_archive_is_named(tmp_path):
    path = write_archive(tmp_path, spoil=b"xx")
    with pytest.raises(DataError, match=r"Train/\d/000\d\d\.bin has \d+ bytes") as caught:
        nmnist.load("train", tmp_path, download=False)
    assert str(path) in str(caught.value)


def assert_refused(path: Path, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        nmnist.load("train_all", path.parent, download=False)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("write", [write_archive, write_npz])
def test_a_truncated_file_is_named(tmp_path, write, kept):
    path = write(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    assert_refused(path, "truncated or corrupt|not a readable")


@pytest.mark.parametrize("write", [write_archive, write_npz])
def test_a_damaged_compressed_stream_is_named(tmp_path, write):
    path = write(tmp_path)
    whole = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        first = next(i for i in archive.infolist() if not i.is_dir())
    start = whole.index(first.filename.encode()) + len(first.filename)
    start += int.from_bytes(whole[first.header_offset + 28 : first.header_offset + 30], "little")
    whole[start] = 0xFF  # a deflate block of the reserved type
    path.write_bytes(whole)
    assert_refused(path, "truncated or corrupt|not a readable")


def test_an_archive_without_recordings_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "Train.zip", "w") as archive:
        archive.writestr("README.txt", "nothing")
    assert_refused(tmp_path / "Train.zip", "holds no recordings")


@pytest.mark.parametrize("name", ["00001.bin", "Train/12/00001.bin", "Train/x/00001.bin"])
def test_an_archive_with_a_recording_outside_the_ten_digit_folders_is_named(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "Train.zip", "w") as archive:
        archive.writestr(name, recording(1))
    assert_refused(tmp_path / "Train.zip", name)


def test_an_npz_without_all_its_arrays_is_named(tmp_path):
    assert_refused(write_npz(tmp_path, dt_us=None), "dt_us")


@pytest.mark.parametrize(
    "changes", [{"x": 34}, {"y": 40}, {"p": 2}, {"labels": 10}], ids=lambda c: next(iter(c))
)
def test_an_npz_with_values_out_of_range_is_named(tmp_path, changes):
    ((name, value),) = changes.items()
    with np.load(write_npz(tmp_path)) as stored:
        array = stored[name].copy()
    array[5] = value
    assert_refused(write_npz(tmp_path, **{name: array}), name if name == "labels" else "34 x 34")


# Speech Commands


def write_clip(path: Path, samples=16_000, rate=16_000, value=1000, channels=1) -> str:
    """A constant clip; returns its name as it stands in the official lists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full((samples, channels), value, np.int16), rate, subtype="PCM_16")
    return f"{path.parent.name}/{path.name}"


@pytest.fixture(params=[".wav", ".flac"])
def commands(tmp_path, request):
    """Three clips of each of three words, one per split, as in the official archive."""
    return write_commands(tmp_path / "gsc", request.param)


def write_commands(folder: Path, ending: str = ".wav") -> Path:
    lists = {"testing_list.txt": [], "validation_list.txt": [], None: []}
    value = 0
    for word in ("yes", "backward", "on"):
        for speaker, names in enumerate(lists.values()):
            value += 100
            clip = folder / word / f"{speaker:08x}_nohash_0{ending}"
            names.append(write_clip(clip, 400, value=value))
    for file, names in lists.items():
        if file:
            (folder / file).write_text("\n".join(names) + "\n")
    write_clip(folder / "_background_noise_" / "rain.wav", 500)
    return folder


def test_gsc_official_lists_make_the_splits(commands):
    parts = load_all("gsc", commands)
    loudness = {s: p.samples.reshape(3, -1)[:, 0].tolist() for s, p in parts.items()}
    # folders in alphabetical order: backward, on, yes
    expected = {"test": [400, 700, 100], "validation": [500, 800, 200], "train": [600, 900, 300]}
    assert loudness == expected
    for part in parts.values():
        assert [part.classes[k] for k in part.labels] == ["backward", "on", "yes"]
        assert part.classes == gsc.WORDS
        assert len(set(part.speakers.tolist())) == 1


def test_gsc_has_the_35_official_words_in_alphabetical_order():
    assert list(gsc.WORDS) == sorted(set(gsc.WORDS))
    assert len(gsc.WORDS) == 35


@pytest.mark.parametrize("n_mels", [140, 40])
def test_gsc_clips_are_101_steps(commands, n_mels):
    x, labels, lengths = gsc.load("test", commands, n_mels=n_mels).batch([2, 0])
    assert x.shape == (101, 2, n_mels)
    assert labels.tolist() == [gsc.WORDS.index("yes"), gsc.WORDS.index("backward")]
    assert lengths.tolist() == [101, 101]


def test_gsc_reproduces_the_published_front_end_on_request(commands):
    x = gsc.load("test", commands, f_max=14_000.0).batch([0, 1]).x
    assert (x[..., 87:] == -100).all()


@pytest.mark.parametrize("file", ["testing_list.txt", "validation_list.txt"])
@pytest.mark.parametrize("split", PARTS)
def test_gsc_without_a_list_is_an_error_that_names_it(commands, file, split):
    (commands / file).unlink()
    with pytest.raises(DataError, match="'speaker'") as caught:
        gsc.load(split, commands)
    assert str(commands / file) in str(caught.value)


@pytest.mark.parametrize("size", [1, 15_999, 16_000, 16_001, 40_000])
def test_gsc_clips_are_padded_with_silence_or_cut_to_one_second(tmp_path, size):
    write_clip(tmp_path / "yes" / "00000001_nohash_0.wav", size)
    for split in ("testing", "validation"):
        (tmp_path / f"{split}_list.txt").touch()
    samples = gsc.load("train", tmp_path).samples
    kept = min(size, 16_000)
    assert samples.tolist() == [1000] * kept + [0] * (16_000 - kept)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"rate": 8000}, "sampled at 8000 Hz but 16000 Hz was expected"),
        ({"channels": 2}, "2 channels but mono was expected"),
        ({"samples": 0}, "holds no samples|not a readable recording"),
    ],
)
def test_gsc_names_a_clip_it_cannot_use(commands, fault, message):
    clip = next((commands / "on").glob("00000002*"))
    write_clip(clip, **fault)
    with pytest.raises(DataError, match=message) as caught:
        gsc.load("train", commands)
    assert str(clip) in str(caught.value)


def test_gsc_names_a_clip_that_is_no_recording(commands):
    clip = next((commands / "on").glob("00000002*"))
    clip.write_bytes(b"hello")
    with pytest.raises(DataError, match="not a readable recording") as caught:
        gsc.load("train", commands)
    assert str(clip) in str(caught.value)


def test_an_absent_recording_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no\.wav does not exist"):
        read_audio(tmp_path / "no.wav")


def test_gsc_reads_a_changed_clip_anew_even_if_its_size_is_the_same(commands):
    gsc.load("train", commands)
    clip = next((commands / "on").glob("00000002*"))
    before = clip.stat()
    write_clip(clip, 400, value=601)
    os.utime(clip, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    assert clip.stat().st_size == before.st_size
    assert gsc.load("train", commands).samples[16_000] == 601


def test_gsc_by_speaker_keeps_every_voice_on_one_side(tmp_path):
    clips = [
        write_clip(tmp_path / word / f"{prefix}{speaker * 40503 % 2**32:08x}_nohash_{n}.flac", 20)
        for speaker in range(40)
        for word, prefix, n in (("up", "", 0), ("up", "", 1), ("_unknown_", "tree_", 0))
    ]
    write_clip(tmp_path / "_background_noise_" / "rain.wav", 500)
    parts = load_all("gsc", tmp_path, protocol="speaker")
    assert sum(len(p) for p in parts.values()) == len(clips)
    for part in parts.values():
        assert part.classes == ("_unknown_", "up")
        assert set(Counter(part.speakers.tolist()).values()) == {3}
        assert Counter(part.labels.tolist())[1] == 2 * Counter(part.labels.tolist())[0]
    assert len(parts["train"]) > len(parts["test"]) > 0
    voices = [{gsc.speaker_of(c) for c in gsc._by_speaker(tmp_path, s)[0]} for s in PARTS]
    assert sum(map(len, voices)) == len(set.union(*voices)) == 40


def test_gsc_protocols_are_two(commands):
    with pytest.raises(ConfigError, match="did you mean 'speaker'"):
        gsc.load("train", commands, protocol="speakers")


@pytest.mark.parametrize("given", [True, False], ids=["root given", "default root"])
def test_gsc_is_found_in_the_folder_that_the_archive_unpacks_to(tmp_path, given):
    root = tmp_path / "default" / "gsc"  # SNNSIM_DATA / gsc
    write_commands(root / "speech_commands_v0.02")
    assert len(gsc.load("test", root if given else None, download=False)) == 3


def test_gsc_is_downloaded_and_unpacked_once(tmp_path, monkeypatch):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        archive.add(write_commands(tmp_path / "source"), ".")
    fetched = []

    def fetch(remote, folder, progress):
        fetched.append(remote.name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / remote.name).write_bytes(content.getvalue())
        return folder / remote.name

    monkeypatch.setattr(gsc, "fetch", fetch)
    assert len(gsc.load("test")) == 3
    assert len(gsc.load("train")) == 3
    assert fetched == ["speech_commands_v0.02.tar.gz"]


def test_gsc_is_unpacked_again_after_an_interruption(tmp_path, monkeypatch):
    archive = tmp_path / "default" / "gsc" / gsc.INFO.remotes[0].name
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(write_commands(tmp_path / "source"), ".")
    extract = tarfile.TarFile.extractall

    def interrupted(self, path, **options):
        (Path(path) / "backward").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(tarfile.TarFile, "extractall", interrupted)
    pytest.raises(KeyboardInterrupt, gsc.load, "test")
    monkeypatch.setattr(tarfile.TarFile, "extractall", extract)
    assert len(gsc.load("test")) == 3


# Free Spoken Digits

SPEAKERS = ("anna", "bert", "carl", "dora", "emil")


@pytest.fixture
def recordings(tmp_path):
    """Digits 0 and 7 of five speakers, indices 3 to 6 (3 and 4 are test); files differ in size."""
    size = 479  # not of whole hops, so that the last window reaches beyond the clip's end
    for digit in (0, 7):
        for speaker in SPEAKERS:
            for index in (3, 4, 5, 6):
                clip = tmp_path / "fsdd" / "recordings" / f"{digit}_{speaker}_{index}.wav"
                write_clip(clip, size, 8000)
                size += 80
    write_clip(clip.with_name("notes.wav"), 100, 8000)
    return tmp_path / "fsdd"


def test_fsdd_audio_test_is_index_0_to_4_of_every_speaker(recordings):
    parts = load_all("fsdd", recordings, (*PARTS, "train_all"))
    assert len(parts["test"]) == len(parts["train_all"]) == 20
    for part in (parts["test"], parts["train_all"]):
        assert Counter(part.labels.tolist()) == {0: 10, 7: 10}
        assert set(Counter(part.speakers.tolist()).values()) == {4}
    sizes = {s: set(np.diff(p.offsets).tolist()) for s, p in parts.items()}
    assert {(n - 400) // 80 % 4 for n in sizes["test"]} == {0, 1}
    assert {(n - 400) // 80 % 4 for n in sizes["train_all"]} == {2, 3}
    assert sizes["train"] | sizes["validation"] == sizes["train_all"]
    assert sizes["train"].isdisjoint(sizes["validation"])


def test_fsdd_audio_validation_is_one_whole_speaker(recordings):
    train, validation = (fsdd.load(s, recordings) for s in ("train", "validation"))
    (held,) = set(validation.speakers.tolist())
    assert len(validation) == 4
    assert held not in train.speakers
    assert set(train.speakers.tolist()) == set(range(5)) - {held}


def test_fsdd_recordings_may_lie_in_the_root_itself(recordings):
    inner = fsdd.load("test", recordings / "recordings")
    assert inner.samples.tolist() == fsdd.load("test", recordings).samples.tolist()


def test_fsdd_batches_have_the_length_of_the_longest_clip(recordings):
    test = fsdd.load("test", recordings, n_mels=40)
    x, labels, lengths = test.batch([19, 0])
    assert lengths.tolist() == test.lengths[[19, 0]].tolist()
    assert x.shape == (int(lengths.max()), 2, 40)
    assert lengths[0] > lengths[1]
    assert labels.tolist() == test.labels[[19, 0]].tolist()
    assert (x[-3:, 1] == -100).all()


def test_fsdd_features_are_the_front_end_of_the_wave_between_minus_1_and_1(recordings):
    test = fsdd.load("test", recordings, n_mels=40)
    size = int(test.lengths[0] * 80)
    wave = torch.zeros(1, size + 800)
    wave[0, : test.offsets[1]] = 1000 / 32768
    expected = MelFrontEnd(8000, 8000, 40)(wave)[0, : test.lengths[0]]
    torch.testing.assert_close(test.batch([0]).x[:, 0], expected, rtol=0, atol=1e-3)


def test_fsdd_features_do_not_depend_on_the_neighbours(recordings):
    test = fsdd.load("test", recordings, n_mels=40)
    longest = int(test.lengths.max())
    together = test.batch(range(len(test)), longest)
    for i in range(len(test)):
        for steps in (longest, None):
            x, _, (length,) = test.batch([i], steps)
            # decibels: far above rounding, far below the effect of another padding
            torch.testing.assert_close(together.x[: len(x), i], x[:, 0], rtol=0, atol=1e-3)
            assert together.lengths[i] == length


def test_fsdd_batches_are_cut_to_steps(recordings):
    test = fsdd.load("test", recordings)
    whole, cut = test.batch([19, 0]), test.batch([19, 0], 9)
    assert torch.equal(cut.x, whole.x[:9])
    assert cut.lengths.tolist() == [9, min(9, int(whole.lengths[1]))]


def test_the_padding_of_a_clip_is_silence_whoever_its_neighbours_are(recordings):
    test = fsdd.load("test", recordings)
    steps = int(test.lengths.max()) + 5
    alone, together = test.batch([0], steps), test.batch([0, 19], steps)
    after = int(alone.lengths[0]) + 3  # no window reaches from here into the clip
    assert (together.x[after : steps - 5, 0] == -100).all()
    assert (alone.x[after:, 0] == -100).all()


def test_an_empty_batch_of_clips_is_refused(recordings):
    with pytest.raises(ConfigError, match="at least one sample"):
        fsdd.load("test", recordings).batch([])


def test_fsdd_names_a_clip_of_another_rate(recordings):
    clip = recordings / "recordings" / "7_anna_6.wav"
    write_clip(clip, 400, 16_000)
    with pytest.raises(DataError, match="16000 Hz but 8000 Hz was expected") as caught:
        fsdd.load("train_all", recordings)
    assert str(clip) in str(caught.value)


def test_fsdd_prefers_spikes_and_can_be_told(recordings):
    write_heidelberg(recordings / "fsdd_train.h5", np.arange(20) % 10, np.arange(20) % 5)
    write_heidelberg(recordings / "fsdd_test.h5", np.arange(10), np.arange(10) % 5)
    parts = load_all("fsdd", recordings, (*PARTS, "train_all"))
    assert {s: len(p) for s, p in parts.items()} == {
        "train": 16,
        "validation": 4,
        "test": 10,
        "train_all": 20,
    }
    assert set(parts["train"].speakers).isdisjoint(parts["validation"].speakers)
    assert all(isinstance(p, BinnedEvents) for p in parts.values())
    assert not isinstance(fsdd.load("test", recordings, form="audio"), BinnedEvents)
    assert isinstance(fsdd.load("test", recordings, form="spikes"), BinnedEvents)


def test_fsdd_forms_are_three(recordings):
    with pytest.raises(ConfigError, match="did you mean 'spikes'"):
        fsdd.load("test", recordings, form="spike")


def test_fsdd_spikes_are_not_replaced_by_audio(recordings):
    with pytest.raises(DataError, match=r"no fsdd_train\.h5"):
        fsdd.load("test", recordings, form="spikes")
