"""Encoders of sound that arrives in pieces: how it becomes the input of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from snnsim_datasets.tools.mel import Heard, MelFrontEnd
from torch import Tensor


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


def mel_encoder(encoder: dict[str, Any], rate: int) -> MelEncoder:
    """Return the encoder for a network on mel bands.

    Args:
        encoder: how a recording becomes input, see :class:`snnsim.data.About`.
        rate: the rate of the sound in Hz. The encoder takes it as it is if the data set does so
            with a recording of that rate; otherwise it has the rate of the training data.
    """
    options = {name: value for name, value in encoder.items() if name not in ("kind", "one_length")}
    if not options.get("scaled") and rate % options["target_rate"] == 0:
        options["rate"] = rate
    return MelEncoder(MelFrontEnd(**options), encoder["one_length"])


# by the kind that is stored with a network
ENCODERS: dict[str, Callable[[dict[str, Any], int], SoundEncoder]] = {"mel": mel_encoder}
