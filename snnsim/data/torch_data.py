"""To and from ``torch.utils.data``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snnsim.data.arrays import Arrays
from snnsim.data.protocol import Batch, as_target
from snnsim.errors import DataError, short


def from_torch(
    data: Iterable[Any],
    *,
    classes: Sequence[str] = (),
    dt: float = 1.0,
    batch_first: bool = True,
    still: bool = False,
    per_step: bool = False,
) -> Arrays:
    """Read a ``torch.utils.data`` data set or ``DataLoader`` into memory, once.

    Args:
        data: a data set of samples ``(x [T, ...], target)``, or a ``DataLoader`` of their batches;
            of either kind, map or iterable. A third member gives the number of steps.
        classes: names of the classes; none for values.
        dt: length of a step in ms.
        batch_first: whether a loader's ``x`` is ``[B, T, ...]``, not ``[T, B, ...]``.
        still: whether ``x`` has no time: a sample is one step.
        per_step: whether there is a target for every step.

    Raises:
        DataError: there are no samples, or they have another form.

    >>> from torch.utils.data import TensorDataset
    >>> from_torch(TensorDataset(torch.ones(3, 5, 2), torch.arange(3))).batch([0, 2]).x.shape
    torch.Size([5, 2, 2])
    """
    loads = isinstance(data, torch.utils.data.DataLoader) and data.batch_size is not None
    xs: list[Any] = []
    targets: list[Any] = []
    lengths: list[int] = []
    for found in _entries(data):
        for sample in _unbatched(found, batch_first or still, per_step) if loads else [found]:
            x, target, *rest = _parts(sample)
            x = torch.as_tensor(x)
            xs.append(x.unsqueeze(0) if still else x)
            targets.append(torch.as_tensor(target))
            lengths.append(int(rest[0]) if rest else len(xs[-1]))
    if not xs:
        raise DataError("the data set has no samples; give one with some")
    target = targets if per_step else torch.stack(targets)
    return Arrays(xs, target, np.asarray(lengths), tuple(classes), dt, per_step)


def collate(samples: Any) -> Batch:
    """Make a batch of samples ``(x [T_i, ...], target)`` in a ``DataLoader`` of any data set.

    The shorter samples are followed by zeros. A data set of this project has made its batch
    already, which stays as it is, targets of every step included.
    """
    if isinstance(samples, Batch):
        return samples
    xs = [torch.as_tensor(_parts(sample)[0]).float() for sample in samples]
    targets = [torch.as_tensor(as_target(sample[1])) for sample in samples]
    if len({target.shape for target in targets}) > 1:
        raise DataError(
            "targets of one batch have different shapes; read targets of every step by "
            "snnsim.data.from_torch(..., per_step=True)"
        )
    lengths = torch.tensor([len(x) for x in xs])
    return Batch(torch.nn.utils.rnn.pad_sequence(xs), torch.stack(targets), lengths)


def _entries(data: Any) -> Iterable[Any]:
    """What a data set gives, one after the other: not all that have ``[i]`` stop by themselves."""
    if hasattr(data, "__iter__") or not hasattr(data, "__len__"):
        return iter(data)
    return (data[i] for i in range(len(data)))


def _parts(sample: Any) -> Sequence[Any]:
    if not isinstance(sample, list | tuple) or not 2 <= len(sample) <= 3:
        raise DataError(
            f"a sample is {short(sample, 80)} but must be (x, target) or (x, target, steps)"
        )
    return sample


def _unbatched(batch: Any, batch_first: bool, per_step: bool) -> list[tuple[Any, ...]]:
    x, target, *rest = _parts(batch)
    x, target = torch.as_tensor(x), torch.as_tensor(target)
    if not batch_first:
        x = x.transpose(0, 1)
        target = target.transpose(0, 1) if per_step else target
    members: list[Tensor] = [x, target, *map(torch.as_tensor, rest)]
    if len({len(member) for member in members}) != 1:
        raise DataError(
            f"a batch of x {list(x.shape)} has {len(target)} targets; give batch_first="
            f"{not batch_first} if its first axis is not the samples"
        )
    return list(zip(*members, strict=True))
