"""Where sound comes from: a file as if it were a microphone, raw samples from a pipe, a microphone.

Each source has a ``rate``, and gives samples ``[n, channels]`` (int16) in pieces when iterated.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Protocol

import numpy as np
from snnsim_datasets.tools.audio import FASTEST, read_channels
from snnsim_datasets.tools.sound_streams import RawSamples

from snnsim.errors import ConfigError, DataError, check_size

PIECE_MS = 20
WAITING = 250  # pieces of a microphone that wait to be heard, 5 seconds
PATIENCE = 5.0  # seconds after which a microphone that gives nothing is given up


class Source(Protocol):
    """A source of sound.

    Attributes:
        rate: the rate of the samples in Hz.
        lost: how many pieces were lost because they were not taken in time.
    """

    rate: int
    lost: int

    def __iter__(self) -> Iterator[np.ndarray]: ...


class FileSound:
    """A ``FileSound`` plays a sound file.

    Args:
        path: the file.
        realtime: whether it takes as long as the sound lasts; otherwise it is as fast as possible.
    """

    lost = 0

    def __init__(self, path: Path, realtime: bool = False):
        self._samples, self.rate = read_channels(path)
        self._realtime = realtime

    def __iter__(self) -> Iterator[np.ndarray]:
        size, began = _piece(self.rate), time.monotonic()
        for first in range(0, len(self._samples), size):
            piece = self._samples[first : first + size]
            if self._realtime:
                heard = began + (first + len(piece)) / self.rate
                time.sleep(max(0.0, heard - time.monotonic()))
            yield piece


class PipedSound:
    """A ``PipedSound`` reads raw samples, such as those of ``ffmpeg -f s16le -``.

    Args:
        stream: what is read, such as ``sys.stdin.buffer``.
        rate: the rate of the samples in Hz, 1 .. 768000.
        channels: the number of channels, 1 .. 32.
        form: the format of a sample: ``"s16le"``, ``"s32le"`` or ``"f32le"``.
    """

    lost = 0

    def __init__(self, stream: BinaryIO, rate: int, channels: int = 1, form: str = "s16le"):
        self.rate = check_size("--rate", rate, 1, FASTEST)
        self._raw, self._form, self._stream = RawSamples(form, channels), form, stream

    def __iter__(self) -> Iterator[np.ndarray]:
        read = getattr(self._stream, "read1", self._stream.read)  # which does not wait for more
        name = f"standard input, read as {self._form},"
        while data := read(_piece(self.rate) * self._raw.size):
            yield self._raw.push(data, name)
        if self._raw.left:
            raise DataError(
                f"standard input ends within a sample: {self._raw.left} bytes are left, but a "
                f"sample in {self._form} of {self._raw.channels} channels has {self._raw.size}; "
                "give --format and --channels as the sound has them"
            )


class Microphone:
    """A ``Microphone`` records what it hears, until the program is interrupted.

    Args:
        device: the number or a part of the name of the device; ``None`` for the default one.
        rate: the rate in Hz; ``None`` for that of the device.
        channels: the number of channels, 1 .. 32.
    """

    def __init__(self, device: str | None = None, rate: int | None = None, channels: int = 1):
        self._library = sounddevice()
        self._device = int(device) if device is not None and device.isdigit() else device
        self._channels, self.lost = check_size("--channels", channels, 1, 32), 0
        self.rate = self._own_rate() if rate is None else check_size("--rate", rate, 1, FASTEST)
        self._pieces: queue.Queue[np.ndarray] = queue.Queue(WAITING)

    def _own_rate(self) -> int:
        try:
            return round(self._library.query_devices(self._device, "input")["default_samplerate"])
        except (self._library.PortAudioError, ValueError) as error:
            raise _no_device(self._device, error) from error

    def _arrived(self, samples: np.ndarray, _frames: int, _time: Any, status: Any) -> None:
        """Called by another thread, which must not wait."""
        self.lost += bool(status.input_overflow)
        try:
            self._pieces.put_nowait(samples.copy())
        except queue.Full:
            self.lost += 1

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            stream = self._library.InputStream(
                samplerate=self.rate, blocksize=_piece(self.rate), device=self._device,
                channels=self._channels, dtype="int16", callback=self._arrived,
            )  # fmt: skip
        except (self._library.PortAudioError, ValueError) as error:
            raise _no_device(self._device, error) from error
        with stream:
            while True:
                try:
                    yield self._pieces.get(timeout=PATIENCE)
                except queue.Empty:
                    raise DataError(
                        f"the microphone gave no sound for {PATIENCE:g} seconds; is it still "
                        "there? See --list-devices"
                    ) from None


def sounddevice() -> ModuleType:
    """Return the package that reads microphones.

    Raises:
        ConfigError: it is not installed, or lacks the library that it needs.
    """
    try:
        import sounddevice as found
    except ImportError as error:
        raise ConfigError(
            "a microphone needs the package sounddevice, which is not installed; use: "
            "pip install 'snnsim[microphone]', or give a sound file or - for standard input"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"sounddevice needs the library PortAudio ({error}); use: apt install libportaudio2, "
            "or give a sound file or - for standard input"
        ) from error
    return found


def microphones() -> list[dict[str, Any]]:
    """Return the ``device`` number, ``name``, ``channels`` and ``rate`` of all microphones."""
    return [
        {
            "device": number,
            "name": found["name"],
            "channels": found["max_input_channels"],
            "rate": round(found["default_samplerate"]),
        }
        for number, found in enumerate(sounddevice().query_devices())
        if found["max_input_channels"] > 0
    ]


def _piece(rate: int) -> int:
    return max(1, rate * PIECE_MS // 1000)


def _no_device(device: Any, error: Exception) -> ConfigError:
    name = "the default microphone" if device is None else f"the microphone {device!r}"
    why = " ".join(str(error).split())
    return ConfigError(f"{name} cannot be used ({why}); see: snnsim listen --list-devices")
