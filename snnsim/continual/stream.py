"""Streams of tasks over any data set of the project."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snnsim.errors import ConfigError, check_choice, check_seed

SCENARIOS = ("task", "domain", "class")
Transform = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class View:
    """Some samples of a data set, perhaps transformed and with other labels.

    It has the data set's interface: ``len``, ``lengths``, ``labels`` and ``batch``.

    Attributes:
        data: a data set.
        indices: of its samples.
        transform: applied to a batch's ``x``.
        relabel: ``[classes of the data]``, the new label of each class.
    """

    data: Any
    indices: np.ndarray
    transform: Transform | None = None
    relabel: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def lengths(self) -> np.ndarray:
        """Steps of each sample."""
        lengths: np.ndarray = self.data.lengths[self.indices]
        return lengths

    @property
    def labels(self) -> np.ndarray:
        """Labels as a batch has them."""
        labels: np.ndarray = self.data.labels[self.indices]
        return labels if self.relabel is None else self.relabel[labels]

    @property
    def checksums(self) -> dict[str, str]:
        """Of the files that the data set was read from."""
        return dict(getattr(self.data, "checksums", {}))

    def batch(self, indices: Sequence[int] | np.ndarray, steps: int | None = None) -> Any:
        """Samples by their number within the view."""
        batch = self.data.batch(self.indices[np.asarray(indices)], steps)
        x = batch.x if self.transform is None else self.transform(batch.x)
        labels = batch.labels
        if self.relabel is not None:
            labels = torch.from_numpy(self.relabel)[labels]
        return batch._replace(x=x, labels=labels)


@dataclass(frozen=True)
class Task:
    """One task: its data, and how many classes it has.

    Attributes:
        name: for people.
        train, validation, test: data sets; ``validation`` may be ``None``.
        classes: number of outputs it uses: of its own head in the scenario ``"task"``, of all
            classes up to it in ``"class"``.
    """

    name: str
    train: Any
    validation: Any
    test: Any
    classes: int


@dataclass(frozen=True)
class Stream:
    """Tasks one after the other.

    Attributes:
        name: for people.
        scenario: ``"task"``: each task has its own outputs and is named at test time.
            ``"domain"``: the same classes, other inputs. ``"class"``: new classes join, and all
            seen so far are told apart at test time.
        tasks: in their order.
    """

    name: str
    scenario: str
    tasks: tuple[Task, ...]

    def __post_init__(self) -> None:
        check_choice("scenario", self.scenario, SCENARIOS)
        if not self.tasks:
            raise ConfigError(f"the stream {self.name} has no tasks")

    @property
    def checksums(self) -> dict[str, str]:
        """Of all files that the tasks' data were read from."""
        found: dict[str, str] = {}
        for task in self.tasks:
            for part in (task.train, task.validation, task.test):
                found |= getattr(part, "checksums", {})
        return found

    @property
    def outputs(self) -> int:
        """Outputs of a shared head."""
        return max(task.classes for task in self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)


Parts = tuple[Any, Any, Any]  # train, validation (or None), test


def _task(name: str, views: Sequence[Any], classes: int) -> Task:
    train, validation, test = views
    return Task(name, train, validation, test, classes)


def _everything(data: Any, transform: Transform | None) -> View | None:
    return None if data is None else View(data, np.arange(len(data)), transform)


def transformed(name: str, parts: Parts, transforms: Sequence[Transform]) -> Stream:
    """Domain-incremental: the same data under one transform after the other."""
    classes = len(parts[2].classes)
    tasks = [
        _task(f"{name} {i + 1}", [_everything(p, transform) for p in parts], classes)
        for i, transform in enumerate(transforms)
    ]
    return Stream(name, "domain", tuple(tasks))


def permuted(name: str, parts: Parts, tasks: int, seed: int = 0) -> Stream:
    """The same data with its channels permuted, at random in each task (the first, too)."""
    channels, seed = parts[2].channels, check_seed(seed)
    orders = [
        torch.from_numpy(np.random.default_rng([seed, task]).permutation(channels))
        for task in range(tasks)
    ]
    return transformed(name, parts, [_Permute(order) for order in orders])


@dataclass(frozen=True)
class _Permute:
    order: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x[..., self.order]


def rotated(name: str, parts: Parts, degrees: Sequence[float]) -> Stream:
    """The same images turned by each of the angles."""
    shape = parts[2].shape
    return transformed(name, parts, [_Rotate(angle, shape) for angle in degrees])


