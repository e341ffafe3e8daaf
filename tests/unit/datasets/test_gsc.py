"""Speech Commands on small files of its form: splits, front ends, faults, downloads."""

from __future__ import annotations

import io
import os
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from dataset_files import PARTS, load_all, write_clip
from snnsim_datasets import gsc
from snnsim_datasets.tools import files
from snnsim_datasets.tools.audio import read_audio

from snnsim.errors import ConfigError, DataError


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

    monkeypatch.setattr(files, "fetch", fetch)
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
