"""Prediction from the command line, and spike files that are not right."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import snnsim_datasets
from command import TEST_FILE, TRAIN, assert_one_error
from snnsim_datasets.tools import heidelberg

from snnsim.errors import DataError


def predicted(snnsim, run, file, *options) -> list[dict]:
    answer = snnsim("predict", run, file, "--json", *options)
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def labels() -> list[str]:
    info = snnsim_datasets.get("spoken-digits").INFO
    events, _ = heidelberg.read(TEST_FILE, info.classes)
    return [info.classes[i] for i in events.labels]


def test_predict_agrees_with_evaluate(snnsim, run):
    rows = predicted(snnsim, run, TEST_FILE)
    right = [row["classes"][0] == label for row, label in zip(rows, labels(), strict=True)]
    summary = json.loads((run / "summary.json").read_text())
    assert np.mean(right) == summary["test_accuracy"]


def test_predict_ranks_all_classes_with_scores_that_sum_to_1(snnsim, run):
    for row in predicted(snnsim, run, TEST_FILE, "--top", 20):
        assert sorted(row["classes"]) == sorted(set(labels()))
        assert row["scores"] == sorted(row["scores"], reverse=True)
        assert sum(row["scores"]) == pytest.approx(1, abs=1e-5)


def test_predict_of_one_sample_equals_its_row_of_the_whole_file(snnsim, run):
    rows = predicted(snnsim, run, TEST_FILE)
    for index in (0, 7, 119):
        (row,) = predicted(snnsim, run, TEST_FILE, "--index", index)
        assert row["index"] == index
        assert row["classes"] == rows[index]["classes"]
        assert row["scores"] == pytest.approx(rows[index]["scores"], rel=1e-5)


@pytest.mark.parametrize("layout", ["named", "one array", "unsorted"])
def test_predict_of_an_npz_equals_the_same_sample_of_the_h5(snnsim, run, tmp_path, layout):
    info = snnsim_datasets.get("spoken-digits").INFO
    times, units = heidelberg.read(TEST_FILE, info.classes)[0].sample(7)
    if layout == "unsorted":
        times, units = times[::-1], units[::-1]
    file = tmp_path / "sample.npz"
    if layout == "one array":
        np.savez(file, np.stack([times, units]))
    else:
        np.savez(file, times=times, units=units)
    (row,) = predicted(snnsim, run, file)
    (expected,) = predicted(snnsim, run, TEST_FILE, "--index", 7)
    assert row["classes"] == expected["classes"]
    assert row["scores"] == pytest.approx(expected["scores"], rel=1e-6)


def test_predict_prints_a_table_without_json(snnsim, run):
    answer = snnsim("predict", run, TEST_FILE, "--index", 3, "--top", 1)
    assert answer.code == 0
    best = predicted(snnsim, run, TEST_FILE, "--index", 3)[0]["classes"][0]
    assert best in answer.out


@pytest.mark.parametrize("mask", ["false", "true"])
def test_scores_of_predict_have_the_loss_that_evaluate_reports(snnsim, tmp_path, mask):
    out = tmp_path / "run"
    options = ("--set", f"training.mask_padding={mask}", "--set", "training.readout=mean")
    assert snnsim(*TRAIN, *options, "--epochs", 1, "--out", out).code == 0
    summary = json.loads((out / "summary.json").read_text())
    rows = predicted(snnsim, out, TEST_FILE, "--top", 20)
    chances = [
        row["scores"][row["classes"].index(label)]
        for row, label in zip(rows, labels(), strict=True)
    ]
    assert -np.mean(np.log(chances)) == pytest.approx(summary["test_loss"], rel=1e-5)


# --- spike files that are not right -----------------------------------------------------------


def spikes(**changes) -> dict[str, np.ndarray]:
    good = {"times": np.array([0.01, 0.05, 0.2], np.float32), "units": np.array([3, 400, 699])}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def test_good_spikes_are_good(snnsim, run, tmp_path):
    """So that the refusals below are for the reason they name."""
    np.savez(tmp_path / "good.npz", **spikes())
    assert len(predicted(snnsim, run, tmp_path / "good.npz")) == 1


@pytest.mark.parametrize(
    "arrays",
    [
        spikes(units=None),
        spikes(times=None),
        spikes(units=np.array([1, 2])),
        spikes(units=np.array([1, 2, 700])),
        spikes(units=np.array([1, 2, -1])),
        spikes(times=np.array([0.1, np.nan, 0.2])),
        spikes(times=np.array([0.1, np.inf, 0.2])),
        spikes(times=np.array([-0.1, 0.1, 0.2])),
        spikes(times=np.array(["a", "b", "c"])),
        spikes(times=np.zeros((3, 2))),
        spikes(times=np.float32(1), units=np.int64(1)),
        {"arr_0": np.zeros((3, 5))},
        {"arr_0": np.array([None, None], dtype=object)},
    ],
    ids=[
        "no units", "no times", "lengths differ", "unit too large", "unit negative", "time NaN",
        "time infinite", "time negative", "time a text", "times a matrix", "scalars", "three rows",
        "objects",
    ],
)  # fmt: skip
def test_wrong_arrays_are_one_line(snnsim, run, tmp_path, arrays):
    file = tmp_path / "wrong.npz"
    np.savez(file, **arrays)
    assert_one_error(snnsim("predict", run, file), "wrong.npz")


def test_sample_without_spikes_is_classified(snnsim, run, tmp_path):
    np.savez(tmp_path / "silence.npz", times=np.zeros(0, np.float32), units=np.zeros(0, np.int64))
    assert len(predicted(snnsim, run, tmp_path / "silence.npz")) == 1


def damaged(kind: str, content: bytes) -> bytes:
    return {
        "empty": b"",
        "truncated": content[: len(content) // 2],
        "without its end": content[:-30],
        "garbage": bytes(range(256)) * 20,
        "garbage within": content[:2000] + b"\xff" * 500 + content[2500:],
    }[kind]


KINDS = ["empty", "truncated", "without its end", "garbage"]


@pytest.mark.parametrize("kind", [*KINDS, "garbage within"])
def test_damaged_packed_h5_is_one_line(snnsim, run, tmp_path, kind):
    file = tmp_path / "broken.h5.gz"
    file.write_bytes(damaged(kind, TEST_FILE.read_bytes()))
    assert_one_error(snnsim("predict", run, file), "broken.h5.gz")


@pytest.mark.parametrize("kind", ["empty", "truncated", "garbage"])
def test_damaged_h5_is_one_line(snnsim, run, tmp_path, kind):
    file = tmp_path / "broken.h5"
    file.write_bytes(damaged(kind, gzip.decompress(TEST_FILE.read_bytes())))
    assert_one_error(snnsim("predict", run, file), "broken.h5")


@pytest.mark.parametrize("kind", [*KINDS, "one array saved by itself"])
def test_damaged_npz_is_one_line(snnsim, run, tmp_path, kind):
    file = tmp_path / "broken.npz"
    np.savez(file, **spikes())
    if kind == "one array saved by itself":
        with file.open("wb") as stream:
            np.save(stream, np.zeros((2, 3)))
    else:
        file.write_bytes(damaged(kind, file.read_bytes()))
    assert_one_error(snnsim("predict", run, file), "broken.npz")


@pytest.mark.parametrize(
    ("name", "text"),
    [("absent.h5", "does not exist"), ("notes.txt", ".h5"), ("speech.wav", "recording")],
)
def test_file_of_another_kind_is_one_line(snnsim, run, tmp_path, name, text):
    if name != "absent.h5":
        (tmp_path / name).write_bytes(b"RIFF")
    assert_one_error(snnsim("predict", run, tmp_path / name), name, text)


@pytest.mark.parametrize("index", [-1, 120])
def test_sample_beyond_the_file_is_one_line(snnsim, run, index):
    assert_one_error(snnsim("predict", run, TEST_FILE, f"--index={index}"), "120 samples")


def test_damaged_spike_file_is_a_data_error():
    info = snnsim_datasets.get("spoken-digits").INFO
    with pytest.raises(DataError, match="does not exist"):
        heidelberg.read(Path("absent.h5"), info.classes)
