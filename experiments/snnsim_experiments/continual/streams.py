"""Task streams by name: ``permuted-X``, ``rotated-X``, ``split-X``, ``speakers-X``, ``parity``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import snnsim_datasets
from snnsim_datasets import images
from snnsim_datasets.synthetic import match_to_sample, parity

from snnsim.continual import (
    Stream,
    Task,
    View,
    blurry,
    permuted,
    rotated,
    split_by_class,
    split_by_speaker,
)
from snnsim.continual.stream import every_fifth
from snnsim.data import describe
from snnsim.errors import ConfigError, check_choice, check_number, check_seed
from snnsim_experiments.settings import check_section, fields

ALIASES = {"pmnist": "permuted-mnist", "spoken-digits": "split-spoken-digits"}
FIVE = ("cifar10", "mnist", "svhn", "fashion-mnist", "notmnist")
SPOKEN = ("spoken-digits", "fsdd", "recordings", "shd", "spikes", "ssc")  # with known speakers
CURRICULA = {"parity": parity, "match-to-sample": match_to_sample}
CANVAS = (3, 32, 32)  # of five image sets of different sizes
EVALUATED = ("test", "validation")
USED = {  # options by kind of stream, beside those of all
    "permuted": {"tasks", "seed", "protocol"},
    "rotated": {"tasks", "turn", "protocol"},
    "split": {"scenario", "per_task", "order_seed", "protocol"},
    "speakers": {"protocol"},
    "curriculum": {"scenario", "tasks", "samples", "seed"},
    "collection": {"scenario"},
}
OF_ALL = {"validation", "evaluate", "blur", "data"}


def names() -> list[str]:
    """Return the names of all streams.

    >>> {"pmnist", "split-fashion-mnist", "speakers-fsdd"} <= set(names())
    True
    """
    made = [
        f"{kind}-{name}" for kind in ("permuted", "rotated", "split") for name in images.names()
    ]
    made += [f"split-{name}" for name in snnsim_datasets.names()]
    made += [f"speakers-{name}" for name in SPOKEN]
    return sorted([*ALIASES, *made, *CURRICULA, "5-datasets"])


def parse(stream: str) -> tuple[str, str]:
    """Return the kind and the data set of a stream.

    >>> parse("pmnist")
    ('permuted', 'mnist')
    """
    check_choice("stream", stream, names())
    if stream in CURRICULA:
        return "curriculum", stream
    if stream == "5-datasets":
        return "collection", "cifar10"
    kind, _, data = ALIASES.get(stream, stream).partition("-")
    return kind, data


def placed(stream: str, root: str | None) -> tuple[str, str | None, list[tuple[str, Any]]]:
    """Return a stream of the data of a place by its name, its root, and changes that it needs.

    Args:
        stream: a name of :func:`names`, or ``split-PLACE``, ``speakers-PLACE``, ... with what
            :func:`snnsim_datasets.recognise` knows.
        root: the folder of a data set that is given by its name.

    >>> placed("split-my_data:words", None)
    ('split-python', '.', [('stream.data', {'function': 'my_data:words'})])
    >>> placed("pmnist", "data")
    ('pmnist', 'data', [])
    """
    kind, _, data = stream.partition("-")
    if stream in names() or kind not in USED or not data:
        return stream, root, []
    found = snnsim_datasets.recognise(data, root)
    changes = [("stream.data", found.options)] if found.options else []
    return f"{kind}-{found.name}", found.root, changes


def check_used(stream: str, given: Iterable[str]) -> None:
    """Refuse options that a stream would ignore.

    >>> check_used("pmnist", ["tasks", "evaluate"])
    """
    used = USED[parse(stream)[0]] | OF_ALL
    for name in given:
        if name not in used:
            raise ConfigError(
                f"stream.{name} has no effect on {stream}; remove it, or set one of "
                f"{', '.join(sorted(used))}"
            )


def is_still(stream: str) -> bool:
    """Return whether the samples of a stream are images."""
    return parse(stream)[1] in images.names()


@dataclass(frozen=True)
class StreamOptions:
    """These options describe the tasks of a stream.

    Attributes:
        scenario: what is asked in a split by class or a curriculum: ``"task"``, ``"class"`` or
            ``"domain"``.
        tasks: the number of tasks of permuted and rotated streams and of curricula.
        per_task: the number of classes in each task of a split.
        seed: the seed of the permutations, or of the sequences of a curriculum.
        order_seed: the seed of a random order of the classes; -1 keeps their order.
        turn: the angle in degrees from task to task of a rotated stream.
        samples: the number of training sequences per task of a curriculum; a quarter as many are
            held out, and another quarter are for tests.
        validation: whether a part of the training data is held out and not trained on. Streams by
            speaker hold nothing out.
        evaluate: ``"test"``, or ``"validation"`` to test on the part held out (by speakers: on
            every fifth recording of each), which is how the options of a method are chosen.
        protocol: the split of data sets that have several: ``"speaker"`` for GSC without the
            lists of its official split.
        data: options of the data set, as its section ``data`` has them; ``None`` for none.
        blur: the fraction of a task's training samples that come in each task next to it, from 0
            to 0.5; not in the scenario ``"task"``.
    """

    scenario: str = "task"
    tasks: int = 10
    per_task: int = 2
    seed: int = 0
    order_seed: int = -1
    turn: float = 18.0
    samples: int = 4000
    validation: bool = True
    evaluate: str = "test"
    protocol: str = ""
    blur: float = 0.0
    data: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_choice("evaluate", self.evaluate, EVALUATED)
        check_number("blur", self.blur, 0, 0.5)


def build(stream: str, root: str | None, progress: Any = None, **options: Any) -> Stream:
    """Build a stream by its name.

    Args:
        stream: the name, one of :func:`names`.
        root: the folder of the data set's files; ``None`` for embedded data.
        progress: is called with the bytes done and the bytes in all during a download.
        options: the fields of :class:`StreamOptions`.
    """
    kind, name = parse(stream)
    told = StreamOptions(**options)
    if told.blur:
        clear = build(stream, root, progress, **{**options, "blur": 0.0})
        return blurry(clear, told.blur, told.seed)
    if told.evaluate == "validation":
        if not told.validation:
            raise ConfigError(
                f"evaluate='validation' but nothing is held out of {stream}; "
                "set stream.validation=true"
            )
        whole = build(stream, root, progress, **{**options, "evaluate": "test"})
        apart = (_on_held_out(task, i) for i, task in enumerate(whole.tasks))
        return replace(whole, tasks=tuple(apart))
    if kind == "curriculum":
        return _curriculum(name, told)
    if kind == "collection":
        return _five_datasets(stream, root, progress, told)
    parts = _parts(kind, name, root, {"progress": progress}, told)
    if kind == "permuted":
        return permuted(stream, parts, told.tasks, told.seed)
    if kind == "rotated":
        return rotated(stream, parts, [told.turn * task for task in range(told.tasks)])
    if kind == "speakers":
        return split_by_speaker(stream, parts)
    order = None if told.order_seed < 0 else told.order_seed
    return split_by_class(stream, parts, told.per_task, told.scenario, order)


def _parts(
    kind: str, name: str, root: str | None, options: dict[str, Any], told: StreamOptions
) -> tuple[Any, Any, Any]:
    """Training, validation and test data of a stream of one data set."""
    module: Any = images.get(name) if name in images.names() else snnsim_datasets.get(name)
    load: Callable[..., Any] = images.load if name in images.names() else snnsim_datasets.load
    if told.protocol:
        if "protocol" not in inspect.signature(module.load).parameters:
            raise ConfigError(
                f"stream.protocol is {told.protocol!r}, but {name} has only one split; remove it"
            )
        options = options | {"protocol": told.protocol}
    options = _given(kind, module.load, told.data or {}) | options
    whole = kind == "speakers" or not told.validation
    trained = "train_all" if whole and "train_all" in module.INFO.splits else "train"
    train = load(name, trained, root, **options)
    held = None if whole else load(name, "validation", root, **options)
    return train, held, load(name, "test", root, **options)


def _given(kind: str, load: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """The options of a data set; a stream by speaker needs every speaker in all parts."""
    if not given and kind != "speakers":
        return {}
    known = fields(load)
    if kind == "speakers" and "split_by" in known:
        given = {"split_by": "class"} | given
    checked = check_section("stream.data", known, given, ("dt",))
    return {name: checked[name] for name in given}


def _on_held_out(task: Task, number: int) -> Task:
    """Tested on its validation data; if it has none, on every fifth sample it would train on."""
    if task.validation is not None:
        return replace(task, validation=None, test=task.validation)
    held = every_fifth(np.asarray(describe(task.train).labels), number)
    if held.all():
        raise ConfigError(
            f"{task.name} has only {len(held)} samples, too few to hold any out; "
            "set stream.evaluate='test'"
        )
    train, test = (View(task.train, np.flatnonzero(part)) for part in (~held, held))
    return replace(task, train=train, test=test)


def _five_datasets(name: str, root: str | None, progress: Any, told: StreamOptions) -> Stream:
    """Five image sets of ten classes each, on a canvas of 3 x 32 x 32.

    ``root`` holds a folder for each (``cifar10``, ``mnist``, ``svhn``, ``fashion_mnist`` or
    ``fashion-mnist``, ``notmnist``).
    """
    _refuse_class(told, "the tasks of 5-datasets are whole sets")
    wanted = ("train", "validation", "test") if told.validation else ("train_all", "test")
    made = []
    for each in FIVE:
        folder = None if root is None else Path(root) / each
        if folder is not None and not folder.is_dir():
            folder = folder.with_name(each.replace("-", "_"))
        parts = [
            replace(images.load(each, part, folder, flat=False, progress=progress), canvas=CANVAS)
            for part in wanted
        ]
        made.append(Task(each, parts[0], parts[1] if told.validation else None, parts[-1], 10))
    return Stream(name, told.scenario, tuple(made))


def _curriculum(name: str, told: StreamOptions) -> Stream:
    """Memories of 2, 3, ... bits, each with a head of its own, or one head for all."""
    _refuse_class(told, f"all tasks of {name} have the same two answers")
    sizes, made = (told.samples, told.samples // 4, told.samples // 4), []
    for memory in range(2, 2 + told.tasks):
        train, held, test = (
            CURRICULA[name](memory, max(size, 1), 3 * told.seed + i) for i, size in enumerate(sizes)
        )
        made.append(Task(f"last {memory} bits", train, held, test, 2))
    return Stream(name, told.scenario, tuple(made))


def _refuse_class(told: StreamOptions, why: str) -> None:
    if told.scenario == "class":
        raise ConfigError(f"scenario is 'class', but {why}; use 'task' or 'domain'")
