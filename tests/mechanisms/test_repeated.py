"""Repeated data: how often each sample appears."""

from __future__ import annotations

import numpy as np
import pytest
from small_training import (
    Stop,
    StopAfter,
    Tiny,
    changed,
    differences,
    everything,
    network,
    run_whole,
    trainer,
    without_seconds,
)

from snnsim.continual import (
    split_by_class,
)
from snnsim.data import Arrays
from snnsim.errors import ConfigError
from snnsim.training.repeated import repeated

DATA = Arrays(np.zeros((40, 3, 2)), np.arange(40))


def stream_of_two():
    labels = np.arange(8) % 4
    part = Arrays(np.ones((8, 5, 6)), labels, classes=("a", "b", "c", "d"))
    return split_by_class("two", (part, part, part), 2, "task")


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


@pytest.mark.parametrize(("size", "fraction"), [(3, 0.5), (4, 0.25), (7, 0.8), (20, 0.5)])
def test_over_epochs_the_subset_stays_and_all_others_take_turns(size, fraction):
    """Counts of three epochs, against cards that are dealt one by one from two piles."""
    order = np.random.default_rng(1).permutation(40).tolist()
    again = round(fraction * 40)
    piles = ((order[:size], again), (order[size:], 40 - again))
    dealt = [0, 0]
    for epoch in range(3):
        expected = np.zeros(40, int)
        for number, (pile, count) in enumerate(piles):
            for _ in range(count):
                expected[pile[dealt[number] % len(pile)]] += 1
                dealt[number] += 1
        view = repeated(DATA, size, fraction, seed=1, epoch=epoch)
        assert (np.bincount(view.indices, minlength=40) == expected).all()


class Noting(Tiny):
    """Notes which samples were asked for."""

    def __init__(self, samples, seed):
        super().__init__(samples, seed)
        self.asked = []

    def batch(self, indices, steps=None):
        self.asked += list(indices)
        return super().batch(indices, steps)


def test_training_shows_the_subset_of_its_recipe_again_and_again():
    data = Noting(22, 1)
    trainer(changed(epochs=3, repeat=2, repeat_fraction=0.5), train=data, seed=5).run()
    views = [repeated(data, 2, 0.5, 5, epoch).indices for epoch in range(3)]
    for epoch, view in enumerate(views):
        assert sorted(data.asked[22 * epoch : 22 * (epoch + 1)]) == sorted(view)
    counts = np.bincount(data.asked, minlength=22)
    assert (np.sort(counts)[-2:] >= 16).all() and (np.sort(counts)[:-2] <= 2).all()
    assert (counts > 0).all()  # of twenty others eleven are shown in each epoch


@pytest.mark.parametrize("stop", [(1, 0), (1, 3)])
def test_a_run_with_repeats_goes_on_to_the_bit(tmp_path, stop):
    recipe = changed(repeat=3, repeat_fraction=0.6, checkpoint_steps=1)
    state, rows = run_whole(recipe)
    with pytest.raises(Stop):
        trainer(recipe, net=network(5), seed=5, out=tmp_path, watcher=StopAfter(*stop)).run()
    again = trainer(recipe, net=network(15), seed=5, out=tmp_path)
    assert again.resume()
    again.run()
    assert differences(everything(again), state) == [] and without_seconds(again.rows) == rows


def test_a_subset_that_is_too_large_is_refused_before_training():
    with pytest.raises(ConfigError, match="only 11 of 22"):
        trainer(changed(repeat=12))
