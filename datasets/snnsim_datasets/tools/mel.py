"""The mel front end of the speech-command experiments.

    power[f, m] = |STFT(x)|^2            Hann window of n_fft samples, centred, reflected ends
    mel[k, m]   = sum_f filter[k, f] * power[f, m]          triangular filters on the HTK scale
    y[m, k]     = 10 * log10(max(mel[k, m], 1e-10))

with mel(f) = 2595 log10(1 + f / 700). Source: the front end of Hammouamri et al. 2024
(arXiv:2306.17670): 8 kHz, n_fft 256, hop 80 (10 ms), 140 filters from 50 Hz, unnormalised dB.
Theirs reach up to 14 kHz, above the Nyquist frequency of 4 kHz, so 53 of the 140 channels are
the constant -100 dB; ``f_max=14000`` reproduces that, the default is the Nyquist frequency.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

from snnsim.errors import ConfigError, ShapeError

LOW, HIGH = -60.0, 40.0  # dB, what scaled output is 0 and 1 at
FLOOR, TOP = -40.0, 20.0  # the same of normalised output
RMS = 0.1  # of a waveform that has been brought to a level
MOST_GAIN = 100.0


def mel_filters(n_mels: int, n_fft: int, rate: int, f_min: float, f_max: float) -> Tensor:
    """Return triangular filters ``[n_mels, n_fft // 2 + 1]`` with a peak of 1, not normalised.

    Args:
        n_mels: number of filters.
        n_fft: window length of the Fourier transform in samples.
        rate: sampling rate in Hz.
        f_min, f_max: lower end of the first filter and upper end of the last one, in Hz.

    >>> tuple(mel_filters(40, 256, 8000, 50.0, 4000.0).shape)
    (40, 129)
    """
    frequency = torch.linspace(0, rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    low, high = (2595 * math.log10(1 + f / 700) for f in (f_min, f_max))
    mels = torch.linspace(low, high, n_mels + 2, dtype=torch.float64)
    edges = 700 * (10 ** (mels / 2595) - 1)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (frequency - left) / (centre - left)
    falling = (right - frequency) / (right - centre)
    return torch.minimum(rising, falling).clamp(min=0).float()


def resample_kernel(rate: int, new_rate: int, zeros: int = 6, rolloff: float = 0.99) -> Tensor:
    """Return a Hann-windowed sinc filter that lowers ``rate`` to ``new_rate``.

    Args:
        rate: sampling rate in Hz.
        new_rate: new sampling rate in Hz; must divide ``rate``.
        zeros: number of zero crossings of the filter on each side.
        rolloff: cutoff frequency as a fraction of the new Nyquist frequency.
    """
    factor = rate // new_rate
    cutoff = rolloff / (2 * factor)  # in cycles per sample
    reach = math.ceil(zeros / (2 * cutoff))
    n = torch.arange(-reach, reach + 1, dtype=torch.float64)
    window = torch.cos(n * cutoff * math.pi / zeros).clamp(min=0) ** 2
    window[(2 * cutoff * n).abs() > zeros] = 0
    return (2 * cutoff * torch.sinc(2 * cutoff * n) * window).float()


class Heard(NamedTuple):
    """``Heard`` is the state of a front end in the middle of a recording.

    Attributes:
        raw: the samples ``[n]`` that later samples are still needed with for resampling.
        wave: the resampled waveform ``[n]`` from the beginning of the next window on.
        samples: the number of samples so far.
        steps: the number of steps returned so far.
    """

    raw: Tensor
    wave: Tensor
    samples: int
    steps: int


def levelled(wave: np.ndarray) -> np.ndarray:
    """Return a waveform ``[n]`` with a root mean square of 0.1; the quietest are raised by 40 dB.

    >>> levelled(np.array([0.01, -0.01], np.float32)).round(6).tolist()
    [0.10000000149011612, -0.10000000149011612]
    """
    found = float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
    return wave * np.float32(min(RMS / found, MOST_GAIN) if found else 1.0)


def without_mean(z: Tensor, lengths: Tensor, fraction: float = 1.0) -> Tensor:
    """Take the mean spectrum out of each recording, as voices and microphones differ in it.

        m[k] = mean over t of max(0, z[t, k])
        y[t, k] = max(0, z[t, k] - fraction * (m[k] - mean over k of m[k]))

    Nothing is left of a tone that does not change if the fraction is 1.

    Args:
        z: features ``[T, B, K]``.
        lengths: the number of steps of each recording, ``[B]``.
        fraction: the fraction of the mean that is taken out, from 0 to 1.

    Returns:
        ``y``, which is 0 after the end of each recording.

    >>> z = torch.tensor([[[1.0, 3.0]], [[3.0, 5.0]]])
    >>> without_mean(z, torch.tensor([2])).flatten().tolist()
    [2.0, 2.0, 4.0, 4.0]
    """
    over = torch.arange(len(z)).view(-1, 1, 1) >= lengths.view(1, -1, 1)
    mean = z.clamp(min=0).masked_fill(over, 0.0).sum(0) / lengths.view(-1, 1)
    tilt = fraction * (mean - mean.mean(1, keepdim=True))
    return (z - tilt).clamp(min=0).masked_fill(over, 0.0)


@dataclass(frozen=True)
class MelFrontEnd:
    """The front end turns waveforms ``[B, samples]`` into mel dB ``[B, T, n_mels]`` when called.

    A recording may also arrive in pieces of any size; the steps are the same, up to rounding:
    ``state = front_end.start()``, ``steps, state = front_end.push(piece, state)`` for each piece,
    and ``steps = front_end.finish(state)`` at the end.

    Args:
        rate: sampling rate of the waveforms in Hz.
        target_rate: rate in Hz to resample to first; must divide ``rate``.
        n_mels: number of mel bands, which are the channels.
        f_min, f_max: range of the filters in Hz; ``None`` for the Nyquist frequency.
        n_fft: window length in samples.
        hop_ms: length of a step in ms.
        equalised: the fraction of the mean spectrum that is taken out of a normalised recording,
            from 0 to 1.
        normalised: whether :func:`levelled` waveforms are taken, and the output is ``z = (y + 40) /
            60``, of which :func:`without_mean` takes the rest; this needs the whole recording.
        scaled: whether the output is ``max(0, (y + 60) / 100)``, which is 0 in silence (and so in
            padding) and about 1 in the loudest bands, in place of dB.

    >>> tuple(MelFrontEnd()(torch.zeros(2, 16000)).shape)
    (2, 101, 140)
    """

    rate: int = 16000
    target_rate: int = 8000
    n_mels: int = 140
    f_min: float = 50.0
    f_max: float | None = None
    n_fft: int = 256
    hop_ms: float = 10.0
    scaled: bool = False
    normalised: bool = False
    equalised: float = 0.5

    def __post_init__(self) -> None:
        if self.rate % self.target_rate:
            raise ConfigError(
                f"recordings at {self.rate} Hz cannot be resampled to {self.target_rate} Hz: "
                "the new rate must divide the old"
            )

    @property
    def hop(self) -> int:
        """Return the length of a step in samples."""
        return round(self.target_rate * self.hop_ms / 1000)

    @cached_property
    def filters(self) -> Tensor:
        """Return the filter bank ``[n_mels, n_fft // 2 + 1]``."""
        top = self.target_rate / 2 if self.f_max is None else self.f_max
        return mel_filters(self.n_mels, self.n_fft, self.target_rate, self.f_min, top)

    def steps(self, samples: int) -> int:
        """Return the number of steps of a clip of ``samples`` samples."""
        return -(-samples * self.target_rate // self.rate) // self.hop + 1

    def samples(self, steps: int) -> int:
        """Return the number of samples that ``steps`` hops last."""
        return steps * self.hop * (self.rate // self.target_rate)

    def __call__(self, wave: Tensor) -> Tensor:
        steps = self.steps(wave.shape[1])
        wave = self._long_enough(self._resample(wave))
        return self._features(pad(wave, (self.reach, self.reach), mode="reflect"), steps)

    @property
    def reach(self) -> int:
        """Return how many samples a window reaches to either side of its centre."""
        return self.n_fft // 2

    def start(self) -> Heard:
        """Return the state before the first sample of a recording that arrives in pieces.

        Raises:
            ConfigError: the hops are longer than half a window, so that some samples are skipped.
        """
        if self.hop > self.n_fft - self.reach - 1:
            raise ConfigError(
                f"a hop of {self.hop} samples is more than half a window of {self.n_fft}, so a "
                "recording cannot arrive in pieces; take a shorter hop_ms or a larger n_fft"
            )
        silence = torch.zeros(len(self._kernel) // 2)
        return Heard(silence, torch.zeros(0), 0, 0)

    def push(self, piece: Tensor, state: Heard) -> tuple[Tensor, Heard]:
        """Return the steps that are complete once a piece of a recording has arrived.

        Args:
            piece: the next samples ``[n]``, float32 in -1 .. 1.
            state: the state that :meth:`start` or the last call returned.

        Returns:
            The steps ``[T, n_mels]``, also none, and the next state.
        """
        if piece.ndim != 1 or piece.dtype != torch.float32:
            raise ShapeError(
                f"the piece is {piece.dtype} {tuple(piece.shape)} but must be float32 [samples]"
            )
        raw, wave = self._lowered(torch.cat([state.raw, piece]))
        wave = torch.cat([state.wave, wave])
        if state.steps == 0 and len(wave) > self.reach:
            wave = torch.cat([wave[1 : self.reach + 1].flip(0), wave])
        elif state.steps == 0:
            return self._none(), Heard(raw, wave, state.samples + len(piece), 0)
        steps = max(0, (len(wave) - self.n_fft) // self.hop + 1)
        features = self._features(wave[None], steps)[0] if steps else self._none()
        left = wave[steps * self.hop :]
        return features, Heard(raw, left, state.samples + len(piece), state.steps + steps)

    def finish(self, state: Heard, *, reflected: bool = False) -> Tensor:
        """Return the steps ``[T, n_mels]`` of a recording that :meth:`push` has not returned yet.

        Args:
            state: the state that the last :meth:`push` returned.
            reflected: whether the end of the recording is reflected, as by a call of the front
                end; otherwise silence follows it.
        """
        missing = self.steps(state.samples) - state.steps
        silence = torch.zeros(2 * (self.n_fft + len(self._kernel)) * self.factor)
        if not reflected:
            return self.push(silence, state)[0][:missing]
        whole = -(-state.samples // self.factor)  # samples of the resampled waveform
        before = state.steps * self.hop - self.reach if state.steps else 0  # in state.wave
        wave = torch.cat([state.wave, self._lowered(torch.cat([state.raw, silence]))[1]])
        wave = self._long_enough(wave[None, : whole - before])
        start = 0 if state.steps else self.reach
        return self._features(pad(wave, (start, self.reach), mode="reflect"), missing)[0]

    def _long_enough(self, wave: Tensor) -> Tensor:
        """A waveform ``[B, n]`` with silence after it, if it is too short to be reflected."""
        return pad(wave, (0, max(0, self.reach + 1 - wave.shape[1])))

    def _none(self) -> Tensor:
        return torch.zeros(0, self.n_mels)

    def _features(self, wave: Tensor, steps: int) -> Tensor:
        """The first steps ``[B, T, n_mels]`` of a waveform that begins with the first window."""
        spectrum = torch.stft(
            wave,
            self.n_fft,
            self.hop,
            window=torch.hann_window(self.n_fft, dtype=wave.dtype),
            center=False,
            return_complex=True,
        )
        power = spectrum.real**2 + spectrum.imag**2
        mel = torch.matmul(self.filters, power[..., :steps])
        decibels = (10 * torch.log10(mel.clamp(min=1e-10))).transpose(1, 2)
        if self.normalised:
            return (decibels - FLOOR) / (TOP - FLOOR)
        return ((decibels - LOW) / (HIGH - LOW)).clamp(min=0) if self.scaled else decibels

    @property
    def factor(self) -> int:
        """Return how many samples become one by resampling."""
        return self.rate // self.target_rate

    @cached_property
    def _kernel(self) -> Tensor:
        """The filter that lowers the rate; a single one where the rate stays."""
        return resample_kernel(self.rate, self.target_rate) if self.factor > 1 else torch.ones(1)

    def _resample(self, wave: Tensor) -> Tensor:
        if self.factor == 1:
            return wave
        reach = len(self._kernel) // 2
        resampled = self._filtered(pad(wave, (reach, reach + self.factor)))
        return resampled[:, : -(-wave.shape[1] // self.factor)]

    def _lowered(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """What of samples ``[n]`` is needed again, and the resampled waveform so far ``[m]``."""
        count = max(0, (len(raw) - len(self._kernel)) // self.factor + 1)
        wave = self._filtered(raw[None])[0] if count else raw[:0]
        return raw[count * self.factor :], wave

    def _filtered(self, wave: Tensor) -> Tensor:
        if self.factor == 1:
            return wave
        kernel = self._kernel.view(1, 1, -1)
        return conv1d(wave.unsqueeze(1), kernel, stride=self.factor)[:, 0]
