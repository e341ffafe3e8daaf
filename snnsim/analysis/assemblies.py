"""Assemblies: which units act together, when, and in which samples.

The affinities of all pairs of units are factorised into components of pairs, times and samples
(``factorise.py``); groups are the communities of the pairs of all components together. Source:
Dyballa et al. 2024, arXiv:2402.14102. The affinity of the paper is not public; the one here is our
choice: the geometric mean of two units' changes of rate where these have the same sign.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from snnsim.activity import Recording, of_tasks
from snnsim.analysis.communities import communities, modularity
from snnsim.analysis.factorise import Factors, factorise
from snnsim.analysis.nulls import shuffled
from snnsim.analysis.report import Figure, Report, against, beside_null
from snnsim.analysis.subject import Subject
from snnsim.errors import ConfigError, check_choice, check_number, check_size

LARGEST_RANK = 6
AXES = ("sample", "class", "task")
WORTH = 10.0  # times what one more component explains of a shuffled recording


class Assemblies(NamedTuple):
    """What was found in a recording.

    Attributes:
        factors: the components, the strongest first. Its ``trials`` have an entry for each
            sample, or the mean over the samples of each class or task.
        groups: the group of each unit, ``[N]``; the largest is 0.
        modularity: how much more affinity there is within groups than by chance, below 1.
        stability: how well the components of two halves of the samples agree, at most 1.
    """

    factors: Factors
    groups: np.ndarray
    modularity: float
    stability: float


def assemblies(
    rec: Recording,
    rank: int = 0,
    *,
    smooth_ms: float = 20.0,
    by: str = "sample",
    seed: int = 0,
) -> Assemblies:
    """Find the groups of units that change their rates together.

    Args:
        rec: the recording, of four samples or more.
        rank: the number of components; 0 for as many, up to 6, as each explain ten times of what
            one more explains where the recording is shuffled (this rule is ours).
        smooth_ms: the standard deviation of the Gaussian that makes rates of spikes, in ms; in
            time steps where the length of a step is unknown.
        by: what the size of a component is told for: each ``"sample"``, or the mean over those of
            each ``"class"`` or ``"task"`` (see :func:`snnsim.activity.of_tasks`), in the order of
            their numbers.
        seed: of the starting values and of the halves.

    Raises:
        ConfigError: if there are too few samples or units, nothing changes, or it is unknown which
            class or task samples are from.
    """
    check_size("rank", rank, 0)
    of = _numbers(rec, by)
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
    if of is not None:
        factors = factors._replace(trials=recruitment(factors.trials, of))
    return Assemblies(factors, groups, modularity(weights, groups), agree)


def _numbers(rec: Recording, by: str) -> np.ndarray | None:
    """The class or task of each sample; ``None`` by sample."""
    check_choice("by", by, AXES)
    if by == "sample":
        return None
    found = rec.task if by == "task" else rec.target
    if found is None or found.dim() != 1 or found.is_floating_point():
        raise ConfigError(
            f"by={by!r} needs the {by} of each sample, which the recording of {rec.name} does not "
            "have; use by='sample'"
        )
    return found.numpy()


def recruitment(sizes: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Return the mean size of each component over the samples of each class or task.

    Args:
        sizes: the sizes of components in samples, ``[K, S]``.
        of: the class or task of each sample, ``[S]``.

    Returns:
        ``[K, G]`` for the ``G`` classes or tasks, in the order of their numbers.

    >>> recruitment(np.array([[1.0, 3.0, 4.0]]), np.array([0, 0, 1])).tolist()
    [[2.0, 4.0]]
    """
    return np.stack([sizes[:, of == number].mean(1) for number in np.unique(of)], 1)


def overlap(recruited: np.ndarray) -> np.ndarray:
    """Return how much of what they recruit two tasks have in common.

    With ``p_k(g) = r_k(g) / sum_l r_l(g)``, the fraction of component ``k`` in what task ``g``
    recruits, it is ``sum_k min(p_k(g), p_k(h))``: 1 where both recruit the same in the same
    proportions, 0 where no component is recruited by both.

    Args:
        recruited: the mean sizes of components, ``[K, G]``, as :func:`recruitment` returns them.

    Returns:
        The overlap of all pairs of tasks, ``[G, G]``.

    >>> overlap(np.array([[1.0, 2.0, 0.0], [1.0, 2.0, 3.0]]))[0].tolist()
    [1.0, 1.0, 0.5]
    """
    parts = recruited / np.maximum(recruited.sum(0), 1e-300)
    return np.minimum(parts[:, :, None], parts[:, None, :]).sum(0)