@dataclass(frozen=True)
class _Rotate:
    degrees: float
    shape: tuple[int, ...]

    def __call__(self, x: Tensor) -> Tensor:
        images = x.flatten(0, 1).reshape(-1, *self.shape)
        angle = torch.deg2rad(torch.tensor(self.degrees))
        turn = torch.stack(
            [
                torch.stack([angle.cos(), -angle.sin(), torch.tensor(0.0)]),
                torch.stack([angle.sin(), angle.cos(), torch.tensor(0.0)]),
            ]
        )
        turns = turn.expand(len(images), 2, 3)
        size = list(images.shape)
        grid = torch.nn.functional.affine_grid(turns, size, align_corners=False)
        turned = torch.nn.functional.grid_sample(
            images, grid, align_corners=False, padding_mode="border"
        )
        return turned.reshape(x.shape)


def split_by_class(
    name: str,
    parts: Parts,
    per_task: int | Sequence[Sequence[int]],
    scenario: str,
    seed: int | None = None,
) -> Stream:
    """Groups of classes one after the other.

    Args:
        name: of the stream.
        parts: train, validation (or ``None``) and test data.
        per_task: how many classes a task has, or the classes of each task.
        scenario: ``"task"``, ``"class"``, or ``"domain"`` (labels within the task, one head).
        seed: of a random order of the classes; ``None`` keeps it.
    """
    check_choice("scenario", scenario, SCENARIOS)
    count = len(parts[2].classes)
    if isinstance(per_task, int):
        if per_task < 1 or count % per_task:
            raise ConfigError(f"{per_task} classes per task do not divide the {count} classes")
        order = np.arange(count)
        if seed is not None:
            order = np.random.default_rng(check_seed(seed)).permutation(count)
        groups: list[list[int]] = order.reshape(-1, per_task).tolist()
    else:
        groups = [list(group) for group in per_task]
    if scenario == "domain" and len({len(group) for group in groups}) > 1:
        raise ConfigError("domain-incremental tasks share their outputs: give equal groups")
    tasks, seen = [], 0
    for group in groups:
        first = seen if scenario == "class" else 0
        relabel = np.full(count, -1, dtype=np.int64)
        relabel[group] = first + np.arange(len(group))
        seen += len(group)
        title = ", ".join(str(parts[2].classes[c]) for c in group)
        outputs = seen if scenario == "class" else len(group)
        tasks.append(_task(title, [_of_classes(p, group, relabel) for p in parts], outputs))
    return Stream(name, scenario, tuple(tasks))


def _of_classes(data: Any, group: Sequence[int], relabel: np.ndarray) -> View | None:
    if data is None:
        return None
    return View(data, np.flatnonzero(np.isin(data.labels, group)), None, relabel)


def split_by_speaker(name: str, parts: Parts) -> Stream:
    """Domain-incremental: the recordings of one speaker after the other.

    Speakers are those of the training data. One of whom the test data have nothing is tested
    on a fifth of the recordings in the training data (every fifth of each class), which are not
    trained on.
    """
    tasks: list[Task] = []
    for speaker in np.unique(parts[0].speakers).tolist():
        if speaker < 0:
            raise ConfigError(f"the speakers of {name} are unknown; split it by class")
        views = [
            None if p is None else View(p, np.flatnonzero(p.speakers == speaker)) for p in parts
        ]
        if not (views[2] and len(views[2])):
            mine = np.flatnonzero(parts[0].speakers == speaker)
            held = every_fifth(parts[0].labels[mine], len(tasks))
            if held.all() or not held.any():
                raise ConfigError(f"speaker {speaker} of {name} has too few recordings to test")
            views = [View(parts[0], mine[~held]), None, View(parts[0], mine[held])]
        tasks.append(_task(f"speaker {speaker}", views, len(parts[2].classes)))
    return Stream(name, "domain", tuple(tasks))


def every_fifth(labels: np.ndarray, start: int = 0) -> np.ndarray:
    """A fifth of the samples with these labels, of every class alike, as a mask.

    Where a task has few samples of a class, another ``start`` for each task sees to it that
    every class is trained in some.

    >>> every_fifth(np.array([0, 1] * 5)).nonzero()[0].tolist()
    [0, 1]
    """
    held = np.zeros(len(labels), dtype=bool)
    held[np.argsort(labels, kind="stable")[start % 5 :: 5]] = True
    return held
