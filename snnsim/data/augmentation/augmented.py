"""A data set whose samples are changed at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from snnsim.data.augmentation import draws, values
from snnsim.data.augmentation.options import Augmentation
from snnsim.data.protocol import About, Batch, DataSet, Sequences, chosen, describe, fetch, resized
from snnsim.errors import ConfigError

QUIETEST = -100.0  # dB, the silence of mel bands that are not scaled
OF_CHANNELS = ("channel_stretch", "channel_shift", "channel_masks")
OF_TIME = ("time_stretch", "time_shift_ms")
IN_MS = ("time_shift_ms", "time_masks")


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
    _drawn: dict[str, np.ndarray] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if len(self.data):
            self._check(fetch(self.data, np.zeros(1, np.int64)))

    def __len__(self) -> int:
        return len(self.data)

    @property
    def about(self) -> About:
        """Return what the data say of themselves."""
        return describe(self.data)

    @cached_property
    def lengths(self) -> np.ndarray:  # type: ignore[override]
        """Return the number of steps of each sample."""
        before = np.asarray(self.data.lengths)
        if not self.augmentation.time_stretch:
            return before
        after = np.rint(before * (1 + self._between("time_stretch"))).astype(before.dtype)
        return np.maximum(after, np.minimum(before, 1))

    def batch(self, indices: Sequence[int] | np.ndarray, steps: int | None = None) -> Batch:
        """Return some samples, padded to the longest, or padded or cut to ``steps``."""
        rows = chosen(indices, len(self))
        before = fetch(self.data, rows)
        lengths = torch.from_numpy(self.lengths[rows])
        x = self._moved(before, rows, lengths)
        x = self._changed(x, rows, lengths)
        x = self._masked(x, rows, lengths)
        over = torch.arange(len(x)).view(-1, 1) >= lengths
        x = x.masked_fill(over.view(*over.shape, *(1,) * (x.ndim - 2)), 0.0)
        if steps is not None:
            x, lengths = resized(x, steps), lengths.clamp(max=steps)
        return Batch(x, before.target, lengths)

    # --- what can be changed ---------------------------------------------------------------------

    def _check(self, batch: Batch) -> None:
        """Refuse options that cannot act on such a batch."""
        if batch.x.ndim != 3:
            self._refuse(OF_CHANNELS, f"a step has the shape {list(batch.x.shape[2:])}", "[C]")
        if batch.per_step:
            self._refuse(OF_TIME, "every step has its own target", "one for a sample")
        if describe(self.data).dt is None:
            self._refuse(IN_MS, "the data do not say how long a step is", "dt in ms")

    def _refuse(self, names: tuple[str, ...], found: str, wanted: str) -> None:
        for name in names:
            if value := getattr(self.augmentation, name):
                raise ConfigError(
                    f"augmentation.{name} is {value}, but {found}, where {wanted} is needed; leave "
                    "it out"
                )

    # --- random numbers --------------------------------------------------------------------------

    def _uniform(self, transform: str, each: int = 1) -> np.ndarray:
        """Numbers of all samples from 0 to 1, ``[n, each]``, drawn once."""
        if transform not in self._drawn:
            self._drawn[transform] = draws.of_samples(self.key, transform, len(self), each)
        return self._drawn[transform]

    def _between(self, name: str) -> np.ndarray:
        """For each sample a number from minus to plus an option."""
        return getattr(self.augmentation, name) * (2 * self._uniform(name)[:, 0] - 1)

    def _of_rows(self, name: str, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self._between(name)[rows])

    # --- transforms ------------------------------------------------------------------------------

    @property
    def _silence(self) -> float:
        encoder = describe(self.data).encoder
        decibels = encoder.get("kind") == "mel" and not encoder.get("scaled")
        return QUIETEST if decibels else 0.0

    def _moved(self, batch: Batch, rows: np.ndarray, lengths: Tensor) -> Tensor:
        """The input, stretched and shifted along time and channels."""
        x, given = batch.x, self.augmentation
        if given.time_stretch or given.time_shift_ms:
            step = torch.arange(int(lengths.max()), dtype=torch.float64).view(-1, 1)
            slower = batch.lengths.double() / lengths
            position = (step + 0.5 - self._shift(rows)) * slower - 0.5
            flat = values.moved_in_time(x.flatten(2), position, batch.lengths, self._silence)
            x = flat.view(len(step), *x.shape[1:])
        if given.channel_stretch or given.channel_shift:
            middle = (x.shape[2] - 1) / 2
            channel = torch.arange(x.shape[2], dtype=torch.float64) - middle
            shift = self._of_rows("channel_shift", rows).unsqueeze(1)
            factor = 1 + self._of_rows("channel_stretch", rows).unsqueeze(1)
            x = values.moved_in_channels(x, (channel - shift) / factor + middle)
        return x

    def _shift(self, rows: np.ndarray) -> Tensor:
        """Of each sample in steps."""
        if not self.augmentation.time_shift_ms:
            return torch.zeros(len(rows))
        return self._of_rows("time_shift_ms", rows) / self.about.dt

    def _changed(self, x: Tensor, rows: np.ndarray, lengths: Tensor) -> Tensor:
        """The input with other values, everything being where it was."""
        given, alike = self.augmentation, (1, len(rows), *(1,) * (x.ndim - 2))
        if given.gain:
            power = torch.from_numpy(2 * self._uniform("gain")[rows, 0] - 1)
            x = x * ((1 + given.gain) ** power).to(x).view(alike)
        if given.level:
            louder = x + self._of_rows("level", rows).to(x).view(alike)
            negative = (x < 0).any(0, keepdim=True).flatten(2).any(2).view(alike)
            x = torch.where(x == 0, x, torch.where(negative, louder, louder.clamp(min=0)))
        if given.noise:
            x = x + given.noise * self._noise(x, rows, lengths)
        return x

    def _noise(self, x: Tensor, rows: np.ndarray, lengths: Tensor) -> Tensor:
        found = np.zeros(x.shape, np.float32)
        for b, (row, length) in enumerate(zip(rows, lengths.tolist(), strict=True)):
            own = draws.generator(self.key, "noise", int(row))
            found[:length, b] = own.standard_normal((length, *x.shape[2:]), np.float32)
        return torch.from_numpy(found).to(x)

    def _masked(self, x: Tensor, rows: np.ndarray, lengths: Tensor) -> Tensor:
        given = self.augmentation
        if given.time_masks:
            widest = int(given.time_mask_ms / self.about.dt)
            masks = self._masks("time_masks", rows, widest, lengths)
            over = values.in_masks(*masks, len(x))
            x = x.masked_fill(over.view(*over.shape, *(1,) * (x.ndim - 2)), self._silence)
        if given.channel_masks:
            channels = torch.full_like(lengths, x.shape[2])
            masks = self._masks("channel_masks", rows, given.channel_mask, channels)
            x = x.masked_fill(values.in_masks(*masks, x.shape[2]).T, self._silence)
        return x

    def _masks(
        self, name: str, rows: np.ndarray, widest: int, sizes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Start and width of each mask, ``[B, masks]``; none is wider than there are places."""
        number = getattr(self.augmentation, name)
        drawn = torch.from_numpy(self._uniform(name, 2 * number)[rows])
        wide, first = drawn.split(number, 1)
        width = torch.minimum((wide * (widest + 1)).long(), sizes.view(-1, 1))
        return (first * (sizes.view(-1, 1) - width + 1)).long(), width
