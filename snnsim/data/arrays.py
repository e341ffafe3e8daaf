"""Sequences that are dense arrays in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snnsim.data.events import in_range, whole_numbers
from snnsim.data.protocol import Batch, DataSet, as_target, chosen
from snnsim.errors import DataError


@dataclass(frozen=True)
class Arrays(DataSet):
    """Holds arrays or tensors as a data set: one ``[n, T, ...]``, or a list of ``[T_i, ...]``.

    Attributes:
        x: the input; kept as float32, 0 beyond the end of a sample.
        target: ``[n]`` classes (whole numbers), ``[n, D]`` values, or with ``per_step`` either for
            every step, ``[n, T, ...]`` or a list of ``[T_i, ...]``.
        lengths: ``[n]``, steps of each sample; ``None`` takes those of the members of a list, else
            all steps.
        classes: names of the classes; none for values.
        dt: length of a step in ms.
        per_step: whether there is a target for every step.
        speakers: ``[n]``, -1 for unknown; ``None`` if all are unknown.
        checksums: checksums of the files that the arrays come from, if any.

    >>> data = Arrays([np.ones((3, 2)), np.ones((5, 2))], [0, 1])
    >>> data.batch([0, 1]).x.shape, data.lengths
    (torch.Size([5, 2, 2]), array([3, 5]))
    """

    x: Any
    target: Any
    lengths: Any = None
    classes: tuple[str, ...] = ()
    dt: float = 1.0
    per_step: bool = False
    speakers: Any = None
    checksums: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        x, lengths = _dense("x", self.x, self.lengths)
        if x.ndim < 2 or x.dtype.kind not in "biuf":
            raise DataError(f"x is {x.dtype} of shape {x.shape} but must be numbers [n, T, ...]")
        target = _dense("target", self.target, None)[0] if self.per_step else self.target
        target = as_target(target)
        lengths = whole_numbers("lengths", lengths, len(x))
        wanted = x.shape[:2] if self.per_step else x.shape[:1]
        if target.shape[: len(wanted)] != wanted:
            raise DataError(
                f"x is {list(x.shape)} and target {list(target.shape)}, but the target must begin "
                f"with {list(wanted)}"
            )
        if lengths.size and not 1 <= lengths.min() <= lengths.max() <= x.shape[1]:
            raise DataError(
                f"lengths are {lengths.min()} .. {lengths.max()} but must lie in 1 .. "
                f"{x.shape[1]}, the steps of x"
            )
        if self.classes:
            in_range("targets", whole_numbers("targets", target.reshape(-1)), len(self.classes))
        unknown = np.full(len(x), -1, dtype=np.int64)
        given = unknown if self.speakers is None else self.speakers
        speakers = whole_numbers("speakers", given, len(x))
        x = np.ascontiguousarray(x, dtype=np.float32)
        checked = {"x": x, "target": target, "lengths": lengths, "speakers": speakers}
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def channels(self) -> int:
        """Return the number of values per step."""
        return int(np.prod(self.shape))

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one step."""
        return tuple(self.x.shape[2:])

    @property
    def labels(self) -> Any:
        """Return the classes of the samples; ``None`` where targets are values or per step."""
        return self.target if self.target.ndim == 1 and self.target.dtype == np.int64 else None

    def batch(self, indices: Sequence[int] | np.ndarray, steps: int | None = None) -> Batch:
        """Return some samples, padded with zeros to the longest, or padded or cut to ``steps``."""
        rows = chosen(indices, len(self))
        frames = int(self.lengths[rows].max()) if steps is None else steps
        ends = np.minimum(self.lengths[rows], frames)
        x = _time_major(self.x, rows, frames)
        x[np.arange(frames)[:, None] >= ends] = 0
        target = _time_major(self.target, rows, frames) if self.per_step else self.target[rows]
        return Batch(*map(torch.from_numpy, (x, target, ends)))


def _time_major(array: np.ndarray, rows: np.ndarray, frames: int) -> np.ndarray:
    """``[frames, rows, ...]``, what is beyond the array being 0."""
    taken = array[rows, :frames].swapaxes(0, 1)
    padded = np.zeros((frames, *taken.shape[1:]), array.dtype)
    padded[: len(taken)] = taken
    return padded


def _dense(name: str, given: Any, lengths: Any) -> tuple[np.ndarray, Any]:
    """One array of what may be a list of sequences, and the lengths of those."""
    if not isinstance(given, list | tuple):
        array = _array(given)
        whole = np.full(len(array), array.shape[1] if array.ndim > 1 else 0, dtype=np.int64)
        return array, whole if lengths is None else lengths
    parts = [_array(part) for part in given]
    if not parts:
        raise DataError(f"{name} is an empty list; give an array for each sample")
    shapes = {part.shape[1:] for part in parts if part.ndim}
    if len(shapes) != 1 or not all(part.ndim for part in parts):
        raise DataError(
            f"{name} is a list of arrays of shapes {sorted(p.shape for p in parts)[:3]} ..., but "
            "all must be [T, ...] and differ in T only"
        )
    sizes = np.asarray([len(part) for part in parts], dtype=np.int64)
    dense = np.zeros((len(parts), int(sizes.max()), *shapes.pop()), np.result_type(*parts))
    for row, part in zip(dense, parts, strict=True):
        row[: len(part)] = part
    return dense, sizes if lengths is None else lengths


def _array(given: Any) -> np.ndarray:
    return np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given)
