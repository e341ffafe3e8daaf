"""Ears: how sound that arrives in pieces becomes the input of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from snnsim_datasets.tools.audio import Recordings
from snnsim_datasets.tools.mel import Heard, MelFrontEnd
from torch import Tensor

from snnsim.errors import ConfigError


class Ear(Protocol):
    """An ear turns the samples of one sound, which arrive in pieces, into steps of input.

    Attributes:
        rate: the rate of the samples in Hz.
    """

    @property
    def rate(self) -> int: ...

    def start(self) -> Any:
        """Return the state before a sound."""

    def push(self, samples: np.ndarray, state: Any) -> tuple[Tensor, Any]:
        """Return the steps ``[T, channels]`` that samples ``[n]`` (int16) complete, and a state."""

    def finish(self, state: Any) -> Tensor:
        """Return the steps ``[T, channels]`` that are left at the end of the sound."""

    def endless(self) -> Ear:
        """Return an ear for a stream without end."""


@dataclass(frozen=True)
class MelEar:
    """A ``MelEar`` hears mel bands, as a network's recordings were heard in training.

    Attributes:
        front_end: the front end.
        one_length: whether a sound is cut or padded to one second, with reflected ends.
    """

    front_end: MelFrontEnd
    one_length: bool

    @property
    def rate(self) -> int:
        """Return the rate of the samples in Hz."""
        return self.front_end.rate

    def start(self) -> Heard:
        """Return the state before a sound."""
        return self.front_end.start()

    def push(self, samples: np.ndarray, state: Heard) -> tuple[Tensor, Heard]:
        """Return the steps ``[T, channels]`` that samples ``[n]`` (int16) complete, and a state."""
        if self.one_length:
            samples = samples[: self.rate - state.samples]
        wave = torch.from_numpy(samples.astype(np.float32) / 32768.0)
        return self.front_end.push(wave, state)

    def finish(self, state: Heard) -> Tensor:
        """Return the steps ``[T, channels]`` that are left at the end of the sound."""
        if not self.one_length:
            return self.front_end.finish(state)
        silence = torch.zeros(self.rate - state.samples)
        steps, state = self.front_end.push(silence, state)
        return torch.cat([steps, self.front_end.finish(state, reflected=True)])

    def endless(self) -> MelEar:
        """Return an ear for a stream without end."""
        return replace(self, one_length=False)


@dataclass(frozen=True)
class WholeEar:
    """A ``WholeEar`` hears mel bands that are normalised over a whole sound, at the sound's end.

    Attributes:
        front_end: the front end.
    """

    front_end: MelFrontEnd

    @property
    def rate(self) -> int:
        """Return the rate of the samples in Hz."""
        return self.front_end.rate

    def start(self) -> tuple[np.ndarray, ...]:
        """Return the state before a sound: its samples so far."""
        return ()

    def push(
        self, samples: np.ndarray, state: tuple[np.ndarray, ...]
    ) -> tuple[Tensor, tuple[np.ndarray, ...]]:
        """Return no steps yet, and the samples so far."""
        return torch.zeros(0, self.front_end.n_mels), (*state, samples)

    def finish(self, state: tuple[np.ndarray, ...]) -> Tensor:
        """Return the steps ``[T, channels]`` of the sound."""
        samples = np.concatenate([np.zeros(0, np.int16), *state])
        if not len(samples):
            return torch.zeros(0, self.front_end.n_mels)
        one = Recordings(
            samples=samples,
            offsets=np.asarray([0, len(samples)]),
            labels=np.zeros(1, np.int64),
            speakers=np.full(1, -1),
            channels=self.front_end.n_mels,
            classes=(),
            dt=self.front_end.hop_ms,
            front_end=self.front_end,
            one_length=False,
        )
        return one.batch([0]).x[:, 0]

    def endless(self) -> Ear:
        """Refuse a stream without end.

        Raises:
            ConfigError: always, because such a stream has no mean to be normalised with.
        """
        raise ConfigError(
            "the network was trained on recordings that are normalised as a whole, so it decides "
            "at the end of each sound; leave out --every, or train with data.normalised=false"
        )


def mel_ear(encoder: dict[str, Any], rate: int) -> Ear:
    """Return the ear for a network on mel bands.

    Args:
        encoder: how a recording becomes input, see :class:`snnsim.data.About`.
        rate: the rate of the sound in Hz. The ear takes it as it is if the data set does so with a
            recording of that rate; otherwise the ear has the rate of the training data.
    """
    options = {name: value for name, value in encoder.items() if name not in ("kind", "one_length")}
    if not options.get("scaled") and rate % options["target_rate"] == 0:
        options["rate"] = rate
    front_end = MelFrontEnd(**options)
    return WholeEar(front_end) if front_end.normalised else MelEar(front_end, encoder["one_length"])


EARS: dict[str, Callable[[dict[str, Any], int], Ear]] = {"mel": mel_ear}  # by kind of encoder
