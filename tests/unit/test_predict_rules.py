"""From a file to the sample a network is asked about, and to what it answers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from command import TEST_FILE
from snnsim_datasets.tools import heidelberg
from snnsim_datasets.tools.audio import AUDIO
from snnsim_datasets.tools.mel import MelFrontEnd
from snnsim_experiments import Place, run_folder
from snnsim_experiments import predict as of_predict
from snnsim_experiments.build import load_split
from snnsim_experiments.configuration import resolve
from snnsim_experiments.predict import predict
from snnsim_experiments.run_folder import load_network
from snnsim_experiments.train import train
from toolbox import refusal

from snnsim.data.events import bin_all
from snnsim.errors import ConfigError, DataError
from snnsim.training import predict as scores_of

CHANGES = ("network.hidden=[4]", "data.pool=50", "training.epochs=1")
NAMES = list(map(str, range(20)))
SPIKES = {"channels": 14, "classes": NAMES, "dt": 10.0, "steps": 5, "audio": None}
FRONT_END = MelFrontEnd(rate=8000, n_mels=8, hop_ms=20.0)
SOUND = {**SPIKES, "channels": 8, "classes": ["a", "b"], "dt": 20.0, "audio": asdict(FRONT_END)}
DIGITS = resolve("spoken-digits", config="none", changes=CHANGES)


def made(file: Path, index: int | None, config, facts):
    """The sample(s) that a run of a configuration, of these facts, makes of a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "load_network", lambda *_: (None, config, facts))
        trained = run_folder.load_trained(Path("run"))
    return of_predict._input(file, index, trained)


def events_of_test_file(channels: int = 700):
    return heidelberg.read(TEST_FILE, tuple(NAMES), channels)[0]


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    train(DIGITS, Place(out=folder, quiet=True))
    return folder


# --- answers ------------------------------------------------------------------------------------


def test_the_best_classes_come_first_with_their_share_of_all(small):
    net, config, facts = load_network(small)
    data = load_split(config, "test", None)
    batch = data.batch(range(len(data)), max(facts["steps"], int(data.lengths.max())))
    sums = scores_of(net, batch.x, "sum_softmax", batch.lengths, False).double().numpy()
    rows = predict(small, TEST_FILE)
    assert [row["index"] for row in rows] == list(range(120))
    for row, each in zip(rows, sums, strict=True):
        best = np.argsort(-each)[:3]
        assert row["classes"] == [facts["classes"][i] for i in best]
        assert row["scores"] == pytest.approx(each[best] / each.sum(), rel=1e-4)


def test_as_many_classes_are_named_as_asked_for_and_there_are(small):
    for top, count in ((1, 1), (4, 4), (99, 20)):
        (row,) = predict(small, TEST_FILE, 119, top)
        assert row["index"] == 119 and len(row["classes"]) == len(row["scores"]) == count
        assert all(type(score) is float for score in row["scores"])
    assert len(predict(small, TEST_FILE, 0)[0]["classes"]) == 3
    assert refusal(ConfigError, predict, small, TEST_FILE, 0, 0) == (
        "--top is 0 but must be 1 or more"
    )


def test_scores_that_are_no_shares_are_made_so_by_a_softmax(tmp_path):
    config = DIGITS.trained(readout="mean", mask_padding=True)
    train(config, Place(out=tmp_path / "run", quiet=True))
    net, config, facts = load_network(tmp_path / "run")
    data = load_split(config, "test", None)
    batch = data.batch([5], max(facts["steps"], int(data.lengths[5])))
    scores = scores_of(net, batch.x, "mean", batch.lengths, True)[0].double()
    expected = torch.exp(scores) / torch.exp(scores).sum()
    (row,) = predict(tmp_path / "run", TEST_FILE, 5, 20)
    assert row["scores"] == pytest.approx(sorted(expected.tolist(), reverse=True), rel=1e-4)


# --- spike files --------------------------------------------------------------------------------


