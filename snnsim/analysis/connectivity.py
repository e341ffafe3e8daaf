"""Connectivity: how accurate a network is on the straight line between its weights after tasks.

Between the weights after one task and those after a later one, the network is tested on all tasks
so far. Where accuracy stays high, both solutions lie in one basin; the barrier of a task is how far
its accuracy falls below the straight line between that at both ends. Equation and sources are in
:mod:`snnsim.continual.connectivity`, which sets the weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from snnsim.analysis.report import Figure, Report, against
from snnsim.analysis.subject import Subject
from snnsim.errors import ConfigError, check_seed, check_size


def barrier(accuracies: Tensor) -> Tensor:
    """Return how far accuracy on a line falls below the straight line between its ends.

    Args:
        accuracies: ``[points, tasks]``, as :func:`snnsim.continual.accuracy_between`
            returns them.

    Returns:
        The barrier of each task, ``[tasks]``, 0 or more.

    >>> barrier(torch.tensor([[0.75, 1.0], [0.25, 1.0], [0.75, 0.5]])).tolist()
    [0.5, 0.0]
    """
    way = torch.linspace(0, 1, len(accuracies), dtype=accuracies.dtype)[:, None]
    straight = (1 - way) * accuracies[0] + way * accuracies[-1]
    return (straight - accuracies).amax(0)


def in_another_order(
    start: Mapping[str, Tensor], end: Mapping[str, Tensor], seed: int
) -> dict[str, Tensor]:
    """Return weights as far from ``start`` as ``end`` is, in a direction that was not learned.

    The change of each tensor has its entries in another order; what then lies outside of the range
    of the tensor's values at both ends is moved to its border, so that delays and variances stay
    possible. Whole numbers are those of the end.

    Args:
        start, end: the weights at both ends by name.
        seed: the seed of the order.
    """
    random = torch.Generator().manual_seed(check_seed(seed))
    found = {}
    for name, last in end.items():
        if not last.is_floating_point() or not last.numel():
            found[name] = last
            continue
        first = start[name]
        change = (last - first).flatten()
        order = torch.randperm(len(change), generator=random).to(change.device)
        moved = first + change[order].view(last.shape)
        low, high = torch.minimum(first, last).min(), torch.maximum(first, last).max()
        found[name] = moved.clamp(low, high)
    return found


def analyse(subject: Subject, *, points: int = 11, direct: bool = False) -> Report:
    """Report accuracy on the straight lines between the weights after tasks.

    Args:
        subject: what is looked at: a network that has learned a stream of tasks; ``nulls`` is the
            number of lines of the null. Its ``layer``, ``null`` and ``net`` are not used.
        points: the number of points of each line, both ends included, at least 3.
        direct: whether there is one line, from the weights after the first task to those after the
            last, instead of one from each task to the next.

    Figures, for the line between the weights after tasks ``a`` and ``b``, counted from 1, over the
    tasks up to ``b``: ``barrier a-b``, the largest barrier of a task, and ``best a-b``, the highest
    mean accuracy of a point between the ends. The null of both is a line of the same start and
    length in a direction that was not learned, see :func:`in_another_order`.
    """
    tasks = subject.learned("connectivity")
    count = len(tasks.names)
    check_size("points", points, 3)
    if count < 2:
        raise ConfigError(f"connectivity needs 2 tasks or more, but the stream has {count}")
    legs = [(0, count - 1)] if direct else [(task, task + 1) for task in range(count - 1)]
    figures: dict[str, Figure] = {}
    curves, nulls, told = [], [], []
    for start, end in legs:
        line = tasks.line(start, end, points)
        seeds = range(subject.seed, subject.seed + subject.nulls)
        others = [tasks.line(start, end, points, seed) for seed in seeds]
        name = f"{start + 1}-{end + 1}"
        for what, measure in (("barrier", _largest_barrier), ("best", _best_inside)):
            figures[f"{what} {name}"] = against(measure(line), [measure(each) for each in others])
        curves.append(_of_all(line, count))
        if others:
            nulls.append(_of_all(torch.stack(others).mean(0), count))
        told.append(_told(name, line, figures))
    arrays = {
        "position": np.concatenate([np.linspace(start, end, points) + 1 for start, end in legs]),
        "accuracy": np.concatenate(curves),
    }
    if nulls:
        arrays["accuracy, null"] = np.concatenate(nulls)
    return Report("connectivity", figures, arrays, tuple(told))


def _largest_barrier(line: Tensor) -> float:
    return float(barrier(line).max())


def _best_inside(line: Tensor) -> float:
    return float(line[1:-1].mean(1).max())


def _of_all(line: Tensor, count: int) -> np.ndarray:
    """The same for all tasks; those that the line does not test are not a number."""
    found = np.full((len(line), count), np.nan)
    found[:, : line.shape[1]] = line.numpy()
    return found


def _told(name: str, line: Tensor, figures: Mapping[str, Figure]) -> str:
    ends = " and ".join(f"{float(line[place].mean()):.1%}" for place in (0, -1))
    return (
        f"Tasks {name}: barrier {figures[f'barrier {name}']}; the best point between the ends has "
        f"an accuracy of {figures[f'best {name}']}, the ends {ends}."
    )
