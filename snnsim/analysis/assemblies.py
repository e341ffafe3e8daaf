"""Assemblies: which units act together, when, and in which samples.

The affinities of all pairs of units are factorised into components of pairs, times and samples
(``factorise.py``); groups are the communities of the pairs of all components together. Source:
Dyballa et al. 2024, arXiv:2402.14102. The affinity of the paper is not public; the one here is our
choice: the geometric mean of two units' changes of rate where these have the same sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from snnsim.activity import Recording
from snnsim.analysis.communities import communities, modularity
from snnsim.analysis.factorise import Factors, factorise
from snnsim.analysis.nulls import shuffled
from snnsim.analysis.report import Figure, Report, against, beside_null
from snnsim.analysis.subject import Subject
from snnsim.errors import ConfigError, check_number

LARGEST_RANK = 6
WORTH = 10.0  # times what one more component explains of a shuffled recording


class Assemblies(NamedTuple):
    """What was found in a recording.

    Attributes:
        factors: the components, the strongest first.
        groups: the group of each unit, ``[N]``; the largest is 0.
        modularity: how much more affinity there is within groups than by chance, below 1.
        stability: how well the components of two halves of the samples agree, at most 1.
    """

    factors: Factors
    groups: np.ndarray
    modularity: float
    stability: float


def assemblies(
    rec: Recording, rank: int = 0, *, smooth_ms: float = 20.0, seed: int = 0
) -> Assemblies:
    """Find the groups of units that change their rates together.

    Args:
        rec: the recording, of four samples or more.
        rank: the number of components; 0 for as many, up to 6, as each explain ten times of what
            one more explains where the recording is shuffled (this rule is ours).
        smooth_ms: the standard deviation of the Gaussian that makes rates of spikes, in ms; in
            time steps where the length of a step is unknown.
        seed: of the starting values and of the halves.

    Raises:
        ConfigError: if there are too few samples or units, or nothing changes.
    """
    check_number("rank", rank, 0)
    change = changes(rec, smooth_ms)
    if change.shape[1] < 4 or change.shape[2] < 3:
        raise ConfigError(
            f"assemblies need 4 samples and 3 units or more; {rec.name} has {change.shape[1]} and "
            f"{change.shape[2]}"
        )
    if not change.any():
        raise ConfigError(f"nothing changes in {rec.name}: its units are silent or constant")
    rank = rank or worthwhile(change, changes(shuffled(rec, "shift", seed), smooth_ms), seed)
    factors = factorise(change, rank, seed=seed)
    weights = np.tensordot(np.linalg.norm(factors.trials, axis=1), factors.pairs, 1)
    groups = communities(weights, seed)
    agree = stability(change, rank, seed)
    return Assemblies(factors, groups, modularity(weights, groups), agree)


def changes(rec: Recording, smooth_ms: float) -> np.ndarray:
    """Return the change of smoothed rates per time step, ``[T, S, N]``; 0 outside of a sample."""
    check_number("smooth_ms", smooth_ms, 0)
    inside = rec.inside().unsqueeze(2)
    values = (rec.values.flatten(2).double() * inside).numpy()
    width = smooth_ms / (rec.dt or 1.0)
    reach = int(np.ceil(4 * width))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(width, 1e-9)) ** 2)
    padded = np.pad(values, ((reach, reach), (0, 0), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)
    smooth = windows @ (taps / taps.sum())
    return np.gradient(smooth, axis=0) * inside.numpy()


def stability(change: np.ndarray, rank: int, seed: int = 0) -> float:
    """Return how well the components of two halves of the samples agree, at most 1.

    It is the mean cosine of their pairs, the best pairs of components matched first.
    """
    order = np.random.default_rng(seed).permutation(change.shape[1])
    half = len(order) // 2
    one, two = (factorise(change[:, p], rank, seed=seed) for p in (order[:half], order[half:]))
    cosines = np.einsum("kij,lij->kl", one.pairs, two.pairs)
    found = []
    for _ in range(rank):
        row, column = np.unravel_index(cosines.argmax(), cosines.shape)
        found.append(cosines[row, column])
        cosines[row], cosines[:, column] = -1.0, -1.0
    return float(np.mean(found))


def worthwhile(change: np.ndarray, null: np.ndarray, seed: int = 0) -> int:
    """Return the number of components that each explain ten times of what one explains of a null.

    Args:
        change, null: changes of rate ``[T, S, N]``, of a recording and of the same one shuffled.
        seed: of the starting values.
    """
    first, second = (factorise(null, rank, seed=seed).explained for rank in (1, 2))
    before = factorise(change, 1, seed=seed).explained
    for rank in range(2, LARGEST_RANK + 1):
        explained = factorise(change, rank, seed=seed).explained
        if explained - before < WORTH * max(second - first, 0):
            return rank - 1
        before = explained
    return LARGEST_RANK


def analyse(
    subject: Subject, *, rank: int = 0, smooth_ms: float = 20.0, units: int = 100
) -> Report:
    """Report the assemblies of a layer.

    Args:
        subject: what is looked at.
        rank: the number of components; 0 for as many as are worthwhile, up to 6.
        smooth_ms: the standard deviation of the Gaussian that makes rates of spikes, in ms.
        units: the number of units that are looked at, those that change most; 0 for all.

    Figures: ``explained`` (the fraction of the affinities' sum of squares), ``stability``,
    ``modularity`` and, where samples have classes, ``class_selectivity``: the fraction of the
    variance of the components' sizes in samples that is between classes. The null of the first
    three are shuffled recordings, that of the last is the same with labels in another order.
    """
    rec, kept = most_active(subject.recording(), units)
    found = assemblies(rec, rank, smooth_ms=smooth_ms, seed=subject.seed)
    rank = len(found.factors.pairs)

    def measure(each: Recording) -> Mapping[str, float]:
        again = found if each is rec else assemblies(
            each, rank, smooth_ms=smooth_ms, seed=subject.seed
        )  # fmt: skip
        return {
            "explained": again.factors.explained,
            "stability": again.stability,
            "modularity": again.modularity,
        }

    figures = beside_null(measure, rec, subject.null, subject.nulls, subject.seed)
    labels = None if rec.target is None or rec.target.dim() != 1 else rec.target.numpy()
    if labels is not None and not np.issubdtype(labels.dtype, np.floating):
        figures["class_selectivity"] = _selectivity(found.factors.trials, labels, subject)
    arrays = {
        "unit": kept,
        "group": found.groups,
        "time": found.factors.time,
        "trials": found.factors.trials,
        "pairs": found.factors.pairs,
    }
    if labels is not None and not np.issubdtype(labels.dtype, np.floating):
        arrays["class"] = labels
    return Report("assemblies", figures, arrays, _told(found, figures))


def most_active(rec: Recording, units: int) -> tuple[Recording, np.ndarray]:
    """Return a recording of the units with the largest variance, and which they are."""
    check_number("units", units, 0)
    flat = rec.values.flatten(2)
    order = flat.double().var((0, 1), correction=0).argsort(descending=True, stable=True)
    kept = order[: units or None].sort().values
    return replace(rec, values=flat[..., kept]), kept.numpy()


def between(sizes: np.ndarray, labels: np.ndarray) -> float:
    """Return the fraction of the variance of ``sizes [K, S]`` that is between classes."""
    total = ((sizes - sizes.mean(1, keepdims=True)) ** 2).sum()
    inside = sum(
        ((part - part.mean(1, keepdims=True)) ** 2).sum()
        for part in (sizes[:, labels == label] for label in np.unique(labels))
    )
    return float(1 - inside / total) if total > 0 else 0.0


def _selectivity(sizes: np.ndarray, labels: np.ndarray, subject: Subject) -> Figure:
    random = np.random.default_rng(subject.seed)
    others = [between(sizes, random.permutation(labels)) for _ in range(20 * subject.nulls)]
    return against(between(sizes, labels), others)


def _told(found: Assemblies, figures: Mapping[str, Figure]) -> tuple[str, ...]:
    sizes = np.bincount(found.groups)
    named = ", ".join(str(n) for n in sizes if n > 1)
    told = [
        f"{len(found.factors.pairs)} components explain {figures['explained']} of the affinities.",
        f"The units fall into groups of {named or '1'}; modularity {figures['modularity']}.",
    ]
    if figures["modularity"].like_null():
        told.append("The groups are no clearer than in shuffled recordings: nothing was found.")
    return tuple(told)
