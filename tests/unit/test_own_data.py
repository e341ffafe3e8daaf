"""``snnsim train``, ``evaluate`` and ``data`` with data of one's own."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import soundfile
from snnsim_experiments.run_folder import in_order_of

from snnsim.data import Arrays, from_events

WORDS = {"low": 300, "mid": 900, "high": 2500}
SMALL = (
    "--set", "network.hidden=[32]", "--set", "network.max_delay_ms=40", "--set",
    "network.dropout=0", "--set", "training.batch_size=4", "--quiet",
)  # fmt: skip


def sounds(folder, words=WORDS, people=("ann", "bob", "cy"), count=3):
    random = np.random.default_rng(0)
    for (word, pitch), person in ((w, p) for w in words.items() for p in people):
        (folder / word).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            time = np.arange(1600 + 160 * i) / 8000
            wave = 0.3 * np.sin(2 * np.pi * (pitch + 10 * i) * time)
            wave += 0.01 * random.normal(size=len(time))
            soundfile.write(folder / word / f"{word}_{person}_{i}.wav", wave, 8000)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return sounds(tmp_path_factory.mktemp("own") / "sounds")


SPEAKER = ("--set", "data.speaker=_(.+)_")


def test_a_folder_is_trained_evaluated_and_predicted_by_its_place(snnsim, folder, tmp_path):
    run = tmp_path / "run"
    done = snnsim("train", folder, *SPEAKER, *SMALL, "--epochs", 15, "--out", run, "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert summary["test_samples"] == 9 and summary["test_accuracy"] > 0.6  # chance is a third
    told = json.loads((run / "run.json").read_text())
    assert told["config"]["source"] == "recordings" and told["root"] == str(folder)
    with (run / "splits.csv").open() as file:
        rows = list(csv.DictReader(file))
    people = {
        part: {r["speaker"] for r in rows if r["split"] == part} for part in ("train", "test")
    }
    assert len(rows) == 27 and not people["train"] & people["test"]
    again = snnsim("evaluate", run, "--json")
    assert json.loads(again.out)["accuracy"] == summary["test_accuracy"]
    known = snnsim("predict", run, folder / "low" / "low_ann_0.wav", "--json")
    assert json.loads(known.out)[0]["classes"][0] == "low"
    resumed = snnsim("train", folder, *SPEAKER, *SMALL, "--epochs", 15, "--out", run, "--resume")
    assert resumed.code == 0 and "already complete" in resumed.err


@pytest.mark.parametrize("kind", ["events", "arrays"])
def test_classes_of_other_data_are_brought_into_the_order_of_the_run(kind):
    if kind == "events":
        data = from_events([([0.001], [i]) for i in range(3)], [0, 1, 2], 3, 5.0, classes="abc")
    else:
        data = Arrays(np.eye(3)[:, None], [0, 1, 2], classes=("a", "b", "c"))
    found = in_order_of({"classes": ["c", "a", "b"]}, data)
    assert found.classes == ("c", "a", "b")
    assert found.batch([0, 1, 2]).target.tolist() == [1, 2, 0]
    assert (found.batch([0, 1, 2]).x == data.batch([0, 1, 2]).x).all()
    assert in_order_of({"classes": ["a", "b", "d"]}, data) is data  # refused later


def test_a_run_is_evaluated_on_other_data_of_its_classes(snnsim, folder, tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    table = ["file,label,split"]
    sounds(other / "clips", count=4)
    for path in sorted(other.rglob("*.wav"), reverse=True):
        part = ("train", "validation", "test", "test")[int(path.stem[-1])]
        table.append(f"{path.relative_to(other)},{path.parent.name},{part}")
    (other / "recordings.csv").write_text("\n".join(table) + "\n")
    snnsim("train", folder, *SMALL, "--epochs", 15, "--out", run)
    found = snnsim("evaluate", run, other, "--json")
    assert found.code == 0, found.err
    told = json.loads(found.out)
    assert told["samples"] == 18 and told["accuracy"] > 0.6
    sounds(tmp_path / "fewer", {"low": 300, "loud": 900})
    refused = snnsim("evaluate", run, tmp_path / "fewer")
    assert refused.code == 1 and "classes" in refused.err


def test_data_that_changed_since_the_training_are_said_to_have(snnsim, tmp_path):
    folder, run = sounds(tmp_path / "sounds"), tmp_path / "run"
    snnsim("train", folder, *SMALL, "--epochs", 1, "--out", run)
    before = (run / "splits.csv").read_text()
    sounds(folder, people=("new",))
    found = snnsim("evaluate", run)
    assert found.code == 0 and "changed since the training" in found.err
    assert (run / "splits.csv").read_text() == before


CODE = """
import numpy as np
from snnsim.data import Arrays

def words():
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    x = 0.1 * random.random((60, 12, 6))
    x[np.arange(60), 3:8, labels] += 1
    return Arrays(x, labels, classes=("a", "b", "c"), dt=5.0)
