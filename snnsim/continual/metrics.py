"""What is measured of a stream of tasks.

``A[i, j]`` is the accuracy on task ``j`` after training on task ``i`` (both from 0), ``T`` the
number of tasks. Source: Lopez-Paz & Ranzato 2017 (arXiv:1706.08840) for ACC, BWT and FWT;
Chaudhry et al. 2018 (arXiv:1801.10112) for forgetting.
"""

from __future__ import annotations

import numpy as np


def average_accuracy(matrix: np.ndarray) -> float:
    """Return ACC, the mean of the last row.

    >>> average_accuracy(np.array([[0.9, 0.1], [0.7, 0.8]]))
    0.75
    """
    return float(np.mean(matrix[-1]))


def backward_transfer(matrix: np.ndarray) -> float:
    """Return BWT, the mean over all but the last task of ``A[T-1, j] - A[j, j]``; 0 for one task.

    >>> round(backward_transfer(np.array([[0.9, 0.1], [0.7, 0.8]])), 4)
    -0.2
    """
    if len(matrix) < 2:
        return 0.0
    return float(np.mean((matrix[-1] - np.diag(matrix))[:-1]))


def forward_transfer(matrix: np.ndarray, untrained: np.ndarray) -> float:
    """Return FWT, the mean over all but the first task of ``A[j-1, j]`` less that of no training.

    It says something only where all tasks have the same outputs, trained from the first on.
    """
    if len(matrix) < 2:
        return 0.0
    before = np.diag(matrix, 1)
    return float(np.mean(before - untrained[1:]))


def forgetting(matrix: np.ndarray) -> float:
    """Return the mean over all but the last task of its best accuracy so far less its last.

    >>> round(forgetting(np.array([[0.9, 0.1], [0.7, 0.8]])), 4)
    0.2
    """
    if len(matrix) < 2:
        return 0.0
    best = np.array([matrix[j:-1, j].max() for j in range(len(matrix) - 1)])
    return float(np.mean(best - matrix[-1, :-1]))
