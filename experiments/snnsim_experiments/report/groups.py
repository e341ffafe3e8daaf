"""Runs that differ in nothing but the seed, and how groups of them compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from snnsim.functional.metrics import mean_interval, wilson_interval
from snnsim_experiments.report.facts import Run

Interval = tuple[float, float] | None
NAMED = 3  # settings that the name of a group has, at most


@dataclass(frozen=True)
class Group:
    """A ``Group`` is some runs of one experiment with different seeds.

    Attributes:
        name: what sets it apart from the other groups.
        runs: its runs, at least one.
        differs: the settings in which the groups differ, with this group's values.
    """

    name: str
    runs: tuple[Run, ...]
    differs: dict[str, Any]

    @property
    def finished(self) -> list[Run]:
        """Return the runs that have a result."""
        return [run for run in self.runs if run.score() is not None]

    def scores(self, part: str = "test") -> list[float]:
        """Return the scores on a part of the data, one for each finished run."""
        found = (run.score(part) for run in self.finished)
        return [score for score in found if score is not None]

    def mean(self, part: str = "test") -> float | None:
        """Return the mean score; ``None`` if no run is finished."""
        scores = self.scores(part)
        return fmean(scores) if scores else None

    def spread(self, part: str = "test") -> float | None:
        """Return the sample standard deviation over seeds; ``None`` for fewer than two."""
        scores = self.scores(part)
        return stdev(scores) if len(scores) > 1 else None

    def interval(self) -> Interval:
        """Return the 95 % interval of the test score, in its unit.

        Of several seeds it is that of their mean (:func:`mean_interval`), and of one run that of
        the accuracy on its test samples (:func:`wilson_interval`); of other scores of one run none
        is known.
        """
        scores = self.scores()
        if len(scores) > 1:
            return mean_interval(scores)
        return of_samples(self.finished[0]) if scores else None

    def best(self) -> Run | None:
        """Return the finished run with the best validation score, which may be shown in detail.

        On a stream, which has no validation score of the whole, it is the first.
        """
        if not self.finished:
            return None
        sign = -1 if self.finished[0].smaller_is_better else 1
        scored = [(run.score("validation"), run) for run in self.finished]
        if self.finished[0].on_stream or any(score is None for score, _ in scored):
            return self.finished[0]
        return max(scored, key=lambda each: sign * (each[0] or 0.0))[1]


def of_samples(run: Run) -> Interval:
    """Return the 95 % interval of the test accuracy of one run, in percent, by its samples."""
    samples, accuracy = run.summary.get("test_samples"), run.score()
    if run.metric != "accuracy" or accuracy is None or not isinstance(samples, int):
        return None
    low, high = wilson_interval(round(accuracy / 100 * samples), samples)
    return 100 * low, 100 * high


def grouped(runs: Sequence[Run]) -> list[Group]:
    """Divide runs into groups that differ in nothing but the seed, in the order of the runs."""
    kinds: list[tuple[dict[str, Any], list[Run]]] = []
    for run in runs:
        settings = run.settings
        same = next((members for other, members in kinds if other == settings), None)
        if same is None:
            kinds.append((settings, [run]))
        else:
            same.append(run)
    names = sorted({name for settings, _ in kinds for name in settings})
    differing = [
        name for name in names if any(s.get(name) != kinds[0][0].get(name) for s, _ in kinds)
    ]
    groups = []
    for settings, members in kinds:
        differs = {name: settings.get(name) for name in differing}
        groups.append(Group(_name(differs, members[0]), tuple(members), differs))
    return groups


def _name(differs: dict[str, Any], run: Run) -> str:
    if not differs or len(differs) > NAMED:
        return run.name if len(differs) > NAMED else run.title
    return ", ".join(f"{name.split('.')[-1]} {short_text(v)}" for name, v in differs.items())


def short_text(value: Any, length: int = 60) -> str:
    """Return a value as text without quotation marks, cut where it is too long.

    >>> short_text("fixed"), short_text([1, 2]), short_text("a" * 9, 5)
    ('fixed', '[1, 2]', 'aaaa…')
    """
    text = str(value)
    return text if len(text) <= length else text[: length - 1] + "…"


@dataclass(frozen=True)
class Difference:
    """A ``Difference`` compares the test scores of a group with those of another, seed by seed.

    Attributes:
        name: the name of the group.
        against: the name of the group that it is compared with.
        seeds: the seeds that both have.
        mean: the mean of the differences.
        interval: the 95 % interval of this mean; ``None`` for fewer than two seeds.
    """

    name: str
    against: str
    seeds: tuple[int, ...]
    mean: float
    interval: Interval

    @property
    def clear(self) -> bool:
        """Return whether the interval does not contain 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


def differences(groups: Sequence[Group]) -> list[Difference]:
    """Compare every group with the first, over the seeds that both have.

    Groups with another score, or with no seed in common, are left out.
    """
    found = []
    first = groups[0]
    base = {run.seed: run for run in first.finished}
    for group in groups[1:]:
        pairs = [(run.seed, run, base[run.seed]) for run in group.finished if run.seed in base]
        pairs = [each for each in pairs if each[1].metric == each[2].metric]
        if pairs:
            gains = [(a.score() or 0.0) - (b.score() or 0.0) for _, a, b in pairs]
            seeds = tuple(seed for seed, _, _ in pairs)
            interval = mean_interval(gains)
            found.append(Difference(group.name, first.name, seeds, fmean(gains), interval))
    return found