def test_spikes_are_binned_as_those_of_the_training_data():
    for dt, pool, binning in ((10.0, 50, "grid"), (4.0, 100, "event_anchored")):
        changes = (f"data.dt={dt}", f"data.pool={pool}", f"data.binning={binning}")
        config = resolve("spoken-digits", changes=changes)
        facts = SPIKES | {"channels": 700 // pool, "dt": dt}
        found = made(TEST_FILE, None, config, facts)
        expected = bin_all(events_of_test_file(), dt=dt, pool=pool, binning=binning)
        assert len(found) == 120 and found.dt == dt and found.channels == 700 // pool
        for i in (0, 60, 119):
            assert torch.equal(found.batch([i]).x, expected.batch([i]).x)


def test_one_sample_of_a_file_is_that_of_its_number():
    expected = bin_all(events_of_test_file(), dt=10.0, pool=50, binning="grid")
    for index in (0, 7, 119):
        found = made(TEST_FILE, index, DIGITS, SPIKES)
        assert len(found) == 1
        assert torch.equal(found.batch([0]).x, expected.batch([index]).x)
    for index in (-1, 120):
        assert refusal(ConfigError, made, TEST_FILE, index, DIGITS, SPIKES) == (
            f"--index is {index}, but {TEST_FILE.name} has 120 samples; give a number from 0 to 119"
        )


@pytest.mark.parametrize("name", ["a.npz", "b.NPZ"])
@pytest.mark.parametrize("layout", ["named", "one array"])
def test_spikes_in_arrays_have_their_times_first_and_their_units_second(tmp_path, layout, name):
    times, units = np.array([0.004, 0.012, 0.031]), np.array([0, 699, 60])
    arrays = {"times": times, "units": units}
    with (tmp_path / name).open("wb") as file:
        np.savez(file, **(arrays if layout == "named" else {"arr_0": np.stack([times, units])}))
    found = made(tmp_path / name, 0, DIGITS, SPIKES)
    x = found.batch([0]).x[:, 0]
    assert [(int(t), int(n)) for t, n in torch.nonzero(x)] == [(0, 0), (1, 13), (3, 1)]
    text = refusal(ConfigError, made, tmp_path / name, 1, DIGITS, SPIKES)
    assert text.endswith("has 1 samples; give a number from 0 to 0")


def test_arrays_that_are_no_spikes_are_said_to_be_which(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, times=np.zeros(2))
    text = refusal(DataError, made, path, None, DIGITS, SPIKES)
    assert text.startswith(f"{path} must hold arrays 'times' (seconds) and 'units', or one array ")
    reason = text.partition("[times, units] (")[2]
    assert "units" in reason and reason.endswith(")")  # which of them is not there
    np.savez(path, times=np.array([0.1]), units=np.array([700]))
    text = refusal(DataError, made, path, None, DIGITS, SPIKES)
    assert text.startswith(f"{path}: ") and "700" in text


def test_a_file_of_no_known_kind_is_told_the_kinds(tmp_path):
    path = tmp_path / "notes.txt"
    text = refusal(DataError, made, path, None, DIGITS, SPIKES)
    assert text == f"{path} does not exist"
    path.mkdir()
    assert text == refusal(DataError, made, path, None, DIGITS, SPIKES)
    path.rmdir()
    path.write_text("")
    assert refusal(ConfigError, made, path, None, DIGITS, SPIKES) == (
        "notes.txt is not a spike file or recording: its name must end in one of .h5, .gz, .zip, "
        f".npz, {', '.join(AUDIO)}"
    )


@pytest.mark.parametrize("name", ["nmnist", "gsc", "fsdd"])
def test_a_network_of_other_data_is_not_asked_about_spikes(tmp_path, name):
    facts = SOUND if name == "fsdd" else SPIKES
    np.savez(tmp_path / "a.npz", times=np.zeros(1), units=np.zeros(1, int))
    text = refusal(ConfigError, made, tmp_path / "a.npz", None, resolve(name), facts)
    assert text == (
        f"this network was trained on {name}, not on cochlea spikes; "
        "give a file like its training data"
    )


# --- recordings ---------------------------------------------------------------------------------


def wave(path: Path, seconds: float, rate: int) -> np.ndarray:
    samples = (np.random.default_rng(1).normal(size=int(seconds * rate)) * 3000).astype(np.int16)
    soundfile.write(path, samples, rate, subtype="PCM_16")
    return samples


@pytest.mark.parametrize("rate", [8000, 16_000])
def test_a_recording_has_the_front_end_of_training_at_the_rate_of_its_file(tmp_path, rate):
    samples = wave(tmp_path / "a.wav", 0.3, rate)
    found = made(tmp_path / "a.wav", None, resolve("fsdd"), SOUND)
    assert asdict(found.front_end) == {**asdict(FRONT_END), "rate": rate}
    assert (len(found), found.channels, found.dt, found.classes) == (1, 8, 20.0, ("a", "b"))
    assert np.array_equal(found.samples, samples) and not found.one_length
    assert found.speakers.tolist() == [-1]


@pytest.mark.parametrize("seconds", [0.6, 1.0, 1.7])
def test_a_command_is_cut_or_filled_to_one_second_of_its_own_rate(tmp_path, seconds):
    samples = wave(tmp_path / "a.wav", seconds, 8000)
    found = made(tmp_path / "a.wav", None, resolve("gsc"), SOUND)
    kept = samples[:8000]
    assert found.one_length and len(found.samples) == 8000
    assert np.array_equal(found.samples[: len(kept)], kept)
    assert not found.samples[len(kept) :].any()


def test_a_recording_is_not_for_a_network_of_spikes(tmp_path):
    wave(tmp_path / "a.wav", 0.1, 8000)
    text = refusal(ConfigError, made, tmp_path / "a.wav", None, DIGITS, SPIKES)
    assert text.startswith(
        "this network was trained on cochlea spikes of which is not known how they were made, and "
        "a.wav is a recording; turn it into "
    )
