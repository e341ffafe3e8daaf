"""Figures of what a network answers, beside what it should answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from snnsim.data.targets import CLASS_PER_STEP, LABELS, VALUES, VALUES_PER_STEP
from snnsim.errors import check_choice
from snnsim.functional.metrics import average_precision
from snnsim.plotting.figures import _figure
from snnsim.training import Answer

NUMBERED = 20  # classes up to which every cell has its count in it
SHOWN = 6  # samples, or values of a sample, that have a row of their own
ANSWERS = (LABELS, VALUES, CLASS_PER_STEP, VALUES_PER_STEP)
"""The kinds of targets whose answers :func:`answers` can draw."""


def answers(
    kind: str, found: Sequence[Answer], classes: Sequence[str] = (), dt: float = 1.0
) -> Any:
    """Plot answers beside the targets.

    Values are drawn over their targets, and values of every step over time; classes of every step
    are rows of colours, the truth above the answer; labels are bars of their average precision.

    Args:
        kind: what the network answers, see :mod:`snnsim.data.targets`.
        found: the answers to some samples, at least one.
        classes: the names of classes or labels.
        dt: the length of a step in ms.
    """
    check_choice("kind", kind, ANSWERS)
    drawn = {
        LABELS: _labels,
        VALUES: _values,
        CLASS_PER_STEP: _classes_per_step,
        VALUES_PER_STEP: _values_per_step,
    }
    return drawn[kind](found, classes, dt)


def _values(found: Sequence[Answer], classes: Sequence[str], dt: float) -> Any:
    values = np.stack([each.found.flatten().numpy() for each in found])
    true = np.stack([each.target.flatten().numpy() for each in found])
    count = min(values.shape[1], SHOWN)
    figure, axes = _figure(1, count, 3.2 * count, 3.2)
    for place, axis in enumerate(axes[0]):
        ends = [min(true[:, place].min(), values[:, place].min())]
        ends.append(max(true[:, place].max(), values[:, place].max()))
        axis.plot(ends, ends, color="0.7", lw=0.8)
        axis.plot(true[:, place], values[:, place], ".", ms=4)
        axis.set(title=f"value {place + 1}", xlabel="target", ylabel="answer")
    return figure


def _values_per_step(found: Sequence[Answer], classes: Sequence[str], dt: float) -> Any:
    first = found[0]
    values, true = (each.flatten(1).numpy() for each in (first.found, first.target.unsqueeze(-1)))
    count = min(values.shape[1], SHOWN)
    figure, axes = _figure(count, 1, 8, 1 + 1.3 * count)
    times = np.arange(len(values)) * dt
    for place, axis in enumerate(axes[:, 0]):
        axis.plot(times, true[:, place], color="0.6", label="target")
        axis.plot(times, values[:, place], label="answer")
        axis.set_ylabel(f"value {place + 1}")
    axes[0, 0].legend(frameon=False, fontsize=7)
    axes[-1, 0].set_xlabel("time in ms")
    return figure


def _classes_per_step(found: Sequence[Answer], classes: Sequence[str], dt: float) -> Any:
    import matplotlib

    some = found[:SHOWN]
    figure, axes = _figure(len(some), 1, 8, 1 + 0.8 * len(some))
    count = len(classes) or some[0].found.shape[-1]
    colours = matplotlib.colormaps["tab20"].resampled(count)
    for axis, each in zip(axes[:, 0], some, strict=True):
        rows = torch.stack([each.target, each.found.argmax(-1)]).numpy()
        extent = (0, rows.shape[1] * dt, 1.5, -0.5)
        style = {"aspect": "auto", "interpolation": "nearest", "cmap": colours}
        image = axis.imshow(rows, extent=extent, vmin=-0.5, vmax=count - 0.5, **style)
        axis.set_yticks([0, 1], ["target", "answer"], fontsize=7)
    axes[-1, 0].set_xlabel("time in ms")
    bar = figure.colorbar(image, ax=list(axes[:, 0]))
    if 0 < len(classes) <= NUMBERED:
        bar.set_ticks(range(len(classes)), labels=list(classes), fontsize=7)
    return figure


def _labels(found: Sequence[Answer], classes: Sequence[str], dt: float) -> Any:
    logits = torch.stack([each.found for each in found])
    precision = average_precision(logits, torch.stack([each.target for each in found]) > 0)
    names = list(classes) or [str(number) for number in range(len(precision))]
    figure, axes = _figure(1, 1, 5, 1 + 0.22 * len(names))
    axes[0, 0].barh(range(len(names)), precision.nan_to_num(0).numpy())
    axes[0, 0].set_yticks(range(len(names)), names, fontsize=7)
    axes[0, 0].set(xlabel="average precision", xlim=(0, 1))
    axes[0, 0].invert_yaxis()
    return figure


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
