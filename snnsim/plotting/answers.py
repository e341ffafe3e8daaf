"""Figures of what a network answers, beside what it should answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from snnsim.plotting.figures import _figure

NUMBERED = 20  # classes up to which every cell has its count in it


def confusion_matrix(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Any:
    """Plot how often each class was answered by each: a row for each true class.

    Args:
        counts: the matrix ``[C, C]``, see :func:`snnsim.functional.metrics.confusion_matrix`.
        classes: the names of the classes.
    """
    matrix, size = np.asarray(counts), len(classes)
    fractions = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = min(3 + 0.32 * size, 14)
    figure, axes = _figure(1, 1, side + 0.8, side)
    axis = axes[0, 0]
    image = axis.imshow(fractions, vmin=0, vmax=1, cmap="Blues")
    for (true, answer), count in np.ndenumerate(matrix):
        if count and size <= NUMBERED:
            colour = "white" if fractions[true, answer] > 0.5 else "black"
            axis.text(answer, true, str(count), ha="center", va="center", color=colour, fontsize=7)
    font = 8 if size <= NUMBERED else 5
    axis.set_xticks(range(size), classes, rotation=90, fontsize=font)
    axis.set_yticks(range(size), classes, fontsize=font)
    axis.set(xlabel="answer", ylabel="true class")
    figure.colorbar(image, label="fraction of the true class")
    return figure
