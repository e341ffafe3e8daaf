"""Assemblies: hidden groups are found where there are some, and only there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from snnsim_datasets.synthetic import assemblies as hidden

from snnsim.activity import Recording
from snnsim.analysis import assemblies as module
from snnsim.analysis import shuffled
from snnsim.analysis.assemblies import assemblies, between, changes, most_active
from snnsim.analysis.communities import agreement
from snnsim.errors import ConfigError


def recording(seed: int, **options) -> tuple[Recording, np.ndarray, np.ndarray]:
    found = hidden(seed=seed, **options)
    values = torch.from_numpy(found.data.x).permute(1, 0, 2)
    lengths = torch.full((values.shape[1],), len(values))
    rec = Recording(values, "spikes", "units", "output", lengths, None, 10.0)
    return rec, found.groups, found.epochs


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_hidden_groups_their_number_and_their_times_are_found_and_not_in_the_null(seed):
    rec, groups, epochs = recording(seed)
    found, null = assemblies(rec, seed=seed), assemblies(shuffled(rec, "shift", seed), 3, seed=seed)
    assert len(found.factors.pairs) == 3 and found.stability > 0.9
    assert agreement(found.groups, groups) > 0.8
    assert agreement(found.groups, groups) > agreement(null.groups, groups) + 0.5
    assert best_correlations(found.factors.time, epochs).mean() > 0.8
    assert best_correlations(null.factors.time, epochs).mean() < 0.55
    assert found.modularity > null.modularity + 0.05


def best_correlations(time, epochs):
    """The largest correlation of each epoch with the time course of any component."""
    return np.corrcoef(np.vstack([time, epochs]))[: len(time), len(time) :].max(0)


def test_units_that_do_the_same_without_each_other_are_no_assembly():
    rec, groups, _ = recording(2)
    found = assemblies(shuffled(rec, "shift", 2), seed=2)
    assert agreement(found.groups, groups) < 0.2


def test_changes_are_those_of_a_smoothed_rate():
    values = torch.zeros(40, 1, 1)
    values[20] = 1.0
    rec = Recording(values, "spikes", "", "output", torch.tensor([40]), None, 5.0)
    steps = np.arange(40) - 20.0
    bump = np.exp(-0.5 * (steps / 4) ** 2)
    expected = np.gradient(bump / bump.sum())
    assert np.allclose(changes(rec, 20.0)[:, 0, 0], expected, atol=2e-3 * expected.max())


def test_nothing_changes_outside_of_a_sample():
    rec = Recording(torch.rand(20, 2, 3), "rate", "", "output", torch.tensor([20, 9]))
    assert not changes(rec, 2.0)[9:, 1].any()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (torch.zeros(30, 6, 5), "nothing changes"),
        (torch.rand(30, 3, 5), "need 4 samples"),
        (torch.rand(30, 6, 2), "and 3 units"),
    ],
)
def test_what_has_no_assemblies_is_refused(values, said):
    lengths = torch.full((values.shape[1],), 30)
    with pytest.raises(ConfigError, match=said):
        assemblies(Recording(values, "spikes", "layer", "output", lengths))


def test_the_most_active_units_are_kept_in_their_order():
    values = torch.zeros(10, 4, 5)
    values[:5, :, 3], values[0, :, 1] = 1.0, 1.0
    rec = Recording(values, "spikes", "", "output", torch.full((4,), 10))
    kept, which = most_active(rec, 2)
    assert which.tolist() == [1, 3] and kept.values.shape == (10, 4, 2)
    assert most_active(rec, 0)[0].values.shape == (10, 4, 5)


def test_variance_between_classes_is_a_fraction():
    sizes = np.array([[1.0, 1.0, 3.0, 3.0]])
    assert between(sizes, np.array([0, 0, 1, 1])) == pytest.approx(1.0)
    assert between(sizes, np.array([0, 1, 0, 1])) == pytest.approx(0.0)
    assert between(np.ones((2, 4)), np.arange(4)) == 0.0


def test_one_component_is_enough_where_none_is_worth_more():
    random = np.random.default_rng(0)
    noise = random.standard_normal((40, 8, 12))
    assert module.worthwhile(noise, random.standard_normal((40, 8, 12))) == 1
