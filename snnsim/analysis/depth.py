"""Depth: which blocks of a deep network do alike, and whether fewer or repeated ones would do.

The blocks of a network are its hidden parts of equal input and output width (``stack.py``).
``S_ij`` is the cosine of the rates of blocks ``i`` and ``j``, averaged over samples. Phases are
``k`` runs of neighbouring blocks that keep the least dissimilarity among themselves,

    minimise  sum over phases of  sum_{i < j in the phase} (1 - S_ij),

which is a maximum cut of the rest, found by dynamic programming. ``tying.py`` trains one physical
block for each phase, and ``paths.py`` skips and repeats blocks. Source: Jacobs et al. 2025
(arXiv:2512.19941).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from snnsim.activity import Recording, record
from snnsim.analysis.nulls import shuffled
from snnsim.analysis.paths import best_single_path, paths
from snnsim.analysis.report import Figure, Report, against
from snnsim.analysis.stack import stack_of
from snnsim.analysis.subject import Subject
from snnsim.analysis.tying import tie as tie_blocks
from snnsim.data import View
from snnsim.errors import ConfigError, check_number, check_size

# --- similarity and phases ------------------------------------------------------------------------


def similarity(recordings: Sequence[Recording]) -> np.ndarray:
    """Return how alike the rates of layers are, ``[L, L]``: the mean cosine over samples.

    A sample in which a layer is silent counts as 0.

    Args:
        recordings: one for each of ``L`` layers, of the same samples and the same number of units.
    """
    rates = [each.means().flatten(1).double() for each in recordings]
    if len({rate.shape for rate in rates}) > 1:
        raise ConfigError(
            f"layers have {[tuple(rate.shape) for rate in rates]} samples and units; only layers "
            "of equal width have a cosine"
        )
    directions = torch.stack([nn.functional.normalize(rate, dim=1) for rate in rates])
    cosines = torch.einsum("isn,jsn->ij", directions, directions) / directions.shape[1]
    return cosines.cpu().numpy()


def phases(S: np.ndarray, k: int) -> np.ndarray:
    """Divide blocks into ``k`` runs of neighbours that are as alike as possible.

    Args:
        S: the similarity of all pairs, ``[L, L]``.
        k: the number of phases, 1 .. ``L``.

    Returns:
        The phase of each block, ``[L]``, from 0 and never falling.

    >>> phases(np.array([[1.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.0]]), 2).tolist()
    [0, 0, 1]
    """
    count = len(S)
    check_size("the number of phases", k, 1, count)
    least = np.full((k + 1, count + 1), np.inf)
    begins = np.zeros((k + 1, count + 1), int)
    least[0, 0] = 0.0
    for phase in range(1, k + 1):
        for end in range(phase, count + 1):
            totals = [least[phase - 1, a] + _unlike(S, a, end) for a in range(end)]
            begins[phase, end] = int(np.argmin(totals))
            least[phase, end] = totals[begins[phase, end]]
    labels, end = np.zeros(count, int), count
    for phase in range(k, 0, -1):
        begin = begins[phase, end]
        labels[begin:end] = phase - 1
        end = begin
    return labels


def _unlike(S: np.ndarray, begin: int, end: int) -> float:
    return float(np.triu(1 - S[begin:end, begin:end], 1).sum())


def number_of_phases(S: np.ndarray, alike: float) -> int:
    """Return the least number of phases within which blocks are alike.

    Args:
        S: the similarity of all pairs, ``[L, L]``.
        alike: the mean similarity of two blocks of one phase that is enough, at most 1.
    """
    for k in range(1, len(S)):
        labels = phases(S, k)
        pairs = np.triu(labels[:, None] == labels, 1)
        if S[pairs].mean() >= alike:
            return k
    return len(S)


# --- the report -----------------------------------------------------------------------------------


def analyse(
    subject: Subject,
    *,
    alike: float = 0.9,
    paths: bool = True,
    changes: int = 0,
    tie: int = 0,
    epochs: int = 20,
    lr: float = 0.01,
) -> Report:
    """Report how alike the blocks of a network are, and what skipping and repeating them does.

    Args:
        subject: what is looked at; its ``layer`` is not used, and its read-out reads the classes.
        alike: the mean similarity of two blocks of one phase that is enough, at most 1.
        paths: whether paths are run.
        changes: the largest number of blocks that a path skips or repeats; 0 for all paths of up
            to 6 blocks, and of more blocks for as many changes as make at most 729 paths. Of many
            paths some reach nearly any label: 1 is the clearest.
        tie: the number of physical blocks, one for each of as many phases, that are trained on half
            of the samples and scored on the others; 0 for none.
        epochs, lr: how they are trained, see :func:`snnsim.analysis.tying.tie`.

    Figures: ``similarity``, the mean cosine of the rates of two blocks, and ``phases``, the least
    number of phases within which blocks are alike; their null shuffles the units of every block and
    sample (or samples, with the null ``"trials"``; shifts would leave rates as they are). Of paths,
    see :class:`snnsim.analysis.paths.Paths`: ``shorter`` and ``corrected``, whose null is a random
    label; the null of ``best single path`` is the path as trained. Of tying: ``tied``, whose null
    are other divisions into as many phases, trained alike, and ``tied, untrained``.
    """
    subject.check_answers("depth")
    check_number("alike", alike, -1, 1)
    stack = stack_of(subject.net)
    activity = record(subject.net, subject.data, stack.names)
    rows = [activity[name] for name in stack.names]
    S = similarity(rows)
    labels = phases(S, tie or number_of_phases(S, alike))
    arrays = {"similarity": S, "phase": labels}
    figures, told = _similarity_figures(subject, rows, S, alike)
    told.append(f"Phases: {_as_text(labels)}.")
    if paths:
        own, curves, said = _path_figures(subject, changes)
        figures |= own
        arrays |= curves
        told += said
    if tie:
        own, said = _tie_figures(subject, labels, epochs, lr)
        figures |= own
        told += said
    return Report("depth", figures, arrays, tuple(told))


def _similarity_figures(
    subject: Subject, rows: Sequence[Recording], S: np.ndarray, alike: float
) -> tuple[dict[str, Figure], list[str]]:
    how = "units" if subject.null == "shift" else subject.null
    nulls = []
    for number in range(subject.nulls):
        seeds = (subject.seed + 1000 * number + place for place in range(len(rows)))
        mixed = [shuffled(row, how, seed) for row, seed in zip(rows, seeds, strict=True)]
        nulls.append(similarity(mixed))
    figures = {
        "similarity": against(_mean_pair(S), [_mean_pair(null) for null in nulls]),
        "phases": against(
            number_of_phases(S, alike), [float(number_of_phases(null, alike)) for null in nulls]
        ),
    }
    return figures, [f"{len(S)} blocks; similarity {figures['similarity']}."]


def _mean_pair(S: np.ndarray) -> float:
    return float(S[np.triu_indices(len(S), 1)].mean())


def _as_text(labels: np.ndarray) -> str:
    return " | ".join(
        " ".join(str(place + 1) for place in np.flatnonzero(labels == label))
        for label in np.unique(labels)
    )


def _path_figures(
    subject: Subject, changes: int
) -> tuple[dict[str, Figure], dict[str, np.ndarray], list[str]]:
    subject.check_classes("depth with paths (--set paths=false leaves them out)")
    readout, mask = subject.readout, subject.mask_padding
    found = paths(subject.net, subject.data, readout=readout, mask_padding=mask, changes=changes)
    accuracy, away = found.right.mean(1), np.abs(found.counts - 1).sum(1) == 1
    less = found.counts.sum(1) < found.counts.shape[1]
    figures = {
        "accuracy": Figure(float(accuracy[found.trained])),
        "accuracy with a block skipped": Figure(float(accuracy[away & less].mean())),
        "accuracy with a block repeated": Figure(float(accuracy[away & ~less].mean())),
        "shorter": found.shorter(),
        "corrected": found.corrected(),
    }
    told = [_told(name, figures[name]) for name in ("shorter", "corrected")]
    if len(found.target) >= 2:
        best = best_single_path(found, subject.seed)
        figures["best single path"] = Figure(best.accuracy, best.trained)
        told.append(
            f"Best single path: {' '.join(map(str, best.counts))} with {best.accuracy:.1%} on "
            f"samples it was not chosen on, as trained {best.trained:.1%}."
        )
    curves = {"paths": found.counts, "accuracy of paths": accuracy}
    return figures, curves | {"shortest right path": found.shortest()}, told


def _told(name: str, figure: Figure) -> str:
    if not np.isfinite(figure.value):
        return f"{name.capitalize()}: there are no such samples."
    if figure.null is None:
        return f"{name.capitalize()}: {figure.value:.1%}; too few classes for a random label."
    points = 100 * (figure.value - figure.null)
    signal = f"{points:.0f} points above it" if points > 0 else "no signal"
    return f"{name.capitalize()}: {figure.value:.1%}, random label {figure.null:.1%}: {signal}."


def _tie_figures(
    subject: Subject, labels: np.ndarray, epochs: int, lr: float
) -> tuple[dict[str, Figure], list[str]]:
    subject.check_classes("depth with tied blocks")
    order = np.random.default_rng(subject.seed).permutation(len(subject.data))
    half = len(order) // 2
    train, rest = View(subject.data, order[:half]), View(subject.data, order[half:])
    others = _other_divisions(labels, subject.nulls, subject.seed)

    accuracy = replace(subject, data=rest).accuracy

    def tied(division: np.ndarray, epochs: int) -> float:
        net = tie_blocks(subject.net, train, division, epochs, lr=lr, seed=subject.seed)
        return accuracy(net)

    figures = {
        "teacher": Figure(accuracy(subject.net)),
        "tied": against(tied(labels, epochs), [tied(other, epochs) for other in others]),
        "tied, untrained": Figure(tied(labels, 0)),
    }
    said = ", ".join(f"{name} {figure}" for name, figure in figures.items())
    return figures, [f"One block for each of {labels[-1] + 1} phases: {said}."]


def _other_divisions(labels: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """Some other divisions into as many phases, in random order."""
    places = range(1, len(labels))
    every = [
        np.searchsorted(cuts, np.arange(len(labels)), side="right")
        for cuts in itertools.combinations(places, int(labels[-1]))
    ]
    different = [each for each in every if not np.array_equal(each, labels)]
    order = np.random.default_rng(seed).permutation(len(different))
    return [different[number] for number in order[:count]]
