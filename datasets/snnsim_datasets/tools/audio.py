"""Recordings as flat 16-bit arrays, and batches of their spectral features."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snnsim.data.limits import check_bytes
from snnsim.data.protocol import Batch, DataSet, chosen, resized
from snnsim.errors import DataError
from snnsim_datasets.tools.mel import MelFrontEnd, levelled, without_mean

AUDIO = (
    *(".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".caf", ".w64"),
    *(".rf64", ".snd"),
)
UNREADABLE = (".m4a", ".aac", ".wma", ".amr", ".webm", ".mka", ".3gp", ".ape", ".wv")  # but sound
MOST_CHANNELS = 32  # of a recording that is mixed to one
FASTEST = 768_000  # Hz, beyond which no recording is sampled
WHOLE = ("PCM_S8", "PCM_U8", "PCM_16", "ULAW", "ALAW", "ALAC_16")  # exact as 16-bit numbers
LOSSY = ("VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III")
SILENT = 33  # of 32768, -60 dB
CLIPPED = 1e-3
SHORT_S, LONG_S = 0.05, 30.0
STREAMED = 0xFFFFFFFF  # the size that a header has whose writer could not go back
_SIZE = re.compile(r"(?i)\b(?:riff|data|ssnd|form)[a-z ]*:\s*(\d+)\s*\(should be (\d+)\)")


def is_audio(path: Path) -> bool:
    """Tell whether a file has the ending of a sound file that can be read, in any case."""
    return path.suffix.lower() in AUDIO


def warn_passed_over(folder: Path, files: Sequence[Path], wanted: str) -> None:
    """Warn which files of a folder are sound but are not read."""
    over = [p.name for p in files if p.suffix.lower() in (*AUDIO, *UNREADABLE)]
    if over:
        warnings.warn(
            f"{len(over)} recordings in {folder} are ignored: {', '.join(over[:5])}"
            f"{' ...' if len(over) > 5 else ''}; expected {wanted}",
            stacklevel=3,
        )


def read_audio(path: Path) -> tuple[np.ndarray, int]:
    """Read a recording of any kind that soundfile knows.

    What was stored with more digits is rounded to 16 bits. Lossy codecs may exceed full scale a
    little, which is clipped; no others may.

    Returns:
        Samples (int16, mono) and the sampling rate in Hz.

    Raises:
        DataError: for a file that is damaged, truncated, of several channels, empty, or has samples
            that are NaN, infinite or beyond full scale.
    """
    samples, rate = _read(path, 1)
    return samples[:, 0], rate


def seconds_of(path: Path) -> float:
    """Return how long a recording of any rate and number of channels lasts, in seconds.

    Only its header is read.

    Raises:
        DataError: for a file that is no recording, or whose header is damaged or says that it holds
            no samples.
    """
    with _opened(path, MOST_CHANNELS) as file:
        frames, rate = file.frames, file.samplerate
    if frames == 0:
        raise DataError(f"{path} holds no samples")
    return frames / rate


def _read(path: Path, channels: int) -> tuple[np.ndarray, int]:
    """Samples ``[n, channels]`` (int16) and rate of a recording of at most so many channels."""
    with _opened(path, channels) as file:
        rate, subtype, frames = file.samplerate, file.subtype, file.frames
        kind = "int16" if subtype in WHOLE else "float64"
        samples = file.read(dtype=kind, always_2d=True)
    if len(samples) == 0:
        raise DataError(f"{path} holds no samples")
    if len(samples) < frames:
        raise DataError(f"{path} is cut short: {len(samples)} of {frames} samples are there")
    return sixteen_bits(path, samples, subtype), rate


@contextmanager
def _opened(path: Path, channels: int) -> Iterator[Any]:
    """An open recording of at most so many channels, whose header has been checked."""
    import soundfile

    if not path.is_file():
        raise DataError(f"{path} does not exist")
    size = path.stat().st_size
    try:
        with soundfile.SoundFile(path) as file:
            _check_header(path, file, size, channels)
            yield file
    except (soundfile.SoundFileError, OSError, RuntimeError, ValueError, TypeError) as error:
        raise DataError(f"{path} is not a readable recording ({error})") from error
    except MemoryError as error:
        raise DataError(f"{path} needs more memory than there is") from error


def read_mixed(path: Path, rate: int) -> np.ndarray:
    """Read a recording of any rate and number of channels.

    Channels are mixed to their mean, and the rate is changed by a sinc filter (soxr).

    Args:
        path: the file.
        rate: the rate of the result in Hz.

    Returns:
        Samples, int16, at least one.

    Raises:
        DataError: as :func:`read_audio` does, but not for several channels.
    """
    import soxr

    samples, found = read_channels(path)
    wave = mixed(samples)
    if found != rate:
        wide = soxr.resample(wave, found, rate)
        wave = wide if len(wide) else np.zeros(1)
    return rounded(wave)


def read_channels(path: Path) -> tuple[np.ndarray, int]:
    """Read a recording of any rate and up to 32 channels.

    Returns:
        Samples ``[n, channels]`` (int16) and the sampling rate in Hz.

    Raises:
        DataError: as :func:`read_audio` does, but not for several channels.
    """
    return _read(path, MOST_CHANNELS)


def mixed(samples: np.ndarray) -> np.ndarray:
    """Return the mean ``[n]`` (float64) of the channels of samples ``[n, channels]``."""
    wave = samples.mean(1) if samples.shape[1] > 1 else samples[:, 0]
    return wave.astype(np.float64)


def rounded(wave: np.ndarray) -> np.ndarray:
    """Return a waveform rounded and clipped to 16-bit samples (int16)."""
    return np.clip(np.rint(wave), -32768, 32767).astype(np.int16)


def oddities(path: Path) -> Iterator[str]:
    """Read a recording and tell what a network would not learn from.

    Raises:
        DataError: as :func:`read_mixed` does.
    """
    samples, rate = _read(path, MOST_CHANNELS)
    seconds = len(samples) / rate
    loudest = int(np.abs(samples.astype(np.int32)).max())
    if loudest < SILENT:
        yield "is silent; record it again or remove it"
    cut = np.abs(samples.astype(np.int32)) >= 32767
    if cut.mean() > CLIPPED:
        yield f"is clipped in {cut.mean():.1%} of its samples; record it with a lower gain"
    if seconds < SHORT_S:
        yield f"lasts {1000 * seconds:.0f} ms only"
    if seconds > LONG_S:
        yield f"lasts {seconds:.0f} s; cut it into single sounds"


def read_at(path: Path, rate: int) -> np.ndarray:
    """Read a recording as :func:`read_audio` does, if it is sampled at ``rate`` Hz.

    Raises:
        DataError: for one that cannot be read or has another rate.
    """
    samples, found = read_audio(path)
    if found != rate:
        raise DataError(f"{path} is sampled at {found} Hz but {rate} Hz was expected; resample it")
    return samples


def _check_header(path: Path, file: Any, size: int, channels: int = 1) -> None:
    """What the header says must be there, and no more than a file of that size can hold."""
    if file.channels > channels:
        expected = "mono was" if channels == 1 else f"{channels} or fewer were"
        raise DataError(f"{path} has {file.channels} channels but {expected} expected")
    if not 1 <= file.samplerate <= FASTEST:
        raise DataError(f"{path} says that it is sampled at {file.samplerate} Hz; it is damaged")
    check_bytes(str(path), 8.0 * file.frames * file.channels, size)
    for promised, held in _SIZE.findall(file.extra_info):
        if int(promised) > int(held) + 1 and int(promised) != STREAMED:
            raise DataError(f"{path} is cut short: {held} of {promised} bytes are there")


def sixteen_bits(path: object, samples: np.ndarray, subtype: str) -> np.ndarray:
    """Return samples, int16 or floats in -1 .. 1, rounded to 16 bits (int16).

    Args:
        path: where they are from, for messages.
        samples: the samples, of any shape.
        subtype: how they were stored, as soundfile names it; lossy codecs may exceed full scale.

    Raises:
        DataError: if samples are NaN, infinite or beyond full scale.
    """
    if samples.dtype == np.int16:
        return samples
    if not np.isfinite(samples).all():
        raise DataError(f"{path} has samples that are NaN or infinite")
    loudest = float(np.abs(samples).max(initial=0))
    if loudest > 1 and subtype not in LOSSY:
        raise DataError(
            f"{path} has samples up to {loudest:g}, beyond full scale (1); lower its volume"
        )
    return rounded(samples * 32768.0)


@dataclass(frozen=True)
class Recordings(DataSet):
    """Recordings are audio clips with labels, turned into features batch by batch.

    Attributes:
        samples: int16, all clips one after another.
        offsets: ``[n + 1]``, where each clip begins in ``samples``, and where the last one ends.
        labels: ``[n]`` int64, the class of each clip.
        speakers: ``[n]`` int64, who speaks in each clip; -1 where unknown.
        channels: number of features per step.
        classes: names of the classes.
        dt: length of a step in ms.
        front_end: function from a batch of waveforms ``[B, samples]`` (float32 in -1 .. 1) to
            features ``[B, T, channels]``.
        one_length: whether all clips of the data set have one length and are transformed without
            silence after them; ``None`` to find out from ``offsets``.
        checksums: SHA-256 of what was read, by name.
    """

    samples: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray
    channels: int
    classes: tuple[str, ...]
    dt: float
    front_end: MelFrontEnd
    one_length: bool | None = None
    checksums: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def encoder(self) -> dict[str, Any]:
        """Say how a waveform becomes input."""
        return {"kind": "mel", "one_length": self._alike, **asdict(self.front_end)}

    @property
    def _alike(self) -> bool:
        sizes = np.diff(self.offsets)
        return bool((sizes == sizes[0]).all()) if self.one_length is None else self.one_length

    @property
    def lengths(self) -> np.ndarray:
        """Return the number of steps of each clip."""
        return self.steps_of(self.sizes)

    @property
    def sizes(self) -> np.ndarray:
        """Return the number of samples of each clip."""
        return np.diff(self.offsets)

    @property
    def keeps_sizes(self) -> bool:
        """Return whether a clip that is played faster or slower keeps its length."""
        return self._alike

    def steps_of(self, sizes: np.ndarray) -> np.ndarray:
        """Return the number of steps of clips of some numbers of samples, ``[n]``."""
        return np.asarray([self.front_end.steps(int(n)) for n in sizes], dtype=np.int64)

    def _extent(self, longest: int, frames: int) -> int:
        """Samples to pad a batch to.

        Clips of one length are transformed as they are, with reflected ends. Where lengths
        differ, silence follows even the longest, so that no clip's features depend on its
        neighbours.
        """
        if self._alike and self.front_end.steps(longest) >= frames:
            return longest
        return max(longest, self.front_end.samples(frames)) + self.front_end.samples(8)

    def waves(self, indices: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """Return some clips, each as float32 in -1 .. 1."""
        indices = chosen(indices, len(self))
        clips = (self.samples[self.offsets[i] : self.offsets[i + 1]] for i in indices)
        return [clip.astype(np.float32) / 32768.0 for clip in clips]

    def played(self, wave: np.ndarray, size: int) -> np.ndarray:
        """Return a clip that is played faster or slower, so that it has ``size`` samples."""
        import soxr

        return soxr.resample(wave, len(wave), size, quality="MQ")

    def features(
        self, waves: Sequence[np.ndarray], steps: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features of clips, ``[T, B, channels]``, and how many steps each has.

        They are padded with zeros to the longest (or to ``steps``). Within a clip's steps its
        features are those of the clip followed by silence.

        Args:
            waves: the clips, each with float32 samples in -1 .. 1.
            steps: the number of steps of the batch.
        """
        normalised = self.front_end.normalised
        waves = [levelled(wave) for wave in waves] if normalised else waves
        sizes = np.asarray([len(wave) for wave in waves])
        frames = self.front_end.steps(int(sizes.max())) if steps is None else steps
        extent = self._extent(int(sizes.max()), frames)
        padded = torch.zeros(len(waves), extent, dtype=torch.float32)
        for row, wave in zip(padded, waves, strict=True):
            row[: len(wave)] = torch.from_numpy(wave)
        x = self.front_end(padded).transpose(0, 1)
        lengths = torch.from_numpy(self.steps_of(sizes))
        if normalised:
            x = without_mean(x, lengths, self.front_end.equalised)
        x = resized(x, frames).contiguous()
        over = torch.arange(len(x)).view(-1, 1, 1) >= lengths.view(1, -1, 1)
        return x.masked_fill_(over, 0.0), lengths.clamp(max=len(x))

    def batch(self, indices: Sequence[int] | np.ndarray, steps: int | None = None) -> Batch:
        """Return :meth:`features` of some clips with their labels."""
        indices = chosen(indices, len(self))
        x, lengths = self.features(self.waves(indices), steps)
        return Batch(x, torch.from_numpy(self.labels[indices]), lengths)


def alone(
    samples: np.ndarray, front_end: MelFrontEnd, one_length: bool = False, **more: Any
) -> Recordings:
    """Return one recording as a data set, without a class.

    Args:
        samples: the recording, ``[n]`` int16.
        front_end, one_length: as in :class:`Recordings`.
        more: other attributes.
    """
    told: dict[str, Any] = {
        "channels": front_end.n_mels,
        "classes": (),
        "dt": front_end.hop_ms,
    } | more
    return Recordings(
        samples=samples,
        offsets=np.asarray([0, len(samples)], np.int64),
        labels=np.zeros(1, np.int64),
        speakers=np.full(1, -1, np.int64),
        front_end=front_end,
        one_length=one_length,
        **told,
    )
