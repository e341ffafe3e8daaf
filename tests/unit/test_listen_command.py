"""``snnsim listen``: files, pipes and microphones, what is printed and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from command import assert_one_error, command
from heard_sounds import word, write
from snnsim_experiments.listening import sounds

from snnsim.errors import ConfigError, DataError


@pytest.fixture(autouse=True, scope="module")
def interruptible():
    """A shell lets programs in the background ignore interrupts, and so would these tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Path:
    """A run on low and high words, in ``run``."""
    folder = tmp_path_factory.mktemp("words")
    for name, hertz in (("low", 400), ("high", 1500)):
        (folder / "words" / name).mkdir(parents=True)
        for number in range(5):
            file = folder / "words" / name / f"{number}.wav"
            write(file, word(16000, 0.5 + 0.05 * number, hertz, number), 16000)
    done = command(
        "recordings", "train", "--root", folder / "words", "--epochs", 2, "--out", folder / "run",
        "-q", "--set", "network.hidden=[8]", "--set", "data.n_mels=20",
        "--set", "network.max_delay_ms=40", "--set", "data.normalised=false",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def predicted(snnsim, words, file) -> dict[str, float]:
    (row,) = json.loads(snnsim("predict", words / "run", file, "--json").out)
    return dict(zip(row["classes"], row["probabilities"], strict=True))


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def by_class(row: dict) -> dict[str, float]:
    return dict(zip(row["classes"], row["scores"], strict=True))


def piped(words: Path, data: bytes, *options: object, pause: float = 0.0, pieces: int = 1):
    """Pipe bytes into the command, in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "snnsim_experiments", "listen", words / "run", "-",
         *map(str, options)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    size = -(-len(data) // pieces)
    for first in range(0, len(data), size):
        process.stdin.write(data[first : first + size])
        process.stdin.flush()
        time.sleep(pause)
    out, err = process.communicate(timeout=100)
    return process.returncode, out.decode(), err.decode()


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_a_file_is_heard_as_predict_reads_it(snnsim, words, tmp_path, rate):
    file = write(tmp_path / "x.wav", word(rate, 0.7), rate)
    answer = snnsim("listen", words / "run", file, "--json")
    assert answer.code == 0 and answer.err == ""
    decision, summary = lines(answer.out)
    assert by_class(decision) == pytest.approx(predicted(snnsim, words, file), abs=1e-5)
    assert (decision["start"], decision["end"]) == (0, pytest.approx(0.7, abs=1e-3))
    assert summary["seconds"] == 0.7 and summary["decisions"] == 1 and summary["lost"] == 0
    assert 0 < summary["real_time_factor"] < 100


def test_decisions_are_lines_of_text_without_json(snnsim, words, tmp_path):
    file = write(tmp_path / "x.wav", word(16000, 0.7), 16000)
    first, last = snnsim("listen", words / "run", file).out.splitlines()
    best, score = max(predicted(snnsim, words, file).items(), key=lambda item: item[1])
    assert f"0.00 - 0.70 s  {best}  {score:.1%}" in first and "ms later" in first
    assert last.startswith("heard 0.7 s, decisions: 1, computing took")


def test_a_gate_finds_the_words_of_a_file(snnsim, words, tmp_path):
    quiet = np.zeros(8000, np.int16)
    joined = np.concatenate([quiet, word(16000, 0.5), quiet, word(16000, 0.6), quiet])
    file = write(tmp_path / "x.wav", joined, 16000)
    answer = snnsim("listen", words / "run", file, "--gate", -40, "--json")
    first, second, summary = lines(answer.out)
    assert (first["start"], first["end"]) == pytest.approx((0.5, 1.0), abs=0.02)
    assert (second["start"], second["end"]) == pytest.approx((1.5, 2.1), abs=0.02)
    assert summary["decisions"] == 2


def test_every_decides_again_and_again_and_seconds_stops(snnsim, words, tmp_path):
    file = write(tmp_path / "x.wav", word(16000, 3.0), 16000)
    answer = snnsim(
        "listen", words / "run", file, "--every", 500, "--seconds", 1.2, "--top", 1, "--json"
    )
    *rows, summary = lines(answer.out)
    assert [row["end"] for row in rows] == pytest.approx([0.5, 1.0, 1.21])
    assert summary["seconds"] == 1.2 and all(len(row["classes"]) == 1 for row in rows)


def test_realtime_takes_as_long_as_the_sound(snnsim, words, tmp_path, monkeypatch):
    file = write(tmp_path / "x.wav", word(16000, 1.0), 16000)
    for realtime in (False, True):
        began = time.monotonic()
        pieces = list(sounds.FileSound(file, realtime))
        assert (time.monotonic() - began >= 0.98) == realtime
        assert np.array_equal(np.concatenate(pieces)[:, 0], word(16000, 1.0))
    monkeypatch.setattr(sounds.time, "sleep", slept := Slept())
    assert snnsim("listen", words / "run", file, "--realtime").code == 0 and slept.calls == 50


class Slept:
    """A clock's ``sleep`` that does not wait but counts."""

    calls = 0

    def __call__(self, seconds: float) -> None:
        assert 0 <= seconds <= 1
        self.calls += 1


# --- pipes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "form", "scale"),
    [(8000, "s16le", 1), (16000, "f32le", 1 / 32768), (44100, "s32le", 65536)],
)
def test_a_recording_that_is_piped_is_heard_as_predict_reads_it(
    snnsim, words, tmp_path, rate, form, scale
):
    samples = word(rate, 0.7)
    file = write(tmp_path / "x.wav", samples, rate)
    types = {"s16le": "<i2", "s32le": "<i4", "f32le": "<f4"}
    data = (samples.astype(np.float64) * scale).astype(types[form]).tobytes()
    options = ("--rate", rate, "--format", form, "--json")
    code, out, err = piped(words, data, *options, pieces=7, pause=0.01)
    assert code == 0 and err == ""
    assert by_class(lines(out)[0]) == pytest.approx(predicted(snnsim, words, file), abs=1e-5)


