"""The parts of the checks of analyses by themselves, and what makes their claims fail."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from snnsim_datasets.synthetic.hidden_states import DT, transitions
from snnsim_experiments import analysis_checks
from snnsim_experiments.analysis_checks import depth, dynamics, operators, paths, timescales

from snnsim.analysis.paths import Paths
from snnsim.analysis.report import Figure

# --- hidden states --------------------------------------------------------------------------------


@pytest.mark.parametrize("topology", ["linear", "cyclic", "full"])
def test_the_path_found_is_the_most_probable_of_all(topology):
    random = np.random.default_rng(0)
    onward, initial = transitions(3, topology, 0.3), np.array([0.5, 0.3, 0.2])
    rates = random.uniform(5, 100, (3, 4))
    for x in random.poisson(0.5, (5, 6, 4)):

        def log_probability(path, x=x):
            expected = rates[list(path)] * DT / 1000
            moves = [onward[a, b] for a, b in itertools.pairwise(path)]
            with np.errstate(divide="ignore"):
                chain = np.log([initial[path[0]], *moves]).sum()
            return (x * np.log(expected) - expected).sum() + chain

        best = max(itertools.product(range(3), repeat=6), key=log_probability)
        assert dynamics.viterbi(x, rates, onward, initial).tolist() == list(best)


def test_the_chain_emits_its_symbols_as_often_as_its_probabilities_say():
    x = dynamics.emitted(4000, 60, np.random.default_rng(0))
    assert x.shape == (60, 4000, 3) and (x.sum(2) == 1).all()
    np.testing.assert_allclose(x.mean((0, 1)), [0.495, 0.01, 0.495], atol=0.01)
    both = (
        dynamics.EMISSION.T @ (0.5 * transitions(2, "linear", dynamics.LEAVE)) @ dynamics.EMISSION
    )
    assert dynamics.persistence(x) == pytest.approx(np.trace(both), abs=0.005)


def test_points_are_as_far_apart_as_half_their_squared_distance():
    torch.manual_seed(0)
    x = torch.randn(40, 3)
    shift = torch.tensor([3.0, -4.0, 0.0])
    assert float(dynamics.sinkhorn_divergence(x, x)) == pytest.approx(0.0, abs=1e-4)
    found = float(dynamics.sinkhorn_divergence(x, x + shift))
    assert found == pytest.approx(12.5, rel=0.02)  # a translation costs |shift|^2 / 2
    moved = (x + shift).requires_grad_()
    dynamics.sinkhorn_divergence(x, moved).backward()
    torch.testing.assert_close(moved.grad.sum(0), shift, rtol=0.05, atol=0.1)


def test_a_network_without_noise_says_nothing():
    torch.manual_seed(0)
    net = dynamics.Generator()
    assert not net(torch.zeros(20, 2, dynamics.NOISE)).any()
    symbols = net.emit(5, 7)
    assert symbols.shape == (7, 5, 3) and (symbols.sum(2) - 1).abs().max() < 1e-6
    symbols[:, :, 0].sum().backward()
    assert net.rnn.weight_hh_l0.grad.any()


GOOD = {"persistence of symbols": 0.95, "activity left without noise": 0.0,
        "activity left with noise": 1.0}  # fmt: skip


@pytest.mark.parametrize(
    ("decoded", "after", "before", "passed"),
    [((99.0, 33.0), {}, 0.33, True), ((94.9, 33.0), {}, 0.33, False),
     ((99.0, 44.0), {}, 0.33, False), ((99.0, 33.0), {"persistence of symbols": 0.89}, 0.33, False),
     ((99.0, 33.0), {}, 0.93, False),
     ((99.0, 33.0), {"activity left without noise": 0.02}, 0.33, False),
     ((99.0, 33.0), {"activity left with noise": 0.0}, 0.33, False)],
)  # fmt: skip
def test_dynamics_need_decoding_persistence_and_noise(monkeypatch, decoded, after, before, passed):
    known = {"after": GOOD | after, "before": GOOD | {"persistence of symbols": before}}
    monkeypatch.setattr(dynamics, "_decoded", lambda seed, steps: decoded)
    monkeypatch.setattr(dynamics, "_trained", lambda seed, steps: ("after", "before"))
    monkeypatch.setattr(dynamics, "_generated", lambda net: dict(known[net]))
    found = dynamics.run(seed=2)
    assert found.passed is passed and found.budget
    assert found.figures["persistence of the chain"] == pytest.approx(0.93, abs=0.01)
    assert (found.figures["steps decoded %"], found.control["steps decoded %"]) == decoded


# --- operators and time constants -----------------------------------------------------------------


@pytest.mark.parametrize("eigenvalues", [(0.1, 0.3, 0.5, 0.7), (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)])
def test_operators_need_as_many_filters_as_eigenvalues(monkeypatch, eigenvalues):
    made = operators.StateSpace(eigenvalues)
    monkeypatch.setattr(operators, "StateSpace", lambda _: made)
    found = operators.run(short=True)
    assert not found.passed and found.figures["filters needed"] == len(eigenvalues)


def test_time_constants_must_not_be_found_in_shuffled_steps(monkeypatch):
    monkeypatch.setattr(timescales, "shuffled", lambda rec, how, seed: rec)
    assert not timescales.run().passed


# --- depth ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("teacher", "tied", "other", "copies", "passed"),
    [(80, 73, 60, 30, True), (80, 71, 60, 30, False), (80, 73, 74, 30, True),
     (80, 73, 60, 54, False), (19, 19, 10, -10, False)],
)  # fmt: skip
def test_two_blocks_must_keep_what_eight_can(monkeypatch, teacher, tied, other, copies, passed):
    similar = np.kron(np.eye(2), np.ones((4, 4)))

    def tie(net, data, division, epochs, **options):
        return (tied if list(division) == [0] * 4 + [1] * 4 else other) if epochs else copies

    made = paths.Trained(teacher, None, None)
    monkeypatch.setattr(depth, "deep", lambda *_: made)
    monkeypatch.setattr(depth, "stack_of", lambda net: SimpleNamespace(names=range(8)))
    monkeypatch.setattr(depth, "record", lambda net, data, names: dict.fromkeys(names))
    monkeypatch.setattr(depth, "similarity", lambda rows: similar)
    monkeypatch.setattr(depth, "tie", tie)
    monkeypatch.setattr(
        depth, "Subject", lambda net, data: SimpleNamespace(accuracy=lambda net: net / 100)
    )
    found = depth.run()
    assert found.passed is passed
    assert found.figures == {
        "teacher %": teacher, "tied %": tied, "another division %": other, "one block %": other
    }  # fmt: skip
    assert found.control == {"not trained %": copies}


@pytest.mark.parametrize(
    ("accuracy", "shorter", "corrected", "passed"),
    [(0.5, 0.9, 0.66, True), (0.5, 0.39, 0.66, False), (0.5, 0.9, 0.39, False),
     (0.19, 0.9, 0.66, False)],
)  # fmt: skip
def test_a_block_fewer_or_more_must_be_right_more_often_than_a_random_label(
    monkeypatch, accuracy, shorter, corrected, passed
):
    class Known(Paths):
        right = np.arange(100) < np.full((3, 1), 100 * accuracy)

        def shorter(self):
            return Figure(shorter, 0.2)

        def corrected(self):
            return Figure(corrected, 0.2)

    def near(net, data, *, changes):
        assert changes == 1
        return Known(np.array([[1, 0], [1, 1], [1, 2]]), np.zeros((3, 1)), None, 10)

    monkeypatch.setattr(paths, "deep", lambda *_: paths.Trained(None, None, None))
    monkeypatch.setattr(paths, "paths", near)
    found = paths.run()
    assert found.passed is passed
    assert found.figures["accuracy % as trained"] == pytest.approx(100 * accuracy)
    assert found.figures["corrected %"] == pytest.approx(100 * corrected)
    assert list(found.control.values()) == pytest.approx([20, 20])


def test_the_check_of_sparsity_is_that_of_the_baselines():
    from snnsim_experiments.baselines.checks import sparsity

    assert analysis_checks.get("sparsity").run is sparsity.run
