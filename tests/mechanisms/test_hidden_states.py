"""A hidden Markov chain behind Poisson spikes: its path can be decoded, but not if shuffled."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from snnsim_datasets.synthetic import hidden_states
from snnsim_datasets.synthetic.hidden_states import DT, TOPOLOGIES, transitions
from snnsim_experiments.analysis_checks.dynamics import viterbi

from snnsim.errors import ConfigError


def agreement(found, x) -> float:
    told = (viterbi(each, found.rates, found.transitions, found.initial) for each in x)
    return float(np.mean([a == b for a, b in zip(told, found.path, strict=True)]))


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("states", [2, 4])
def test_the_path_can_be_decoded_but_not_from_steps_in_another_order(topology, states):
    found = hidden_states(
        4, states=states, topology=topology, leave=0.1, units=6 * states, steps=1500, seed=3
    )
    assert agreement(found, found.data.x) >= 0.95
    mixed = np.random.default_rng(0).permuted(np.tile(np.arange(1500), (4, 1)), axis=1)
    x = np.take_along_axis(found.data.x, mixed[:, :, None], axis=1)
    chance = (found.initial**2).sum()  # 1 / k where all states are equally frequent
    assert topology == "linear" or chance == pytest.approx(1 / states)
    assert agreement(found, x) == pytest.approx(chance, abs=0.06)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_transitions_and_occupancy_of_the_path_are_those_of_the_chain(topology):
    found = hidden_states(100, states=4, topology=topology, leave=0.3, units=4, steps=1000)
    counts = np.zeros((4, 4))
    np.add.at(counts, (found.path[:, :-1], found.path[:, 1:]), 1)
    np.testing.assert_allclose(counts / counts.sum(1, keepdims=True), found.transitions, atol=0.01)
    np.testing.assert_allclose(np.bincount(found.path.ravel()) / 1e5, found.initial, atol=0.02)
    np.testing.assert_allclose(found.initial @ found.transitions, found.initial, atol=1e-12)
    first = np.bincount(found.path[:, 0], minlength=4) / 100
    np.testing.assert_allclose(first, found.initial, atol=0.15)


def test_each_topology_leads_where_it_says():
    for topology, reached in {
        "linear": {(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)},
        "cyclic": {(0, 1), (1, 2), (2, 3), (3, 0)},
        "full": set(itertools.permutations(range(4), 2)),
    }.items():
        onward = transitions(4, topology, 0.2)
        np.testing.assert_allclose(np.diag(onward), 0.8)
        np.testing.assert_allclose(onward.sum(1), 1)
        off = onward - np.diag(np.diag(onward))
        assert set(zip(*map(list, off.nonzero()), strict=True)) == reached


def test_spikes_follow_the_rates_of_the_state():
    found = hidden_states(20, states=3, units=7, steps=2000, leave=0.2, hz=(2.0, 80.0))
    for state in range(3):
        mean = found.data.x[found.path == state].mean(0) / (DT / 1000)
        np.testing.assert_allclose(mean, found.rates[state], rtol=0.15)
    assert (found.rates == 80.0).sum(0).tolist() == [1] * 7
    assert (found.rates == 80.0).sum(1).tolist() == [3, 2, 2]


def test_targets_are_the_states_of_every_step():
    found = hidden_states(3, steps=30)
    batch = found.data.batch([2, 0])
    assert batch.per_step and batch.target.shape == (30, 2)
    np.testing.assert_array_equal(batch.target.numpy(), found.path[[2, 0]].T)


def test_a_seed_is_a_recording_and_a_state_that_is_never_left_stays():
    one, same, other = (hidden_states(3, seed=seed) for seed in (1, 1, 2))
    assert (one.data.x == same.data.x).all() and (one.data.x != other.data.x).any()
    still = hidden_states(5, leave=0.0).path
    assert (still == still[:, :1]).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 0}, {"states": 1}, {"states": 2.5}, {"topology": "ring"}, {"leave": 1.1},
        {"leave": float("nan")}, {"units": 2}, {"steps": 0}, {"hz": (-1.0, 5.0)},
        {"hz": (5.0, 1.0)}, {"hz": 5.0}, {"seed": -1},
    ],
)  # fmt: skip
def test_what_makes_no_chain_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        hidden_states(**({"samples": 2} | wrong))
