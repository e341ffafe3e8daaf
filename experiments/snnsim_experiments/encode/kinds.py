"""The ways to turn a recording into input: the kinds of ``snnsim encode``.

``cochlea`` takes the sound itself; all others take mel bands between 0 (silence) and about 1, those
of the data set ``recordings``. The options of a kind are the arguments of the classes that it is
made of, with a few defaults that suit such bands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from snnsim_datasets.recordings import MOST_BANDS, RATES, WINDOW_MS
from snnsim_datasets.tools.audio import alone
from snnsim_datasets.tools.mel import MelFrontEnd

from snnsim.encoders import Delta, Latency, LevelCrossing, Population, Rate
from snnsim.errors import check_choice, check_number, check_size
from snnsim.layer import Layer
from snnsim_experiments.settings import check_section, fields

Arrays = dict[str, np.ndarray]
SHORTEST_HOP, LONGEST_HOP = 0.1, 1000.0  # ms

# what sends spikes in place of mel bands, with defaults that differ from those of the class
LAYERS: dict[str, tuple[type[Layer], dict[str, Any]]] = {
    "delta": (Delta, {"start": 0.0}),
    "level": (LevelCrossing, {"levels": [0.2, 0.4, 0.6, 0.8], "start": 0.0}),
    "rate": (Rate, {}),
    "latency": (Latency, {"window": 10}),
    "population": (Population, {}),
}
KINDS = ("cochlea", "mel", *LAYERS)
_OURS = ("seed", "graded")  # arguments of layers that are no options here
_LIMITED = (Rate, Latency)  # layers whose input must not exceed 1


class Encoder(Protocol):
    """An encoder turns the samples of a recording into arrays.

    Attributes:
        rate: the rate in Hz of the samples that it takes.
        channels: the number of channels of what it makes.
        shortest: the shortest recording that it takes, in seconds.
    """

    rate: int
    channels: int
    shortest: float

    def __call__(self, samples: np.ndarray, seed: int) -> Arrays:
        """Return ``times`` (float32, seconds) and ``units``, or ``values`` ``[T, channels]``.

        Args:
            samples: the recording, ``[n]`` int16, at ``rate``.
            seed: the seed of this recording.
        """
        ...


def complete(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a kind, with defaults for those that are not given.

    Args:
        kind: one of ``KINDS``.
        given: some of its options by name.

    Raises:
        ConfigError: if the kind or an option is not known, or a value has the wrong type.

    >>> complete("mel", {"n_mels": 40})
    {'n_mels': 40, 'rate': 16000, 'hop_ms': 10.0}
    """
    check_choice("the kind of encoding", kind, KINDS)
    return check_section(kind, _known(kind), dict(given))


def _known(kind: str) -> dict[str, tuple[Any, Any]]:
    if kind == "cochlea":
        from snnsim.encoders.cochlea import Cochlea

        return fields(Cochlea.__init__, keyword_only=False)
    bands = fields(Mel.__init__)
    if kind == "mel":
        return bands
    layer, defaults = LAYERS[kind]
    own = fields(layer.__init__, keyword_only=False)
    changed = {name: (own[name][0], default) for name, default in defaults.items()}
    return {n: v for n, v in (own | changed).items() if n not in _OURS} | bands


def encoder_of(kind: str, options: Mapping[str, Any]) -> Encoder:
    """Return the encoder of a kind.

    Args:
        kind: one of ``KINDS``.
        options: all its options, as :func:`complete` returns them.

    Raises:
        ConfigError: if an option is out of range.
    """
    if kind == "cochlea":
        return CochleaSpikes(options)
    bands = {name: options[name] for name in fields(Mel.__init__)}
    if kind == "mel":
        return Mel(**bands)
    own = {name: value for name, value in options.items() if name not in bands}
    return MelSpikes(Mel(**bands), LAYERS[kind][0], own)


class CochleaSpikes:
    """The model of the inner ear with which the Heidelberg data sets were made sends spikes.

    Args:
        options: the arguments of :class:`snnsim.encoders.cochlea.Cochlea`; recordings are resampled
            to its ``rate``.
    """

    def __init__(self, options: Mapping[str, Any]):
        from snnsim.encoders.cochlea import SHORTEST, Cochlea

        self.model = Cochlea(**options)
        self.rate, self.channels = self.model.rate, self.model.channels
        self.shortest = SHORTEST

    def __call__(self, samples: np.ndarray, seed: int) -> Arrays:
        """Return the spikes of a recording."""
        times, units = self.model(samples / 32768.0, seed=seed)
        return {"times": np.asarray(times, np.float32), "units": np.asarray(units, np.uint32)}


class Mel:
    """The values of mel bands over time are the input, without spikes.

    Recordings of any length are taken.

    Args:
        n_mels: the number of bands, up to 1024.
        rate: the rate in Hz to which recordings are resampled.
        hop_ms: the length of a step in ms.
    """

    shortest = 0.0

    def __init__(self, *, n_mels: int = 80, rate: int = 16_000, hop_ms: float = 10.0):
        self.channels = check_size("n_mels", n_mels, 1, MOST_BANDS)
        self.rate = check_size("rate", rate, *RATES)
        check_number("hop_ms", hop_ms, max(SHORTEST_HOP, 1000 / rate), LONGEST_HOP)
        window = round(rate * WINDOW_MS / 1000)
        self.front_end = MelFrontEnd(rate, rate, n_mels, n_fft=window, hop_ms=hop_ms, scaled=True)
        self.dt = 1000 * self.front_end.hop / rate  # of whole samples

    def bands(self, samples: np.ndarray) -> torch.Tensor:
        """Return the mel bands of a recording, ``[T, 1, n_mels]``."""
        return alone(samples, self.front_end, dt=self.dt).batch([0]).x

    def __call__(self, samples: np.ndarray, seed: int) -> Arrays:
        """Return the values of a recording."""
        return {"values": self.bands(samples)[:, 0].numpy()}


class MelSpikes:
    """A layer of :mod:`snnsim.encoders` sends spikes in place of mel bands.

    Args:
        mel: the mel bands.
        layer: the class of the layer.
        options: its arguments, without a seed.
    """

    shortest = 0.0

    def __init__(self, mel: Mel, layer: type[Layer], options: dict[str, Any]):
        self.mel, self.layer, self.options = mel, layer, options
        self.rate = mel.rate
        self.channels = self._made(0)(torch.zeros(1, 1, mel.channels))[0].shape[2]

    def __call__(self, samples: np.ndarray, seed: int) -> Arrays:
        """Return the spikes of a recording; those of one step are at its beginning."""
        bands = self.mel.bands(samples)
        if self.layer in _LIMITED:
            bands = bands.clamp(max=1)
        counts = self._made(seed)(bands)[0][:, 0].numpy()
        steps, units = np.nonzero(counts)
        repeated = np.repeat(np.arange(len(steps)), counts[steps, units].astype(np.int64))
        times = (steps * self.mel.dt / 1000).astype(np.float32)
        return {"times": times[repeated], "units": units.astype(np.uint32)[repeated]}

    def _made(self, seed: int) -> Layer:
        known = fields(self.layer.__init__, keyword_only=False)
        own = {"seed": seed, "graded": False}
        return self.layer(**self.options, **{n: v for n, v in own.items() if n in known})
