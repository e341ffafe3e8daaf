"""``snnsim encode``: a folder of recordings becomes a file, whatever happens on the way."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import snnsim_datasets
import soundfile
import torch
from command import assert_one_error, command, heeding_interrupts
from small_runs import files_of_at_most
from snnsim_datasets.tools import spike_files
from snnsim_datasets.tools.audio import read_mixed
from snnsim_experiments.encode.job import Encoding, Task, encode, parts_of
from snnsim_experiments.encode.kinds import KINDS, LAYERS, complete

import snnsim as sn
from snnsim.errors import ConfigError, DataError

BANDS = {"n_mels": 12, "rate": 8000}
SPIKES = [Encoding(kind, BANDS, seed=3) for kind in LAYERS]


def sound(seed: int, seconds: float = 0.3, rate: int = 8000) -> np.ndarray:
    """A tone that rises, in noise."""
    random, t = np.random.default_rng(seed), np.arange(round(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * (200 + 300 * seed % 2000) * t * (1 + t))
    return 0.3 * tone * np.hanning(len(t)) + 0.01 * random.standard_normal(len(t))


def record(path: Path, seed: int, seconds: float = 0.3, rate: int = 8000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound(seed, seconds, rate), rate)
    return path


def recordings(folder: Path, count: int = 4, seconds: float = 0.3) -> Path:
    for number in range(2 * count):
        word = ("no", "yes")[number % 2]
        record(folder / word / f"{'ab'[number // 2 % 2]}_{number}.wav", number, seconds)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Eight recordings of two words and two speakers; no test changes it."""
    return recordings(tmp_path_factory.mktemp("sounds"))


def whole(encoding: Encoding, folder: Path, out: Path, **options) -> bytes:
    encode(encoding, folder, out, **options)
    assert not parts_of(out).exists()
    return out.read_bytes()


def as_data_set(folder: Path, tmp_path: Path):
    """All recordings of a folder as the data set of the command line that they can be."""
    for part in ("train", "validation", "test"):
        shutil.copytree(folder, tmp_path / "in" / part)
    return snnsim_datasets.load("recordings", "train", tmp_path / "in", normalised=False, **BANDS)


# --- what the file holds --------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", SPIKES, ids=lambda e: e.kind)
def test_spikes_are_those_of_the_layer_on_the_bands_of_the_data_set(encoding, folder, tmp_path):
    summary = encode(encoding, folder, tmp_path / "out.h5", speaker="(.)_")
    found = spike_files.read(tmp_path / "out.h5")
    events = found.events
    assert found.files == tuple(
        sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.wav"))
    )
    assert (events.classes, found.speaker_names) == (("no", "yes"), ("a", "b"))
    assert [events.classes[i] for i in events.labels] == [f.split("/")[0] for f in found.files]
    assert [found.speaker_names[i] for i in events.speakers] == [
        f.split("/")[1][0] for f in found.files
    ]
    layer, _ = LAYERS[encoding.kind]
    own = {k: v for k, v in encoding.options.items() if k not in ("n_mels", "rate", "hop_ms")}
    bands = as_data_set(folder, tmp_path)
    for i, place in enumerate(found.files):
        if encoding.kind == "rate":
            own["seed"] = encoding.seed_of(place)
        if encoding.kind == "population":
            own |= {"seed": encoding.seed_of(place), "graded": False}
        x = bands.batch([i]).x[: bands.lengths[i]]
        expected = layer(**own)(x.clamp(max=1))[0][:, 0]
        counts = torch.zeros_like(expected)
        times, units = events.sample(i)
        steps = torch.from_numpy(np.rint(times * 100).astype(np.int64))
        units = torch.from_numpy(units.astype(np.int64))
        counts.index_put_((steps, units), torch.ones(len(steps)), accumulate=True)
        assert torch.equal(counts, expected) and counts.sum() > 10
    assert found.encoder == encoding.about
    assert events.channels == summary["channels"] == expected.shape[1]
    assert summary["spikes"] == len(events.times) and summary["recordings"] == 8
    assert summary["checksum"] == spike_files.about(tmp_path / "out.h5").checksum
    assert summary["seconds"] == pytest.approx(2.4)


