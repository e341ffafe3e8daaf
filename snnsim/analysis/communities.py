"""Groups of a weighted graph by modularity, and how well two groupings agree."""

from __future__ import annotations

import numpy as np


def modularity(weights: np.ndarray, groups: np.ndarray) -> float:
    """Return the modularity ``Q = sum_ij (w_ij - k_i k_j / 2m) [g_i = g_j] / 2m``.

    Args:
        weights: a symmetric, non-negative matrix ``[N, N]``.
        groups: the group of each node, ``[N]``.

    Source: Newman 2004, Phys. Rev. E 70, 056131, equation 2.

    >>> pairs = np.kron(np.eye(2), np.ones((2, 2)))
    >>> modularity(pairs, np.array([0, 0, 1, 1]))
    0.5
    """
    total, degree = weights.sum(), weights.sum(1)
    if total == 0:
        return 0.0
    same = groups[:, None] == groups[None, :]
    return float(((weights - np.outer(degree, degree) / total) * same).sum() / total)


def communities(weights: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return the group of each node, found by moving nodes and merging groups (Louvain).

    Args:
        weights: a symmetric, non-negative matrix ``[N, N]``.
        seed: of the order in which nodes are looked at.

    Returns:
        ``[N]`` whole numbers from 0, the largest group first.

    Source: Blondel et al. 2008, J. Stat. Mech. P10008.

    >>> communities(np.kron(np.eye(2), np.ones((3, 3)))).tolist()
    [0, 0, 0, 1, 1, 1]
    """
    random = np.random.default_rng(seed)
    member = np.arange(len(weights))
    graph = np.array(weights, dtype=np.float64)
    while True:
        groups = _moved(graph, random)
        member = groups[member]
        if len(np.unique(groups)) == len(graph):
            return _by_size(member)
        choose = np.eye(groups.max() + 1)[groups]
        graph = choose.T @ graph @ choose


def _moved(graph: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Groups in which no node alone can raise the modularity by moving."""
    n, total, degree = len(graph), graph.sum(), graph.sum(1)
    groups = np.arange(n)
    if total == 0:
        return groups
    inside = degree.copy()  # of each group, the sum of degrees
    moved = True
    while moved:
        moved = False
        for node in random.permutation(n):
            here = groups[node]
            inside[here] -= degree[node]
            links = np.bincount(groups, graph[node] * (np.arange(n) != node), minlength=n)
            gain = links - degree[node] * inside / total
            best = int(gain.argmax())
            if gain[best] > gain[here] + 1e-12:
                groups[node], moved = best, True
            inside[groups[node]] += degree[node]
    return np.unique(groups, return_inverse=True)[1]


def _by_size(groups: np.ndarray) -> np.ndarray:
    _, names, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return np.argsort(np.argsort(-sizes, kind="stable"), kind="stable")[names]


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Return the normalised mutual information of two groupings, 0 to 1.

    ``NMI = 2 I(a; b) / (H(a) + H(b))``; two groupings that are each one group agree by definition.

    >>> agreement(np.array([0, 0, 1, 1]), np.array([5, 5, 2, 2]))
    1.0
    """
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1 / len(a))
    of_a, of_b = joint.sum(1), joint.sum(0)

    def entropy(p: np.ndarray) -> float:
        return float(-(p[p > 0] * np.log(p[p > 0])).sum())

    both = entropy(of_a) + entropy(of_b)
    return (2 * (both - entropy(joint.ravel())) / both) if both > 0 else 1.0
