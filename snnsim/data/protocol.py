"""What training, evaluation and streams ask of data, and what data may say of themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Protocol, overload, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from snnsim.errors import ConfigError, DataError, short


class Batch(NamedTuple):
    """A batch has some samples side by side.

    Attributes:
        x: the input, ``[T, B, ...]``; a shorter sample is followed by zeros.
        target: ``[B]`` int64 classes, ``[B, D]`` float32 values (of mixed samples, the fraction of
            each class), or ``[T, B, ...]`` either for every step.
        lengths: ``[B]`` int64, steps of each sample.
    """

    x: Tensor
    target: Tensor
    lengths: Tensor

    @property
    def labels(self) -> Tensor:
        """Return ``target``, under another name."""
        return self.target

    @property
    def per_step(self) -> bool:
        """Say whether there is a target for every step."""
        return self.target.ndim > 1 and self.target.shape[:2] == self.x.shape[:2]


@runtime_checkable
class Sequences(Protocol):
    """A data set is anything with these three."""

    @property
    def lengths(self) -> np.ndarray:
        """Return the number of steps of each sample, ``[n]``."""

    def __len__(self) -> int: ...

    def batch(self, indices: Sequence[int] | np.ndarray, steps: int | None = None) -> Batch:
        """Return some samples, padded to the longest, or padded or cut to ``steps``."""


@dataclass(frozen=True)
class About:
    """Says what a data set knows beyond its batches; nothing of it is needed for training.

    Attributes:
        classes: names of the classes; none where targets are values.
        labels: ``[n]``, the class of each sample, known without making a batch; or ``None``.
        speakers: ``[n]``, who each sample is from, -1 for unknown; or ``None``.
        channels: number of values per step; 0 for unknown.
        shape: shape of one step; of images ``(C, H, W)``, also where batches have them as one row.
        dt: length of a step in ms; ``None`` for unknown.
        encoder: how a recording becomes input, as plain values, with its ``kind``: ``"events"``
            (``pool`` and ``binning``), ``"camera"`` or ``"mel"``; empty for unknown.
        checksums: checksums of the files that it was read from, by name.
    """

    classes: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    speakers: np.ndarray | None = None
    channels: int = 0
    shape: tuple[int, ...] = ()
    dt: float | None = None
    encoder: dict[str, Any] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)


def describe(data: Any) -> About:
    """Return what a data set says of itself: its ``about``, or attributes of the same names.

    >>> from types import SimpleNamespace
    >>> describe(SimpleNamespace(classes=["no", "yes"])).classes
    ('no', 'yes')
    """
    found = getattr(data, "about", None)
    return found if isinstance(found, About) else _gathered(data)


def _gathered(data: Any) -> About:
    found = {f.name: getattr(data, f.name, None) for f in fields(About)}
    known: dict[str, Any] = {name: value for name, value in found.items() if value is not None}
    known["classes"] = tuple(known.get("classes", ()))
    if "channels" in known:
        known.setdefault("shape", (known["channels"],))
    return About(**known)


class DataSet:
    """The base of the project's data sets adds what torch's ``DataLoader`` asks for.

    A subclass has ``lengths``, ``len`` and ``batch``, and whatever of :class:`About` it knows as
    attributes of the same names.

    ``DataLoader(data, batch_size=8, shuffle=True, collate_fn=snnsim.data.collate)`` gives batches.
    """

    lengths: Any

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, indices: Sequence[int] | np.ndarray, steps: int | None = None) -> Batch:
        """Return some samples, padded to the longest, or padded or cut to ``steps``."""
        raise NotImplementedError

    @property
    def about(self) -> About:
        """Return what is known beyond the batches."""
        return _gathered(self)

    @overload
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]: ...
    @overload
    def __getitem__(self, index: slice) -> Batch: ...
    def __getitem__(self, index: Any) -> Any:
        """Return one sample, ``x [T, ...]`` and its target; a batch for a slice."""
        if isinstance(index, slice):
            return self.batch(np.arange(len(self))[index])
        batch = self.batch(chosen([index], len(self)))
        whole = int(batch.lengths[0])
        target = batch.target[:whole, 0] if batch.per_step else batch.target[0]
        return batch.x[:whole, 0], target

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return the batch that a ``DataLoader`` asks for."""
        return self.batch(np.asarray(indices))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self[i] for i in range(len(self)))