def test_mel_values_are_those_of_the_data_set(folder, tmp_path):
    summary = encode(Encoding("mel", BANDS), folder, tmp_path / "out.npz")
    bands = as_data_set(folder, tmp_path)
    with np.load(tmp_path / "out.npz") as file:  # which refuses pickles
        stored = dict(file)
    assert stored["values"].dtype == np.float32 and stored["offsets"].dtype == np.int64
    assert np.diff(stored["offsets"]).tolist() == bands.lengths.tolist()
    for i in range(8):
        x = bands.batch([i]).x[: bands.lengths[i], 0].numpy()
        values = stored["values"][stored["offsets"][i] : stored["offsets"][i + 1]]
        np.testing.assert_array_equal(values, x)
    assert stored["labels"].tolist() == bands.labels.tolist()
    assert stored["classes"].tolist() == ["no", "yes"] and stored["splits"].tolist() == [""] * 8
    assert stored["speakers"].tolist() == [-1] * 8 and stored["dt"] == 10.0
    assert json.loads(str(stored["encoder"])) == {
        "kind": "mel", "seed": 0, "n_mels": 12, "rate": 8000, "hop_ms": 10.0
    }  # fmt: skip
    assert summary["steps"] == len(stored["values"])


@dataclass(frozen=True)
class EarForTests:
    """An ear with the interface of the model of the cochlea."""

    rate: int = 48_000
    channels: int = 700
    level: float = 0.3

    def __call__(self, wave: np.ndarray, seed: int = 0):
        assert wave.dtype.kind == "f" and np.abs(wave).max() <= 1
        random = np.random.default_rng(seed)
        times = np.sort(random.random(20)) * len(wave) / self.rate
        return times, random.integers(0, self.channels, 20)


@pytest.fixture
def ear(monkeypatch):
    module = types.ModuleType("snnsim.encoders.cochlea")
    module.Cochlea, module.SHORTEST = EarForTests, 0.01
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_the_cochlea_hears_each_recording_with_a_seed_of_its_own(ear, folder, tmp_path):
    encoding = Encoding("cochlea", {"channels": 30, "rate": 32_000}, seed=5)
    assert encoding.about == {
        "kind": "cochlea", "seed": 5, "rate": 32_000, "channels": 30, "level": 0.3
    }  # fmt: skip
    encode(encoding, folder, tmp_path / "out.h5")
    found = spike_files.read(tmp_path / "out.h5")
    for i, place in enumerate(found.files):
        wave = read_mixed(folder / place, 32_000) / 32768
        times, units = EarForTests(32_000, 30)(wave, encoding.seed_of(place))
        np.testing.assert_array_equal(found.events.sample(i)[0], times.astype(np.float32))
        np.testing.assert_array_equal(found.events.sample(i)[1], units)
    assert len({found.events.sample(i)[1].tobytes() for i in range(8)}) == 8


