"""A data set whose samples are changed at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from snnsim.data.augmentation.counts import augmented_counts
from snnsim.data.augmentation.draws import Draws, OfBatch
from snnsim.data.augmentation.masks import masked
from snnsim.data.augmentation.mixing import blended, cut, mixed_lengths, partners
from snnsim.data.augmentation.options import CUTMIX, SAME, Augmentation
from snnsim.data.augmentation.sounds import Sounds, augmented_sounds, played_steps
from snnsim.data.augmentation.values import augmented_values
from snnsim.data.protocol import About, Batch, DataSet, Sequences, chosen, describe, fetch, resized
from snnsim.errors import ConfigError, check_number

QUIETEST = -100.0  # dB, the silence of mel bands that are not scaled
MOST_ADDED = 100  # events in every channel and step
LOOKED_AT = 16  # samples, to see whether input is numbers of events
OF_CHANNELS = ("channel_stretch", "channel_shift", "tilt", "channel_masks")
OF_TIME = ("time_stretch", "time_shift_ms", "jitter_ms", "mix")
IN_MS = ("time_shift_ms", "jitter_ms", "time_masks")
IN_TIME = ("time_stretch", *IN_MS)
OF_EVENTS = ("jitter_ms", "drop")
OF_VALUES = ("gain", "level", "tilt")
OF_SOUNDS = ("speed", "audio_noise")


@dataclass(frozen=True)
class Augmented(DataSet):
    """Shows the samples of a data set as they are changed at random in one epoch, as a data set.

    Attributes:
        data: any data set.
        augmentation: what is changed.
        key: the seed and the epoch. The same key gives the same samples, whatever the batches.

    Raises:
        ConfigError: if the augmentation cannot act on such data.

    >>> from snnsim.data import Arrays
    >>> data = Arrays(np.full((2, 10, 3), 0.5), [0, 1])
    >>> shown = Augmented(data, Augmentation(time_stretch=0.5), key=(0, 0))
    >>> shown.lengths, Augmented(data, shown.augmentation, key=(0, 1)).lengths
    (array([10, 15]), array([15, 14]))
    """

    data: Sequences
    augmentation: Augmentation = field(default_factory=Augmentation)
    key: tuple[int, ...] = (0, 0)

    def __post_init__(self) -> None:
        if len(self.data):
            self._check()

    def __len__(self) -> int:
        return len(self.data)

    @property
    def about(self) -> About:
        """Return what the data say of themselves; mixed classes are no labels."""
        mixed = self.augmentation.mix == CUTMIX
        return replace(self._described, labels=None) if mixed else self._described

    @cached_property
    def lengths(self) -> np.ndarray:
        """Return the number of steps of each sample."""
        return mixed_lengths(self._draws, self._stretched, self._partners)

    def batch(self, indices: Sequence[int] | np.ndarray, steps: int | None = None) -> Batch:
        """Return some samples, padded to the longest, or padded or cut to ``steps``.

        With ``mix="cutmix"``, the target is the fraction of each class, ``[B, C]``.
        """
        rows = chosen(indices, len(self))
        x, target, lengths = self._mixed(rows) if self.augmentation.mix else self._alone(rows)
        if self._silence:  # which padding is not
            x = _ended(x, lengths, 0.0)
        if steps is not None:
            x, lengths = resized(x, steps), lengths.clamp(max=steps)
        return Batch(x, target, lengths)

    # --- what can be changed ---------------------------------------------------------------------

    def _check(self) -> None:
        """Refuse options that cannot act on such data."""
        batch, about = self._some, self._described
        if batch.x.ndim != 3:
            self._refuse(OF_CHANNELS, f"a step has the shape {list(batch.x.shape[2:])}", "[C]")
        if batch.per_step:
            self._refuse(OF_TIME, "every step has its own target", "one for a sample")
        if not isinstance(self.data, Sounds):
            self._refuse(OF_SOUNDS, "the data are not sounds", "a data set of recordings")
        if about.encoder.get("binning") == "events":
            self._refuse(IN_TIME, "every step is an event", "steps of one duration")
        if about.dt is None:
            self._refuse(IN_MS, "the data do not say how long a step is", "dt in ms")
        if self._counts:
            self._refuse(OF_VALUES, "the input is numbers of events", "input of other values")
            check_number("augmentation.noise, of events,", self.augmentation.noise, 0, MOST_ADDED)
        else:
            self._refuse(OF_EVENTS, "the input is not numbers of events", "input of events")
        if about.labels is None or not about.classes:
            self._refuse(("mix",), "the data do not say the classes of their samples", "that")

    def _refuse(self, names: tuple[str, ...], found: str, wanted: str) -> None:
        for name in names:
            if value := getattr(self.augmentation, name):
                raise ConfigError(
                    f"augmentation.{name} is {value!r}, but {found}, where {wanted} is needed; "
                    "leave it out"
                )

    @cached_property
    def _described(self) -> About:
        return describe(self.data)

    @cached_property
    def _some(self) -> Batch:
        few = np.arange(0, len(self), max(len(self) // LOOKED_AT, 1))
        return fetch(self.data, few[:LOOKED_AT])

    @cached_property
    def _counts(self) -> bool:
        """Whether the input is numbers of events."""
        x = self._some.x
        is_mel = self._described.encoder.get("kind") == "mel"
        return not is_mel and bool(((x >= 0) & (x == x.round())).all())

    @property
    def _silence(self) -> float:
        encoder = self._described.encoder
        decibels = encoder.get("kind") == "mel" and not encoder.get("scaled")
        return QUIETEST if decibels else 0.0

    # --- samples ---------------------------------------------------------------------------------

    @cached_property
    def _draws(self) -> Draws:
        return Draws(self.augmentation, self.key, len(self))

    def _of(self, rows: np.ndarray) -> OfBatch:
        return OfBatch(self._draws, rows, self._described.dt)

    @cached_property
    def _stretched(self) -> np.ndarray:
        """The number of steps of each sample before it is mixed with another."""
        before = np.asarray(self.data.lengths)
        if isinstance(self.data, Sounds) and self.augmentation.speed:
            before = played_steps(self.data, self._draws)
        if not self.augmentation.time_stretch:
            return before
        after = np.rint(before * (1 + self._draws.between("time_stretch"))).astype(before.dtype)
        return np.maximum(after, np.minimum(before, 1))

    @cached_property
    def _partners(self) -> np.ndarray:
        if not self.augmentation.mix:
            return np.full(len(self), -1)
        return partners(self._draws, np.asarray(self._described.labels))

    def _alone(self, rows: np.ndarray, steps: int | None = None) -> Batch:
        """Samples that are changed, but not mixed; silence follows the shorter ones.

        The input is no one else's, so that it may be changed.
        """
        drawn, after = self._of(rows), torch.from_numpy(self._stretched[rows])
        x, target, before = self._fetched(rows, drawn)
        if self._counts:
            x = augmented_counts(x, before, after, drawn)
        else:
            x = augmented_values(x, before, after, drawn, self._silence)
        x = masked(x, after, drawn, self._counts)
        x = x if steps is None else resized(x, steps)
        return Batch(_ended(x, after, self._silence), target, after)

    def _fetched(self, rows: np.ndarray, drawn: OfBatch) -> Batch:
        """Samples of which at most the sound is changed."""
        given = self.augmentation
        if not (isinstance(self.data, Sounds) and (given.speed or given.audio_noise)):
            return fetch(self.data, rows)
        x, lengths = augmented_sounds(self.data, drawn)
        return Batch(x, torch.from_numpy(np.asarray(self._described.labels)[rows]), lengths)

    def _mixed(self, rows: np.ndarray) -> Batch:
        lengths = torch.from_numpy(self.lengths[rows])
        x, target, own = self._alone(rows, int(lengths.max()))
        target, partner = self._fractions(target), self._partners[rows]
        place = np.flatnonzero(partner >= 0)
        if not place.size:
            return Batch(x, target, lengths)
        other, drawn = self._alone(partner[place], len(x)), self._of(rows[place])
        if self.augmentation.mix == SAME:
            x[:, place] = blended(x[:, place], other.x, drawn, self._counts)
        else:
            x[:, place], fraction = cut(x[:, place], other.x, own[place], other.lengths, drawn)
            fraction = fraction.to(target).unsqueeze(1)
            others = self._fractions(other.target)
            target[place] = (1 - fraction) * target[place] + fraction * others
        return Batch(x, target, lengths)

    def _fractions(self, target: Tensor) -> Tensor:
        """Targets as fractions of the classes, where some are mixed."""
        if self.augmentation.mix != CUTMIX:
            return target
        return functional.one_hot(target, len(self._described.classes)).float()


def _ended(x: Tensor, lengths: Tensor, silence: float) -> Tensor:
    """The batch with one value beyond the end of each sample."""
    over = torch.arange(len(x)).view(-1, 1) >= lengths
    return x.masked_fill(over.view(*over.shape, *(1,) * (x.ndim - 2)), silence)
