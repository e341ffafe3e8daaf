"""Sound to spikes by the cochlea model of the Spiking Heidelberg Digits; see docs/cochlea.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from snnsim.data.limits import limit
from snnsim.errors import (
    ConfigError,
    NonFiniteError,
    ShapeError,
    check_number,
    check_seed,
    check_size,
    short,
)

if TYPE_CHECKING:
    from snnsim.kernels.cochlea.filters import Filters
    from snnsim.kernels.cochlea.state import Cells

RATES = (32000, 96000)
SHORTEST = 0.01  # s, of a whole recording


class Spikes(NamedTuple):
    """Spikes are in the order of their ``times [n]`` in seconds; ``units [n]`` are from 0."""

    times: np.ndarray
    units: np.ndarray


@dataclass(frozen=True, eq=False)
class CochleaState:
    """A state holds what a stream needs to know of the sound so far; see :meth:`Cochlea.push`.

    Attributes:
        cochlea: whose state it is.
        key: of the random numbers.
        received: samples so far.
        computed: steps (of two samples) whose spikes were returned.
        waiting: samples that coming steps need, with the gain applied.
        cells: the state of hair cells, fibres and bushy cells.
    """

    cochlea: Cochlea
    key: int
    received: int
    computed: int
    waiting: np.ndarray
    cells: Cells


@dataclass(frozen=True)
class Cochlea:
    """A cochlea model turns sound into the spikes of bushy cells, as in Cramer et al. (2020).

    A travelling wave moves the basilar membrane. At each of ``channels`` places, an inner hair cell
    releases transmitter to 40 fibres of the auditory nerve, which drive one bushy cell. Unit 0 has
    the highest best frequency (22.5 kHz), the last one the lowest (about 100 Hz).

    A whole recording is scaled to one loudness and faded in and out, as for the Spiking Heidelberg
    Digits. With a ``gain``, samples are only multiplied by it; then a recording may also be given
    in pieces (:meth:`start`, :meth:`push`, :meth:`finish`), with the same spikes.

    Args:
        rate: samples per second of the sound, an even number from 32000 to 96000. The hair cell's
            equations would not be solved well with longer steps than those of 32000. Resample other
            sounds first; the data set was made from sounds of 48000.
        channels: the number of places.
        level: root mean square to which a whole recording is scaled.
        edges: seconds in which a whole recording is faded in, and out, by half a Hann window each;
            ``None`` means half of the recording.
        gain: a factor for the samples, instead of ``level`` and ``edges``. For a microphone, 0.3
            divided by the usual root mean square of speech is right.
        causal: whether places ring after a sound. The published tool applies its filters backwards
            in time, so that they ring before it; that is the default, because the data were made
            so. A causal stream has to wait less for what is coming (:attr:`latency`).

    >>> cochlea = Cochlea(channels=8)
    >>> times, units = cochlea(np.sin(2 * np.pi * 500 * np.arange(9600) / 48000), seed=1)
    >>> bool(np.all(np.diff(times) >= 0)), int(np.bincount(units).argmax())
    (True, 5)
    """

    rate: int = 48000
    channels: int = 700
    level: float = 0.3
    edges: float | None = None
    gain: float | None = None
    causal: bool = False

    def __post_init__(self) -> None:
        check_size("rate", self.rate, *RATES)
        if self.rate % 2:
            raise ConfigError(f"rate is {self.rate} but must be even; resample the sound")
        check_size("channels", self.channels, 1, 10000)
        check_number("level", self.level, above=0)
        if self.edges is not None:
            check_number("edges", self.edges, 0)
        if self.gain is not None:
            check_number("gain", self.gain, above=0)
        if not isinstance(self.causal, bool):
            raise ConfigError(f"causal is {short(self.causal)} but must be True or False")

    @property
    def latency(self) -> float:
        """Return how long after a sound, in seconds, a stream may return the spikes it causes."""
        sizes = self._filters
        return (sizes.count + sizes.after) * 2 / self.rate

    @property
    def frequencies(self) -> np.ndarray:
        """Return the resonances ``[channels]`` in Hz of the places; most answer best 10 % lower.

        >>> Cochlea(channels=3).frequencies.round().tolist()
        [22508.0, 1630.0, 110.0]
        """
        from snnsim.kernels.cochlea.membrane import places, resonance
        from snnsim.kernels.cochlea.parameters import Membrane

        return resonance(places(self.channels, Membrane()), Membrane())

    @property
    def _filters(self) -> Filters:
        from snnsim.kernels.cochlea.filters import filters

        return filters(self.rate, self.channels, self.causal)

    def __call__(self, wave: Any, seed: int | tuple[int, ...] = 0) -> Spikes:
        """Return the spikes of a whole recording.

        Args:
            wave: samples ``[n]``, floating point, of 0.01 to 300 seconds (``SNNSIM_MAX_SECONDS``).
            seed: of the random release of transmitter. Give each recording its own, for example
                ``(seed, number)``.
        """
        samples = _checked(wave)
        seconds, most = len(samples) / self.rate, limit("SNNSIM_MAX_SECONDS")
        if not SHORTEST <= seconds <= most:
            raise ShapeError(
                f"the recording has {len(samples)} samples ({seconds:g} s) but must last from "
                f"{SHORTEST:g} to {most:g} s; cut it, pad it, or raise SNNSIM_MAX_SECONDS"
            )
        if self.gain is None:
            samples = _faded(_scaled(samples, self.level), self.edges, self.rate)
        else:
            samples = samples * self.gain
        spikes, state = self._push(samples, self._begin(seed))
        rest = self.finish(state)
        return Spikes(*(np.concatenate(parts) for parts in zip(spikes, rest, strict=True)))

    def start(self, seed: int | tuple[int, ...] = 0) -> CochleaState:
        """Return the state before the first sample of a stream; ``seed`` as for a recording."""
        if self.gain is None:
            raise ConfigError(
                "a stream has no loudness of a whole recording to be scaled by; "
                "construct Cochlea(..., gain=...) with a fixed factor"
            )
        return self._begin(seed)

    def push(self, chunk: Any, state: CochleaState) -> tuple[Spikes, CochleaState]:
        """Return the spikes that are known after a further chunk of samples, and the next state.

        Args:
            chunk: samples ``[n]``, floating point; any number of them.
            state: from :meth:`start` or the last call, which it does not change.
        """
        self._check_state(state)
        return self._push(_checked(chunk) * self.gain, state)

    def finish(self, state: CochleaState) -> Spikes:
        """Return the spikes up to the last sample of the stream, after which it is silent."""
        self._check_state(state)
        wanted = (state.received + 1) // 2 - state.computed
        sizes = self._filters
        silence = np.zeros(2 * (sizes.count * -(-wanted // sizes.count) + sizes.after))
        return self._push(silence, state, wanted)[0]

    def _begin(self, seed: int | tuple[int, ...]) -> CochleaState:
        from snnsim.kernels.cochlea.parameters import HairCell, Nerve
        from snnsim.kernels.cochlea.state import at_rest

        past = np.zeros(2 * self._filters.before, dtype=np.float32)
        cells = at_rest(self.channels, self.rate // 2, HairCell(), Nerve())
        return CochleaState(self, _key(seed), 0, 0, past, cells)

    def _check_state(self, state: CochleaState) -> None:
        if not isinstance(state, CochleaState):
            raise ConfigError(f"state is {short(state)} but must come from start() or push()")
        if state.cochlea != self:
            raise ConfigError(
                f"state belongs to {state.cochlea} but was given to {self}; "
                "use a state of its own start()"
            )

    def _push(
        self, samples: np.ndarray, state: CochleaState, wanted: int | None = None
    ) -> tuple[Spikes, CochleaState]:
        """Spikes of all whole blocks, or of the next ``wanted`` steps."""
        from snnsim.kernels.cochlea.cpu import respond

        sizes = self._filters
        waiting = np.concatenate([state.waiting, samples.astype(np.float32)])
        cells, computed, at = state.cells, state.computed, 0
        last = None if wanted is None else state.computed + wanted
        found = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
        while at + 2 * sizes.period <= len(waiting) and (last is None or computed < last):
            velocity = sizes(waiting[at : at + 2 * sizes.period])
            velocity = velocity[: None if last is None else last - computed]
            spikes, cells = respond(velocity, self.rate // 2, (state.key, computed), cells)
            steps, units = np.divmod(np.flatnonzero(spikes), self.channels)
            found.append((steps + computed, units))
            computed, at = computed + len(velocity), at + 2 * sizes.count
        steps, units = (np.concatenate(parts) for parts in zip(*found, strict=True))
        received = state.received + len(samples)
        after = CochleaState(self, state.key, received, computed, waiting[at:].copy(), cells)
        return Spikes(steps / (self.rate // 2), units), after


def _checked(wave: Any) -> np.ndarray:
    """Samples as float64; an error for anything that is not a sound of one channel."""
    try:
        samples = np.asarray(wave)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShapeError(f"the sound cannot be read as an array: {error}") from None
    if samples.ndim != 1:
        raise ShapeError(
            f"the sound has shape {samples.shape} but must be samples [n] of one channel; "
            "average the channels of a stereo recording"
        )
    if samples.dtype.kind != "f":
        raise ShapeError(
            f"the samples are {samples.dtype} but must be floating point; "
            "divide whole numbers by the greatest that they can have (32768 for int16)"
        )
    bad = np.flatnonzero(~np.isfinite(samples))
    if bad.size:
        raise NonFiniteError(
            f"sample {bad[0]} of the sound is {samples[bad[0]]} but all must be finite; "
            "mend the recording"
        )
    return samples.astype(np.float64)


def _scaled(samples: np.ndarray, level: float) -> np.ndarray:
    """Samples with a root mean square of ``level``; silence stays silent."""
    peak = np.abs(samples).max()
    if peak == 0:
        return samples
    samples = samples / peak  # squares of very small or large samples would not be numbers
    return samples * (level / np.sqrt(np.mean(samples**2)))


def _faded(samples: np.ndarray, edges: float | None, rate: int) -> np.ndarray:
    """Samples multiplied by the halves of a Hann window at both ends."""
    half = len(samples) // 2
    count = half if edges is None else min(round(edges * rate), half)
    rise = np.sin(np.pi * np.arange(count) / max(2 * count - 1, 1)) ** 2
    faded = samples.copy()
    faded[:count] *= rise
    faded[len(samples) - count :] *= rise[::-1]
    return faded


def _key(seed: int | tuple[int, ...]) -> int:
    """The key of the random numbers of one recording."""
    numbers = seed if isinstance(seed, tuple | list) else (seed,)
    if not numbers:
        raise ConfigError("seed is an empty sequence but must be one or more whole numbers")
    checked = [check_seed(number) for number in numbers]
    halves = [half for number in checked for half in divmod(number, 2**32)]  # (1, 0) is not 1
    return int(np.random.SeedSequence([len(checked), *halves]).generate_state(1, np.uint64)[0])