def mean_overlap(sizes: np.ndarray, of: np.ndarray) -> float:
    """Return the mean overlap of two different tasks; ``sizes [K, S]``, ``of [S]``."""
    common = overlap(recruitment(sizes, of))
    return float(common[np.triu_indices(len(common), 1)].mean()) if len(common) > 1 else 1.0


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
    subject: Subject,
    *,
    rank: int = 0,
    smooth_ms: float = 20.0,
    units: int = 100,
    by: str = "sample",
) -> Report:
    """Report the assemblies of a layer.

    Args:
        subject: what is looked at; by task, all tasks that its network has learned, each with its
            own data.
        rank: the number of components; 0 for as many as are worthwhile, up to 6.
        smooth_ms: the standard deviation of the Gaussian that makes rates of spikes, in ms.
        units: the number of units that are looked at, those that change most; 0 for all.
        by: what the sizes of components are told for: ``"sample"``, ``"class"`` or ``"task"``.

    Figures: ``explained`` (the fraction of the affinities' sum of squares), ``stability``,
    ``modularity`` and, where samples have classes, ``class_selectivity``: the fraction of the
    variance of the components' sizes in samples that is between classes. By task there are instead
    ``task_selectivity``, the same between tasks, and ``overlap``, the mean of :func:`overlap` over
    pairs of tasks, where there are two components or more. The null of the first three are shuffled
    recordings, that of the others is the same with classes or tasks in another order; an overlap
    *below* its null means that tasks recruit different assemblies.
    """
    check_choice("by", by, AXES)
    whole = recording_of_tasks(subject) if by == "task" else subject.recording()
    rec, kept = most_active(whole, units)
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
    sizes = found.factors.trials
    figures |= _of_samples(sizes, rec, by, subject)
    arrays = {
        "unit": kept,
        "group": found.groups,
        "time": found.factors.time,
        "trials": sizes,
        "pairs": found.factors.pairs,
    }
    of = _numbers(rec, by)
    if of is not None:
        arrays[by] = np.unique(of)
        arrays["recruitment"] = recruitment(sizes, of)
        arrays["overlap"] = overlap(arrays["recruitment"])
    return Report("assemblies", figures, arrays, _told(found, figures))


def recording_of_tasks(subject: Subject) -> Recording:
    """Return what the layer of a subject does in all tasks that its network has learned.

    The layer is the same in every task, and :func:`snnsim.activity.of_tasks` joins the recordings.
    """
    tasks = subject.learned("by='task'")
    return of_tasks([tasks.subject(task).recording() for task in range(len(tasks.names))])


def most_active(rec: Recording, units: int) -> tuple[Recording, np.ndarray]:
    """Return a recording of the units with the largest variance, and which they are."""
    check_size("units", units, 0)
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


def _of_samples(sizes: np.ndarray, rec: Recording, by: str, subject: Subject) -> dict[str, Figure]:
    """Figures of the sizes in samples, beside those with classes or tasks in another order."""
    measures: dict[str, Callable[[np.ndarray, np.ndarray], float]]
    if by == "task":
        of, measures = _numbers(rec, by), {"task_selectivity": between}
        measures |= {"overlap": mean_overlap} if len(sizes) > 1 else {}
    elif _has_classes(rec):
        of, measures = _numbers(rec, "class"), {"class_selectivity": between}
    else:
        return {}
    assert of is not None
    figures = {}
    for name, measure in measures.items():
        random = np.random.default_rng(subject.seed)
        others = [measure(sizes, random.permutation(of)) for _ in range(20 * subject.nulls)]
        figures[name] = against(measure(sizes, of), others)
    return figures


def _has_classes(rec: Recording) -> bool:
    target = rec.target
    return target is not None and target.dim() == 1 and not target.is_floating_point()


def _told(found: Assemblies, figures: Mapping[str, Figure]) -> tuple[str, ...]:
    sizes = np.bincount(found.groups)
    named = ", ".join(str(n) for n in sizes if n > 1)
    told = [
        f"{len(found.factors.pairs)} components explain {figures['explained']} of the affinities.",
        f"The units fall into groups of {named or '1'}; modularity {figures['modularity']}.",
    ]
    if figures["modularity"].like_null():
        told.append("The groups are no clearer than in shuffled recordings: nothing was found.")
    if "task_selectivity" in figures and "overlap" not in figures:
        told.append("Tasks cannot recruit different components of one; set rank to 2 or more.")
    if "overlap" in figures:
        told.append(f"Two tasks have {figures['overlap']} of what they recruit in common.")
    return tuple(told)
