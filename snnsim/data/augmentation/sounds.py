"""Transforms of sounds before they become features.

played    a clip of n samples is resampled to n / factor: faster is also higher
noise     x' = x + a rms(x) e,    e ~ N(0, 1) in every sample, a uniform from 0
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from snnsim.data.augmentation.draws import Draws, OfBatch


@runtime_checkable
class Sounds(Protocol):
    """A data set of sounds can also be asked for its clips, and makes features of changed ones."""

    @property
    def sizes(self) -> np.ndarray:
        """Return the number of samples of each clip, ``[n]``."""

    @property
    def keeps_sizes(self) -> bool:
        """Return whether a clip that is played faster or slower keeps its length."""

    def steps_of(self, sizes: np.ndarray) -> np.ndarray:
        """Return the number of steps of clips of some numbers of samples, ``[n]``."""

    def waves(self, indices: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """Return some clips, each as float32 in -1 .. 1."""

    def played(self, wave: np.ndarray, size: int) -> np.ndarray:
        """Return a clip that is played faster or slower, so that it has ``size`` samples."""

    def features(
        self, waves: Sequence[np.ndarray], steps: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return features of clips, ``[T, B, C]``, and how many steps each has, ``[B]``."""


def played_sizes(data: Sounds, draws: Draws) -> np.ndarray:
    """Return the number of samples of each clip as it is played, ``[n]``."""
    if not draws.given.speed:
        return data.sizes
    return np.maximum(np.rint(data.sizes / (1 + draws.between("speed"))).astype(np.int64), 1)


def played_steps(data: Sounds, draws: Draws) -> np.ndarray:
    """Return the number of steps of each clip as it is played, ``[n]``."""
    return data.steps_of(data.sizes if data.keeps_sizes else played_sizes(data, draws))


def augmented_sounds(data: Sounds, drawn: OfBatch) -> tuple[Tensor, Tensor]:
    """Return features of clips that are played faster or slower and with noise, and their steps.

    Args:
        data: the sounds.
        drawn: the random numbers of those that are wanted.
    """
    given, waves = drawn.given, data.waves(drawn.rows)
    if given.speed:
        sizes = played_sizes(data, drawn.draws)[drawn.rows].tolist()
        waves = [_played(data, wave, size) for wave, size in zip(waves, sizes, strict=True)]
    if given.audio_noise:
        levels = given.audio_noise * drawn.uniform("audio_noise")[:, 0].numpy()
        own = drawn.generators("audio_noise")
        waves = [_noisy(*each) for each in zip(waves, levels, own, strict=True)]
    return data.features(waves)


def _played(data: Sounds, wave: np.ndarray, size: int) -> np.ndarray:
    found = wave if size == len(wave) else data.played(wave, size)
    if not data.keeps_sizes:
        return found
    kept = found[: len(wave)]
    return np.pad(kept, (0, len(wave) - len(kept)))


def _noisy(wave: np.ndarray, level: float, generator: np.random.Generator) -> np.ndarray:
    loudness = np.float32(level * np.sqrt(np.mean(wave.astype(np.float64) ** 2)))
    white = np.float32(12**0.5) * (generator.random(len(wave), np.float32) - np.float32(0.5))
    return wave + loudness * white
