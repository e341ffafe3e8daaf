"""Sound that arrives in pieces: raw samples from bytes, and one channel of one rate from them."""

from __future__ import annotations

import numpy as np

from snnsim.errors import check_choice, check_size
from snnsim_datasets.tools.audio import FASTEST, MOST_CHANNELS, mixed, rounded, sixteen_bits

FORMATS = {"s16le": "<i2", "s32le": "<i4", "f32le": "<f4"}  # of raw samples, as ffmpeg names them


class RawSamples:
    """``RawSamples`` turns bytes that arrive in pieces of any size into samples.

    Args:
        form: the format of a sample: ``"s16le"``, ``"s32le"`` or ``"f32le"``.
        channels: the number of channels, 1 .. 32, whose samples take turns.

    >>> raw = RawSamples("s16le", 2)
    >>> raw.push(bytes([1, 0, 2]), "a pipe").tolist(), raw.push(bytes([0]), "a pipe").tolist()
    ([], [[1, 2]])
    """

    def __init__(self, form: str, channels: int = 1):
        check_choice("the format", form, FORMATS)
        check_size("the number of channels", channels, 1, MOST_CHANNELS)
        self.channels, self._type = channels, np.dtype(FORMATS[form])
        self._left = b""

    @property
    def size(self) -> int:
        """Return the number of bytes of a sample of all channels."""
        return self.channels * self._type.itemsize

    @property
    def left(self) -> int:
        """Return the number of bytes that still wait for the rest of their sample."""
        return len(self._left)

    def push(self, piece: bytes, source: object) -> np.ndarray:
        """Return the samples ``[n, channels]`` (int16) that are complete with these bytes.

        Args:
            piece: the next bytes.
            source: where they are from, for messages.

        Raises:
            DataError: if samples are NaN, infinite or beyond full scale.
        """
        data = self._left + piece
        whole = len(data) // self.size * self.size
        self._left = data[whole:]
        samples = np.frombuffer(data[:whole], self._type).reshape(-1, self.channels)
        if self._type.kind == "i" and self._type.itemsize == 2:
            return samples.astype(np.int16)
        scale = 2.0**31 if self._type.kind == "i" else 1.0
        with np.errstate(invalid="ignore"):  # NaN is refused below, by an error and not a warning
            wave = samples.astype(np.float64) / scale
        return sixteen_bits(source, wave, "FLOAT")


class Mixer:
    """A ``Mixer`` makes of samples that arrive in pieces what ``read_mixed`` makes of a file.

    Channels are mixed to their mean, and the rate is changed by a sinc filter (soxr), which waits
    for up to some 100 ms of later samples.

    Args:
        rate: the rate of the samples that arrive in Hz, 1 .. 768000.
        new_rate: the rate of what is returned in Hz.

    >>> Mixer(16000, 16000).push(np.array([[1, 3], [5, 5]], np.int16)).tolist()
    [2, 5]
    """

    def __init__(self, rate: int, new_rate: int):
        import soxr

        check_size("the rate", rate, 1, FASTEST)
        alike = rate == new_rate
        self._filter = None if alike else soxr.ResampleStream(rate, new_rate, 1, dtype="float64")

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Return the samples ``[m]`` (int16) that are complete once ``[n, channels]`` arrived."""
        return self._resampled(mixed(samples), last=False)

    def finish(self) -> np.ndarray:
        """Return the samples ``[m]`` (int16) that are left after the last piece."""
        return self._resampled(np.zeros(0), last=True)

    def _resampled(self, wave: np.ndarray, last: bool) -> np.ndarray:
        return rounded(wave if self._filter is None else self._filter.resample_chunk(wave, last))
