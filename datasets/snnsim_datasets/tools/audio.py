"""Recordings as flat 16-bit arrays, and batches of their spectral features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from snnsim.errors import ConfigError, DataError
from snnsim_datasets.tools.events import Batch
from snnsim_datasets.tools.mel import MelFrontEnd


def read_audio(path: Path) -> tuple[np.ndarray, int]:
    """Samples (int16, mono) and sampling rate of a WAV, FLAC or OGG file."""
    import soundfile

    if not path.is_file():
        raise DataError(f"{path} does not exist")
    try:
        samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise DataError(f"{path} is not a readable recording ({error})") from error
    if samples.shape[1] != 1:
        raise DataError(f"{path} has {samples.shape[1]} channels but mono was expected")
    if len(samples) == 0:
        raise DataError(f"{path} holds no samples")
    return samples[:, 0], rate


@dataclass(frozen=True)
class Recordings:
    """Audio clips with labels, turned into features batch by batch.

    Attributes:
        samples: int16, all clips one after another.
        offsets: ``[n + 1]``.
        front_end: turns a waveform batch ``[B, samples]`` (float32 in -1 .. 1) into
            ``[B, T, channels]``.
    """

    samples: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray
    channels: int
    classes: tuple[str, ...]
    dt: float
    front_end: MelFrontEnd
    checksums: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """Number of steps of each clip."""
        return np.asarray(
            [self.front_end.steps(int(n)) for n in np.diff(self.offsets)], dtype=np.int64
        )

    def _extent(self, longest: int, frames: int) -> int:
        """Samples to pad a batch to.

        Clips of one length are transformed as they are, with reflected ends. Where lengths
        differ, silence follows even the longest, so that no clip's features depend on its
        neighbours.
        """
        sizes = np.diff(self.offsets)
        if (sizes == sizes[0]).all() and self.front_end.steps(longest) >= frames:
            return longest
        return max(longest, self.front_end.samples(frames)) + self.front_end.samples(8)

    def batch(self, indices: Sequence[int] | np.ndarray, steps: int | None = None) -> Batch:
        """Features of some clips; shorter ones are padded with silence, then cut to ``steps``."""
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) == 0:
            raise ConfigError("a batch needs at least one sample, but no indices were given")
        clips = [self.samples[self.offsets[i] : self.offsets[i + 1]] for i in indices]
        sizes = np.asarray([len(clip) for clip in clips])
        frames = self.front_end.steps(int(sizes.max())) if steps is None else steps
        extent = self._extent(int(sizes.max()), frames)
        wave = torch.zeros(len(clips), extent, dtype=torch.float32)
        for row, clip in zip(wave, clips, strict=True):
            row[: len(clip)] = torch.from_numpy(clip.astype(np.float32) / 32768.0)
        x = self.front_end(wave).transpose(0, 1)[:frames].contiguous()
        lengths = torch.tensor([self.front_end.steps(int(n)) for n in sizes])
        return Batch(x, torch.from_numpy(self.labels[indices]), lengths.clamp(max=x.shape[0]))
