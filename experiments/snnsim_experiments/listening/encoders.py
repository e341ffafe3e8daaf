"""Encoders of sound that arrives in pieces: how it becomes the input of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from snnsim_datasets.tools.audio import alone
from snnsim_datasets.tools.mel import Heard, MelFrontEnd
from torch import Tensor

from snnsim.encoders import Cochlea
from snnsim.errors import ConfigError
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
class WholeEncoder:
    """A ``WholeEncoder`` keeps a sound, and encodes it as a whole at its end.

    Attributes:
        rate: the rate of the samples in Hz.
        channels: the number of channels of a step.
        encode: from the samples ``[n]`` of a sound, at least one, to its steps ``[T, channels]``.
        stream: the encoder for a stream without end; ``None`` if such a stream cannot be encoded.
        instead: what to do about a stream without end, for the error.
    """

    rate: int
    channels: int
    encode: Callable[[np.ndarray], Tensor]
    stream: SoundEncoder | None = None
    instead: str = ""

    def start(self) -> tuple[np.ndarray, ...]:
        """Return the state before a sound: its samples so far."""
        return ()

    def push(
        self, samples: np.ndarray, state: tuple[np.ndarray, ...]
    ) -> tuple[Tensor, tuple[np.ndarray, ...]]:
        """Return no steps yet, and the samples so far."""
        return torch.zeros(0, self.channels), (*state, samples)

    def finish(self, state: tuple[np.ndarray, ...]) -> Tensor:
        """Return the steps ``[T, channels]`` of the sound."""
        samples = np.concatenate([np.zeros(0, np.int16), *state])
        return self.encode(samples) if len(samples) else torch.zeros(0, self.channels)

    def endless(self) -> SoundEncoder:
        """Return an encoder for a stream without end.

        Raises:
            ConfigError: if sounds can be encoded as a whole only.
        """
        if self.stream is None:
            raise ConfigError(
                "the network was trained on sounds that are encoded as a whole, so it decides at "
                f"the end of each; leave out --every, or {self.instead}"
            )
        return self.stream


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
    if encoding is None:
        return None
    made, pool = encoding.encoder(), encoder["pool"]

    def encode(samples: np.ndarray) -> Tensor:
        return heard(encoding, encoder, dt, samples).batch([0]).x[:, 0]

    model = getattr(made, "model", None)
    stream = None
    if model is not None and model.gain is not None:
        stream = CochleaEncoder(model, encoding.seed_of(""), pool, dt)
    instead = "encode with: snnsim encode cochlea --set gain=3"
    return WholeEncoder(made.rate, made.channels // pool, encode, stream, instead)


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
    if not front_end.normalised:
        return MelEncoder(front_end, encoder["one_length"])

    def encode(samples: np.ndarray) -> Tensor:
        return alone(samples, front_end).batch([0]).x[:, 0]

    instead = "train with data.normalised=false"
    return WholeEncoder(front_end.rate, front_end.n_mels, encode, None, instead)


# by the kind that is stored with a network
ENCODERS: dict[str, Callable[[dict[str, Any], int, float], SoundEncoder | None]] = {
    "mel": mel_encoder,
    "events": spikes_encoder,
}
