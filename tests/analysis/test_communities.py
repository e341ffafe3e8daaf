"""Modularity, communities and the agreement of groupings, against other ways to find them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from snnsim.analysis.communities import agreement, communities, modularity


def graph(seed: int, n: int = 9) -> np.ndarray:
    random = np.random.default_rng(seed)
    weights = random.random((n, n)) * (random.random((n, n)) < 0.5)
    weights = weights + weights.T
    np.fill_diagonal(weights, 0)
    return weights


@pytest.mark.parametrize("seed", range(3))
def test_modularity_is_its_equation(seed):
    weights, random = graph(seed), np.random.default_rng(seed)
    groups = random.integers(0, 3, len(weights))
    twice = weights.sum()
    total = 0.0
    for i, j in itertools.product(range(len(weights)), repeat=2):
        if groups[i] == groups[j]:
            total += weights[i, j] - weights[i].sum() * weights[j].sum() / twice
    assert modularity(weights, groups) == pytest.approx(total / twice, rel=1e-12)


def partitions(n: int):
    """All groupings of n nodes, each with the groups in the order in which they begin."""
    if n == 0:
        yield ()
        return
    for rest in partitions(n - 1):
        for group in range(max(rest, default=-1) + 2):
            yield (*rest, group)


@pytest.mark.parametrize("seed", range(4))
def test_communities_are_as_good_as_the_best_of_all_groupings_or_nearly(seed):
    weights = graph(seed, 7)
    best = max(modularity(weights, np.array(p)) for p in partitions(7))
    assert modularity(weights, communities(weights, seed)) >= best - 0.02


def test_communities_equal_those_of_networkx_in_quality():
    networkx = pytest.importorskip("networkx")
    weights = graph(5, 40)
    peer = networkx.community.louvain_communities(networkx.from_numpy_array(weights), seed=0)
    groups = np.zeros(40, int)
    for number, members in enumerate(peer):
        groups[list(members)] = number
    theirs = networkx.community.modularity(networkx.from_numpy_array(weights), peer)
    assert modularity(weights, groups) == pytest.approx(theirs, rel=1e-9)
    assert modularity(weights, communities(weights)) >= theirs - 0.02


def test_cliques_are_found_the_largest_first():
    weights = np.zeros((9, 9))
    for members in ((0, 1), (2, 3, 4, 5), (6, 7, 8)):
        weights[np.ix_(members, members)] = 1
    np.fill_diagonal(weights, 0)
    weights[1, 2] = weights[2, 1] = 0.1
    assert communities(weights).tolist() == [2, 2, 0, 0, 0, 0, 1, 1, 1]


def test_a_graph_without_edges_is_all_singles():
    assert sorted(communities(np.zeros((4, 4)))) == [0, 1, 2, 3]
    assert modularity(np.zeros((4, 4)), np.arange(4)) == 0.0


def information(a, b):
    """Normalised mutual information by counting."""
    n = len(a)

    def entropy(values):
        counts = [values.count(v) for v in set(values)]
        return -sum(c / n * math.log(c / n) for c in counts)

    joint = entropy(list(zip(a, b, strict=True)))
    return 2 * (entropy(list(a)) + entropy(list(b)) - joint) / (entropy(list(a)) + entropy(list(b)))


@pytest.mark.parametrize("seed", range(3))
def test_agreement_is_its_equation(seed):
    random = np.random.default_rng(seed)
    a, b = random.integers(0, 3, 30), random.integers(0, 4, 30)
    assert agreement(a, b) == pytest.approx(information(a.tolist(), b.tolist()), rel=1e-12)


def test_agreement_does_not_depend_on_names_and_is_none_for_one_group():
    a = np.array([0, 0, 1, 1, 2])
    assert agreement(a, np.array([7, 7, 3, 3, 0])) == pytest.approx(1.0)
    assert agreement(a, np.zeros(5, int)) == pytest.approx(0.0)
