"""Several files, folders and tables: answers beside true classes, figures, tables and pictures."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
import snnsim_datasets
import soundfile
import torch
from command import TEST_FILE, assert_one_error
from small_runs import contents
from snnsim_datasets.tools import heidelberg
from snnsim_experiments.given import Given, expanded
from snnsim_experiments.predicted import Predicted, Sample, matrix_lines
from toolbox import refusal

from snnsim.errors import ConfigError, DataError
from snnsim.functional.metrics import wilson_interval
from snnsim.training import calibrate, checkpoint

NAMES = list(snnsim_datasets.get("spoken-digits").INFO.classes)


@pytest.fixture(scope="module")
def events():
    return heidelberg.read(TEST_FILE, tuple(NAMES))[0]


def relabelled(events, path, labels):
    few = events.subset(range(len(labels)))
    object.__setattr__(few, "labels", np.asarray(labels))
    heidelberg.write(path, few)
    return path


def predicted(snnsim, run, *arguments):
    answer = snnsim("predict", run, *arguments, "--json")
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


# --- spike files ---------------------------------------------------------------------------------


def test_answers_stand_beside_the_labels_of_a_spike_file(snnsim, run, events):
    rows = predicted(snnsim, run, TEST_FILE)
    assert [row["class"] for row in rows] == [NAMES[label] for label in events.labels]
    assert [row["right"] for row in rows] == [row["class"] == row["classes"][0] for row in rows]
    assert {row["file"] for row in rows} == {str(TEST_FILE)}


def test_probabilities_are_scores_at_the_temperature_of_the_run(snnsim, run):
    summary = json.loads((run / "summary.json").read_text())
    T = summary["temperature"]
    _, values = checkpoint.load(run / "best.safetensors")
    assert values["about"]["temperature"] == T
    for row in predicted(snnsim, run, TEST_FILE, "--top", 20)[::7]:
        q = np.asarray(row["scores"]) ** (1 / T)
        assert row["probabilities"] == pytest.approx(q / q.sum(), rel=1e-3)


def test_the_summary_has_the_calibration_error_of_what_predict_says(snnsim, run):
    summary = json.loads((run / "summary.json").read_text())
    rows = predicted(snnsim, run, TEST_FILE, "--top", 1)
    for name, key in (("", "probabilities"), ("_uncalibrated", "scores")):
        total, sure = 0.0, [row[key][0] for row in rows]
        for b in range(15):
            inside = [i for i, p in enumerate(sure) if b / 15 < p <= (b + 1) / 15]
            total += abs(sum(rows[i]["right"] - sure[i] for i in inside))
        found = summary[f"test_calibration_error{name}"]
        assert found == pytest.approx(total / len(rows), abs=1e-6)


def test_a_run_without_a_temperature_answers_as_before_with_a_note(snnsim, run, tmp_path):
    for name, content in contents(run).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    tensors, values = checkpoint.load(tmp_path / "best.safetensors")
    values["about"].pop("temperature")
    checkpoint.save(tmp_path / "best.safetensors", tensors, values)
    rows = predicted(snnsim, tmp_path, TEST_FILE)
    assert "probabilities" not in rows[0]
    assert [r["scores"] for r in rows] == [r["scores"] for r in predicted(snnsim, run, TEST_FILE)]
    answer = snnsim("predict", tmp_path, TEST_FILE, "--index", 3, "--top", 1)
    assert "has no temperature" in answer.err
    assert f"{rows[3]['classes'][0]} {rows[3]['scores'][0]:.1%}" in answer.out
    assert "temperature" not in snnsim("predict", run, TEST_FILE, "--index", 3).err


def test_the_screen_has_accuracy_interval_wrong_answers_and_the_matrix(snnsim, run):
    rows = predicted(snnsim, run, TEST_FILE)
    right = sum(row["right"] for row in rows)
    low, high = wilson_interval(right, 120)
    answer = snnsim("predict", run, TEST_FILE)
    assert f"accuracy {right / 120:.1%}: {right} of 120 are right" in answer.out
    assert f"interval: {low:.1%} to {high:.1%}" in answer.out
    assert answer.out.count(" wrong ") == 120 - right
    lines = answer.out.splitlines()
    matrix = lines[lines.index("rows: true class, columns: answer") + 2 :]
    assert [line.split()[1] for line in matrix] == NAMES
    counts = np.array([[int(c.replace(".", "0")) for c in line.split()[2:]] for line in matrix])
    assert counts.shape == (20, 20) and counts.trace() == right
    assert counts.sum(1).tolist() == [6] * 20


def test_samples_of_unknown_class_are_not_counted(snnsim, run, events, tmp_path):
    file = relabelled(events, tmp_path / "a.h5", [-1, 1, -1])
    rows = predicted(snnsim, run, file)
    assert [row["class"] for row in rows] == [None, NAMES[1], None]
    assert [row["right"] is None for row in rows] == [True, False, True]
    assert " of 1 are right" in snnsim("predict", run, file).out


def test_labels_of_other_classes_are_ignored_with_a_warning(snnsim, run, events, tmp_path):
    file = relabelled(events, tmp_path / "a.h5", [0, 20, 3])
    answer = snnsim("predict", run, file, "--json")
    assert "labels up to 20, but the network has 20 classes" in answer.err
    assert {row["class"] for row in json.loads(answer.out)} == {None}


def test_several_files_and_folders_of_unknown_class_are_classified_at_once(
    snnsim, run, events, tmp_path
):
    folder = tmp_path / "spikes"
    folder.mkdir()
    for i in (0, 1):
        times, units = events.sample(i)
        np.savez(folder / f"{i}.npz", times=times, units=units)
    (folder / "notes.txt").write_text("")
    (folder / ".hidden.npz").write_text("")
    one = relabelled(events, tmp_path / "one.h5", [5])
    rows = predicted(snnsim, run, one, folder)
    assert [row["file"] for row in rows] == [str(one), *(str(folder / f"{i}.npz") for i in (0, 1))]
    assert [row["class"] for row in rows] == [NAMES[5], None, None]
    whole = predicted(snnsim, run, TEST_FILE)
    for row, same in zip(rows[1:], whole, strict=False):
        assert row["scores"] == pytest.approx(same["scores"], rel=1e-5)
    lines = snnsim("predict", run, one, folder).out.splitlines()
    assert lines[0].split()[:2] == ["file", "class"]
    assert [line.split()[0] for line in lines[1:4]] == ["one.h5", "spikes/0.npz", "spikes/1.npz"]
    assert [line.split()[1] for line in lines[1:4]] == [NAMES[5], "?", "?"]
    several = relabelled(events, tmp_path / "two.h5", [0, 1])
    lines = snnsim("predict", run, one, several).out.splitlines()
    assert [line[:8].strip() for line in lines[1:4]] == ["one.h5", "two.h5 0", "two.h5 1"]
    assert "accuracy" not in snnsim("predict", run, folder).out


# --- recordings ----------------------------------------------------------------------------------


def tones(folder, hertz, count, name="{}.wav"):
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(int(hertz))
    for n in range(count):
        noise = 0.02 * random.standard_normal(2400)
        tone = 0.5 * np.sin(2 * np.pi * hertz * np.arange(2400) / 8000)
        soundfile.write(folder / name.format(n), tone + noise, 8000)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    root = tmp_path_factory.mktemp("own")
    tones(root / "high", 2500, 6)
    tones(root / "low", 300, 6)
    return root


@pytest.fixture(scope="module")
def heard(tmp_path_factory, own):
    """A run that was trained on the two tones."""
    from snnsim_experiments import Place, resolve
    from snnsim_experiments import run as run_experiment

    out = tmp_path_factory.mktemp("heard") / "run"
    changes = {"network.hidden": [16], "data.n_mels": 10, "data.rate": 8000}
    changes |= {"training.lr": 0.02, "training.batch_size": 4}
    experiment = resolve("recordings", changes=changes, epochs=20)
    run_experiment(experiment, Place(root=str(own), out=out, quiet=True))
    return out


def test_recordings_in_folders_of_their_classes_are_compared(snnsim, heard, own):
    rows = predicted(snnsim, heard, own)
    assert [row["class"] for row in rows] == ["high"] * 6 + ["low"] * 6
    assert sum(row["right"] for row in rows) >= 11
    alone = predicted(snnsim, heard, own / "low" / "2.wav")
    assert alone[0]["class"] is None
    assert alone[0]["scores"] == pytest.approx(rows[8]["scores"], rel=1e-5)
    flat = predicted(snnsim, heard, own / "low")
    assert [row["class"] for row in flat] == [None] * 6


def test_one_class_is_enough_to_be_compared(snnsim, heard, tmp_path):
    tones(tmp_path / "new" / "low", 300, 2)
    assert [row["class"] for row in predicted(snnsim, heard, tmp_path / "new")] == ["low"] * 2


def test_recordings_of_a_table_and_of_one_part_are_compared(snnsim, heard, tmp_path):
    tones(tmp_path, 300, 3)
    table = tmp_path / "list.csv"
    table.write_text("file,label,split\n0.wav,low,train\n1.wav,low,test\n2.wav,high,test\n")
    assert len(predicted(snnsim, heard, table)) == 3
    rows = predicted(snnsim, heard, table, "--split", "test")
    assert [(row["class"], row["file"][-5:]) for row in rows] == [
        ("low", "1.wav"), ("high", "2.wav"),
    ]  # fmt: skip
    assert_one_error(snnsim("predict", heard, table, "--split", "validation"), "no recordings")
    assert_one_error(snnsim("predict", heard, table, "--split", "tset"), "did you mean 'test'")
    one = tmp_path / "0.wav"
    assert_one_error(snnsim("predict", heard, one, "--split", "test"), "remove --split")


def test_a_class_that_the_network_does_not_know_is_named(snnsim, heard, tmp_path):
    tones(tmp_path / "new" / "lov", 300, 1)
    answer = snnsim("predict", heard, tmp_path / "new")
    assert_one_error(answer, "of the class 'lov'", "did you mean 'low'", "high, low")


def test_spikes_and_recordings_are_not_mixed(snnsim, run, heard, own):
    for one in (run, heard):
        answer = snnsim("predict", one, TEST_FILE, own / "low" / "0.wav")
        assert_one_error(answer, "0.wav is a recording", TEST_FILE.name, "one kind")
    assert_one_error(snnsim("predict", run, own), "trained on cochlea spikes")
    assert_one_error(snnsim("predict", heard, TEST_FILE), "recordings")


# --- which files ---------------------------------------------------------------------------------


def test_what_is_not_there_or_empty_is_refused(tmp_path):
    assert expanded([tmp_path / "absent.h5"]) == [Given(tmp_path / "absent.h5")]  # refused later
    assert "has no files that" in refusal(DataError, expanded, [tmp_path])
    assert "no file is given" in refusal(ConfigError, expanded, [])
    (tmp_path / "sounds").mkdir()
    assert "sounds holds no recordings" in refusal(DataError, expanded, [tmp_path])


def test_a_number_of_a_sample_is_of_one_file(snnsim, run):
    answer = snnsim("predict", run, TEST_FILE, TEST_FILE, "--index", 1)
    assert_one_error(answer, "--index is 1", "2 files")


# --- files and pictures --------------------------------------------------------------------------


def test_all_probabilities_are_written_as_a_table(snnsim, run, tmp_path):
    out = tmp_path / "new" / "answers.csv"
    rows = predicted(snnsim, run, TEST_FILE, "--out", out, "--top", 20)
    with out.open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["file", "index", "class", "answer", "right", *NAMES]
    for line, row in zip(table, rows, strict=True):
        assert (line["class"], line["answer"]) == (row["class"], row["classes"][0])
        assert line["right"] == str(int(row["right"]))
        for name, p in zip(row["classes"], row["probabilities"], strict=True):
            assert float(line[name]) == pytest.approx(p, rel=1e-4)


def test_everything_is_written_as_json(snnsim, run, tmp_path):
    rows = predicted(snnsim, run, TEST_FILE, "--out", tmp_path / "all.json")
    found = json.loads((tmp_path / "all.json").read_text())
    assert found["rows"] == rows and found["classes"] == NAMES
    assert found["right"] == sum(row["right"] for row in rows) == found["accuracy"] * 120
    assert found["interval"] == list(wilson_interval(found["right"], 120))
    counts = np.asarray(found["confusion"])
    for row in rows:
        counts[NAMES.index(row["class"]), NAMES.index(row["classes"][0])] -= 1
    assert not counts.any()


def test_files_of_other_endings_and_pictures_of_nothing_are_refused(snnsim, run, events, tmp_path):
    answer = snnsim("predict", run, TEST_FILE, "--out", tmp_path / "a.txt")
    assert_one_error(answer, "a.txt", ".csv", ".json")
    unknown = relabelled(events, tmp_path / "a.h5", [-1, -1])
    answer = snnsim("predict", run, unknown, "--plot", tmp_path / "a.png")
    assert_one_error(answer, "--plot", "classes of these samples are not known")
    assert not (tmp_path / "a.png").exists()


def test_the_matrix_is_drawn(snnsim, run, tmp_path, rendered):
    predicted(snnsim, run, TEST_FILE, "--plot", tmp_path / "new" / "a.png")
    assert (tmp_path / "new" / "a.png").stat().st_size > 1000


# --- values --------------------------------------------------------------------------------------


def test_of_many_classes_the_most_frequent_wrong_answers_are_shown():
    counts = np.diag(np.full(30, 5))
    counts[3, 4], counts[7, 1] = 2, 9
    lines = matrix_lines(counts.tolist(), [f"word {i}" for i in range(30)])
    assert "30 classes" in lines[0] and "2 kinds" in lines[0]
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "9 x word 7, taken for word 1",
        "2 x word 3, taken for word 4",
    ]
    assert matrix_lines(np.eye(30, dtype=int).tolist(), [str(i) for i in range(30)]) == []
    wide = np.ones((40, 40), int).tolist()
    assert len(matrix_lines(wide, [str(i) for i in range(40)])) == 21


def test_long_names_and_large_counts_keep_their_columns():
    names = ["a" * 40, "b"]
    lines = matrix_lines([[12345, 1], [0, 7]], names)
    assert len({len(line) for line in lines[1:]}) == 1
    assert "a" * 16 + ".." in lines[2] and "a" * 17 not in lines[2]


def test_answers_are_ranked_whatever_the_temperature_is():
    q = torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    labels = torch.tensor([1, 0])
    samples = [Sample("a", i, int(label)) for i, label in enumerate(labels)]
    for temperature in (None, 0.3, 4.0, calibrate(q, labels)):
        found = Predicted("run", "xyz", samples, q, temperature, top=2)
        assert found.rows[0]["classes"] == ["y", "z"]
        assert found.figures()["accuracy"] == 0.5
        assert math.isclose(sum(found.probabilities[0]), 1, rel_tol=1e-6)
