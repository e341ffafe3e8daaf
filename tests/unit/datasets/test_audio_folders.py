"""No recording of a folder is passed over in silence, and lists that fit nothing are refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from dataset_files import write_clip
from snnsim_datasets import fsdd, gsc

from snnsim.errors import DataError

AUDIO = (".WAV", ".Flac", ".FLAC", ".ogg", ".mp3", ".opus", ".aiff", ".aif", ".au", ".w64", ".m4a")


def warned(caplog, recwarn) -> str:
    return " ".join([*caplog.messages, *(str(w.message) for w in recwarn.list)])


def taken_or_named(name: str, number: int, load, caplog, recwarn) -> None:
    """The clip is among those loaded, or an error or a warning has its name."""
    try:
        found = len(load())
    except DataError as error:
        assert name in str(error)
    else:
        assert found == number or name in warned(caplog, recwarn)


def as_ending(clip: Path, ending: str, rate: int) -> Path:
    """The clip under another ending, in that ending's container where it can be written."""
    container = {".aif": "AIFF", ".opus": "OGG", ".m4a": "WAV"}.get(
        ending.lower(), ending[1:].upper()
    )
    subtype = {"MP3": "MPEG_LAYER_III", "OGG": "OPUS" if ending == ".opus" else "VORBIS"}
    soundfile.write(
        clip.with_suffix(ending),
        0.5 * np.sin(np.arange(rate // 2) / 9),
        rate,
        format=container,
        subtype=subtype.get(container, "PCM_16"),
    )
    clip.unlink()
    return clip.with_suffix(ending)


@pytest.fixture
def digits(tmp_path):
    """Free Spoken Digits: test clips of three speakers."""
    for digit in (0, 7):
        for speaker in ("anna", "bert", "carl"):
            write_clip(tmp_path / "recordings" / f"{digit}_{speaker}_0.wav", 800, 8000)
    return tmp_path / "recordings"


@pytest.fixture
def commands(tmp_path):
    """Speech Commands: a clip of each of two words for training, validation and test."""
    lists = {"testing_list.txt": [], "validation_list.txt": [], None: []}
    for word in ("on", "yes"):
        for speaker, names in enumerate(lists.values()):
            names.append(write_clip(tmp_path / word / f"{speaker:08x}_nohash_0.wav", 4000))
    for file, names in lists.items():
        if file:
            (tmp_path / file).write_text("\n".join(names) + "\n")
    return tmp_path


@pytest.mark.parametrize("ending", AUDIO)
def test_fsdd_passes_no_recording_over_for_its_ending(digits, ending, caplog, recwarn):
    clip = as_ending(digits / "7_bert_0.wav", ending, 8000)
    taken_or_named(clip.name, 6, lambda: fsdd.load("test", digits), caplog, recwarn)


@pytest.mark.parametrize("ending", AUDIO)
@pytest.mark.parametrize("protocol", gsc.PROTOCOLS)
def test_gsc_passes_no_recording_over_for_its_ending(commands, protocol, ending, caplog, recwarn):
    clip = as_ending(commands / "yes" / "00000002_nohash_0.wav", ending, 16_000)

    def load():
        parts = [gsc.load(s, commands, protocol=protocol) for s in ("train", "validation", "test")]
        return np.concatenate([p.labels for p in parts])

    if protocol == "speaker":  # the hash decides where a clip goes, so give every part one
        for i in range(40):
            write_clip(commands / "on" / f"{i:08x}_nohash_7.wav", 100)
    number = 46 if protocol == "speaker" else 6
    taken_or_named(clip.name, number, load, caplog, recwarn)


@pytest.mark.parametrize("speaker", ["Anna", "ANNA", "anna-b", "anna2", "jürgen", "a_b"])
def test_fsdd_drops_no_speaker_for_the_way_the_name_is_written(digits, speaker, caplog, recwarn):
    name = write_clip(digits / f"7_{speaker}_0.wav", 800, 8000).split("/")[1]
    taken_or_named(name, 7, lambda: fsdd.load("test", digits), caplog, recwarn)


@pytest.mark.parametrize("digit", ["12", "a"])
def test_fsdd_takes_no_recording_for_another_digit(digits, digit):
    write_clip(digits / f"{digit}_anna_0.wav", 800, 8000)
    test = fsdd.load("test", digits)
    assert len(test) == 6 and set(test.labels.tolist()) == {0, 7}


# Lists of Speech Commands


def assert_lists_name_what_is_wrong(commands: Path, file: str) -> None:
    for split in ("train", "validation", "test"):
        with pytest.raises(DataError, match=re.escape(str(commands / file))):
            gsc.load(split, commands)


CHANGES = {
    "other names": lambda text: text.replace("nohash", "hash"),
    "other words": lambda text: re.sub("(?m)^[a-z]+/", "off/", text),
    "capitals": str.upper,
    "another folder": lambda text: re.sub(r"(?m)^", "data/", text),
}


@pytest.mark.parametrize("file", ["testing_list.txt", "validation_list.txt"])
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_lists_of_which_no_entry_matches_a_clip_put_no_test_clip_into_training(
    commands, file, change
):
    path = commands / file
    path.write_text(CHANGES[change](path.read_text().strip()))
    assert_lists_name_what_is_wrong(commands, file)


@pytest.mark.parametrize("file", ["testing_list.txt", "validation_list.txt"])
def test_lists_are_read_with_a_byte_order_mark_and_other_line_ends(commands, file):
    path = commands / file
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    try:
        sizes = [len(gsc.load(s, commands)) for s in ("train", "validation", "test")]
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert sizes == [2, 2, 2]


def test_a_clip_in_both_lists_is_refused(commands):
    both = (commands / "testing_list.txt").read_text() + (
        commands / "validation_list.txt"
    ).read_text()
    (commands / "testing_list.txt").write_text(both)
    with pytest.raises(DataError, match="list"):
        gsc.load("test", commands)


def test_lists_that_are_not_text_are_refused(commands):
    (commands / "testing_list.txt").write_bytes(b"\xff\xfe\0\x80" * 50)
    assert_lists_name_what_is_wrong(commands, "testing_list.txt")
