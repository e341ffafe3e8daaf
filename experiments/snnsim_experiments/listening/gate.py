"""A gate finds where sounds begin and end in a stream, by how loud it is.

The level of 10 ms is 20 log10 of the standard deviation of their samples, in dB of full scale. A
sound begins where three levels in a row reach the gate, and ends where all levels of a time stay
more than 6 dB below it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from snnsim.errors import check_number, check_size

FRAME_MS = 10
LOUD = 3  # frames in a row that begin a sound; a click is shorter
HYSTERESIS = 6.0  # dB
ROLL = 5  # frames that are kept before and after a sound, so that its ends are not lost
LONGEST = 1000  # frames, after which a sound is ended, loud as it may be


@dataclass(frozen=True)
class Piece:
    """A ``Piece`` is a part of a sound.

    Attributes:
        samples: its samples ``[n]``, int16.
        sound: the first sample of the sound and the one after its last one, if the sound ends with
            this piece; otherwise ``None``.
    """

    samples: np.ndarray
    sound: tuple[int, int] | None = None


class Gate:
    """A ``Gate`` cuts a stream of samples into sounds, while it arrives.

    Args:
        rate: the rate of the samples in Hz, at least 100.
        level: the level from which on there is a sound, in dB of full scale, -120 .. 0.
        silence_ms: how long it is quiet before a sound has ended, in ms, 10 .. 10000.

    >>> gate = Gate(1000, -40.0, 50)
    >>> loud = np.tile(np.array([9000, -9000], np.int16), 100)
    >>> quiet = np.zeros(300, np.int16)
    >>> [piece.sound for piece in gate.push(np.concatenate([quiet, loud, quiet]))][-1]
    (300, 500)
    """

    def __init__(self, rate: int, level: float, silence_ms: float = 300.0):
        check_size("the rate", rate, 1000 // FRAME_MS)
        check_number("the gate", level, -120, 0)
        check_number("the silence in ms", silence_ms, FRAME_MS, 10_000)
        self.frame = rate * FRAME_MS // 1000
        self._level, self._silence = level, round(silence_ms / FRAME_MS)
        self._rest = np.zeros(0, np.int16)
        self._frames = 0  # that were looked at
        self._first: int | None = None  # frames before the sound that is heard now
        self._last = 0  # frames up to the last loud one of it
        self._loud = 0  # frames in a row
        self._kept: list[np.ndarray] = []  # frames before a sound, or not yet returned of it

    def push(self, samples: np.ndarray) -> list[Piece]:
        """Return the pieces of sounds that are complete once samples ``[n]`` (int16) arrived."""
        data, found = np.concatenate([self._rest, samples]), []
        whole = len(data) // self.frame * self.frame
        self._rest = data[whole:]
        for frame in data[:whole].reshape(-1, self.frame):
            self._frames += 1
            self._kept.append(frame)
            if self._first is None:
                self._look_for_beginning(level(frame))
            elif self._has_ended(level(frame)):
                found.append(self._end())
        if self._first is not None:
            found.append(Piece(self._take(self._last)))
        return found

    def finish(self) -> list[Piece]:
        """Return the last piece of a sound that lasts until the end of the stream, if any."""
        return [] if self._first is None else [self._end()]

    def _look_for_beginning(self, loudness: float) -> None:
        self._kept = self._kept[-ROLL - LOUD :]
        self._loud = self._loud + 1 if loudness >= self._level else 0
        if self._loud == LOUD:
            self._first, self._last = self._frames - LOUD, self._frames

    def _has_ended(self, loudness: float) -> bool:
        if loudness >= self._level - HYSTERESIS:
            self._last = self._frames
        too_long = self._first is not None and self._frames - self._first >= LONGEST
        return too_long or self._frames - self._last >= self._silence

    def _end(self) -> Piece:
        sound = ((self._first or 0) * self.frame, self._last * self.frame)
        before_next = self._kept[-ROLL:]
        piece = Piece(self._take(self._last + ROLL), sound)
        self._first, self._loud, self._kept = None, 0, before_next
        return piece

    def _take(self, until: int) -> np.ndarray:
        """The samples that are kept of the frames before a number; those after it stay."""
        count = max(0, until - (self._frames - len(self._kept)))
        taken, self._kept = self._kept[:count], self._kept[count:]
        return np.concatenate([np.zeros(0, np.int16), *taken])


def level(samples: np.ndarray) -> float:
    """Return the level of samples (int16) in dB of full scale; a constant offset does not count.

    >>> level(np.array([16384, -16384], np.int16))
    -6.020599913279624
    >>> level(np.full(9, 100, np.int16))
    -inf
    """
    spread = float(samples.astype(np.float64).std()) / 32768
    return 20 * math.log10(spread) if spread else -math.inf
