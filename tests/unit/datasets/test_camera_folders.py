"""Recordings of event cameras of one's own: joined pixels, sizes of cameras, and the commands."""

from __future__ import annotations

import json

import numpy as np
import pytest
import snnsim_datasets
from camera_files import WRITERS, events, write_addresses, write_dat, write_evt2, write_evt3
from data_sources import nmnist_files
from dataset_files import PARTS, assert_disjoint, load_all
from snnsim_datasets.tools.camera_events import Camera, sensor_of
from snnsim_datasets.tools.cameras import CameraRecording

from snnsim.data.protocol import describe
from snnsim.errors import ConfigError, DataError


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Five recordings of each of two classes, of another format each."""
    monkeypatch.setenv("SNNSIM_CACHE_DIR", str(tmp_path / "cache"))
    folder, seed = tmp_path / "own", 0
    for label in ("left", "right"):
        (folder / label).mkdir(parents=True)
        for name in ("evt2.raw", "evt3.raw", "a.dat", "a.bin", "a.npz"):
            WRITERS[name](folder / label / name, events(200 + seed, seed=seed))
            seed += 1
    return folder


def dense(given, rows, columns, factor, dt):
    """Counts ``[T, 2, rows, columns]``, one event after another."""
    x = np.zeros((int(given[-1, 0] // (1000 * dt)) + 1, 2, rows, columns))
    for t, column, row, p in given.tolist():
        x[int(t // (1000 * dt)), p, row // factor, column // factor] += 1
    return x


@pytest.mark.parametrize(
    ("size", "factor", "rows", "columns"), [(34, 1, 24, 32), (16, 2, 12, 16), (10, 4, 6, 8),
                                            (5, 7, 4, 5), (1, 32, 1, 1)],
)  # fmt: skip
def test_steps_have_the_events_of_joined_pixels(own, size, factor, rows, columns):
    data = load_all("cameras", own, size=size, dt=20.0)
    shapes = {part.about.shape for part in data.values()}
    assert shapes == {(2, rows, columns)} and data["train"].channels == 2 * rows * columns
    assert data["train"].camera.factor == factor
    found = [
        part.batch([i]).x.reshape(-1, 2, rows, columns).numpy()
        for part in data.values()
        for i in range(len(part))
    ]
    expected = [dense(events(200 + s, seed=s), rows, columns, factor, 20.0) for s in range(10)]
    key = np.ndarray.tobytes
    assert sorted(map(key, found)) == sorted(key(x.astype(np.float32)) for x in expected)


def test_parts_have_every_recording_once_and_depend_on_the_seed(own):
    data = load_all("cameras", own)
    assert_disjoint(data)
    assert [len(data[part]) for part in PARTS] == [6, 2, 2]
    assert data["train"].classes == ("left", "right")
    assert set(data["train"].checksums) == {"own/"}
    others = {load_all("cameras", own, split_seed=s)["test"].batch([0]).x.sum() for s in range(5)}
    assert len(others) > 1


def test_recordings_are_read_once(own, monkeypatch):
    first = load_all("cameras", own)
    for module in ("cameras", "tools.camera_events"):
        monkeypatch.setattr(f"snnsim_datasets.{module}.read", None)
    second = load_all("cameras", own)
    for part in PARTS:
        assert np.array_equal(first[part].cells, second[part].cells)


def test_persons_are_on_one_side_of_a_split(own):
    for label in ("left", "right"):
        for i, path in enumerate(sorted((own / label).iterdir())):
            path.rename(path.with_name(f"user{i}_{path.name}"))
    data = load_all("cameras", own, speaker=r"user(\d+)")
    persons = [set(part.speakers.tolist()) for part in data.values()]
    assert sorted(n for each in persons for n in each) == [0, 1, 2, 3, 4]


def test_a_table_lists_recordings(own):
    lines = [f"{label}/{n},{label}" for label in ("left", "right") for n in list(WRITERS)[:5]]
    (own / "recordings.csv").write_text("file,label\n" + "\n".join(lines) + "\n")
    assert sum(map(len, load_all("cameras", own).values())) == 10


# --- cameras --------------------------------------------------------------------------------------


def test_a_camera_that_no_file_names_is_as_large_as_its_events(tmp_path):
    write_addresses(tmp_path / "a.bin", events(height=7, width=30))
    write_addresses(tmp_path / "b.bin", events(height=20, width=5))
    write_addresses(tmp_path / "c.bin", events()[:0])
    assert sensor_of(sorted(tmp_path.iterdir())) == (20, 30)
    with pytest.raises(DataError, match="none of the recordings, such as .*c.bin, has an event"):
        sensor_of([tmp_path / "c.bin"])


def test_recordings_of_different_cameras_are_refused(own, tmp_path):
    write_dat(own / "left" / "other.dat", events(), "% Version 2\n% Width 33\n% Height 24\n")
    with pytest.raises(DataError, match=r"32 x 24 pixels, but .*other.dat of one of 33 x 24"):
        load_all("cameras", own)
    (own / "left" / "other.dat").unlink()
    write_addresses(own / "left" / "wide.bin", events(width=33))
    with pytest.raises(DataError, match=r"wide.bin: .* event at x = 32, .* camera of 32 x 24"):
        load_all("cameras", own)


def test_a_camera_refuses_what_another_one_made():
    zero = np.zeros(1, np.int64)
    camera = Camera(4, 6, 6)
    last = CameraRecording(zero, zero + 5, zero + 3, zero + 1)
    assert camera.events(last)[1].tolist() == [24 + 23]
    for recording in (
        CameraRecording(zero, zero + 6, zero, zero), CameraRecording(zero, zero, zero + 4, zero),
        CameraRecording(zero, zero, zero, zero, 6, 4),
    ):  # fmt: skip
        with pytest.raises(DataError, match="camera of .*6 x 4 pixels are needed"):
            camera.events(recording)
    encoder = {"kind": "camera", "binning": "grid", "height": 4, "width": 6, "size": 6}
    assert Camera.of(encoder) == camera
    for wrong in ({}, {"height": "4"}, {"width": 0}, {"size": 1 << 15}, {"size": True}):
        with pytest.raises(DataError, match="its height, width and size must be 1"):
            Camera.of((encoder | wrong) if wrong else {})


@pytest.mark.parametrize("size", [0, -1, 1 << 15, 2.5])
def test_sizes_that_cannot_be_are_refused(own, size):
    with pytest.raises(ConfigError, match="data.size is"):
        snnsim_datasets.load("cameras", "train", own, size=size)


def test_damaged_recordings_and_empty_classes_are_refused_by_name(own):
    (own / "left" / "b.raw").write_bytes(b"% evt 3.0\n\x01")
    with pytest.raises(DataError, match=r"b\.raw: .* truncated"):
        load_all("cameras", own)
    (own / "left" / "b.raw").unlink()
    (own / "none").mkdir()
    (own / "none" / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match=r"none holds no recordings .*\.raw, \.dat, \.aedat4"):
        load_all("cameras", own)


def test_n_mnist_is_of_a_camera_too(tmp_path):
    nmnist_files(tmp_path)
    data = snnsim_datasets.load("nmnist", "test", tmp_path, download=False)
    assert describe(data).shape == (2, 34, 34)
    assert Camera.of(data.encoder) == Camera(34, 34, 34)


# --- from the command line ------------------------------------------------------------------------


def test_a_network_is_trained_continued_evaluated_and_asked(snnsim, own, tmp_path):
    out = tmp_path / "run"
    train = ("cameras", "train", "--root", own, "--out", out, "-q", "--json")
    small = ("--set", "network.conv=[2]", "--set", "data.size=12", "--set", "data.dt=12.5")
    done = snnsim(*train, *small, "--epochs", "2")
    assert done.code == 0, done.err
    told = json.loads((out / "run.json").read_text())
    assert told["shape"] == [2, 8, 11] and told["delay_rungs"][0] == "conv3d"
    assert (out / "plots" / "delays.png").exists()
    more = snnsim(*train, *small, "--epochs", "3", "--resume")
    assert more.code == 0, more.err
    assert json.loads(more.out)["epochs"] == 3
    answer = snnsim("cameras", "evaluate", out, "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["accuracy"] == json.loads(more.out)["test_accuracy"]
    told = json.loads(snnsim("cameras", "info", "--root", own, "--json").out)
    assert (told["shape of a step"], told["classes"]) == ("2 x 24 x 32", "left, right")
    write_evt3(tmp_path / "new.raw", events(seed=77))
    answer = snnsim("predict", out, tmp_path / "new.raw", "--json")
    assert answer.code == 0, answer.err
    assert {"left", "right"} == set(json.loads(answer.out)[0]["classes"])
    write_evt2(tmp_path / "other.raw", events(height=8), "% evt 2.0\n% geometry 32x8\n")
    refused = snnsim("predict", out, tmp_path / "other.raw")
    assert refused.code != 0 and "other.raw: it was made with a camera of 32 x 8" in refused.err
    refused = snnsim("predict", out, tmp_path / "new.raw.txt")
    assert refused.code != 0 and "does not exist" in refused.err


def test_n_mnist_takes_convolutions_and_other_data_do_not(snnsim, tmp_path):
    nmnist_files(tmp_path)
    out = tmp_path / "run"
    options = (
        "--set",
        "network.conv=[2,2]",
        "--set",
        "network.pool=4",
        "--set",
        "network.hidden=[]",
    )
    done = snnsim(
        "nmnist", "train", "--root", tmp_path, "--out", out, "-q", "--epochs", "1", *options
    )
    assert done.code == 0, done.err
    write_addresses(tmp_path / "new.bin", events(height=34, width=34))
    answer = snnsim("predict", out, tmp_path / "new.bin", "--json")
    assert answer.code == 0 and len(json.loads(answer.out)[0]["classes"]) == 3
    refused = snnsim("spoken-digits", "train", "-q", "--set", "network.conv=[2]")
    assert refused.code != 0 and "(140,) but convolutions need images" in refused.err
    refused = snnsim("nmnist", "train", "-q", "--set", "network.pool=4")
    assert refused.code != 0 and "network.pool has no effect without convolutions" in refused.err
    refused = snnsim("nmnist", "train", "--root", tmp_path, "-q", "--set", "network.conv=[2,0]")
    assert refused.code != 0 and "number of channels of a convolution is 0" in refused.err
