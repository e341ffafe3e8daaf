"""A trained network that hears: sound arrives in pieces, and decisions come as soon as they can.

A sound becomes steps of input while it arrives, the network runs on each of them with its state,
and its outputs are read out at the end of the sound, padded as evaluation pads a recording. So the
decision on a recording that is heard is the answer of :func:`snnsim_experiments.predict.predict`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from snnsim_datasets.tools.sound_streams import Mixer
from torch import Tensor

from snnsim.errors import ConfigError, DataError, check_number, check_size
from snnsim.functional.readouts import fractions, get_readout
from snnsim.training.calibration import calibrated
from snnsim.training.recipe import CLASS
from snnsim_experiments.listening.encoders import ENCODERS, SoundEncoder
from snnsim_experiments.listening.gate import Gate, Piece
from snnsim_experiments.listening.inference import (
    Inference,
    StreamedInference,
    StreamingNetwork,
    WholeInference,
    streaming,
)
from snnsim_experiments.run_folder import Trained

NOT_HEARD = (
    "it was trained on {source}, not on sound; listen with a run on recordings, gsc, fsdd from its "
    "recordings, or spikes of snnsim encode"
)


@dataclass(frozen=True)
class Decision:
    """A ``Decision`` is the network's answer to a sound.

    Attributes:
        start, end: where the sound begins and ends in the stream, in seconds.
        classes: the names of the classes, the likeliest first.
        scores: the probability of each of them; they sum to 1.
        latency_ms: the time from the end of the sound to the decision in ms: for how long further
            sound was awaited, and the time of computing since the last of it arrived.
    """

    start: float
    end: float
    classes: tuple[str, ...]
    scores: tuple[float, ...]
    latency_ms: float = 0.0

    def as_json(self, top: int = 3) -> dict[str, Any]:
        """Return plain values, with the ``top`` likeliest classes."""
        return {
            "start": round(self.start, 4),
            "end": round(self.end, 4),
            "class": self.classes[0],
            "probability": self.scores[0],
            "latency_ms": round(self.latency_ms, 3),
            "classes": list(self.classes[:top]),
            "scores": list(self.scores[:top]),
        }


class _Sound:
    """One sound on its way through encoder and network."""

    def __init__(self, encoder: SoundEncoder, inference: Inference):
        self._encoder, self.inference = encoder, inference
        self._state = encoder.start()

    def push(self, samples: np.ndarray) -> None:
        x, self._state = self._encoder.push(samples, self._state)
        self.inference.push(x.unsqueeze(1))

    def finish(self) -> None:
        self.inference.push(self._encoder.finish(self._state).unsqueeze(1))


Answer = tuple[float, float, Tensor]  # start and end in seconds, and the class scores [1, C]


class _Throughout:
    """One answer, to all that is heard."""

    def __init__(self, encoder: SoundEncoder, start: Callable[[], Inference]):
        self._sound, self._rate = _Sound(encoder, start()), encoder.rate
        self._samples = 0

    def push(self, samples: np.ndarray) -> list[Answer]:
        self._samples += len(samples)
        self._sound.push(samples)
        return []

    def finish(self) -> list[Answer]:
        self._sound.finish()
        return [(0.0, self._samples / self._rate, self._sound.inference.scores())]


class _Gated:
    """An answer to each sound that a gate finds."""

    def __init__(self, encoder: SoundEncoder, start: Callable[[], Inference], gate: Gate):
        self._encoder, self._start, self._gate = encoder, start, gate
        self._sound: _Sound | None = None

    def push(self, samples: np.ndarray) -> list[Answer]:
        return self._answers(self._gate.push(samples))

    def finish(self) -> list[Answer]:
        return self._answers(self._gate.finish())

    def _answers(self, pieces: list[Piece]) -> list[Answer]:
        found = []
        for piece in pieces:
            self._sound = self._sound or _Sound(self._encoder, self._start())
            self._sound.push(piece.samples)
            if piece.sound is not None:
                self._sound.finish()
                start, end = (sample / self._encoder.rate for sample in piece.sound)
                found.append((start, end, self._sound.inference.scores()))
                self._sound = None
        return found


class _Sliding:
    """An answer every so many steps, to the last steps before it."""

    def __init__(self, encoder: SoundEncoder, net: StreamingNetwork, trained: Trained, every: int):
        self._encoder, self._state = encoder.endless(), encoder.endless().start()
        self._net, self._trained, self._every = net, trained, every
        self._inner: Any = None
        self._outputs = torch.zeros(0)  # [T, 1, C], of the last steps
        self._steps = 0

    def push(self, samples: np.ndarray) -> list[Answer]:
        x, self._state = self._encoder.push(samples, self._state)
        return self._answers(x.unsqueeze(1))

    def finish(self) -> list[Answer]:
        found = self._answers(self._encoder.finish(self._state).unsqueeze(1))
        return found if self._steps % self._every == 0 else [*found, self._answer()]

    def _answers(self, x: Tensor) -> list[Answer]:
        found = []
        while len(x):
            until_next = self._every - self._steps % self._every
            y, self._inner = self._net.run(x[:until_next], self._inner)
            self._outputs = torch.cat([self._outputs, y])[-self._trained.steps :]
            self._steps, x = self._steps + len(y), x[until_next:]
            if self._steps % self._every == 0:
                found.append(self._answer())
        return found

    def _answer(self) -> Answer:
        step = (self._trained.dt or 0.0) / 1000
        end = self._steps * step
        scores = get_readout(self._trained.readout)(self._outputs)
        return max(0.0, end - self._trained.steps * step), end, scores


class Listener:
    """A ``Listener`` hears sound that arrives in pieces, and decides with a trained network.

    Without ``gate`` and ``every`` there is one decision on all that was heard, which ``finish``
    returns: that of :func:`snnsim_experiments.predict.predict` on a recording of it.

    Args:
        trained: the network, as :func:`snnsim_experiments.run_folder.load_trained` returns it.
        rate: the rate of the samples that will arrive, in Hz.
        gate: the level in dB of full scale from which on there is a sound to decide on, -120 .. 0;
            ``None`` for no gate. The network starts afresh with each sound.
        silence_ms: how long it is quiet before a sound has ended, in ms.
        every: the time in ms between two decisions on what was heard last, for as long as the
            longest recording of training; a whole number of steps. ``None`` for no such decisions.
        compiled: whether to compile the network, if it can be compiled.

    Attributes:
        computing: the time that computing took so far, in seconds.
        decisions: the number of decisions so far.

    Raises:
        ConfigError: the network was trained on something else than sound, or names no classes.

    >>> from snnsim_experiments.run_folder import load_trained
    >>> def hear(run, wave, rate):
    ...     listener = Listener(load_trained(run), rate=rate, gate=-40.0)
    ...     return [*listener.push(wave), *listener.finish()]
    """

    def __init__(
        self,
        trained: Trained,
        *,
        rate: int = 16000,
        gate: float | None = None,
        silence_ms: float = 300.0,
        every: float | None = None,
        compiled: bool = True,
    ):
        check_size("the rate", rate)
        encoder = _encoder(trained, rate)
        net = streaming(trained, compiled)
        self._trained, self._rate = trained, rate
        self._mixer = Mixer(rate, encoder.rate)
        self._heard, self.computing, self.decisions = 0, 0.0, 0

        def start() -> Inference:
            return WholeInference(trained) if net is None else StreamedInference(net, trained)

        _warm_up(encoder, start())
        self._way: _Throughout | _Gated | _Sliding
        if gate is not None and every is not None:
            raise ConfigError("gate and every are two ways to decide; give only one of them")
        if gate is not None:
            self._way = _Gated(encoder, start, Gate(encoder.rate, gate, silence_ms))
        elif every is None:
            self._way = _Throughout(encoder, start)
        elif net is None:
            raise ConfigError(
                "every needs a network that runs step by step, but this one needs the whole sound; "
                "use a gate"
            )
        else:
            self._way = _Sliding(encoder, net, trained, _steps_of(every, trained))

    @property
    def seconds(self) -> float:
        """Return how much was heard, in seconds."""
        return self._heard / self._rate

    def push(self, samples: np.ndarray) -> list[Decision]:
        """Return the decisions that are made once further samples have arrived.

        Args:
            samples: the next samples ``[n]`` or ``[n, channels]``, int16.

        Raises:
            DataError: the samples are of another kind.
        """
        samples = np.asarray(samples)
        samples = samples[:, None] if samples.ndim == 1 else samples
        if samples.dtype != np.int16 or samples.ndim != 2 or not samples.shape[1]:
            raise DataError(
                f"the samples are {samples.dtype} {list(samples.shape)} but must be int16 [n] or "
                "[n, channels]"
            )
        self._heard += len(samples)
        return self._decided(lambda: self._way.push(self._mixer.push(samples)))

    def finish(self) -> list[Decision]:
        """Return the decisions that are left at the end of the sound; none if nothing was heard."""
        if not self._heard:
            return []
        return self._decided(lambda: [*self._way.push(self._mixer.finish()), *self._way.finish()])

    def _decided(self, work: Callable[[], list[Answer]]) -> list[Decision]:
        began = time.perf_counter()
        answers = work()
        took = time.perf_counter() - began
        self.computing += took
        self.decisions += len(answers)
        return [self._decision(*answer, took) for answer in answers]

    def _decision(self, start: float, end: float, scores: Tensor, took: float) -> Decision:
        shares, temperature = fractions(self._trained.readout, scores), self._trained.temperature
        sure = shares if temperature is None else calibrated(shares, temperature)
        ranked = sure.sort(dim=1, descending=True)
        awaited = max(0.0, self.seconds - end)
        return Decision(
            start,
            end,
            tuple(self._trained.classes[int(c)] for c in ranked.indices[0]),
            tuple(ranked.values[0].tolist()),
            1000 * (awaited + took),
        )


def _encoder(trained: Trained, rate: int) -> SoundEncoder:
    if trained.target != CLASS:
        raise ConfigError(
            f"the network has the target {trained.target}, so that it names no classes; listen "
            "with a run that classifies"
        )
    make = ENCODERS.get(trained.encoder.get("kind", ""))
    encoder = None
    if make is not None and trained.dt is not None:
        encoder = make(trained.encoder, rate, trained.dt)
    if encoder is None:
        raise ConfigError("the network cannot hear: " + NOT_HEARD.format(source=trained.source))
    return encoder


def _steps_of(every: float, trained: Trained) -> int:
    dt = trained.dt or 1.0
    check_number("every", every, dt)
    if abs(every / dt - round(every / dt)) > 1e-6:
        raise ConfigError(f"every is {every:g} ms but must be a whole number of {dt:g} ms steps")
    return round(every / dt)


def _warm_up(encoder: SoundEncoder, inference: Inference) -> None:
    """Run everything once on silence, so that the first decision does not wait for kernels."""
    sound = _Sound(encoder, inference)
    sound.push(np.zeros(encoder.rate // 5, np.int16))
    sound.finish()
    sound.inference.scores()
