"""Encoders of sound that arrives in pieces: how it becomes the input of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from snnsim_datasets.tools.audio import Recordings
from snnsim_datasets.tools.mel import Heard, MelFrontEnd
from torch import Tensor

from snnsim.encoders import Cochlea
from snnsim.errors import ConfigError
from snnsim_experiments.encode.job import Encoding
from snnsim_experiments.encode.spoken import encoding_of, heard


class SoundEncoder(Protocol):
    """A ``SoundEncoder`` turns samples of a sound, which arrive in pieces, into steps of input.

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

    def endless(self) -> SoundEncoder:
        """Return an encoder for a stream without end."""


@dataclass(frozen=True)
class MelEncoder:
    """A ``MelEncoder`` makes mel bands, as those of the recordings in training.

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

    def endless(self) -> MelEncoder:
        """Return an encoder for a stream without end."""
        return replace(self, one_length=False)


@dataclass(frozen=True)
class WholeMelEncoder:
    """A ``WholeMelEncoder`` makes mel bands that are normalised over a whole sound, at its end.

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

    def endless(self) -> SoundEncoder:
        """Refuse a stream without end.

        Raises:
            ConfigError: always, because such a stream has no mean to be normalised with.
        """
        raise ConfigError(
            "the network was trained on recordings that are normalised as a whole, so it decides "
            "at the end of each sound; leave out --every, or train with data.normalised=false"
        )


@dataclass(frozen=True)
class SpikesEncoder:
    """A ``SpikesEncoder`` makes spikes: at the end of a sound it encodes the whole of it.

    Attributes:
        encoding: how recordings became the spikes of the training data.
        encoder: how those became steps.
        dt: the length of a step in ms.
    """

    encoding: Encoding
    encoder: dict[str, Any]
    dt: float

    @property
    def rate(self) -> int:
        """Return the rate of the samples in Hz."""
        return self.encoding.encoder().rate

    def start(self) -> tuple[np.ndarray, ...]:
        """Return the state before a sound: its samples so far."""
        return ()

    def push(
        self, samples: np.ndarray, state: tuple[np.ndarray, ...]
    ) -> tuple[Tensor, tuple[np.ndarray, ...]]:
        """Return no steps yet, and the samples so far."""
        return torch.zeros(0, self._channels), (*state, samples)

    def finish(self, state: tuple[np.ndarray, ...]) -> Tensor:
        """Return the steps ``[T, channels]`` of the sound."""
        samples = np.concatenate([np.zeros(0, np.int16), *state])
        if not len(samples):
            return torch.zeros(0, self._channels)
        return heard(self.encoding, self.encoder, self.dt, samples).batch([0]).x[:, 0]

    @property
    def _channels(self) -> int:
        return self.encoding.encoder().channels // self.encoder["pool"]

    def endless(self) -> SoundEncoder:
        """Refuse a stream without end, unless it is of a cochlea with a fixed gain.

        Raises:
            ConfigError: for all others, which encode whole sounds.
        """
        model = getattr(self.encoding.encoder(), "model", None)
        if model is None or model.gain is None:
            raise ConfigError(
                "the network was trained on spikes of whole sounds, so it decides at the end of "
                "each; leave out --every, or encode with: snnsim encode cochlea --set gain=3"
            )
        return CochleaEncoder(model, self.encoding.seed_of(""), self.encoder["pool"], self.dt)


@dataclass(frozen=True)
class CochleaEncoder:
    """A ``CochleaEncoder`` makes spikes of a stream without end, by a cochlea with a fixed gain.

    Attributes:
        cochlea: the model.
        seed: the seed of its spikes.
        pool: the number of neighbouring channels that are summed.
        dt: the length of a step in ms.
    """

    cochlea: Cochlea
    seed: int
    pool: int
    dt: float

    @property
    def rate(self) -> int:
        """Return the rate of the samples in Hz."""
        return self.cochlea.rate

    def start(self) -> tuple[Any, np.ndarray, np.ndarray, int]:
        """Return the state before a sound: the cochlea's, and spikes of steps to come."""
        return self.cochlea.start(self.seed), np.zeros(0), np.zeros(0, np.int64), 0

    def push(self, samples: np.ndarray, state: Any) -> tuple[Tensor, Any]:
        """Return the steps ``[T, channels]`` that samples ``[n]`` (int16) complete, and a state."""
        inner, times, units, done = state
        (new, at), inner = self.cochlea.push(samples / 32768.0, inner)
        known = int(2000 * inner.computed / self.rate // self.dt)  # steps of which all is known
        times, units = np.concatenate([times, new]), np.concatenate([units, at])
        x, later = self._steps(times, units, done, known)
        return x, (inner, times[later], units[later], known)

    def finish(self, state: Any) -> Tensor:
        """Return the steps ``[T, channels]`` that are left at the end of the sound."""
        inner, times, units, done = state
        new, at = self.cochlea.finish(inner)
        times, units = np.concatenate([times, new]), np.concatenate([units, at])
        last = int(1000 * times.max() // self.dt) + 1 if len(times) else done
        return self._steps(times, units, done, max(last, done))[0]

    def _steps(
        self, times: np.ndarray, units: np.ndarray, first: int, end: int
    ) -> tuple[Tensor, np.ndarray]:
        """Counts of the steps from ``first`` to ``end``, and which spikes are later."""
        steps = np.floor(times * 1000 / self.dt + 1e-9).astype(np.int64)
        now = steps < end
        x = torch.zeros(end - first, self.cochlea.channels // self.pool)
        where = torch.from_numpy(steps[now] - first), torch.from_numpy(units[now] // self.pool)
        return x.index_put_(where, torch.ones(int(now.sum())), accumulate=True), ~now

    def endless(self) -> SoundEncoder:
        """Return itself, which takes a stream without end."""
        return self


def spikes_encoder(encoder: dict[str, Any], rate: int, dt: float = 10.0) -> SoundEncoder | None:
    """Return the encoder for a network on spikes; ``None`` where their origin is not known.

    Args:
        encoder: how a recording becomes input, see :class:`snnsim.data.About`.
        rate: the rate of the sound in Hz, which is resampled to that of the encoding.
        dt: the length of a step in ms.
    """
    encoding = encoding_of(encoder)
    return None if encoding is None else SpikesEncoder(encoding, encoder, dt)


def mel_encoder(encoder: dict[str, Any], rate: int, dt: float = 10.0) -> SoundEncoder:
    """Return the encoder for a network on mel bands.

    Args:
        encoder: how a recording becomes input, see :class:`snnsim.data.About`.
        rate: the rate of the sound in Hz. The encoder takes it as it is if the data set does so
            with a recording of that rate; otherwise it has the rate of the training data.
        dt: ignored: the encoder says how long a step is.
    """
    options = {name: value for name, value in encoder.items() if name not in ("kind", "one_length")}
    if not options.get("scaled") and rate % options["target_rate"] == 0:
        options["rate"] = rate
    front_end = MelFrontEnd(**options)
    return (
        WholeMelEncoder(front_end)
        if front_end.normalised
        else MelEncoder(front_end, encoder["one_length"])
    )


# by the kind that is stored with a network
ENCODERS: dict[str, Callable[[dict[str, Any], int, float], SoundEncoder | None]] = {
    "mel": mel_encoder,
    "events": spikes_encoder,
}
