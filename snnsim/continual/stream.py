"""Streams of tasks over any data set of the project."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from snnsim.data import Concatenated, Sequences, View, describe
from snnsim.data.view import Transform
from snnsim.errors import ConfigError, check_choice, check_number, check_seed

SCENARIOS = ("task", "domain", "class")


@dataclass(frozen=True)
class Task:
    """A task has data and a number of classes.

    Attributes:
        name: what people call it.
        train, validation, test: its data sets; ``validation`` may be ``None``.
        classes: the number of outputs it uses: those of its own head in the scenario ``"task"``,
            of all classes up to it in ``"class"``.
    """

    name: str
    train: Sequences
    validation: Sequences | None
    test: Sequences
    classes: int


@dataclass(frozen=True)
class Stream:
    """A stream has tasks that come one after the other.

    Attributes:
        name: what people call it.
        scenario: ``"task"``: each task has its own outputs and is named at test time.
            ``"domain"``: the same classes, other inputs. ``"class"``: new classes join, and all
            seen so far are told apart at test time.
        tasks: the tasks in their order.
    """

    name: str
    scenario: str
    tasks: tuple[Task, ...]

    def __post_init__(self) -> None:
        check_choice("scenario", self.scenario, SCENARIOS)
        if not self.tasks:
            raise ConfigError(f"the stream {self.name} has no tasks; give it one or more")

    @property
    def checksums(self) -> dict[str, str]:
        """Return the checksums of all files that the tasks' data were read from."""
        found: dict[str, str] = {}
        for task in self.tasks:
            for part in (task.train, task.validation, task.test):
                found |= {} if part is None else describe(part).checksums
        return found

    @property
    def outputs(self) -> int:
        """Return the number of outputs of a shared head."""
        return max(task.classes for task in self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)


Parts = tuple[Sequences, Sequences | None, Sequences]  # train, validation, test


def _known(data: Sequences, what: str) -> np.ndarray:
    """The labels or speakers of a data set's samples; :class:`ConfigError` without them."""
    values = getattr(describe(data), what)
    if values is None:
        raise ConfigError(
            f"{type(data).__name__} does not say its {what}; give it an `about` that does"
        )
    return np.asarray(values)


def _classes(parts: Parts) -> tuple[str, ...]:
    """Names of the classes of the test data."""
    names = describe(parts[2]).classes
    if not names:
        raise ConfigError(
            f"{type(parts[2]).__name__} has no classes, which a stream of tasks needs; give it an "
            "`about` that names them"
        )
    return names


def _task(name: str, parts: Parts, view: Callable[[Sequences], View], classes: int) -> Task:
    train, validation, test = parts
    held = None if validation is None else view(validation)
    return Task(name, view(train), held, view(test), classes)


def transformed(name: str, parts: Parts, transforms: Sequence[Transform]) -> Stream:
    """Make a domain-incremental stream of the same data under one transform after the other."""
    classes = len(_classes(parts))
    tasks = [
        _task(f"{name} {i + 1}", parts, partial(View, transform=transform), classes)
        for i, transform in enumerate(transforms)
    ]
    return Stream(name, "domain", tuple(tasks))


def permuted(name: str, parts: Parts, tasks: int, seed: int = 0) -> Stream:
    """Make a stream of the same data, its channels permuted at random in each task."""
    channels, seed = describe(parts[2]).channels, check_seed(seed)
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
    """Make a stream of the same images, turned by each of the angles in degrees."""
    shape = describe(parts[2]).shape
    return transformed(name, parts, [_Rotate(angle, shape) for angle in degrees])


@dataclass(frozen=True)
class _Rotate:
    degrees: float
    shape: tuple[int, ...]

    def __call__(self, x: Tensor) -> Tensor:
        images = x.flatten(0, 1).reshape(-1, *self.shape)
        angle = torch.deg2rad(torch.tensor(self.degrees))
        cos, sin = float(angle.cos()), float(angle.sin())
        turns = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]]).expand(len(images), 2, 3)
        grid = nn.functional.affine_grid(turns, list(images.shape), align_corners=False)
        turned = nn.functional.grid_sample(images, grid, align_corners=False, padding_mode="border")
        return turned.reshape(x.shape)


