"""Mode connectivity: what becomes of accuracy on the straight line between two sets of weights.

    theta(l) = (1 - l) theta_1 + l theta_2,    l = 0 .. 1

Where accuracy on both tasks stays high along the line, the two solutions lie in one basin, and
points between them serve both tasks. Sources: Frankle et al. 2020 (arXiv:1912.05671) for the line
and the barrier; Mirzadeh et al. 2021 (ICLR, arXiv:2010.04495) and Ren et al. 2024
(arXiv:2402.18865), section 2, for tasks learned one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from snnsim.analysis.connectivity import barrier
from snnsim.continual.learner import Learner
from snnsim.continual.watcher import WeightsOfTasks, weights_of
from snnsim.errors import ConfigError, check_number

Weights = Mapping[str, Tensor]
__all__ = ["WeightsOfTasks", "accuracy_between", "barrier", "between", "weights_of"]


def between(start: Weights, end: Weights, fraction: float) -> dict[str, Tensor]:
    """Return the weights at a fraction of the way, from 0 to 1, between two sets of weights.

    Whole numbers, such as counts of batches, are those of the nearer end.

    >>> float(between({"w": torch.tensor(2.0)}, {"w": torch.tensor(6.0)}, 0.25)["w"])
    3.0
    """
    if start.keys() != end.keys():
        differing = sorted(start.keys() ^ end.keys())
        raise ConfigError(
            f"the two sets of weights are not of the same network: only one of them has "
            f"{', '.join(differing[:5])}; take both from one learner and method"
        )
    found = {}
    for name, first in start.items():
        last = end[name]
        if first.is_floating_point():
            found[name] = (1 - fraction) * first + fraction * last
        else:
            found[name] = first if fraction < 0.5 else last
    return found


def accuracy_between(
    learner: Learner,
    start: Weights,
    end: Weights,
    *,
    points: int = 11,
    tasks: Sequence[int] | None = None,
) -> Tensor:
    """Test a learner at evenly spaced points of the line between two sets of its weights.

    It works with every method of continual learning while the method is attached: what a method
    adds to the weights (adapters, a generator) is interpolated with them, and what it keeps
    elsewhere (SHARP's codes) stays as it is. The learner has its own weights again afterwards.

    Args:
        learner: the learner, with its test data.
        start, end: the weights at both ends, as :func:`weights_of` returns them.
        points: number of points, both ends included, at least 2.
        tasks: numbers of the tasks to test; ``None`` for all. In the scenario ``"class"`` the
            classes up to the last of these tasks are told apart.

    Returns:
        Accuracies, fractions, ``[points, tasks]``, in double precision.
    """
    check_number("points", points, 2)
    tested = list(range(len(learner.stream)) if tasks is None else tasks)
    before, rows = weights_of(learner), []
    try:
        for point in range(points):
            learner.load_state_dict(between(start, end, point / (points - 1)))
            rows.append([learner.accuracy(task, max(tested)) for task in tested])
    finally:
        learner.load_state_dict(before)
    return torch.tensor(rows, dtype=torch.float64)