def chosen(indices: Sequence[int] | np.ndarray, size: int) -> np.ndarray:
    """Return numbers of samples as an array ``[B]``, those from the end counted from the start.

    Raises:
        ConfigError: there is none, or what is given are no whole numbers.
        IndexError: there is no such sample.

    >>> chosen([0, -1], 5)
    array([0, 4])
    """
    array = np.asarray(indices)
    if array.dtype == bool and array.shape == (size,):
        array = np.flatnonzero(array)
    if array.ndim != 1 or not len(array):
        raise ConfigError("a batch needs at least one sample, but no indices were given")
    if array.dtype.kind not in "iu":
        raise ConfigError(
            f"indices are {array.dtype} but must be whole numbers, or a mask [{size}]"
        )
    outside = array[(array < -size) | (array >= size)]
    if outside.size:
        raise IndexError(f"there is no sample {outside[0]} of a data set of {size}")
    return np.where(array < 0, array + size, array).astype(np.int64)


def as_target(values: Any) -> np.ndarray:
    """Convert targets: whole numbers to int64 classes, others to float32 values."""
    array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
    if array.dtype.kind in "biu":
        return array.astype(np.int64)
    if array.dtype.kind != "f":
        raise DataError(f"targets are {array.dtype} but must be classes or values")
    if not np.isfinite(array).all():
        raise DataError("targets have values that are NaN or infinite; remove those samples")
    return array.astype(np.float32)


def fetch(data: Sequences, indices: Sequence[int] | np.ndarray, steps: int | None = None) -> Batch:
    """Return a batch of any data set, after checking it.

    Raises:
        DataError: what the data set returns is not a batch of that many samples.
    """
    found = data.batch(indices, steps)
    try:
        batch = Batch(*_members(found))
        x, target, lengths = batch
        sizes = (x.shape[1], target.shape[0], lengths.shape[0])
        per_step = batch.per_step
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise DataError(
            f"{type(data).__name__}.batch returns {short(type(found).__name__)} but must return "
            "snnsim.data.Batch(x [T, B, ...], target [B] or [T, B, ...], lengths [B]), all tensors"
        ) from error
    count = len(indices)
    if sizes[0] != count or sizes[2] != count or not (per_step or sizes[1] == count):
        raise DataError(
            f"{type(data).__name__}.batch of {count} samples returns x {list(x.shape)}, target "
            f"{list(target.shape)} and lengths {list(lengths.shape)}, but [T, {count}, ...], "
            f"[{count}, ...] or [T, {count}, ...], and [{count}] are needed"
        )
    if count and not 0 <= int(lengths.min()) <= int(lengths.max()) <= x.shape[0]:
        raise DataError(
            f"{type(data).__name__}.batch says that samples have {int(lengths.min())} .. "
            f"{int(lengths.max())} steps, but x has {x.shape[0]}"
        )
    return batch


def _members(found: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Input, target and lengths by name, or in this order; the target may be called labels."""
    if not hasattr(found, "lengths"):
        x, target, lengths = found
        return x, target, lengths
    return found.x, found.target if hasattr(found, "target") else found.labels, found.lengths


def shared(data: Sequences, mine: np.ndarray, joint: np.ndarray, steps: int | None = None) -> Batch:
    """Return one process's part ``mine`` of a ``joint`` batch, which may be empty.

    Without a sample of its own it still has the shape of one: it takes part in what the processes
    do together.
    """
    batch = fetch(data, mine if len(mine) else joint[:1], steps)
    return batch if len(mine) else first(batch, 0)


def resized(x: Tensor, steps: int) -> Tensor:
    """Cut ``x [T, ...]`` to a number of steps, or pad it with zeros up to it."""
    missing = steps - len(x)
    return torch.cat([x, x.new_zeros(missing, *x.shape[1:])]) if missing > 0 else x[:steps]


def first(batch: Batch, count: int) -> Batch:
    """Return the first samples of a batch."""
    target = batch.target[:, :count] if batch.per_step else batch.target[:count]
    return Batch(batch.x[:, :count], target, batch.lengths[:count])
