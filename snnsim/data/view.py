"""A part of a data set, or the whole under a transform."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snnsim.data.protocol import (
    About,
    Batch,
    DataSet,
    Sequences,
    as_target,
    chosen,
    describe,
    fetch,
    resized,
)
from snnsim.errors import DataError, ShapeError

Transform = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class View(DataSet):
    """Shows some samples of a data set, perhaps transformed or relabelled, as a data set.

    Attributes:
        data: any data set.
        indices: numbers of its samples, or a mask; ``None`` for all.
        transform: a function applied to a batch's ``x [T, B, ...]``: an augmentation, an encoder, a
            normalisation.
        relabel: ``[classes of the data]``, the new label of each class.
        lengths_of: a function from lengths ``[n]`` to those after the transform, where it changes
            them; the output of the transform must be as long as that of the longest sample.
        target: ``[len(indices), ...]``, targets of these samples instead of the data's own.

    >>> from snnsim.data import Arrays
    >>> data = Arrays(np.ones((4, 6, 2)), [0, 1, 0, 1])
    >>> half = View(data, [1, 3], transform=lambda x: x[::2], lengths_of=lambda n: (n + 1) // 2)
    >>> half.batch([0, 1]).x.shape, half.lengths
    (torch.Size([3, 2, 2]), array([3, 3]))
    """

    data: Sequences
    indices: Any = None
    transform: Transform | None = None
    relabel: np.ndarray | None = None
    lengths_of: Callable[[np.ndarray], np.ndarray] | None = None
    target: Any = None

    def __post_init__(self) -> None:
        size = len(self.data)
        given = np.arange(size) if self.indices is None else np.asarray(self.indices)
        mask = given.dtype == bool and given.shape == (size,)
        given = np.flatnonzero(given) if mask else given
        indices = chosen(given, size) if given.size else np.zeros(0, np.int64)
        object.__setattr__(self, "indices", indices)
        if self.target is not None:
            target = as_target(self.target)
            if target.shape[:1] != indices.shape:
                raise DataError(
                    f"targets are of shape {list(target.shape)} but must be [{len(indices)}, ...]"
                )
            object.__setattr__(self, "target", target)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def lengths(self) -> np.ndarray:
        """Return the number of steps of each sample."""
        lengths = np.asarray(self.data.lengths)[self.indices]
        return lengths if self.lengths_of is None else np.asarray(self.lengths_of(lengths))

    @property
    def labels(self) -> np.ndarray:
        """Return labels as a batch has them."""
        labels = self.about.labels
        if labels is None:
            raise DataError(
                f"{type(self.data).__name__} does not say which classes its samples are; give it "
                "an `about` with labels"
            )
        return labels

    @property
    def about(self) -> About:
        """Return what the data say of themselves, for these samples."""
        about = describe(self.data)
        speakers = None if about.speakers is None else np.asarray(about.speakers)[self.indices]
        labels = None if about.labels is None else np.asarray(about.labels)[self.indices]
        if self.target is not None:
            labels = self.target if self.target.dtype == np.int64 else None
        if labels is not None and self.relabel is not None:
            labels = self.relabel[labels]
        encoder = about.encoder if self.transform is None else {}
        return replace(about, speakers=speakers, labels=labels, encoder=encoder)

    @property
    def checksums(self) -> dict[str, str]:
        """Return the checksums of the files that the data set was read from."""
        return dict(self.about.checksums)

    def batch(self, indices: Sequence[int] | np.ndarray, steps: int | None = None) -> Batch:
        """Return samples by their number in the view."""
        rows = chosen(indices, len(self))
        if self.lengths_of is None:
            batch = fetch(self.data, self.indices[rows], steps)
            x, lengths = batch.x, batch.lengths
        else:
            batch = fetch(self.data, self.indices[rows])
            x, lengths = batch.x, torch.from_numpy(self.lengths[rows])
        if self.transform is not None:
            x = self._transformed(x, int(lengths.max()))
            x = _silent_after(x, lengths)
        if self.lengths_of is not None and steps is not None:
            x, lengths = resized(x, steps), lengths.clamp(max=steps)
        target = batch.target if self.target is None else torch.from_numpy(self.target[rows])
        if self.relabel is not None:
            target = torch.from_numpy(self.relabel)[target]
        return Batch(x, target, lengths)

    def _transformed(self, x: Tensor, longest: int) -> Tensor:
        assert self.transform is not None
        y = self.transform(x)
        if self.lengths_of is None and y.shape[:2] != x.shape[:2]:
            raise ShapeError(
                f"the transform makes {list(y.shape)} of {list(x.shape)}: other steps or samples; "
                "give lengths_of= if it changes the number of steps"
            )
        if self.lengths_of is not None and (y.shape[1] != x.shape[1] or len(y) < longest):
            raise ShapeError(
                f"the transform makes {list(y.shape)} of {list(x.shape)}, but lengths_of says that "
                f"{longest} steps of {x.shape[1]} samples are needed"
            )
        return y


def _silent_after(x: Tensor, lengths: Tensor) -> Tensor:
    """The batch with zeros beyond the end of each sample, whatever a transform made of them."""
    if int(lengths.min()) >= len(x):
        return x
    over = torch.arange(len(x)).view(-1, 1) >= lengths
    return x.masked_fill(over.view(*over.shape, *(1,) * (x.ndim - 2)).to(x.device), 0.0)
