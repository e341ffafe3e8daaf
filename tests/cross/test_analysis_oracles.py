"""Analyses find what independent libraries find: tensorly's factorisation, hmmlearn's chains."""

from __future__ import annotations

import numpy as np
import pytest
from snnsim_datasets.synthetic import hidden_states
from snnsim_datasets.synthetic.hidden_states import DT, TOPOLOGIES

from snnsim.analysis.factorise import factorise


def affinities(change: np.ndarray) -> np.ndarray:
    """``sqrt(max(0, r_i r_j))`` of two different units, ``[N, N, T, S]``, all in memory."""
    product = np.einsum("tsi,tsj->ijts", change, change)
    found = np.sqrt(np.maximum(product, 0))
    found[np.arange(len(found)), np.arange(len(found))] = 0
    return found


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_factorisation_explains_as_much_as_tensorlys(rank):
    tensorly = pytest.importorskip("tensorly")
    from tensorly.decomposition import non_negative_parafac_hals

    random = np.random.default_rng(rank)
    T, S, N = 14, 9, 8
    group = np.arange(N) % 3
    size = random.random((3, S))
    when = random.normal(size=(T, 3)) * np.stack(
        [np.roll(np.arange(T) < 6, 4 * k) for k in range(3)], 1
    )
    change = np.einsum("tn,ns->tsn", when[:, group], size[group]) + 0.1 * random.normal(
        size=(T, S, N)
    )
    x = affinities(change)
    found = factorise(change, rank, starts=5)
    made = np.einsum("kij,kt,ks->ijts", found.pairs, found.time, found.trials)
    explained = 1 - ((x - made) ** 2).sum() / (x**2).sum()
    assert explained == pytest.approx(found.explained, abs=1e-4)
    theirs = []
    for seed in range(5):
        weights, factors = non_negative_parafac_hals(
            x.reshape(N * N, T, S), rank, n_iter_max=200, init="random", random_state=seed
        )
        again = tensorly.cp_to_tensor((weights, factors)).reshape(x.shape)
        theirs.append(1 - ((x - again) ** 2).sum() / (x**2).sum())
    assert explained == pytest.approx(max(theirs), abs=2e-3)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_generated_chains_are_decoded_by_hmmlearn_with_the_true_parameters(topology):
    hmm = pytest.importorskip("hmmlearn.hmm")
    found = hidden_states(4, states=3, topology=topology, leave=0.1, units=18, steps=1000, seed=5)
    model = hmm.PoissonHMM(3)
    model.startprob_, model.transmat_ = found.initial, found.transitions
    model.lambdas_ = np.maximum(found.rates * DT / 1000, 1e-12)
    for x, path in zip(found.data.x, found.path, strict=True):
        likelihood, told = model.decode(x.astype(int))
        assert np.mean(told == path) >= 0.95
        mixed = np.random.default_rng(0).permutation(len(x))
        assert model.score(x[mixed].astype(int)) < likelihood


def test_a_chain_learnt_by_hmmlearn_is_the_one_that_was_drawn():
    hmm = pytest.importorskip("hmmlearn.hmm")
    found = hidden_states(6, states=3, topology="cyclic", leave=0.1, units=18, steps=1000, seed=7)
    x = found.data.x.reshape(-1, 18).astype(int)
    model = hmm.PoissonHMM(3, random_state=0, n_iter=30, params="stl", init_params="st")
    model.lambdas_ = np.maximum(found.rates * DT / 1000, 1e-12) * 1.2  # somewhat off
    model.fit(x, [1000] * 6)
    np.testing.assert_allclose(model.transmat_, found.transitions, atol=0.03)
    error = np.sqrt(0.6 / np.bincount(found.path.ravel()).min())  # of a mean of Poisson counts
    np.testing.assert_allclose(model.lambdas_, found.rates * DT / 1000, atol=4 * error)