def test_a_recording_too_short_for_the_cochlea_is_found_before_anything_is_done(ear, tmp_path):
    record(recordings(tmp_path / "in") / "yes" / "short.wav", 0, 0.005)
    with pytest.raises(DataError, match=r"short.wav lasts 5.0 ms but cochlea needs at least 10 ms"):
        encode(Encoding("cochlea"), tmp_path / "in", tmp_path / "out.h5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_parts_that_are_given_are_kept(tmp_path):
    record(tmp_path / "in" / "train" / "no" / "1.wav", 1)
    record(tmp_path / "in" / "train" / "yes" / "2.wav", 2)
    record(tmp_path / "in" / "dev" / "yes" / "3.wav", 3)
    encode(Encoding("delta", BANDS), tmp_path / "in", tmp_path / "out.h5")
    found = spike_files.read(tmp_path / "out.h5")
    assert dict(zip(found.files, found.splits, strict=True)) == {
        "dev/yes/3.wav": "validation", "train/no/1.wav": "train", "train/yes/2.wav": "train"
    }  # fmt: skip


def test_a_table_and_the_folder_of_one_called_recordings_are_sources(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "in")
    table = tmp_path / "in" / "recordings.csv"
    table.write_text("file,label,speaker,split\nno/a_0.wav,n,ann,train\nyes/a_1.wav,y,bo,test\n")
    for source in (table, tmp_path / "in"):
        encode(Encoding("delta", BANDS), source, tmp_path / "out.h5", overwrite=True)
        found = spike_files.read(tmp_path / "out.h5")
        assert found.files == ("no/a_0.wav", "yes/a_1.wav") and found.splits == ("train", "test")
        assert (found.speaker_names, found.events.classes) == (("ann", "bo"), ("n", "y"))


def test_a_single_recording_of_any_kind_is_a_source(tmp_path):
    path = tmp_path / "A B.FLAC"
    soundfile.write(path, np.stack([sound(1, rate=22_050), sound(2, rate=22_050)], 1), 22_050)
    summary = encode(Encoding("delta", BANDS), path, tmp_path / "out.h5")
    found = spike_files.read(tmp_path / "out.h5")
    assert (summary["recordings"], summary["classes"]) == (1, 0)
    assert found.files == ("A B.FLAC",) and found.events.classes == ()
    assert len(found.events.times) > 10


@pytest.mark.parametrize("kind", ["rate", "latency"])
def test_bands_louder_than_1_are_as_1(kind, tmp_path):
    tone = np.sign(np.sin(2 * np.pi * 1000 * np.arange(8000) / 16_000))
    soundfile.write(tmp_path / "loud.wav", tone, 16_000)
    samples = read_mixed(tmp_path / "loud.wav", 16_000)
    assert Encoding("mel").encoder()(samples, 0)["values"].max() > 1.02
    assert len(Encoding(kind).encoder()(samples, 0)["times"]) > 10


def test_a_silent_recording_has_no_spikes(tmp_path):
    for word in ("a", "b"):
        (tmp_path / "in" / word).mkdir(parents=True)
        soundfile.write(tmp_path / "in" / word / "x.wav", np.zeros(2000), 8000)
    encode(Encoding("delta", BANDS), tmp_path / "in", tmp_path / "out.h5")
    assert len(spike_files.read(tmp_path / "out.h5").events.times) == 0


# --- the same bytes -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rate", "mel"])
def test_two_processes_write_the_same_bytes_as_one(kind, folder, tmp_path):
    encoding = Encoding(kind, BANDS, seed=1)
    threads = torch.get_num_threads()
    one, two = (
        whole(encoding, folder, tmp_path / f"{jobs}{encoding.ending}", jobs=jobs) for jobs in (1, 2)
    )
    assert one == two and torch.get_num_threads() == threads


@pytest.mark.parametrize("encoding", SPIKES, ids=lambda e: e.kind)
def test_the_bytes_depend_on_neither_the_place_nor_the_time_of_the_files(
    encoding, folder, tmp_path
):
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    for path in other.rglob("*.wav"):
        os.utime(path, (1, 1))
    assert whole(encoding, folder, tmp_path / "a.h5") == whole(encoding, other, tmp_path / "b.h5")


def test_random_spikes_depend_on_the_seed_and_the_name_but_not_on_other_recordings(tmp_path):
    source = recordings(tmp_path / "in")
    encode(Encoding("rate", BANDS), source, tmp_path / "a.h5")
    record(source / "no" / "a_00.wav", 99)  # becomes the second one
    shutil.copy(source / "no" / "a_0.wav", source / "no" / "a_1.wav")
    encode(Encoding("rate", BANDS), source, tmp_path / "b.h5")
    encode(Encoding("rate", BANDS, seed=1), source, tmp_path / "c.h5")
    a, b, c = (spike_files.read(tmp_path / f"{name}.h5") for name in "abc")

    def spikes(file, place):
        return [each.tobytes() for each in file.events.sample(file.files.index(place))]

    for place in a.files:
        assert spikes(a, place) == spikes(b, place) != spikes(c, place)
    assert spikes(b, "no/a_0.wav") != spikes(b, "no/a_1.wav")


# --- interrupted ----------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from snnsim_experiments.encode.job import Encoding, Task, encode
own, done = Task.run, []
def run(task, encoder):
    if len(done) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    own(task, encoder)
    done.append(task)
Task.run = run
encode(Encoding("rate", {"n_mels": 12, "rate": 8000}), sys.argv[1], sys.argv[2])
"""


def encoded(monkeypatch) -> list[str]:
    """The names of recordings as they are encoded from now on."""
    names, own = [], Task.run

    def run(task, encoder):
        names.append(task.path.name)
        own(task, encoder)

    monkeypatch.setattr(Task, "run", run)
    return names


@pytest.fixture
def killed(folder, tmp_path) -> Path:
    """An output of which five recordings were encoded when the process was killed."""
    out = tmp_path / "out.h5"
    done = subprocess.run([sys.executable, "-c", KILLED, folder, out], timeout=100, check=False)
    assert done.returncode == -signal.SIGKILL and not out.exists()
    assert len(list(parts_of(out).rglob("*.npz"))) == 5
    return out


def test_a_killed_job_goes_on_and_writes_the_same_bytes(killed, folder, tmp_path, monkeypatch):
    expected = whole(Encoding("rate", BANDS), folder, tmp_path / "whole.h5")
    names, told = encoded(monkeypatch), []
    found = whole(
        Encoding("rate", BANDS), folder, killed, progress=lambda *counts: told.append(counts)
    )
    assert found == expected
    assert len(names) == 3 and told == [(5, 8), (6, 8), (7, 8), (8, 8)]


def test_what_is_kept_counts_only_for_the_same_recording_and_options(
    killed, folder, tmp_path, monkeypatch
):
    other = Path(shutil.copytree(folder, tmp_path / "in"))
    record(other / "no" / "a_0.wav", 50)
    names = encoded(monkeypatch)
    parts = tmp_path / "parts"
    shutil.copytree(parts_of(killed), parts)
    for encoding, expected in (
        (Encoding("rate", BANDS), 4),
        (Encoding("rate", BANDS, seed=1), 8),
        (Encoding("rate", BANDS | {"max_probability": 0.5}), 8),
        (Encoding("delta", BANDS), 8),
    ):
        shutil.rmtree(parts_of(killed), ignore_errors=True)
        shutil.copytree(parts, parts_of(killed))
        names.clear()
        encode(encoding, other, killed, overwrite=True)
        assert len(names) == expected, encoding


@pytest.mark.parametrize("spoil", [lambda b: b[:-9], lambda b: b"", lambda b: b"x" * len(b)])
def test_what_is_kept_but_damaged_is_encoded_again(spoil, killed, folder, tmp_path, monkeypatch):
    expected = whole(Encoding("rate", BANDS), folder, tmp_path / "whole.h5")
    part = next(parts_of(killed).rglob("*.npz"))
    part.write_bytes(spoil(part.read_bytes()))
    names = encoded(monkeypatch)
    assert whole(Encoding("rate", BANDS), folder, killed) == expected
    assert len(names) == 4


def children(process: subprocess.Popen) -> list[int]:
    place = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in place.read_text().split()]


def alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    return recordings(tmp_path_factory.mktemp("many"), 60, seconds=2.0)


MANY = ("rate", "--set", "n_mels=12", "--set", "rate=8000")


@pytest.fixture
def started(many, tmp_path):
    """A job of two processes that has just encoded its first recordings."""
    out = tmp_path / "out.h5"
    job = subprocess.Popen(
        [sys.executable, "-m", "snnsim_experiments", "encode", *MANY, many, out, "--jobs", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=heeding_interrupts,
    )  # fmt: skip
    wait_for(lambda: len(list(parts_of(out).rglob("*.npz"))) > 3 or job.poll() is not None)
    assert job.poll() is None
    yield job, children(job), out
    job.kill()
    job.communicate()


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_job_leaves_no_process_and_goes_on(by, started, many, tmp_path, monkeypatch):
    job, processes, out = started
    job.send_signal(by)
    printed, error = job.communicate(timeout=60)
    wait_for(lambda: not any(map(alive, processes)))
    done = len(list(parts_of(out).rglob("*.npz")))
    assert 0 < done < 120 and not out.exists() and printed == ""
    if by == signal.SIGINT:
        assert job.returncode == 130
        assert error == (
            "interrupted; give the same command again to go on: what is done is kept in "
            f"{parts_of(out)}\n"
        )
    names = encoded(monkeypatch)
    assert whole(Encoding("rate", BANDS), many, out) == whole(
        Encoding("rate", BANDS), many, tmp_path / "whole.h5"
    )
    assert len(names) == 120 - done + 120


@pytest.mark.slow
@needs_proc
def test_a_process_that_is_killed_does_not_let_the_job_hang(started):
    job, processes, out = started
    encoding = [p for p in processes if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]
    os.kill(encoding[-1], signal.SIGKILL)
    printed, error = job.communicate(timeout=60)
    assert job.returncode == 1 and printed == "" and not out.exists()
    assert error.startswith("error: ConfigError: a process that encodes ended unexpectedly")
    assert error.count("\n") == 1
    wait_for(lambda: not any(map(alive, processes)))


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_damaged_recording_is_named_and_what_is_done_is_kept(jobs, tmp_path, monkeypatch):
    source = recordings(tmp_path / "in")
    bad = source / "yes" / "zz.wav"
    soundfile.write(bad, np.array([0.0, np.nan, 0.0]), 8000, subtype="FLOAT")  # a good header
    with pytest.raises(DataError, match=r"zz.wav has samples that are NaN"):
        encode(Encoding("delta", BANDS), source, tmp_path / "out.h5", jobs=jobs)
    bad.unlink()
    names = encoded(monkeypatch)
    encode(Encoding("delta", BANDS), source, tmp_path / "out.h5")
    assert len(names) == 0 or (jobs == 2 and len(names) < 8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable recording"),
        (b"RIFF is not enough", "not a readable recording"),
        ("header", "holds no samples"),
        ("cut", "is cut short"),
    ],
)
def test_a_bad_header_is_found_before_anything_is_encoded(content, message, tmp_path, monkeypatch):
    source = recordings(tmp_path / "in")
    bad = source / "yes" / "zz.wav"
    if content == "header":
        soundfile.write(bad, np.zeros(0), 8000)
    elif content == "cut":
        good = (source / "yes" / "a_1.wav").read_bytes()
        bad.write_bytes(good[: len(good) // 2])
    else:
        bad.write_bytes(content)
    names = encoded(monkeypatch)
    with pytest.raises(DataError, match=message) as caught:
        encode(Encoding("delta", BANDS), source, tmp_path / "out.h5")
    assert "zz.wav" in str(caught.value) and names == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_a_recording_too_long_for_spikes_is_found_before(tmp_path, monkeypatch, folder):
    monkeypatch.setenv("SNNSIM_MAX_SECONDS", "0.2")
    with pytest.raises(DataError, match=r"lasts 0.3 s but .* at most 0.2 s; cut it into"):
        encode(Encoding("delta", BANDS), folder, tmp_path / "out.h5")
    encode(Encoding("mel", BANDS), folder, tmp_path / "out.npz")  # which has no such limit


OPTIONS = {
    "thresold=0.1": "unknown key delta.thresold; did you mean 'threshold'",
    "threshold=0": "threshold is 0.0 but must be a finite number above 0",
    "threshold=high": "delta.threshold is 'high'",
    "max_spikes=1.5": "delta.max_spikes is 1.5",
    "n_mels=0": "n_mels is 0 but must be a whole number of at least 1",
    "n_mels=5000": "n_mels is 5000 but must be a whole number from 1 to 1024",
    "rate=10": "rate is 10 but must be a whole number of at least 1000",
    "hop_ms=0": "hop_ms is 0.0 but must be",
    "hop_ms=nan": "hop_ms is nan but must be a finite number",
    "seed=1": "unknown key delta.seed",
    "threshold": "cannot understand --set",
    "": "cannot understand --set",
}


@pytest.mark.parametrize("change", OPTIONS)
def test_a_bad_option_is_one_line(change, snnsim, folder, tmp_path):
    answer = snnsim("encode", "delta", folder, tmp_path / "out.h5", "--set", change)
    assert_one_error(answer, OPTIONS[change])
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_used_are_one_line(snnsim, folder, tmp_path):
    (tmp_path / "there.h5").write_bytes(b"precious")
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "notes.txt").write_text("no sound")
    for arguments, *texts in (
        (("delta", tmp_path / "none", "out.h5"), "none does not exist"),
        (("delta", tmp_path / "notes.txt", "out.h5"), "neither a folder nor a table"),
        (("delta", tmp_path, "out.h5"), "holds no recordings"),
        (("delta", folder, "out.npz"), "makes spikes", "ends in .h5"),
        (("mel", folder, "out.h5"), "makes values", "ends in .npz"),
        (("delta", folder, "out"), "ends in .h5"),
        (("delta", folder, tmp_path / "folder.h5"), "is a folder"),
        (("delta", folder, tmp_path / "there.h5"), "exists", "--overwrite"),
        (("delta", folder, tmp_path / "there.h5" / "x.h5"), "lies below a file"),
        (("dleta", folder, "out.h5"), "must be one of cochlea, mel", "did you mean 'delta'"),
        (("delta", folder, "out.h5", "--speaker", "("), "'('", "no regular expression"),
        (("delta", folder, "out.h5", "--speaker", "x"), "needs a group"),
        (("delta", folder, "out.h5", "--speaker", "(x)"), "finds no speaker in no/a_0.wav"),
        (("delta", folder / "no" / "a_0.wav", "out.h5", "--speaker", "(.)_"), "remove --speaker"),
    ):  # fmt: skip
        given = [tmp_path / a if a in ("out.h5", "out.npz", "out") else a for a in arguments]
        assert_one_error(snnsim("encode", *given), *texts)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.h5", "notes.txt", "there.h5"]
    assert (tmp_path / "there.h5").read_bytes() == b"precious"


def test_two_jobs_on_one_output_are_refused(folder, tmp_path):
    def second(done: int, total: int) -> None:
        if done == 3:
            with pytest.raises(
                ConfigError,
                match="is in use by another run; wait until it ends, or choose another output",
            ):
                encode(Encoding("delta", BANDS), folder, tmp_path / "out.h5")

    encode(Encoding("delta", BANDS), folder, tmp_path / "out.h5", progress=second)
    assert (tmp_path / "out.h5").exists()


@pytest.mark.parametrize("jobs", [0, -1, 1.5, True, 10**6])
def test_a_bad_number_of_jobs_is_refused(jobs, folder, tmp_path):
    with pytest.raises(ConfigError, match="jobs is"):
        encode(Encoding("delta", BANDS), folder, tmp_path / "out.h5", jobs=jobs)


@pytest.mark.parametrize(("kind", "size"), [("delta", 4000), ("mel", 9000), ("delta", 300)])
def test_a_full_disk_is_one_line_and_what_is_done_is_kept(kind, size, snnsim, folder, tmp_path):
    """Parts are 1 to 2 kB, the whole is larger."""
    out = tmp_path / f"out{Encoding(kind).ending}"
    arguments = ("encode", kind, folder, out, "--set", "n_mels=12", "--jobs", "1")
    with files_of_at_most(size):
        answer = snnsim(*arguments)
    assert_one_error(answer, "cannot read or write")
    assert not out.exists() and not list(tmp_path.rglob("*.tmp"))
    assert len(list(parts_of(out).rglob("*.npz"))) == (0 if size == 300 else 8)
    assert snnsim(*arguments).code == 0 and out.exists()


# --- the command ----------------------------------------------------------------------------------


def test_the_command_prints_what_it_wrote(snnsim, folder, tmp_path):
    out = tmp_path / "in_a_new_folder" / "out.h5"
    arguments = ("encode", "level", folder, out, "--set", "levels=[0.3, 0.5]", "--jobs", "1")
    answer = snnsim(*arguments, "--set", "n_mels=10", "--speaker", "(.)_", "--json")
    assert (answer.code, answer.err) == (0, "")
    summary = json.loads(answer.out)
    found = spike_files.read(out)
    assert summary["out"] == str(out) and summary["kind"] == "level"
    assert summary["channels"] == found.events.channels == 40
    assert found.encoder["levels"] == [0.3, 0.5] and found.speaker_names == ("a", "b")
    assert [p.name for p in out.parent.iterdir()] == ["out.h5"]
    table = snnsim(*arguments, "--overwrite").out
    assert "checksum" in table and spike_files.about(out).checksum in table


def test_the_kinds_of_the_help_are_those_that_there_are():
    from snnsim_experiments.encode import cli

    assert cli.KINDS.replace(" or ", ", ").split(", ") == list(KINDS)


def test_the_table_in_the_tutorial_lists_the_options_of_each_kind():
    text = (Path(__file__).parents[2] / "docs" / "tutorials" / "sounds.md").read_text()
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    table = {row[1].strip(" `"): re.findall("`([a-z_]+)`", row[3]) for row in rows}
    assert tuple(table) == KINDS
    for kind in ("mel", *LAYERS):
        listed = [n for n in table[kind] if n != "mel"] + (table["mel"] if kind != "mel" else [])
        assert listed == list(complete(kind, {})), kind


@pytest.mark.slow
def test_the_command_runs_in_a_process_of_its_own(folder, tmp_path):
    done = command("encode", "mel", folder, tmp_path / "out.npz", "--jobs", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out.npz").read_bytes() == whole(Encoding("mel"), folder, tmp_path / "b.npz")


def test_the_encoder_of_a_file_encodes_another_recording(folder, tmp_path):
    encode(Encoding("delta", BANDS), folder, tmp_path / "out.h5")
    told = spike_files.read(tmp_path / "out.h5")
    encoder = Encoding.stored(told.encoder).encoder()
    arrays = encoder(read_mixed(folder / told.files[2], encoder.rate), 0)
    np.testing.assert_array_equal(arrays["times"], told.events.sample(2)[0])
    np.testing.assert_array_equal(arrays["units"], told.events.sample(2)[1])


def test_a_network_learns_from_an_encoded_file(folder, tmp_path):
    """The thin path: sounds, spikes, binned events, a network."""
    from snnsim.data.events import bin_all

    encode(Encoding("delta", BANDS), folder, tmp_path / "out.h5")
    data = bin_all(spike_files.read(tmp_path / "out.h5").events, dt=10.0)
    batch = data.batch(range(8))
    net = sn.Sequential(sn.Dense(24, 8), sn.LIF(8, dt=10.0), sn.Dense(8, 2), sn.LI(2, dt=10.0))
    loss = torch.nn.functional.cross_entropy(net(batch.x)[0].mean(0), batch.target)
    loss.backward()
    assert torch.isfinite(loss)


def test_the_command_line_is_still_quick_to_load():
    program = "import sys, snnsim_experiments.cli; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
