"""What the targets of a data set are: classes, labels or values, for a sample or for every step.

Their shape and type decide:

    [B] whole numbers               a class for each sample
    [B, C] whole numbers            0 or 1 for each label, any number of them for each sample
    [B] or [B, D] other numbers     values for each sample
    [T, B] whole numbers            a class for every step
    [T, B, ...] other numbers       values for every step

A matrix of 0.0 and 1.0 beside the names of as many classes is taken for labels as well.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from snnsim.data.protocol import Sequences, describe, fetch
from snnsim.errors import DataError, ShapeError

CLASS, LABELS, VALUES = "class", "labels", "values"
CLASS_PER_STEP, VALUES_PER_STEP = "class per step", "values per step"
KINDS = (CLASS, LABELS, VALUES, CLASS_PER_STEP, VALUES_PER_STEP)


def kind_of(data: Sequences) -> str:
    """Return what the targets of a data set are, one of ``KINDS``.

    Args:
        data: a data set of one sample or more; unless it has ``labels``, a batch of two samples is
            made to look at.

    Raises:
        DataError: if the data set is empty.
        ShapeError: if the targets are whole numbers of another shape.

    >>> from snnsim.data import Arrays
    >>> kind_of(Arrays(np.ones((4, 9, 2)), np.eye(4, dtype=int)))
    'labels'
    """
    known = getattr(data, "per_step", None)
    labels = describe(data).labels
    if not known and labels is not None and np.ndim(labels) == 1:
        return CLASS
    target, per_step = _some(data)
    per_step = per_step if known is None else known
    axes = target.ndim - per_step
    if axes == 2 and not per_step and _are_labels(data, target):
        return LABELS
    if target.is_floating_point():
        return VALUES_PER_STEP if per_step else VALUES
    if axes == 1:
        return CLASS_PER_STEP if per_step else CLASS
    raise ShapeError(
        f"targets are {target.dtype} {list(target.shape)}, but whole numbers must be classes [B], "
        "classes of every step [T, B], or 0 or 1 for each label [B, C]; give values as floats"
    )


def _some(data: Sequences) -> tuple[Tensor, bool]:
    """Targets of at most two samples, and whether there is one for every step."""
    if not len(data):
        raise DataError("the data set has no samples; give one with some")
    # more steps than samples, so that no shape can be both [T, B, ...] and [B, D]
    steps = max(int(np.max(data.lengths)), 2) + 1
    batch = fetch(data, range(min(len(data), 2)), steps)
    return batch.target, batch.per_step


def _are_labels(data: Sequences, target: Tensor) -> bool:
    """Whether a matrix is whole numbers, or has 0 or 1 for each of the classes that are named."""
    named = len(describe(data).classes) == target.shape[1]
    return not target.is_floating_point() or (named and bool(((target == 0) | (target == 1)).all()))


def outputs_of(data: Sequences) -> int:
    """Return the number of outputs that a network needs: of classes, labels, or values.

    Where classes have no names, it is one more than the largest of them.

    >>> from snnsim.data import Arrays
    >>> outputs_of(Arrays(np.ones((2, 9, 3)), [[0.5, 1.0], [0.0, 2.5]]))
    2
    """
    about = describe(data)
    if about.classes:
        return len(about.classes)
    kind = kind_of(data)
    if kind == CLASS and about.labels is not None:
        return 1 + int(np.max(about.labels))
    if kind in (CLASS, CLASS_PER_STEP):
        return 1 + max(int(fetch(data, [i]).target.max()) for i in range(len(data)))
    target, _ = _some(data)
    first = 2 if kind == VALUES_PER_STEP else 1
    return int(np.prod(target.shape[first:]))