def split_by_class(
    name: str,
    parts: Parts,
    per_task: int | Sequence[Sequence[int]],
    scenario: str,
    seed: int | None = None,
) -> Stream:
    """Make a stream of groups of classes, one after the other.

    Args:
        name: name of the stream.
        parts: train, validation (or ``None``) and test data.
        per_task: the number of classes per task, or a list of the classes of each task.
        scenario: ``"task"``, ``"class"``, or ``"domain"`` (labels count from 0 in every task, one
            head).
        seed: seed of a random order of the classes; ``None`` keeps their order.
    """
    check_choice("scenario", scenario, SCENARIOS)
    names = _classes(parts)
    count = len(names)
    if isinstance(per_task, int):
        if per_task < 1 or count % per_task:
            raise ConfigError(
                f"{per_task} classes per task do not divide the {count} classes; give a divisor"
            )
        order = np.arange(count)
        if seed is not None:
            order = np.random.default_rng(check_seed(seed)).permutation(count)
        groups: list[list[int]] = order.reshape(-1, per_task).tolist()
    else:
        groups = [list(group) for group in per_task]
    if scenario == "domain" and len({len(group) for group in groups}) > 1:
        raise ConfigError(
            "domain-incremental tasks share their outputs, but their groups have "
            f"{sorted({len(group) for group in groups})} classes; give equal groups"
        )
    tasks, seen = [], 0
    for group in groups:
        first = seen if scenario == "class" else 0
        relabel = np.full(count, -1, dtype=np.int64)
        relabel[group] = first + np.arange(len(group))
        seen += len(group)
        title = ", ".join(str(names[c]) for c in group)
        outputs = seen if scenario == "class" else len(group)
        view = partial(_of_classes, group=group, relabel=relabel)
        tasks.append(_task(title, parts, view, outputs))
    return Stream(name, scenario, tuple(tasks))


def _of_classes(data: Sequences, group: Sequence[int], relabel: np.ndarray) -> View:
    return View(data, np.flatnonzero(np.isin(_known(data, "labels"), group)), None, relabel)


def split_by_speaker(name: str, parts: Parts) -> Stream:
    """Make a domain-incremental stream of the recordings of one speaker after the other.

    Speakers are those of the training data. A speaker who is not in the test data is tested on a
    fifth of the recordings in the training data (every fifth of each class), which are not trained
    on.
    """
    tasks: list[Task] = []
    train, _, test = parts
    of_training = _known(train, "speakers")
    for speaker in np.unique(of_training).tolist():
        if speaker < 0:
            raise ConfigError(f"the speakers of {name} are unknown; split it by class")
        title = f"speaker {speaker}"
        if (_known(test, "speakers") == speaker).any():
            view = partial(_of_speaker, speaker=speaker)
            tasks.append(_task(title, parts, view, len(_classes(parts))))
            continue
        mine = np.flatnonzero(of_training == speaker)
        held = every_fifth(_known(train, "labels")[mine], len(tasks))
        if held.all() or not held.any():
            raise ConfigError(
                f"speaker {speaker} of {name} has too few recordings, {len(mine)}, to train and "
                "test on; leave them out"
            )
        own = View(train, mine[~held]), None, View(train, mine[held])
        tasks.append(Task(title, *own, len(_classes(parts))))
    return Stream(name, "domain", tuple(tasks))


def _of_speaker(data: Sequences, speaker: int) -> View:
    return View(data, np.flatnonzero(_known(data, "speakers") == speaker))


def blurry(stream: Stream, fraction: float, seed: int = 0) -> Stream:
    """Blur the boundaries of a stream: some training samples come a task too early or too late.

    Validation and test data stay as they are. In the scenario ``"class"`` a task uses the outputs
    of the classes that come early in it, too.

    Args:
        stream: the stream; tasks with heads of their own (``"task"``) cannot be blurred.
        fraction: fraction of a task's training samples that move to each task next to it, from 0
            to 0.5.
        seed: seed of the choice of samples.
    """
    check_number("fraction", fraction, 0, 0.5)
    if stream.scenario == "task":
        raise ConfigError(
            f"the tasks of {stream.name} have heads of their own, so a sample cannot move to "
            "another task; use the scenario 'class' or 'domain'"
        )
    if fraction == 0:
        return stream
    last, moved = len(stream) - 1, []
    for number, task in enumerate(stream.tasks):
        order = np.random.default_rng([check_seed(seed), number]).permutation(len(task.train))
        count = round(fraction * len(task.train))
        early, late = count if number > 0 else 0, count if number < last else 0
        pieces = order[:early], order[early : len(order) - late], order[len(order) - late :]
        moved.append([View(task.train, np.sort(piece)) for piece in pieces])
    return replace(stream, tasks=tuple(_blurred(stream, moved, i) for i in range(len(stream))))


def _blurred(stream: Stream, moved: Sequence[Sequence[View]], number: int) -> Task:
    """A task with its own samples, late ones of the task before and early ones of the next."""
    parts = [moved[number][1]]
    if number > 0:
        parts.append(moved[number - 1][2])
    if number < len(stream) - 1:
        parts.append(moved[number + 1][0])
    around = stream.tasks[max(number - 1, 0) : number + 2]
    held = Concatenated(tuple(part for part in parts if len(part)))
    return replace(stream.tasks[number], train=held, classes=max(task.classes for task in around))


def every_fifth(labels: np.ndarray, start: int = 0) -> np.ndarray:
    """Return a mask of a fifth of the samples with these labels, of every class alike.

    Where a task has few samples of a class, another ``start`` for each task sees to it that
    every class is trained in some.

    >>> every_fifth(np.array([0, 1] * 5)).nonzero()[0].tolist()
    [0, 1]
    """
    held = np.zeros(len(labels), dtype=bool)
    held[np.argsort(labels, kind="stable")[start % 5 :: 5]] = True
    return held