"""


def test_a_function_is_trained_and_evaluated(snnsim, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CODE)
    small = ("--set", "network.hidden=[32]", "--set", "training.batch_size=8", "--quiet")
    done = snnsim("train", "mine:words", *small, "--epochs", 15, "--out", "run", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["test_accuracy"] == 1.0
    monkeypatch.chdir("/")
    found = snnsim("evaluate", tmp_path / "run", "--json")
    assert json.loads(found.out)["accuracy"] == 1.0
    config = json.loads((tmp_path / "run" / "run.json").read_text())["config"]
    assert config["data"]["function"] == "mine:words"


@pytest.mark.parametrize("kind", ["baselines", "stream", "repeat"])
def test_other_commands_take_places_too(snnsim, folder, tmp_path, kind):
    commands = {
        "baselines": (
            "baselines", "train", "--model", "gru", "--data", folder, "--width", 8, "--epochs", 1,
        ),
        "stream": (
            "continual", "run", "--stream", f"speakers-{folder}", "--method", "fine-tuning",
            "--set", 'stream.data={speaker="_(.+)_"}', "--set", "network.hidden=[8]",
        ),
        "repeat": (
            "continual", "repeat", "--data", folder, "--sizes", "0,4", "--epochs", 1,
            "--set", "network.hidden=[8]",
        ),
    }  # fmt: skip
    done = snnsim(*commands[kind], "--out", tmp_path / "run", "--quiet", "--json")
    assert done.code == 0, done.err
    if kind == "stream":
        assert len(json.loads(done.out)["matrix"]) == 3  # a task for each speaker


# --- data -----------------------------------------------------------------------------------------


def test_info_says_what_is_there_and_what_would_be_used(snnsim, folder):
    told = json.loads(snnsim("data", "info", folder, *SPEAKER, "--json").out)
    assert told["data set"] == "recordings" and told["samples"] == 27
    assert told["classes"] == {"high": 9, "low": 9, "mid": 9}
    assert told["speakers"] == {"ann": 9, "bob": 9, "cy": 9}
    assert [told[f"samples in {part}"] for part in ("train", "validation", "test")] == [9, 9, 9]
    assert "data set" in snnsim("data", "info", "spoken-digits").out


def test_split_writes_a_table_that_can_be_given_in_place_of_the_folder(snnsim, tmp_path):
    folder = sounds(tmp_path / "sounds")
    table = folder / "recordings.csv"
    seed = ("--set", "data.split_seed=3")
    shown = snnsim("data", "split", folder, *SPEAKER, *seed)
    assert snnsim("data", "split", folder, *SPEAKER, *seed, "--out", table).code == 0
    assert table.read_text() == shown.out
    assert snnsim("data", "split", folder).out == shown.out  # now that of the table
    refused = snnsim("data", "split", folder, "--out", tmp_path / "x.txt")
    assert refused.code == 1 and "must end in .csv" in refused.err


def test_check_names_all_that_is_wrong_and_not_only_the_first(snnsim, tmp_path):
    folder = sounds(tmp_path / "sounds")
    assert snnsim("data", "check", folder).out == "nothing is wrong\n"
    (folder / "low" / "broken.wav").write_bytes(b"RIFF")
    (folder / "mid" / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "mid" / "silent.wav", np.zeros(8000), 8000)
    soundfile.write(folder / "mid" / "loud.wav", np.ones(8000), 8000)
    soundfile.write(folder / "mid" / "short.wav", 0.1 * np.ones(100), 8000)
    copied = (folder / "low" / "low_ann_0.wav").read_bytes()
    (folder / "high" / "copy.wav").write_bytes(copied)
    found = snnsim("data", "check", folder, "--json")
    assert found.code == 1
    told = {row["file"]: row for row in json.loads(found.out)}
    assert {name for name, row in told.items() if row["bad"]} == {"low/broken.wav", "mid/empty.wav"}
    assert "is silent" in told["mid/silent.wav"]["text"]
    assert "is clipped" in told["mid/loud.wav"]["text"]
    assert "lasts 12 ms only" in told["mid/short.wav"]["text"]
    twice = told.get("low/low_ann_0.wav") or told["high/copy.wav"]
    assert "one of them has the wrong label" in twice["text"]
    shown = snnsim("data", "check", folder).out
    assert shown.splitlines()[-1].startswith("2 errors, ")


def test_check_finds_voices_on_both_sides_and_uneven_classes(snnsim, tmp_path):
    for part in ("train", "test"):
        sounds(tmp_path / "sounds" / part, {"low": 300, "high": 2500}, ("ann",), 2)
    sounds(tmp_path / "sounds" / "train", {"low": 310}, tuple("abcdefghijkl"), 3)
    found = snnsim("data", "check", tmp_path / "sounds", *SPEAKER, "--json")
    texts = [row["text"] for row in json.loads(found.out)]
    assert found.code == 0
    assert any("speakers are in training and in another split" in text for text in texts)
    assert any("accuracy will mostly be that of the frequent classes" in text for text in texts)
    assert any("what is tested was trained on" in text for text in texts)


def test_check_of_anything_else_tells_what_loading_tells(snnsim, tmp_path):
    (tmp_path / "x.h5").write_bytes(b"no HDF5")
    found = snnsim("data", "check", tmp_path / "x.h5")
    assert found.code == 1 and "x.h5" in found.out
