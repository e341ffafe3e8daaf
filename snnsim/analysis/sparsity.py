"""Sparsity: how accurate a trained network is with fewer of its synapses.

Synapses are cut by magnitude, without training afterwards; the null cuts as many at random. Source:
Darji 2024 (arXiv:2407.20601), section 4, before the network is trained again.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence as Ordered

import numpy as np

from snnsim.analysis.report import Report, against
from snnsim.analysis.subject import Subject
from snnsim.errors import ConfigError, check_number, check_seed
from snnsim.sparsity import sparsify

ENOUGH = 0.95  # of the accuracy of the network as it is


def analyse(
    subject: Subject,
    *,
    densities: Ordered[float] = (1.0, 0.5, 0.2, 0.1, 0.05),
    synapses: str = "both",
    per: str = "network",
) -> Report:
    """Report the accuracy of a network whose weakest synapses are cut.

    Args:
        subject: the network and the data; ``readout``, ``mask_padding`` and ``steps`` say how it
            is evaluated, and ``nulls`` is the number of random masks.
        densities: the fractions of the synapses that are kept, each above 0 and at most 1.
        synapses: which synapses may be cut: ``"input"``, ``"recurrent"`` or ``"both"``, the
            ``what`` of :func:`snnsim.sparsity.sparsify`.
        per: ``"layer"`` cuts the same fraction of each connection, ``"network"`` the weakest of
            all connections together.

    Figures: ``accuracy at D`` for every density ``D``, and ``density for 95 %``, the smallest of
    the densities at which and above which the accuracy is at least 95 % of that of the network as
    it is. The null is the mean over random masks of the same density, of ``per`` the same.
    """
    subject.check_answers("sparsity")
    if not len(densities):
        raise ConfigError("densities is empty; give at least one, such as densities=[0.5]")
    for density in densities:
        check_number("a density", density, most=1, above=0)
    levels = sorted(map(float, densities), reverse=True)
    check_seed(subject.seed)
    whole = subject.accuracy(subject.net)

    def curve(way: str, seed: int) -> np.ndarray:
        found = []
        for density in levels:
            net = copy.deepcopy(subject.net)
            sparsify(net, density, way, seed, what=synapses, per=per)
            found.append(subject.accuracy(net))
        return np.array(found)

    weakest = curve("magnitude", subject.seed)
    nulls = [curve("random", subject.seed + number) for number in range(subject.nulls)]
    figures = {
        f"accuracy at {density:g}": against(weakest[i], [null[i] for null in nulls])
        for i, density in enumerate(levels)
    }
    enough = f"density for {100 * ENOUGH:.0f} %"
    figures[enough] = against(
        _smallest(levels, weakest, whole), [_smallest(levels, null, whole) for null in nulls]
    )
    arrays = {"density": np.array(levels), "accuracy": weakest}
    if nulls:
        arrays["accuracy, null"] = np.mean(nulls, axis=0)
    text = (
        f"With all of its synapses the network has an accuracy of {whole:.3f}; at least "
        f"{100 * ENOUGH:.0f} % of it remain with a fraction of {figures[enough]} of its synapses.",
    )
    return Report("sparsity", figures, arrays, text)


def _smallest(levels: list[float], accuracy: np.ndarray, whole: float) -> float:
    """The last density, from the largest on, before the accuracy first falls too low."""
    low = np.flatnonzero(accuracy < ENOUGH * whole)
    last = (low[0] if len(low) else len(levels)) - 1
    return levels[last] if last >= 0 else 1.0