def test_decisions_come_while_the_pipe_is_open(words):
    """Each line is written when it is known, also into a pipe."""
    process = subprocess.Popen(
        [sys.executable, "-m", "snnsim_experiments", "listen", words / "run", "-",
         "--rate", "16000", "--gate", "-40", "--json"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdin.write(np.concatenate([word(16000), np.zeros(16000, np.int16)]).tobytes())
    process.stdin.flush()
    first = json.loads(process.stdout.readline())  # nothing is closed yet
    assert first["end"] == pytest.approx(0.6, abs=0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and err == b""
    assert json.loads(out)["decisions"] == 1


def test_whoever_reads_no_further_ends_it_quietly(words):
    process = subprocess.Popen(
        [sys.executable, "-m", "snnsim_experiments", "listen", words / "run", "-",
         "--rate", "16000", "--every", "100"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdin.write(word(16000, 1.0).tobytes())
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.close()
    with suppress(BrokenPipeError):  # if it has ended already
        process.stdin.write(word(16000, 2.0).tobytes())
        process.stdin.close()
    assert process.wait(timeout=60) == 0 and process.stderr.read() == b""
    process.stderr.close()


BAD_PIPES = {
    "half a sample": (b"\0" * 3201, (), "ends within a sample: 1 bytes are left"),
    "NaN": (np.full(800, np.nan, "<f4").tobytes(), ("--format", "f32le"), "NaN or infinite"),
    "another format": (word(16000).tobytes(), ("--format", "f32le"), "standard input, read as"),
    "unknown format": (b"", ("--format", "mp3"), "the format is 'mp3' but must be one of s16le"),
    "channels": (b"", ("--channels", 0), "the number of channels is 0"),
    "rate": (b"", ("--rate", 0), "--rate is 0 but must be"),
}


@pytest.mark.parametrize("case", BAD_PIPES)
def test_pipes_that_are_no_sound_are_refused(words, snnsim, monkeypatch, case):
    data, options, text = BAD_PIPES[case]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Bytes(data)))
    rate = () if "--rate" in options else ("--rate", 16000)
    assert_one_error(snnsim("listen", words / "run", "-", *rate, *options), text)


class Bytes:
    """Bytes as a pipe gives them."""

    def __init__(self, data: bytes):
        self.data = data

    def read1(self, size: int) -> bytes:
        first, self.data = self.data[:size], self.data[size:]
        return first

    read = read1


# --- microphones ----------------------------------------------------------------------------------


class PortAudioError(Exception):
    pass


def microphone(monkeypatch, pieces: list[np.ndarray], overflows: int = 0, end=None) -> ModuleType:
    """A stand-in for sounddevice, with a microphone that hears pieces and is then interrupted."""

    class InputStream:
        def __init__(self, *, callback, device, **options):
            if device not in (None, 1):
                raise PortAudioError(f"no device {device}")
            self.callback = callback
            module.opened.append(options)

        def __enter__(self):
            self.thread = threading.Thread(target=self.play)
            self.thread.start()

        def __exit__(self, *error):
            self.thread.join()

        def play(self):
            for number, piece in enumerate(pieces):
                status = SimpleNamespace(input_overflow=number < overflows)
                self.callback(piece[:, None], len(piece), None, status)
            if end is None:
                while not module.taken():
                    time.sleep(0.01)
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    module = ModuleType("sounddevice")
    devices = [
        {"name": "loudspeaker", "max_input_channels": 0, "default_samplerate": 48000.0},
        {"name": "headset", "max_input_channels": 1, "default_samplerate": 16000.0},
    ]
    module.PortAudioError, module.InputStream, module.opened = PortAudioError, InputStream, []
    module.query_devices = lambda device=None, kind=None: devices[1] if kind else devices
    found = []
    own = sounds.Microphone.__init__

    def noted(self, *args, **options):
        own(self, *args, **options)
        found.append(self)

    monkeypatch.setattr(sounds.Microphone, "__init__", noted)
    module.taken = lambda: found[0]._pieces.empty()
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


def spoken() -> list[np.ndarray]:
    quiet = np.zeros(8000, np.int16)
    joined = np.concatenate([quiet, word(16000), quiet, word(16000), quiet])
    return np.split(joined, len(joined) // 320)


def test_a_microphone_is_heard_word_by_word_until_it_is_interrupted(snnsim, words, monkeypatch):
    module = microphone(monkeypatch, spoken())
    answer = snnsim("listen", words / "run", "--json")
    assert answer.code == 0 and answer.err == ""
    *rows, summary = lines(answer.out)
    assert [row["end"] for row in rows] == pytest.approx([1.1, 2.2], abs=0.02)
    assert summary["seconds"] == 2.7 and summary["lost"] == 0
    (opened,) = module.opened
    assert (opened["samplerate"], opened["dtype"], opened["channels"]) == (16000, "int16", 1)


def test_pieces_that_a_microphone_lost_are_counted_and_told(snnsim, words, monkeypatch):
    microphone(monkeypatch, spoken(), overflows=3)
    answer = snnsim("listen", words / "run", "--json", "--device", 1)
    assert answer.code == 0 and answer.err.count("pieces of sound are lost") == 1
    assert lines(answer.out)[-1]["lost"] == 3


def test_a_full_queue_is_counted_not_waited_for(monkeypatch):
    microphone(monkeypatch, [])
    source = sounds.Microphone()
    ok = SimpleNamespace(input_overflow=False)
    for _ in range(sounds.WAITING + 7):
        source._arrived(np.zeros((320, 1), np.int16), 320, None, ok)
    assert source.lost == 7


def test_a_microphone_that_stops_is_an_error(monkeypatch):
    microphone(monkeypatch, [np.zeros(320, np.int16)], end="at once")
    monkeypatch.setattr(sounds, "PATIENCE", 0.05)
    with pytest.raises(DataError, match="the microphone gave no sound for 0.05 seconds"):
        list(sounds.Microphone())


def test_microphones_are_listed(snnsim, monkeypatch):
    microphone(monkeypatch, [])
    assert json.loads(snnsim("listen", "--list-devices", "--json").out) == [
        {"device": 1, "name": "headset", "channels": 1, "rate": 16000}
    ]
    answer = snnsim("listen", "--list-devices")
    assert "headset" in answer.out and "loudspeaker" not in answer.out


def test_a_microphone_that_is_not_there_is_refused(snnsim, words, monkeypatch):
    microphone(monkeypatch, [])
    assert_one_error(
        snnsim("listen", words / "run", "--device", 7), "the microphone 7 cannot be used"
    )


def test_a_missing_package_or_library_is_one_line(snnsim, words, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    for options in ((words / "run",), ("--list-devices",)):
        assert_one_error(snnsim("listen", *options), "pip install 'snnsim[microphone]'")

    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(ConfigError, match="PortAudio library not found.*apt install libportaudio2"):
        sounds.sounddevice()


# --- what is refused ------------------------------------------------------------------------------


def test_runs_on_something_else_are_refused(snnsim, run, words, tmp_path):
    file = write(tmp_path / "x.wav", word(16000), 16000)
    assert_one_error(snnsim("listen", run, file), "trained on spoken-digits, not on sound")
    assert_one_error(snnsim("listen", tmp_path, file), "run.json", "run folder")
    damaged = shutil.copytree(words / "run", tmp_path / "damaged")
    (damaged / "best.safetensors").write_bytes(b"")
    assert_one_error(snnsim("listen", damaged, file), "best.safetensors")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "name the run folder"),
        (("RUN", "missing.wav"), "missing.wav does not exist"),
        (("RUN", "TEXT"), "not a readable recording"),
        (("RUN", "FILE", "--rate", 8000), "--rate is only for standard input or a microphone"),
        (("RUN", "FILE", "--channels", 2), "--channels is only for standard input"),
        (("RUN", "FILE", "--format", "f32le"), "--format is only for standard input"),
        (("RUN", "FILE", "--device", "1"), "--device is only for a microphone"),
        (("RUN", "-", "--realtime"), "--realtime is only for a sound file"),
        (("RUN", "-"), "standard input does not say its rate"),
        (("RUN", "FILE", "--gate", 5), "the gate is 5.0"),
        (("RUN", "FILE", "--gate", -40, "--every", 100), "give only one of them"),
        (("RUN", "FILE", "--every", 7), "every is 7"),
        (("RUN", "FILE", "--seconds", 0), "--seconds is 0.0"),
        (("RUN", "FILE", "--seconds", "nan"), "--seconds is nan"),
        (("RUN", "FILE", "--gate", -40, "--silence-ms", 1), "the silence in ms is 1.0"),
    ],
)
def test_wrong_arguments_are_one_line(snnsim, words, tmp_path, arguments, text):
    places = {
        "RUN": words / "run",
        "FILE": write(tmp_path / "x.wav", word(16000), 16000),
        "TEXT": tmp_path / "text.wav",
    }
    places["TEXT"].write_text("no sound")
    given = [places.get(each, each) for each in arguments]
    assert_one_error(snnsim("listen", *given), text)
