"""Recordings of one's own: what is listed, how it is divided, read and refused."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import snnsim_datasets
import soundfile
from dataset_files import PARTS, assert_disjoint, load_all, write_clip
from snnsim_datasets.tools.audio import read_mixed
from snnsim_datasets.tools.listing import listed
from snnsim_datasets.tools.splits import divide, held_out_of_classes

from snnsim.errors import ConfigError, DataError


def clips(folder, places):
    for number, place in enumerate(places):
        write_clip(folder / place, 1600 + 160 * number)


def names(found):
    return [path.relative_to(found.folder).as_posix() for path in found.paths]


# --- listing --------------------------------------------------------------------------------------


def test_classes_are_folders_in_the_order_of_their_numbers(tmp_path):
    clips(tmp_path, ["10/a.wav", "2/b.flac", "2/a.WAV", "word 1/x.wav", ".hidden/x.wav"])
    (tmp_path / "2" / "notes.txt").write_text("not a sound")
    (tmp_path / "2" / ".x.wav").write_text("not a sound")
    found = listed(tmp_path)
    assert found.classes == ("2", "10", "word 1")
    assert sorted(names(found)) == ["10/a.wav", "2/a.WAV", "2/b.flac", "word 1/x.wav"]
    assert [found.classes[i] for i in found.labels] == [n.split("/")[0] for n in names(found)]
    assert set(found.speakers) == {-1} and set(found.parts) == {""}


def test_folders_below_classes_are_speakers_if_all_files_are_in_one(tmp_path):
    clips(tmp_path, [f"{c}/{s}/{n}.wav" for c in "ab" for s in ("ann", "bob") for n in "12"])
    found = listed(tmp_path)
    assert found.speakers.tolist() == [0, 0, 1, 1] * 2
    clips(tmp_path, ["a/alone.wav"])
    assert set(listed(tmp_path).speakers[: len(listed(tmp_path)) // 2]) <= {-1, 0, 1}


def test_folders_of_parts_say_which_part_a_recording_is_of(tmp_path):
    places = ["Train/a/1.wav", "Train/b/1.wav", "dev/a/2.wav", "testing/b/2.wav"]
    clips(tmp_path, places)
    found = listed(tmp_path)
    parts = dict(zip(names(found), found.parts, strict=True))
    assert parts == dict(zip(places, ["train", "train", "validation", "test"], strict=True))
    (tmp_path / "c").mkdir()
    with pytest.raises(DataError, match="folders for parts .* such as c"):
        listed(tmp_path)


def test_a_table_lists_files_labels_speakers_and_parts(tmp_path):
    clips(tmp_path, ["x/1.wav", "2.wav", "3.wav"])
    (tmp_path / "list.csv").write_text(
        "\ufeffPath,Word,note,Voice,Set\n"
        "x/1.wav,yes,loud,ann,train\n\n"
        '2.wav,"no, really",,bob,valid\n'
        "3.wav,yes,,ann,test\n",
        encoding="utf-8",
    )
    found = listed(tmp_path / "list.csv")
    assert names(found) == ["x/1.wav", "2.wav", "3.wav"]
    assert found.classes == ("no, really", "yes") and found.labels.tolist() == [1, 0, 1]
    assert found.speakers.tolist() == [0, 1, 0]
    assert found.parts == ("train", "validation", "test")


TABLES = {
    "\n": "empty line",
    "file,word\n": "lists no recordings",
    "name,label\n1.wav,a\n": "needs file and label",
    "file,label\n1.wav\n": "line 2 .* has 1 fields but the header has 2",
    "file,label\n1.wav,\n": "line 2 .* has no label",
    "file,label\n9.wav,a\n": "1 of 1 files .* do not exist, such as .*9.wav",
    "file,label\n1.wav,a\n1.wav,b\n": "lists .*1.wav more than once",
    "file,label\n../1.wav,a\n": "outside of the folder",
    "file,label,split\n1.wav,a,other\n": "split 'other' but must be of train",
    "file,label\n1.wav,a\n2.wav,a\n": "1 class .a.",
}


@pytest.mark.parametrize("text", TABLES)
def test_tables_that_cannot_be_used_are_refused_by_line(tmp_path, text):
    clips(tmp_path, ["1.wav", "2.wav"])
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=TABLES[text]):
        listed(tmp_path / "t.csv")


def test_a_table_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(DataError, match="not a readable table"):
        listed(tmp_path / "t.csv")


def test_folders_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        listed(tmp_path / "typo")
    with pytest.raises(DataError, match="no folders of classes"):
        listed(tmp_path)
    clips(tmp_path, ["a/1.wav"])
    with pytest.raises(DataError, match="1 class .a."):
        listed(tmp_path)
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="b holds no recordings"):
        listed(tmp_path)
    (tmp_path / "b" / "1.m4a").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"1\.m4a"), pytest.raises(DataError, match="b holds no"):
        listed(tmp_path)
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(DataError, match="neither a folder nor a table"):
        listed(tmp_path / "file.txt")


def test_speakers_are_found_by_an_expression(tmp_path):
    clips(tmp_path, [f"{c}/{c}_{s}_1.wav" for c in "ab" for s in ("ann", "bob")])
    assert listed(tmp_path, "_(.+)_").speakers.tolist() == [0, 1, 0, 1]
    for pattern, reason in (("(", "no regular"), ("_.+_", "needs a group"), ("(z)", "finds no")):
        with pytest.raises(ConfigError, match=reason):
            listed(tmp_path, pattern)


# --- parts ----------------------------------------------------------------------------------------


def parts_of(labels, speakers, given=None, **options):
    labels, speakers = np.asarray(labels), np.asarray(speakers)
    return divide(labels, speakers, given or [""] * len(labels), **options)


@pytest.mark.parametrize("seed", range(3))
def test_whole_speakers_are_held_out_where_all_are_known_and_enough(seed):
    speakers = np.arange(60) % 5
    parts = parts_of(np.arange(60) // 5 % 3, speakers, seed=seed)
    held = {part: set(speakers[parts == part]) for part in PARTS}
    assert [len(held[part]) for part in PARTS] == [3, 1, 1]
    assert not any(a & b for a, b in itertools.combinations(held.values(), 2))


@pytest.mark.parametrize("speakers", [[-1] * 40, [0] * 40, [0, 1] * 20, [-1, 0, 1, 2] * 10])
def test_else_every_class_is_divided_alike(speakers):
    labels = np.arange(40) % 4
    parts = parts_of(labels, speakers)
    for part, count in (("train", 6), ("validation", 2), ("test", 2)):
        assert np.bincount(labels[parts == part]).tolist() == [count] * 4


def test_parts_depend_on_the_seed_alone():
    same = [parts_of(np.arange(40) % 4, [-1] * 40, seed=seed).tolist() for seed in (0, 0, 1)]
    assert same[0] == same[1] != same[2]


def test_parts_that_are_given_stay_and_only_missing_ones_are_made():
    given = ["test"] * 4 + ["train"] * 16
    parts = parts_of(np.arange(20) % 2, [-1] * 20, given)
    assert parts[:4].tolist() == ["test"] * 4
    assert sorted(set(parts[4:])) == ["train", "validation"]
    with pytest.raises(DataError, match="1 of 3 recordings belong to no split"):
        parts_of([0, 1, 0], [-1] * 3, ["train", "test", ""])


def test_a_class_of_one_recording_cannot_be_divided():
    with pytest.raises(DataError, match="class number 1 has 1 recording"):
        held_out_of_classes(np.array([0, 0, 1]), 0.2)
    for fraction in (0.0, 0.95, float("nan")):
        with pytest.raises(ConfigError, match=r"data\.held_out"):
            parts_of([0, 1] * 9, [-1] * 18, fraction=fraction)


def test_every_class_must_be_left_for_training(tmp_path):
    clips(tmp_path, ["train/a/1.wav", "train/a/2.wav", "test/a/3.wav", "test/b/1.wav"])
    with pytest.raises(DataError, match="no folders|no recording of 'b' is left for training"):
        snnsim_datasets.load("recordings", "train", tmp_path)


# --- reading --------------------------------------------------------------------------------------


def tone(rate, seconds=0.5, hertz=440.0):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_rate_and_number_of_channels_become_one_rate_and_channel(tmp_path, rate, channels):
    wave = tone(rate)[:, None] * np.linspace(0.5, 1.5, channels)  # whose mean is 1
    wave = wave if channels > 1 else tone(rate)[:, None]
    soundfile.write(tmp_path / "x.wav", wave, rate, subtype="PCM_16")
    found = read_mixed(tmp_path / "x.wav", 16000)
    assert found.dtype == np.int16 and abs(len(found) - 8000) <= 1
    inside = slice(400, -400)
    expected = 32768 * tone(16000)[: len(found)]
    assert np.abs(found[inside] - expected[: len(found)][inside]).max() < 60


def test_damage_and_too_many_channels_are_refused(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="not a readable recording"):
        read_mixed(tmp_path / "x.wav", 16000)
    soundfile.write(tmp_path / "y.wav", np.zeros((9, 40)), 8000)
    with pytest.raises(DataError, match="40 channels but 32 or fewer"):
        read_mixed(tmp_path / "y.wav", 16000)


@pytest.fixture
def own(tmp_path):
    """Two classes of five recordings, beside the cache."""
    folder = tmp_path / "own"
    clips(folder, [f"{c}/{n}.wav" for c in ("yes", "no") for n in range(5)])
    return folder


def test_a_folder_is_a_data_set_with_its_own_classes(own):
    data = load_all("recordings", own, n_mels=20)
    assert [len(data[part]) for part in PARTS] == [6, 2, 2]
    for part in data.values():
        assert (part.classes, part.channels, part.dt) == (("no", "yes"), 20, 10.0)
        x = part.batch(range(len(part))).x
        assert float(x.min()) == 0 and 0.1 < float(x.max()) < 1.5


def test_parts_of_a_folder_share_no_recording(own):
    parts = load_all("recordings", own, n_mels=20)
    assert_disjoint(parts)
    assert sum(map(len, parts.values())) == 10


@pytest.mark.parametrize(
    "option", [{"rate": 10**9}, {"rate": 10}, {"n_mels": 0}, {"n_mels": 10**6}]
)
def test_rates_and_bands_beyond_reason_are_refused(own, option):
    with pytest.raises(ConfigError, match=f"data.{next(iter(option))} is"):
        snnsim_datasets.load("recordings", "train", own, **option)


def test_silence_is_0_as_padding_is(own):
    for n in range(9):
        write_clip(own / "quiet" / f"{n}.wav", 1600 + n, value=0)
    data = snnsim_datasets.load("recordings", "train", own)
    x = data.batch(np.flatnonzero(data.labels == data.classes.index("quiet"))).x
    assert not x.any()


def test_a_recording_that_is_damaged_is_named(own):
    for n in range(9):
        (own / "no" / f"{n}.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"no/\d\.wav is not a readable"):
        load_all("recordings", own)


def test_a_table_in_the_folder_or_as_root_takes_the_place_of_folders(own):
    lines = [f"{c}/{n}.wav,{c}" for c in ("yes", "no") for n in range(4)]
    lines += ["yes/4.wav,perhaps", "no/4.wav,perhaps", "no/3.wav,perhaps"]
    text = "file,label\n" + "\n".join(lines[:7] + lines[8:]) + "\n"
    for name, root in (("recordings.csv", own), ("other.csv", own / "other.csv")):
        (own / name).write_text(text)
        data = load_all("recordings", root)
        assert data["train"].classes == ("no", "perhaps", "yes")
        assert name in data["train"].checksums and sum(map(len, data.values())) == 10
        (own / name).unlink()


def test_clips_are_read_once(own, monkeypatch):
    first = load_all("recordings", own)
    monkeypatch.setattr("snnsim_datasets.recordings.read_mixed", None)
    second = load_all("recordings", own)
    for part in PARTS:
        assert np.array_equal(first[part].samples, second[part].samples)
        assert first[part].checksums == second[part].checksums


def test_a_network_learns_from_a_folder_and_reads_other_rates(snnsim, own, tmp_path):
    out = tmp_path / "run"
    done = snnsim(
        "recordings", "train", "--root", own, "--epochs", "1", "--out", out, "-q",
        "--set", "network.hidden=[4]", "--set", "data.n_mels=10",
    )  # fmt: skip
    assert done.code == 0, done.err
    told = json.loads(snnsim("recordings", "info", "--root", own, "--json").out)
    assert (told["classes"], told["samples in train"]) == ("no, yes", 6)
    soundfile.write(tmp_path / "x.wav", np.stack([tone(44100), tone(44100)], 1), 44100)
    answer = snnsim("predict", out, tmp_path / "x.wav", "--json")
    assert answer.code == 0 and {"yes", "no"} == set(json.loads(answer.out)[0]["classes"])
