"""Random numbers of samples, which depend on nothing but the key, the transform and the sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from snnsim.data.augmentation.options import Augmentation


def of_samples(key: tuple[int, ...], transform: str, samples: int, each: int = 1) -> np.ndarray:
    """Return some numbers for every sample, ``[samples, each]``, uniform from 0 to 1.

    The numbers of a sample do not depend on how many follow it.

    Args:
        key: the seed and the epoch (and, on a stream, the task between them).
        transform: the name of the transform that uses them.
        samples: the number of samples of the data set.
        each: the number of random numbers of a sample.
    """
    return np.random.default_rng((*key, *transform.encode())).random((samples, each))


def generator(key: tuple[int, ...], transform: str, sample: int) -> np.random.Generator:
    """Return a generator of one sample, for a transform that needs many numbers."""
    return np.random.default_rng((*key, *transform.encode(), 0, sample))


@dataclass(frozen=True)
class Draws:
    """Random numbers of all samples of a data set in one epoch.

    Attributes:
        given: the options whose numbers they are.
        key: the seed and the epoch.
        samples: the number of samples.
    """

    given: Augmentation
    key: tuple[int, ...]
    samples: int
    _drawn: dict[str, np.ndarray] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def uniform(self, transform: str, each: int = 1) -> np.ndarray:
        """Return numbers from 0 to 1, ``[samples, each]``, drawn once."""
        if transform not in self._drawn:
            self._drawn[transform] = of_samples(self.key, transform, self.samples, each)
        return self._drawn[transform]

    def between(self, option: str) -> np.ndarray:
        """Return for each sample a number from minus to plus an option, ``[samples]``."""
        return getattr(self.given, option) * (2 * self.uniform(option)[:, 0] - 1)

    def factor(self, option: str) -> np.ndarray:
        """Return for each sample a factor that is as likely as its inverse, ``[samples]``."""
        return (1 + getattr(self.given, option)) ** (2 * self.uniform(option)[:, 0] - 1)


@dataclass(frozen=True)
class OfBatch:
    """Random numbers of the samples of a batch.

    Attributes:
        draws: those of all samples.
        rows: which samples the batch has, ``[B]``.
        dt: the length of a step in ms; ``None`` for unknown.
    """

    draws: Draws
    rows: np.ndarray
    dt: float | None

    @property
    def given(self) -> Augmentation:
        """Return the options."""
        return self.draws.given

    def uniform(self, transform: str, each: int = 1) -> Tensor:
        """Return numbers from 0 to 1, ``[B, each]``."""
        return torch.from_numpy(self.draws.uniform(transform, each)[self.rows])

    def between(self, option: str) -> Tensor:
        """Return for each sample a number from minus to plus an option, ``[B, 1]``."""
        return torch.from_numpy(self.draws.between(option)[self.rows]).unsqueeze(1)

    def factor(self, option: str) -> Tensor:
        """Return for each sample a factor that is as likely as its inverse, ``[B, 1]``."""
        return torch.from_numpy(self.draws.factor(option)[self.rows]).unsqueeze(1)

    def in_steps(self, option: str) -> Tensor:
        """Return :meth:`between` of an option in ms, as a number of steps."""
        if not getattr(self.given, option):
            return torch.zeros(len(self.rows), 1, dtype=torch.float64)
        assert self.dt is not None  # or the option would have been refused
        return self.between(option) / self.dt

    def generators(self, transform: str) -> Iterator[np.random.Generator]:
        """Return a generator of each sample."""
        return (generator(self.draws.key, transform, int(row)) for row in self.rows)
