"""Repeated data: how often each sample appears."""

from __future__ import annotations

import numpy as np
import pytest

from snnsim.data import Arrays
from snnsim.errors import ConfigError
from snnsim.training.repeated import repeated

DATA = Arrays(np.zeros((40, 3, 2)), np.arange(40))


@pytest.mark.parametrize(("size", "fraction"), [(1, 0.5), (3, 0.5), (20, 0.5), (4, 0.1), (7, 1.0)])
def test_the_subset_is_repeated_as_often_as_its_part_asks(size, fraction):
    view = repeated(DATA, size, fraction, seed=1)
    which, counts = np.unique(view.indices, return_counts=True)
    again = round(fraction * 40)
    assert len(view) == 40 and len(which) == size + 40 - again
    subset = view.indices[40 - again :]
    repeats = np.unique(subset, return_counts=True)[1]
    assert len(repeats) == size and repeats.sum() == again
    assert repeats.max() - repeats.min() <= 1  # what does not divide goes to some of the subset
    assert (counts == 1).sum() >= 40 - again


def test_a_seed_is_a_subset_and_another_seed_another():
    first, again, other = (repeated(DATA, 4, 0.5, seed).indices for seed in (0, 0, 1))
    assert (first == again).all() and sorted(first) != sorted(other)


def test_fresh_samples_are_not_of_the_subset():
    view = repeated(DATA, 5, 0.5, seed=3)
    assert not set(view.indices[:20]) & set(view.indices[20:])
    assert len(set(view.indices[:20])) == 20


@pytest.mark.parametrize(
    ("size", "fraction", "said"),
    [(0, 0.5, "size"), (21, 0.5, "only 20 of 40"), (1, 0.0, "only 0 of 40"), (1, 1.5, "fraction")],
)
def test_what_cannot_be_is_refused(size, fraction, said):
    with pytest.raises(ConfigError, match=said):
        repeated(DATA, size, fraction)
